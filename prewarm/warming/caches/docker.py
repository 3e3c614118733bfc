"""A Docker engine, which pulls for itself (Docker Engine API v1.30 and later, through the docker SDK).

The engine fetches by its own configuration, registry mirrors included. What an image's digest is now is
asked of its registry where that is listed, else of the engine (`/distribution/NAME/json`). The engine
has proven to hold an image when its `RepoDigests` name that digest.
"""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from prewarm.errors import (
    CacheError,
    DigestMismatch,
    ForbiddenHost,
    InvalidReference,
    PrewarmError,
)
from prewarm.references import Reference
from prewarm.warming.caches import Driver, Eviction, Finding, Surroundings, Transfer
from prewarm.warming.caches.hearsay import in_our_words
from prewarm.warming.caches.keys import Seconds
from prewarm.warming.contacts import without_login
from prewarm.warming.images import Descriptor, Image, Manifest, Platform, parse_platform

if TYPE_CHECKING:
    from docker import APIClient
    from requests import Response

    from prewarm.warming.credentials import Login

T = TypeVar("T")

UNKNOWN = ""  # the digest of an image that neither its registry nor the engine could tell
THREADS = 8  # calls to one engine at once; the SDK blocks


class DockerConfig(BaseModel):
    """Keys of a `docker` cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, AfterValidator(without_login)] = Field(
        "unix:///var/run/docker.sock",
        pattern=r"^(unix|tcp|http|https|ssh)://.+",
        description="unix:///var/run/docker.sock, tcp://build-1:2376 or ssh://user@build-1",
    )
    tls_ca: str | None = Field(None, description="PEM file of the authority that signed the engine")
    tls_cert: str | None = Field(None, description="PEM file of our certificate")
    tls_key: str | None = Field(None, description="PEM file of our key")
    timeout: Seconds = Field(120.0, description="silence after which the engine is given up")
    platform: str | None = Field(None, description="os/architecture[/variant]; default: the engine's own")


class Engine:
    """The cache over one engine; calls block, so they run in threads of its own."""

    def __init__(self, config: DockerConfig, surroundings: Surroundings) -> None:
        self._config = config
        self._surroundings = surroundings
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="docker")
        self._client: APIClient | None = None
        self._connecting = threading.Lock()

    async def resolve(self, reference: Reference) -> Image:
        """What `reference` stands for at its registry now, for the engine's platform.

        An image of a registry that is not listed is asked of the engine, which tells the digest only.
        """
        try:
            registry, path = self._surroundings.origin(reference)
        except ForbiddenHost:
            return await self._ask_engine(reference)
        platform = await self._call(self._platform)
        image = await registry.resolve(path, reference.target, (platform,))
        return replace(image, reference=reference)

    async def holds(self, image: Image) -> bool:
        """Whether the engine has the image under its name with this digest."""
        digests = await self._call(self._digests, image.reference)
        return image.digest in digests

    async def warm(self, image: Image) -> Transfer:
        """Let the engine pull, then ask it what it has."""
        sizes = {_short(blob.digest): blob.size for blob in image.blobs}
        login = await self._surroundings.registries.credentials.of(image.reference.registry)
        pace = self._surroundings.pace
        if pace:  # the bytes do not pass us: the image's turn is awaited, and corrected afterwards
            await pace.take(image.bytes)
        count = await self._pull(image.reference, login, sizes)
        if pace:
            pace.give_back(image.bytes - count)
        digests = await self._call(self._digests, image.reference)
        if image.digest in digests or (image.digest == UNKNOWN and digests):
            return Transfer(count, "the engine lists the image with its digest")
        raise DigestMismatch(
            f"the engine has {image.reference} with digest {', '.join(sorted(digests)) or 'none'}, "
            f"not {image.digest}: the tag moved meanwhile, or the engine's mirror serves an old one"
        )

    async def current(self, reference: Reference) -> str:
        """The digest that `reference` has now: its registry's word, else the engine's."""
        try:
            return await self._surroundings.current(reference)
        except ForbiddenHost:
            return (await self._ask_engine(reference)).digest

    async def evict(self, images: Sequence[Reference], *, apply: bool) -> Eviction:
        """Remove images that no container uses; the engine itself refuses the others."""
        return await self._call(self._evict, images, apply)

    async def check(self) -> list[Finding]:
        """Whether the engine answers, which one it is, and where it fetches docker.io from."""
        try:
            version = await self._call(lambda: self._connected().version())
            info = await self._call(lambda: self._connected().info())
        except CacheError as refused:
            return [Finding("reachable", False, str(refused))]
        words = f"Docker Engine {version['Version']}, {version['Os']}/{version['Arch']}"
        mirrors = (info.get("RegistryConfig") or {}).get("Mirrors") or []
        return [
            Finding("reachable", True, f"{self._config.url}: {words}"),
            Finding("content", True, f"{info.get('Images', 0)} images in {info.get('DockerRootDir')}"),
            Finding("mirrors", True, f"docker.io comes through {', '.join(mirrors) or 'no mirror'}"),
        ]

    def close(self) -> None:
        """Wait for the threads, which have been told to stop, and drop the connections."""
        self._threads.shutdown()
        if self._client is not None:
            self._client.close()

    async def _ask_engine(self, reference: Reference) -> Image:
        login = await self._surroundings.registries.credentials.of(reference.registry)
        descriptor = await self._call(self._distribution, reference, login)
        root = Manifest(descriptor, b"")
        return Image(reference, root, (root,), ())

    async def _pull(self, reference: Reference, login: Login | None, sizes: dict[str, int]) -> int:
        """Bytes that the engine downloaded; a cancellation ends the stream, and with it the pull."""
        pull = _Stream()
        try:
            return await self._call(self._download, pull, reference, login, sizes)
        except asyncio.CancelledError:
            pull.end()
            raise

    async def _call(self, function: Callable[..., T], *arguments: Any) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, functools.partial(function, *arguments))

    # --- what follows blocks, and runs in the engine's threads ---

    def _connected(self) -> APIClient:
        """The SDK's client; connecting asks the engine for its API version."""
        from docker import APIClient

        with self._connecting, self._in_words():
            if self._client is None:
                config = self._config
                self._client = APIClient(
                    config.url,
                    version="auto",
                    timeout=config.timeout,
                    tls=_tls(config),
                    use_ssh_client=True,  # the system's ssh and its configuration
                )
            return self._client

    def _platform(self) -> Platform:
        if self._config.platform:
            return parse_platform(self._config.platform)
        client = self._connected()
        with self._in_words():
            version = client.version()
        return Platform(version["Os"], version["Arch"])

    def _digests(self, reference: Reference) -> set[str]:
        """The digests that the engine knows its image of that name by; none when it has no such image."""
        from docker.errors import ImageNotFound

        client = self._connected()
        with self._in_words():
            try:
                inspected = client.inspect_image(_engine_name(reference))
            except ImageNotFound:
                return set()
        names = [_parsed(name) for name in inspected.get("RepoDigests") or ()]
        return {name.digest for name in names if name and name.digest and name.name == reference.name}

    def _evict(self, images: Sequence[Reference], apply: bool) -> Eviction:
        client = self._connected()
        with self._in_words():
            before = client.df()
            present = {str(name): each for each in before["Images"] or () for name in _names(each)}
            going = {str(image): present[str(image)] for image in images if str(image) in present}
            used = {name for name, each in going.items() if each.get("Containers", 0) > 0}
            kept = dict.fromkeys(sorted(used), "a container uses it")
            if not apply:
                alone = {each["Id"]: _unique(each) for name, each in going.items() if name not in kept}
                return Eviction(tuple(n for n in going if n not in kept), sum(alone.values()), kept)
            evicted = [name for name in going if name not in kept and self._removed(client, name, kept)]
            freed = int(before.get("LayersSize") or 0) - int(client.df().get("LayersSize") or 0)
        return Eviction(tuple(evicted), max(freed, 0), kept)

    def _removed(self, client: APIClient, name: str, kept: dict[str, str]) -> bool:
        """Whether the image is gone; why it is not goes to `kept`."""
        from docker.errors import APIError, ImageNotFound

        try:
            client.remove_image(_engine_name(Reference.parse(name)))
        except ImageNotFound:
            return False
        except APIError as refused:
            if refused.status_code != 409:
                raise
            kept[name] = " ".join(str(refused.explanation).split())
            return False
        return True

    def _distribution(self, reference: Reference, login: Login | None) -> Descriptor:
        """What the engine's registry says of the name; an engine that cannot ask leaves it unknown."""
        from docker.errors import NotFound as NoSuchPage

        client = self._connected()
        with self._in_words():
            try:
                name = _engine_name(reference)
                found = client.inspect_distribution(name, auth_config=_auth(login))["Descriptor"]
            except NoSuchPage as refused:
                if "page not found" not in str(refused.explanation):
                    raise
                return Descriptor("", UNKNOWN, 0)
        return Descriptor(found.get("mediaType", ""), found["digest"], found.get("size", 0))

    def _download(
        self, pull: _Stream, reference: Reference, login: Login | None, sizes: dict[str, int]
    ) -> int:
        from docker.auth import encode_header

        client = self._connected()
        parameters = {"fromImage": reference.name, "tag": reference.target}
        if self._config.platform:
            parameters["platform"] = self._config.platform
        with self._in_words():
            # Not client.pull: it waits for ever when the engine falls silent, and cannot be ended.
            response = client.post(
                f"{client.base_url}/v{client.api_version}/images/create",
                params=parameters,
                headers={"X-Registry-Auth": encode_header(_auth(login))},
                stream=True,
                timeout=self._config.timeout,
            )
            with response:
                pull.begin(response)
                if not response.ok:
                    raise refusal(_message(response.text), response.status_code)
                return downloaded(pull.messages(), sizes)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """The SDK's and its transport's exceptions as ours."""
        import docker.errors
        import requests
        import urllib3

        try:
            yield
        except docker.errors.APIError as refused:
            raise refusal(str(refused.explanation), refused.status_code) from None
        except (
            docker.errors.DockerException,
            requests.RequestException,
            urllib3.exceptions.HTTPError,
        ) as lost:
            raise CacheError(self._no_answer(lost)) from None

    def _no_answer(self, error: Exception) -> str:
        url = self._config.url
        if "timed out" in str(error).lower():
            return f"the engine at {url} said nothing for {self._config.timeout:g} seconds"
        return f"no Docker engine answers at {url}; is it running, and may we use its socket?"


class _Stream:
    """The messages of one pull; `end` may be called from another thread."""

    def __init__(self) -> None:
        self._response: Response | None = None
        self._ended = threading.Event()

    def begin(self, response: Response) -> None:
        self._response = response

    def end(self) -> None:
        """Stop reading; the engine ends a pull whose client has gone."""
        self._ended.set()
        if self._response is not None:
            with suppress(RuntimeError, ValueError, OSError):  # it has just ended by itself
                self._response.raw.shutdown()

    def messages(self) -> Iterator[dict[str, Any]]:
        assert self._response is not None
        for line in self._response.iter_lines(chunk_size=4096):
            if self._ended.is_set():
                return
            if line:
                yield _parsed_message(line)


def downloaded(messages: Iterable[dict[str, Any]], sizes: dict[str, int]) -> int:
    """Bytes of the layers that a pull's messages report as downloaded.

    `sizes` are known sizes of blobs by the first 12 characters of their hexadecimal digest, which is
    what the engine calls a layer; without one, the total that its last progress message gave is taken.
    Raises what the engine reports as an error.
    """
    totals: dict[str, int] = {}
    complete: set[str] = set()
    for message in messages:
        if "error" in message:
            raise refusal(str(message["error"]))
        layer = str(message.get("id", ""))
        if message.get("status") == "Downloading":
            totals[layer] = int((message.get("progressDetail") or {}).get("total") or 0)
        elif message.get("status") in ("Download complete", "Pull complete"):
            complete.add(layer)
    return sum(sizes.get(layer, totals.get(layer, 0)) for layer in complete)


def refusal(message: str, status: int | None = None) -> PrewarmError:
    """The error that an engine's message stands for."""
    return in_our_words("the engine", message, status)


def _parsed_message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise CacheError("the engine sent a progress message that is no JSON object")
    return message


def _message(text: str) -> str:
    """The engine's own words in the body of a refusal."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError):
        return text


def _engine_name(reference: Reference) -> str:
    """The name to ask the engine for: by digest where there is one, since it then ignores the tag."""
    return f"{reference.name}@{reference.digest}" if reference.digest else str(reference)


def _parsed(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidReference:  # <none>@sha256:… of an image without a name
        return None


def _names(summary: dict[str, Any]) -> Iterator[Reference]:
    """The names of an image in the engine's list: tags, and digests."""
    for text in (*(summary.get("RepoTags") or ()), *(summary.get("RepoDigests") or ())):
        if name := _parsed(text):
            yield name


def _unique(summary: dict[str, Any]) -> int:
    """Bytes that no other image of the engine shares, as far as it tells."""
    return int(summary.get("Size") or 0) - max(int(summary.get("SharedSize") or 0), 0)


def _short(digest: str) -> str:
    return digest.partition(":")[2][:12]


def _auth(login: Login | None) -> dict[str, str]:
    if login is None:
        return {}
    if login.identity_token:
        return {"identitytoken": login.identity_token}
    return {"username": login.username, "password": login.password}


def _tls(config: DockerConfig) -> Any:
    """The SDK's TLS settings; False for a plain connection."""
    from docker.errors import TLSParameterError
    from docker.tls import TLSConfig

    if not (config.tls_ca or config.tls_cert):
        return False
    pair = (config.tls_cert, config.tls_key) if config.tls_cert and config.tls_key else None
    try:
        return TLSConfig(ca_cert=config.tls_ca, client_cert=pair, verify=True)
    except TLSParameterError:
        raise CacheError(
            f"the TLS files for {config.url} cannot be read; tls_ca, tls_cert and tls_key name PEM files"
        ) from None


@asynccontextmanager
async def open_engine(config: DockerConfig, surroundings: Surroundings) -> AsyncIterator[Engine]:
    """A docker cache; the engine is first contacted when something is asked of it."""
    engine = Engine(config, surroundings)
    try:
        yield engine
    finally:
        await asyncio.to_thread(engine.close)


DRIVER = Driver(
    name="docker",
    summary="a Docker engine's own images, for developers' and CI hosts",
    privilege="the engine's socket, which is as good as root on its host",
    config=DockerConfig,
    open=open_engine,
)
