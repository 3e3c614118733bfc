"""Clients by group: networks with a name, else subnets."""

from __future__ import annotations

import polars as pl
import pytest

from prewarm.errors import UnknownName
from prewarm.insight.groups import NAMELESS, group_of, grouped, members

GROUPS = {"ci": ("10.1.40.0/24", "10.9.0.0/16"), "office": ("10.1.0.0/16",)}


@pytest.mark.parametrize(
    ("client", "group"),
    [
        ("10.1.40.7", "ci"),
        ("10.9.3.3", "ci"),
        ("10.1.41.7", "office"),
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:10.1.40.7", "ci"),
        ("runner-7", NAMELESS),
        (None, NAMELESS),
    ],
)
def test_a_client_is_in_the_first_network_that_holds_it(client: str | None, group: str) -> None:
    """Else in its own /24 or /64; what is no address has no network."""
    assert group_of(client, GROUPS) == group


def test_a_frame_has_the_group_of_each_client() -> None:
    """Categories as much as texts, in the order of the frame, nulls included."""
    clients = ["10.1.40.7", None, "192.0.2.1", "10.1.40.7"]
    frame = pl.DataFrame({"client": clients}, schema={"client": pl.Categorical})

    assert grouped(frame, GROUPS)["group"].to_list() == ["ci", NAMELESS, "192.0.2.0/24", "ci"]


def test_a_group_is_asked_for_by_name_or_by_network() -> None:
    """A network that nobody named is one, too; what has no client lists the groups there are."""
    clients = pl.Series(["10.1.40.7", "10.1.41.1", "192.0.2.1", None])

    assert members(clients, "ci", GROUPS).to_list() == ["10.1.40.7"]
    assert set(members(clients, "10.1.0.0/16", GROUPS)) == {"10.1.40.7", "10.1.41.1"}
    with pytest.raises(UnknownName, match="office"):
        members(clients, "offices", GROUPS)
