"""Logins are made as the registry's challenge asks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prewarm.errors import ForbiddenHost, RegistryError, Unauthorized
from prewarm.warming.credentials import Credentials
from prewarm.warming.registry import Registries, Timing
from prewarm.warming.tokens import Challenge, parse_challenges
from tests.fakes import BasicAuth, FakeRegistry, Fault, TokenAuth


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def login(registry: FakeRegistry, username: str, password: str, token: str = "") -> Credentials:
    entry = {"username": username, "password": password, "identitytoken": token}
    return Credentials({"auths": {registry.host: entry}})


def clients(
    registry: FakeRegistry, credentials: Credentials | None = None, clock: Clock | None = None
) -> Registries:
    timing = Timing(clock=clock) if clock else Timing()
    return Registries([registry.endpoint], credentials or Credentials(), timing=timing)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Basic realm="r"'], [Challenge("basic", {"realm": "r"})]),
        (
            ['Bearer realm="https://a/t",service="s,s",scope="repository:x:pull"'],
            [Challenge("bearer", {"realm": "https://a/t", "service": "s,s", "scope": "repository:x:pull"})],
        ),
        (["Negotiate, BASIC realm=r"], [Challenge("negotiate"), Challenge("basic", {"realm": "r"})]),
        (
            ["Negotiate", 'Basic realm="a \\"b\\""'],
            [Challenge("negotiate"), Challenge("basic", {"realm": 'a "b"'})],
        ),
        (["", '=,;"', "realm=x"], []),
    ],
)
def test_challenges_are_parsed(headers: list[str], expected: list[Challenge]) -> None:
    """Several schemes, in one header or in several; nonsense gives none."""
    assert [each for each in parse_challenges(headers) if each.scheme] == expected


@pytest.mark.parametrize("auth", [BasicAuth(), TokenAuth(username="ann", password="basic-secret")])
async def test_a_login_stored_under_the_address_opens_a_registry_of_another_name(
    auth: BasicAuth | TokenAuth,
) -> None:
    """`docker login 127.0.0.1:5000` is how an operator logs in to what references call hub.corp."""
    async with FakeRegistry(auth) as registry:
        registry.push_image("acme/api", "1")
        listed = [replace(registry.endpoint, registry="hub.corp")]
        async with Registries(listed, login(registry, "ann", "basic-secret")) as registries:
            client = registries.of("hub.corp")
            await client.resolve("acme/api", "1")
            known = await client.login()

    assert known is not None
    assert known.username == "ann"


async def test_an_anonymous_token_is_fetched_for_the_repository() -> None:
    """As Docker Hub does for public images: service and scope are named."""
    async with FakeRegistry(TokenAuth()) as registry, clients(registry) as registries:
        registry.push_image("library/nginx", "1")

        await registries.of(registry.host).resolve("library/nginx", "1")

    assert [request.path for request in registry.asked("GET", "/token")] == [
        "/token?service=fake&scope=repository:library/nginx:pull"
    ]


async def test_a_token_serves_its_repository_until_it_expires() -> None:
    """One token for many requests; a stale one is not even tried."""
    clock = Clock()
    async with (
        FakeRegistry(TokenAuth(expires_in=300)) as registry,
        clients(registry, clock=clock) as registries,
    ):
        registry.push_image("a", "1")
        client = registries.of(registry.host)
        for _ in range(3):
            await client.manifest("a", "1")
        clock.now += 299
        await client.manifest("a", "1")

    assert len(registry.asked("GET", "/token")) == 2
    assert [request.status for request in registry.asked("GET", "/manifests/")] == [
        401,
        200,
        200,
        200,
        401,
        200,
    ]


async def test_a_token_that_expires_in_the_middle_is_renewed() -> None:
    """A run of hours goes on over many tokens."""
    auth = TokenAuth(uses=2)
    async with FakeRegistry(auth) as registry, clients(registry) as registries:
        pushed = registry.push_image("a", "1", layers=[b"one", b"two", b"three", b"four"])
        client = registries.of(registry.host)
        image = await client.resolve("a", "1")
        for blob in image.blobs:
            assert [chunk async for chunk in client.blob("a", blob)]

    assert image.digest == pushed.digest
    assert len(auth.issued) == 3


async def test_a_login_is_shown_to_the_token_service_only() -> None:
    """The registry itself sees the token."""
    auth = TokenAuth(username="ann", password="token-secret")
    async with FakeRegistry(auth) as registry:
        registry.push_image("a", "1")
        async with clients(registry, login(registry, "ann", "token-secret")) as registries:
            await registries.of(registry.host).manifest("a", "1")

    (token,) = registry.asked("GET", "/token")
    assert token.headers["Authorization"].startswith("Basic ")
    assert registry.asked("GET", "/manifests/")[-1].headers["Authorization"] == "Bearer token-1"


async def test_an_identity_token_is_posted() -> None:
    """OAuth2's refresh grant; the token is in the body, never in the address."""
    async with FakeRegistry(TokenAuth(identity_token="refresh-me")) as registry:
        registry.push_image("a", "1")
        async with clients(registry, login(registry, "", "", "refresh-me")) as registries:
            await registries.of(registry.host).manifest("a", "1")

    (token,) = registry.asked("POST", "/token")
    assert "refresh-me" not in token.path


async def test_an_identity_token_goes_to_its_realm_only() -> None:
    """A token service that redirects the login elsewhere is refused; nobody else sees it."""
    async with (
        FakeRegistry(TokenAuth(identity_token="refresh-me")) as registry,
        FakeRegistry() as thief,
    ):
        registry.push_image("a", "1")
        registry.fault("POST", "/token", Fault(status=307, headers={"Location": f"{thief.url}/token"}))
        async with clients(registry, login(registry, "", "", "refresh-me")) as registries:
            with pytest.raises(ForbiddenHost, match="redirects a login"):
                await registries.of(registry.host).manifest("a", "1")

    assert thief.seen == []


async def test_basic_is_answered_with_the_login() -> None:
    """And remembered for the next request."""
    async with FakeRegistry(BasicAuth("ann", "basic-secret")) as registry:
        registry.push_image("a", "1")
        async with clients(registry, login(registry, "ann", "basic-secret")) as registries:
            await registries.of(registry.host).ping()
            await registries.of(registry.host).manifest("a", "1")
            await registries.of(registry.host).manifest("a", "1")

    assert [request.status for request in registry.asked("GET", "/manifests/")] == [401, 200, 200]


# --- errors


async def test_a_registry_that_wants_a_login_says_how_to_store_one() -> None:
    """No login, no guess."""
    async with FakeRegistry(BasicAuth()) as registry, clients(registry) as registries:
        with pytest.raises(Unauthorized, match=f"`docker login {registry.host}`"):
            await registries.of(registry.host).ping()


@pytest.mark.parametrize("auth", [BasicAuth("ann", "right"), TokenAuth(username="ann", password="right")])
async def test_a_wrong_login_is_refused_once_and_not_shown(auth: BasicAuth | TokenAuth) -> None:
    """Trying again would lock the account."""
    async with FakeRegistry(auth) as registry:
        wrong = login(registry, "ann", "wr0ng-secret")
        async with clients(registry, wrong) as registries:
            with pytest.raises(Unauthorized) as refusal:
                await registries.of(registry.host).manifest("a", "1")

    shown = [request for request in registry.seen if "Authorization" in request.headers]
    assert len(shown) == 1
    everything = (
        f"{refusal.value!r} {refusal.value.__cause__!r} {[request.path for request in registry.seen]}"
    )
    assert "wr0ng-secret" not in everything


async def test_a_login_that_is_revoked_is_shown_once_more_and_no_oftener() -> None:
    """Each repetition counts against the account."""
    auth = BasicAuth("ann", "old")
    async with FakeRegistry(auth) as registry:
        registry.push_image("a", "1")
        async with clients(registry, login(registry, "ann", "old")) as registries:
            await registries.of(registry.host).manifest("a", "1")
            auth.password = "new"
            with pytest.raises(Unauthorized, match="refuses the login"):
                await registries.of(registry.host).manifest("a", "1")

    assert len([request for request in registry.seen if "Authorization" in request.headers]) == 2


async def test_a_token_service_on_a_forbidden_host_is_not_contacted() -> None:
    """A challenge is no permission."""
    async with (
        FakeRegistry(TokenAuth(realm="http://169.254.169.254/token")) as registry,
        clients(registry) as registries,
    ):
        with pytest.raises(ForbiddenHost, match="link-local"):
            await registries.of(registry.host).manifest("a", "1")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"token": 7}', b'{"token": "a\\nb"}', b'{"token": "x", "expires_in": "soon"}'],
)
async def test_a_token_service_that_gives_no_token_is_named(body: bytes) -> None:
    """Its words are not shown: they may hold a token."""
    async with FakeRegistry(TokenAuth()) as registry, clients(registry) as registries:
        registry.fault("GET", "/token", Fault(body=body))
        with pytest.raises(RegistryError, match="token") as refusal:
            await registries.of(registry.host).manifest("a", "1")

    assert refusal.value.__cause__ is None


async def test_a_token_service_that_is_down_is_asked_again() -> None:
    """A retryable refusal like any other."""

    async def at_once(seconds: float) -> None:
        return None

    async with FakeRegistry(TokenAuth()) as registry:
        registry.push_image("a", "1")
        registry.fault("GET", "/token", Fault(status=503))
        async with Registries([registry.endpoint], Credentials(), timing=Timing(sleep=at_once)) as registries:
            await registries.of(registry.host).manifest("a", "1")


@pytest.mark.parametrize(
    "asked", ['Digest realm="x"', "Bearer service=x", 'Bearer realm="not a url"', 'Bearer realm="http://[x"']
)
async def test_a_challenge_that_cannot_be_met_is_refused(asked: str) -> None:
    """One clear line, no loop."""
    async with FakeRegistry() as registry, clients(registry, login(registry, "ann", "pw")) as registries:
        registry.fault("GET", "/v2/", Fault(status=401, headers={"WWW-Authenticate": asked}), forever=True)
        with pytest.raises(RegistryError, match=r"offers|realm"):
            await registries.of(registry.host).ping()

    assert len(registry.seen) == 1
