"""Only who may be contacted is contacted."""

from __future__ import annotations

import pytest
from yarl import URL

from prewarm.errors import ForbiddenHost, SettingsError
from prewarm.warming.contacts import Contacts, Endpoint, Reach, base_url, reach

PUBLIC = Endpoint("registry.example", "https://93.184.215.14")
PRIVATE = Endpoint("harbor.corp", "https://10.1.2.3")
MACHINE = Endpoint("127.0.0.1:5000", "http://127.0.0.1:5000")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.215.14", Reach.PUBLIC),
        ("2606:2800:21f:cb07::1", Reach.PUBLIC),
        ("10.0.0.1", Reach.PRIVATE),
        ("192.168.1.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("127.8.9.1", Reach.MACHINE),
        ("::1", Reach.MACHINE),
        ("::ffff:127.0.0.1", Reach.MACHINE),
        ("169.254.169.254", Reach.NEVER),
        ("fe80::1%eth0", Reach.NEVER),
        ("::ffff:169.254.169.254", Reach.NEVER),
        ("0.0.0.0", Reach.NEVER),
        ("224.0.0.1", Reach.NEVER),
    ],
)
def test_every_address_has_a_reach(address: str, expected: Reach) -> None:
    """Also those that hide IPv4 in IPv6."""
    assert reach(address) is expected


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (PUBLIC, "https://93.184.215.15/token"),
        (PRIVATE, "https://10.9.9.9/token"),
        (PRIVATE, "https://93.184.215.14/"),
        (MACHINE, "http://127.0.0.1:6000/token"),
        (MACHINE, "http://10.0.0.1/blob"),
        (MACHINE, "https://93.184.215.14/blob"),
    ],
)
async def test_a_registry_may_point_as_far_inside_as_it_lies_itself(endpoint: Endpoint, url: str) -> None:
    """And to anything further out."""
    await Contacts([endpoint]).permit(URL(url), endpoint)


async def test_a_listed_host_may_be_pointed_to_wherever_it_lies() -> None:
    """Listing is the permission."""
    await Contacts([PUBLIC, PRIVATE]).permit(URL("https://10.1.2.3/blob"), PUBLIC)


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        (PUBLIC, "https://10.0.0.1/"),
        (PUBLIC, "https://127.0.0.1:6379/"),
        (PUBLIC, "https://localhost/"),
        (PUBLIC, "https://2130706433/"),
        (PUBLIC, "https://169.254.169.254/latest/meta-data"),
        (PUBLIC, "https://[::1]/"),
        (PRIVATE, "https://127.0.0.1/"),
        (MACHINE, "http://169.254.169.254/"),
    ],
)
async def test_no_registry_points_further_inside(endpoint: Endpoint, url: str) -> None:
    """A cloud's metadata service is refused even to a registry on this machine."""
    with pytest.raises(ForbiddenHost, match="list it to allow it"):
        await Contacts([endpoint]).permit(URL(url), endpoint)


@pytest.mark.parametrize("url", ["http://93.184.215.14/", "ftp://93.184.215.14/", "/relative"])
async def test_a_registry_over_https_points_to_https_only(url: str) -> None:
    """No step down to plain HTTP, and no other scheme."""
    with pytest.raises(ForbiddenHost, match="expected https"):
        await Contacts([PUBLIC]).permit(URL(url), PUBLIC)


async def test_an_address_with_a_login_is_refused_without_showing_it() -> None:
    """Credentials never travel in URLs."""
    with pytest.raises(ForbiddenHost) as refusal:
        await Contacts([PUBLIC]).permit(URL("https://ann:s3cret@93.184.215.14/"), PUBLIC)

    assert "s3cret" not in str(refusal.value)


async def test_what_was_checked_is_what_is_connected_to() -> None:
    """A name is not looked up again between the check and the connection."""
    contacts = Contacts([MACHINE])
    await contacts.permit(URL("http://localhost:6000/"), MACHINE)

    first = await contacts.resolve("localhost", 6000)
    contacts._pinned["localhost"][1][0]["host"] = "127.0.0.9"
    second = await contacts.resolve("localhost", 7000)

    assert first[0]["port"] == 6000
    assert (second[0]["host"], second[0]["port"]) == ("127.0.0.9", 7000)


@pytest.mark.parametrize("url", ["registry.example", "ftp://registry.example", "https://", "http://[::1", ""])
def test_an_endpoint_is_an_http_address(url: str) -> None:
    """The refusal shows one that is."""
    with pytest.raises(SettingsError, match=r"such as https://registry-1\.docker\.io"):
        base_url(Endpoint("registry.example", url))


def test_an_endpoint_carries_no_login() -> None:
    """The refusal names docker's config.json and not the secret."""
    with pytest.raises(SettingsError, match="docker login") as refusal:
        base_url(Endpoint("registry.example", "https://ann:s3cret@registry.example"))

    assert "s3cret" not in str(refusal.value)
