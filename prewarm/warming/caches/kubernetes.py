"""Every matching node of a Kubernetes cluster, whose kubelets pull for themselves.

Plain objects are enough: for each node that lacks the image, a Job whose pod names the node and the image,
pulls it always, and starts nothing of it, since its command is a file that no image has. So no code of the
image runs, and no helper image is needed. Where OpenKruise is installed, one ImagePullJob does it without a
pod. What was made is removed when it is done, cancelled or left by a killed run; what could not be removed
ends by itself.

A node has proven to hold an image when its kubelet names the digest that the registry has: in the status of
the pod, in the node's list of images, or in OpenKruise's NodeImage.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from prewarm.errors import CacheError, DigestMismatch, PrewarmError, UnsupportedImage
from prewarm.references import Reference
from prewarm.warming.caches import Driver, Finding, Surroundings, Transfer
from prewarm.warming.caches.hearsay import in_our_words
from prewarm.warming.caches.json_api import Refused
from prewarm.warming.caches.kube import Api, find
from prewarm.warming.caches.kube_objects import (
    GROUP,
    KubernetesConfig,
    Node,
    digests_in,
    image_pull_job,
    job,
    label_value,
    name_of,
    split,
    verdict,
)
from prewarm.warming.images import Descriptor, Image, choose, distinct_blobs

OURS = "app.kubernetes.io/managed-by=prewarm"
CACHE, PULL = "prewarm/cache", "prewarm/pull"  # labels of what we make
FRESH = 15.0  # seconds that a list of the nodes answers for them
FIRST_LOOK, LONGEST_LOOK = 0.5, 5.0  # seconds between two looks at what was made
PROOF = 90.0  # seconds until a kubelet has told its node's images anew; it does within ten


@dataclass(frozen=True, slots=True)
class _Want:
    """One image for one node: the digests that prove it, and its blobs."""

    node: Node
    ids: frozenset[str]
    blobs: tuple[Descriptor, ...]


class Cluster:
    """The cache over the nodes of one cluster."""

    def __init__(self, api: Api, config: KubernetesConfig, surroundings: Surroundings) -> None:
        self._api = api
        self._config = config
        self._surroundings = surroundings
        self._timing = surroundings.registries.timing
        self._namespace = config.namespace or api.namespace
        self._seen: tuple[float, list[Node]] | None = None
        self._looking = asyncio.Lock()
        self._proven: dict[tuple[str, str], frozenset[str]] = {}  # digests by node's uid and image
        self._there: defaultdict[str, set[str]] = defaultdict(set)  # blobs that we brought, by node's uid
        self._tidy = asyncio.Lock()
        self._tidied = False

    async def resolve(self, reference: Reference) -> Image:
        """What `reference` stands for at its registry now, for the platforms of all nodes."""
        registry, path = self._surroundings.origin(reference)
        platforms = dict.fromkeys(node.platform for node in await self._nodes())
        return replace(await registry.resolve(path, reference.target, tuple(platforms)), reference=reference)

    async def holds(self, image: Image) -> bool:
        """Whether every node has told that it has the image, with this digest."""
        return not await self.missing(image)

    async def missing(self, image: Image) -> float:
        """The share of the nodes of the image's platforms that have not; new nodes join cold."""
        wants = _wants(image, await self._nodes())
        lacking = sum(not self._has(image, want) for want in wants)
        return lacking / len(wants) if wants else 0.0

    async def warm(self, image: Image) -> Transfer:
        """Have the nodes that lack it pull; the error names those that did not."""
        wants = [want for want in _wants(image, await self._nodes()) if not self._has(image, want)]
        await self._tidy_once()
        expected = {want.node.uid: self._missing_bytes(want) for want in wants}
        if self._surroundings.pace:  # the bytes do not pass us: the image's turn is awaited
            await self._surroundings.pace.take(sum(expected.values()))
        failed = await self._pull(image, wants)
        for want in wants:
            if want.node.name not in failed:
                self._proven[want.node.uid, name_of(image.reference)] = want.ids
                self._there[want.node.uid] |= {blob.digest for blob in want.blobs}
        if failed:
            raise _together(failed, len(wants))
        return Transfer(sum(expected.values()), "the kubelet of every node names the digest")

    async def current(self, reference: Reference) -> str:
        """The digest that `reference` has at its registry now."""
        return await self._surroundings.current(reference)

    async def check(self) -> list[Finding]:
        """Whether the API answers, which nodes match, and whether we may do what a warm needs."""
        try:
            version = await self._api.get("/version")
            ready, others = split(await self._listed())
        except CacheError as refused:
            return [Finding("reachable", False, str(refused))]
        matching = f"nodes that match {self._config.selector!r}" if self._config.selector else "nodes"
        words = f"{len(ready)} {matching} are ready" + (f", {others} are not" if others else "")
        return [
            Finding("reachable", True, f"{self._api.server}: Kubernetes {version.get('gitVersion')}"),
            Finding("nodes", bool(ready), words),
            *[await self._may(verb, resource, group) for verb, resource, group in await self._needs()],
            *[await self._has_secret(name) for name in self._config.pull_secrets],
        ]

    # --- nodes ---

    async def _nodes(self) -> list[Node]:
        """The nodes that match and are ready, asked once for many questions; CacheError without any."""
        async with self._looking:
            now = self._timing.clock()
            if self._seen is None or now - self._seen[0] >= FRESH:
                ready, others = split(await self._listed())
                if not ready:
                    which = (
                        f"match {self._config.selector!r} and are ready"
                        if self._config.selector
                        else "are ready"
                    )
                    raise CacheError(f"no nodes of {self._api.server} {which} ({others} are not)")
                self._seen = now, ready
            return self._seen[1]

    async def _listed(self) -> list[dict[str, Any]]:
        query = {"labelSelector": self._config.selector} if self._config.selector else {}
        return list((await self._api.get("/api/v1/nodes", **query)).get("items") or ())

    def _has(self, image: Image, want: _Want) -> bool:
        proven = self._proven.get((want.node.uid, name_of(image.reference)), frozenset())
        return bool(proven & want.ids) or want.node.lists(image.reference, want.ids)

    def _missing_bytes(self, want: _Want) -> int:
        """What the node will fetch, as far as we know what it has: what we brought."""
        there = self._there[want.node.uid]
        return sum(blob.size for blob in want.blobs if blob.digest not in there)

    # --- pulling ---

    async def _pull(self, image: Image, wants: Sequence[_Want]) -> dict[str, PrewarmError]:
        """Let the nodes pull; by name, those that failed or did not prove it."""
        if not wants:
            return {}
        if await self._by_kruise():
            told = await self._pull_by_kruise(image, [want.node.name for want in wants])
        else:
            told = await self._pull_by_jobs(image, [want.node.name for want in wants])
        failed: dict[str, PrewarmError] = {}
        silent: list[_Want] = []
        for want in wants:
            answer = told.get(want.node.name)
            if isinstance(answer, PrewarmError):
                failed[want.node.name] = answer
            elif not answer:
                silent.append(want)
            elif not answer & want.ids:
                failed[want.node.name] = _another(image, answer)
        return failed | await self._unlisted(image, silent)

    async def _unlisted(self, image: Image, wants: Sequence[_Want]) -> dict[str, PrewarmError]:
        """Wait until nodes list an image that they pulled without saying which; those that do not."""
        left = {want.node.name: want for want in wants}
        end, pause = self._timing.clock() + PROOF, FIRST_LOOK
        while left:
            self._seen = None
            now = {node.name: node for node in await self._nodes()}
            for name, want in list(left.items()):
                if name in now and now[name].lists(image.reference, want.ids):
                    del left[name]
            if not left or self._timing.clock() >= end:
                break
            await self._timing.sleep(pause)
            pause = min(pause * 2, LONGEST_LOOK)
        words = f"it pulled {image.reference}, but does not name the digest {image.digest}"
        return {name: CacheError(words) for name in left}

    async def _pull_by_jobs(
        self, image: Image, names: Sequence[str]
    ) -> dict[str, frozenset[str] | PrewarmError]:
        """A Job for each node, a few at once; what each node said: digests, none of them, or why not."""
        pull = secrets.token_hex(8)
        waiting, made = deque(names), dict[str, tuple[str, float]]()  # by node: the Job, and when it began
        told: dict[str, frozenset[str] | PrewarmError] = {}
        pause = FIRST_LOOK
        try:
            while waiting or made:
                while waiting and len(made) < self._config.parallel:
                    node = waiting.popleft()
                    made[node] = await self._make_job(image, node, pull), self._timing.clock()
                await self._timing.sleep(pause)
                pause = min(pause * 1.5, LONGEST_LOOK)
                answers = await self._answers(pull, made)
                for node in answers:
                    await self._api.delete(made.pop(node)[0])
                told |= answers
        finally:
            await _whatever([self._api.delete(job) for job, _ in made.values()])
        return told

    async def _make_job(self, image: Image, node: str, pull: str) -> str:
        """Make the Job; its path."""
        body = job(image.reference, node, self._labels(pull), self._config)
        path = f"/apis/batch/v1/namespaces/{self._namespace}/jobs"
        return await self._make(path, body)

    async def _make(self, path: str, body: Mapping[str, Any]) -> str:
        """Make an object; its path. Cancelled meanwhile, it is removed: nobody else would know its name."""

        async def make() -> str:
            made = await self._api.post(path, body)
            return f"{path}/{made['metadata']['name']}"

        async def unmake() -> None:
            await self._api.delete(await making)

        making = asyncio.ensure_future(make())
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            await _whatever([unmake()])
            raise

    async def _answers(
        self, pull: str, made: Mapping[str, tuple[str, float]]
    ) -> dict[str, frozenset[str] | PrewarmError]:
        """By node, what the pods that are through say; and nodes whose time is over."""
        path = f"/api/v1/namespaces/{self._namespace}/pods"
        pods = (await self._api.get(path, labelSelector=f"{PULL}={pull}")).get("items") or ()
        found = {str(pod["spec"].get("nodeName")): verdict(pod) for pod in pods}
        answers = {node: answer for node, answer in found.items() if answer is not None and node in made}
        now = self._timing.clock()
        late = {
            node for node, (_, begun) in made.items() if now - begun >= self._config.timeout
        } - answers.keys()
        words = f"it was not through after {self._config.timeout:.0f} s"
        return answers | {node: CacheError(words) for node in late}

    def _labels(self, pull: str) -> dict[str, str]:
        key, _, value = OURS.partition("=")
        return {key: value, CACHE: label_value(self._surroundings.name), PULL: pull}

    async def _tidy_once(self) -> None:
        """Remove what a killed run of this cache left."""
        async with self._tidy:
            if self._tidied:
                return
            kinds = [f"/apis/batch/v1/namespaces/{self._namespace}/jobs"]
            if await self._by_kruise():
                kinds.append(self._kruise_path(await self._kruise() or ""))
            selector = f"{OURS},{CACHE}={label_value(self._surroundings.name)}"
            for path in kinds:
                left = (await self._api.get(path, labelSelector=selector)).get("items") or ()
                for each in left:
                    await self._api.delete(f"{path}/{each['metadata']['name']}")
            self._tidied = True

    # --- OpenKruise ---

    async def _by_kruise(self) -> bool:
        if self._config.via != "auto":
            return self._config.via == "imagepulljob"
        return await self._kruise() is not None

    async def _kruise(self) -> str | None:
        """The version of OpenKruise's API that the cluster serves; None without it."""
        try:
            group = await self._api.get(f"/apis/{GROUP}")
        except Refused as refused:
            if refused.status == 404 and self._config.via == "auto":
                return None
            raise
        return str(group["preferredVersion"]["version"])

    def _kruise_path(self, version: str) -> str:
        return f"/apis/{GROUP}/{version}/namespaces/{self._namespace}/imagepulljobs"

    async def _pull_by_kruise(
        self, image: Image, names: Sequence[str]
    ) -> dict[str, frozenset[str] | PrewarmError]:
        """One ImagePullJob for all; what each node's NodeImage says afterwards."""
        version = await self._kruise() or ""
        path = self._kruise_path(version)
        body = image_pull_job(
            image.reference, names, self._labels(secrets.token_hex(8)), self._config, version
        )
        made = await self._make(path, body)
        try:
            await self._through(made, len(names))
            return {name: await self._node_image(version, name, image.reference) for name in names}
        finally:
            await _whatever([self._api.delete(made)])

    async def _through(self, path: str, count: int) -> None:
        """Return when the ImagePullJob is through, or its time is over."""
        rounds = -(-count // self._config.parallel)
        end, pause = self._timing.clock() + self._config.timeout * rounds, FIRST_LOOK
        while self._timing.clock() < end:
            await self._timing.sleep(pause)
            pause = min(pause * 1.5, LONGEST_LOOK)
            status = (await self._api.get(path)).get("status") or {}
            if status.get("completionTime"):
                return

    async def _node_image(
        self, version: str, node: str, reference: Reference
    ) -> frozenset[str] | PrewarmError:
        try:
            found = await self._api.get(f"/apis/{GROUP}/{version}/nodeimages/{node}")
        except Refused as refused:
            return refused
        statuses = (found.get("status") or {}).get("imageStatuses") or {}
        for each in (statuses.get(reference.name) or {}).get("tags") or ():
            if each.get("tag") == reference.target:
                if each.get("phase") == "Succeeded":
                    return digests_in(str(each.get("imageID") or ""))
                return in_our_words("OpenKruise", str(each.get("message") or each.get("phase")))
        return frozenset()

    # --- checking ---

    async def _needs(self) -> list[tuple[str, str, str]]:
        """What a warm does: verb, resource, API group."""
        verbs = ("create", "delete", "list")
        if await self._by_kruise():
            kruise = [(verb, "imagepulljobs", GROUP) for verb in (*verbs, "get")]
            return [*kruise, ("get", "nodeimages", GROUP), ("list", "jobs", "batch")]
        return [*((verb, "jobs", "batch") for verb in verbs), ("list", "pods", "")]

    async def _may(self, verb: str, resource: str, group: str) -> Finding:
        namespace = {} if resource == "nodeimages" else {"namespace": self._namespace}
        asked = {"resourceAttributes": {"verb": verb, "resource": resource, "group": group, **namespace}}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": asked}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        try:
            allowed = bool((await self._api.post(path, review)).get("status", {}).get("allowed"))
        except CacheError as refused:
            return Finding("permission", False, str(refused))
        where = f" in namespace {self._namespace}" if namespace else ""
        words = f"we may {verb} {resource}{where}"
        advice = f"we may not {verb} {resource}{where}; a Role that allows it, bound to our account, would"
        return Finding("permission", allowed, words if allowed else advice)

    async def _has_secret(self, name: str) -> Finding:
        try:
            await self._api.get(f"/api/v1/namespaces/{self._namespace}/secrets/{name}")
        except Refused as refused:
            unknown = refused.status == 403  # kubelets read it; we need not
            words = f"pull secret {name}: " + ("not ours to look at" if unknown else str(refused))
            return Finding("credentials", unknown, words)
        return Finding("credentials", True, f"pull secret {name} is in namespace {self._namespace}")


def _wants(image: Image, nodes: Iterable[Node]) -> list[_Want]:
    """The image for each node whose platform it has."""
    found = []
    for node in nodes:
        try:
            chosen = (
                choose(image.root, (node.platform,)) if image.root.manifests else (image.root.descriptor,)
            )
        except UnsupportedImage:
            continue  # its pods cannot be placed there
        digests = {each.digest for each in chosen}
        manifests = [each for each in image.manifests if each.descriptor.digest in digests]
        configs = {each.config.digest for each in manifests if each.config}
        found.append(_Want(node, frozenset({image.digest, *digests, *configs}), distinct_blobs(manifests)))
    return found


def _another(image: Image, digests: Iterable[str]) -> DigestMismatch:
    return DigestMismatch(
        f"it has {image.reference} with digest {', '.join(sorted(digests))}, not {image.digest}: "
        "the tag moved meanwhile, or its mirror serves an old one"
    )


def _together(failed: Mapping[str, PrewarmError], count: int) -> PrewarmError:
    """One error for all nodes that failed; of one kind where they are."""
    by_words: defaultdict[str, list[str]] = defaultdict(list)
    for node, error in failed.items():
        by_words[str(error)].append(node)
    parts = [f"{', '.join(nodes[:3])}{f' and {len(nodes) - 3} more' if len(nodes) > 3 else ''}: {words}"
             for words, nodes in by_words.items()]  # fmt: skip
    message = f"{len(failed)} of {count} nodes failed; {'; '.join(parts)}" if count > 1 else parts[0]
    kinds = {type(error) for error in failed.values()} - {Refused}
    return kinds.pop()(message) if len(kinds) == 1 else CacheError(message)


async def _whatever(work: Iterable[Any]) -> None:
    """Do it all, also while we are being cancelled; what fails ends by itself in the cluster."""
    if tasks := [asyncio.ensure_future(each) for each in work]:
        await asyncio.shield(asyncio.gather(*tasks, return_exceptions=True))


@asynccontextmanager
async def open_cluster(config: KubernetesConfig, surroundings: Surroundings) -> AsyncIterator[Cluster]:
    """A kubernetes cache; the API server is first contacted when something is asked of it."""
    access = await asyncio.to_thread(find, config.kubeconfig, config.context)
    async with Api(access, timeout=60.0) as api:
        yield Cluster(api, config, surroundings)


DRIVER = Driver(
    name="kubernetes",
    summary="every matching node of a cluster, by its own kubelets: plain Jobs, or OpenKruise's ImagePullJob",
    privilege="to list nodes, and in one namespace to create and delete Jobs and list pods",
    config=KubernetesConfig,
    open=open_cluster,
)
