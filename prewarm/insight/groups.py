"""Groups of clients: networks that somebody named, else the subnet that an address is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import polars as pl

from prewarm.errors import UnknownName

Groups = Mapping[str, Sequence[str]]
"""Networks (10.1.0.0/16) by the name of their group."""

Network = IPv4Network | IPv6Network

SUBNET = {4: 24, 6: 64}
"""Bits of the network that an address without a named group is grouped by."""

NAMELESS = "not an address"
"""Pseudonyms, host names, and clients that no log names."""


def group_of(client: str | None, groups: Groups) -> str:
    """The group of one client: the first named network that holds it, else its own /24 or /64.

    >>> group_of("10.1.40.7", {"ci": ["10.1.40.0/24"]}), group_of("10.1.2.3", {})
    ('ci', '10.1.2.0/24')
    """
    return _group_of(client, _parsed(groups))


def _parsed(groups: Groups) -> list[tuple[str, Network]]:
    """Every network with the name of its group, in order."""
    return [
        (name, ip_network(network, strict=False)) for name, networks in groups.items() for network in networks
    ]


def _group_of(client: str | None, named: Sequence[tuple[str, Network]]) -> str:
    address = _address(client)
    if address is None:
        return NAMELESS
    found = next((name for name, network in named if address in network), None)
    return found or str(ip_network(f"{address}/{SUBNET[address.version]}", strict=False))


def grouped(frame: pl.DataFrame, groups: Groups) -> pl.DataFrame:
    """The frame with `group`, that of its `client`."""
    names, named = frame["client"].unique().cast(pl.String), _parsed(groups)
    known = pl.DataFrame({"client": names, "group": [_group_of(name, named) for name in names]}).with_columns(
        pl.col("client").cast(frame.schema["client"])
    )
    return frame.join(known, on="client", how="left", nulls_equal=True, maintain_order="left")


def members(clients: pl.Series, group: str, groups: Groups) -> pl.Series:
    """Those of `clients` that are in a group: one with a name, or any network such as 10.1.0.0/16.

    Raises UnknownName for what is neither, and where no client is in it.
    """
    names, named = clients.unique().cast(pl.String), _parsed(groups)
    try:
        network = ip_network(group, strict=False)
    except ValueError:
        found = [name for name in names if _group_of(name, named) == group]
    else:
        found = [name for name in names if (at := _address(name)) is not None and at in network]
    if not found:
        raise UnknownName("client group", group, sorted({_group_of(name, named) for name in names}))
    return pl.Series("client", found, pl.String)


def _address(client: str | None) -> IPv4Address | IPv6Address | None:
    """The address of a client; one of IPv4 that a listener of both kinds wrote as IPv6 is one of IPv4."""
    try:
        address = ip_address(client or "")
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
