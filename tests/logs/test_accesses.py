"""Lines of one request become one access."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs import accesses

COMPLETED = datetime(2026, 11, 24, 8, 0, 5, 300_000, tzinfo=UTC)


def app(at: float = 0.0, **fields: Any) -> dict[str, Any]:
    """A "response completed" line, `at` seconds after the first."""
    return {
        "timestamp": COMPLETED + timedelta(seconds=at),
        "client": "10.0.0.7",
        "agent": "skopeo/1.9.3",
        "method": "GET",
        "registry": "mirror:5000",
        "repository": "acme/api",
        "reference": "2.1",
        "object": "manifest",
        "status": 200,
        "bytes": 500,
        "seconds": 0.1,
        "key": f"request-{at}",
        "family": "app",
    } | fields


def access(at: float = 0.0, **fields: Any) -> dict[str, Any]:
    """The access line of that request: whole seconds, the start, no host and no id."""
    stamp = (COMPLETED + timedelta(seconds=at)).replace(microsecond=0)
    return app(at, timestamp=stamp, registry=None, seconds=None, key=None, family="access") | fields


def merge(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The requests that these lines tell of, in order of their first line."""
    numbered = [{"offset": number} | row for number, row in enumerate(rows)]
    frame = pl.DataFrame(numbered, schema_overrides=accesses.SCHEMA, infer_schema_length=None)
    return list(accesses.merge_requests(frame).sort("offset").iter_rows(named=True))


def test_lines_with_one_id_are_one_request() -> None:
    """Authorized, completed: the completed line gives the time, the other what it lacks."""
    authorized = app(-0.05, status=None, bytes=None, seconds=None, user="ci", key="a")
    (request,) = merge([authorized, app(key="a")])
    assert (request["timestamp"], request["status"], request["user"]) == (COMPLETED, 200, "ci")
    assert request["offset"] == 0


def test_one_id_on_two_paths_is_two_requests() -> None:
    """A correlation id may be shared by several requests of one client."""
    assert len(merge([app(key="a"), app(key="a", reference="2.2")])) == 2


def test_an_application_line_takes_its_access_line_in() -> None:
    """Time, id and host are those of the application line."""
    (request,) = merge([app(bytes=None), access()])
    assert (request["timestamp"], request["registry"], request["bytes"]) == (COMPLETED, "mirror:5000", 500)


def test_the_access_line_may_come_first() -> None:
    """The two streams of a container interleave either way."""
    (request,) = merge([access(), app()])
    assert (request["key"], request["offset"]) == ("request-0.0", 0)


def test_the_start_counts_not_the_completion() -> None:
    """A layer that took five minutes has an access stamp five minutes before its completion."""
    (request,) = merge([app(seconds=300.0), access(-300.0)])
    assert request["seconds"] == 300.0


def test_a_refused_request_takes_its_bytes_from_the_access_line() -> None:
    """The application does not log what it wrote with a 401."""
    (request,) = merge([app(status=401, bytes=None, seconds=None), access(status=401, bytes=87)])
    assert (request["status"], request["bytes"]) == (401, 87)


def test_an_authorized_line_learns_its_status_from_the_access_line() -> None:
    """Release 3.0.0 does not log that a HEAD of a manifest completed."""
    (request,) = merge([app(method="HEAD", status=None, seconds=None), access(method="HEAD")])
    assert request["status"] == 200


def test_pairs_are_one_to_one() -> None:
    """Two equal requests in a second are two, logged by both families or by one."""
    assert len(merge([app(0.0), app(0.1), access(), access()])) == 2
    assert len(merge([app(0.0), access(), access()])) == 2
    assert len(merge([access(), access()])) == 2


def test_statuses_keep_a_challenge_and_its_retry_apart() -> None:
    """401 and 200 within one second pair with the lines of their own status."""
    lines = [
        access(status=200),
        access(status=401, bytes=87),
        app(-0.1, status=401, bytes=None, seconds=None),
        app(0.0),
    ]
    assert sorted((row["status"], row["bytes"]) for row in merge(lines)) == [(200, 500), (401, 87)]


def test_a_second_of_doubt_is_granted() -> None:
    """A duration that is rounded may move the start over a full second."""
    assert len(merge([app(seconds=0.3005), access(-0.3)])) == 1


@pytest.mark.parametrize(
    "other",
    [{"reference": "2.2"}, {"method": "HEAD"}, {"client": "10.0.0.8", "agent": "docker/27"}, {"status": 404}],
)
def test_other_requests_do_not_pair(other: dict[str, Any]) -> None:
    """Method, path, client and status must agree."""
    assert len(merge([app(), access(**other)])) == 2


def test_lines_far_apart_do_not_pair() -> None:
    """Two seconds are two requests."""
    assert len(merge([app(), access(-2.0)])) == 2


def test_behind_a_proxy_the_forwarded_client_wins() -> None:
    """The application logs X-Forwarded-For, the access line the proxy's address."""
    (request,) = merge([app(client="10.0.0.7"), access(client="172.18.0.2")])
    assert request["client"] == "10.0.0.7"


def test_an_access_line_alone_belongs_to_the_only_registry() -> None:
    """Release 3.0.0 logs a HEAD of a manifest in the access log only, without a host."""
    head, get = merge([access(-1.0, method="HEAD"), app()])
    assert (head["registry"], get["registry"]) == ("mirror:5000", "mirror:5000")


def test_of_several_registries_none_is_guessed() -> None:
    """Two hosts in one log: the access line keeps what it says, nothing."""
    alone, *_ = merge([access(-1.0, method="HEAD"), app(), app(0.1, registry="other:5000")])
    assert alone["registry"] is None


def test_different_sources_never_merge() -> None:
    """The same id in two logs stays two accesses; pulls carry the ids to tell."""
    assert len(merge([app(key="a", source="x"), app(key="a", source="y")])) == 2
    assert len(merge([app(source="x"), access(source="y")])) == 2


_LINES = [app(n / 10, reference=str(n % 3)) for n in range(8)] + [
    access(n / 10, reference=str(n % 3)) for n in range(8)
]


@given(st.permutations(range(len(_LINES))))
def test_merging_does_not_depend_on_the_order_of_rows(order: list[int]) -> None:
    """Lines keep their offsets; rows may come in any order."""
    numbered = [{"offset": number} | row for number, row in enumerate(_LINES)]
    frame = pl.DataFrame(numbered, schema_overrides=accesses.SCHEMA, infer_schema_length=None)
    merged = accesses.merge_requests(frame).sort("offset")
    assert accesses.merge_requests(frame[order]).sort("offset").equals(merged)
    assert merged.height == 8


def test_conform_adds_what_is_missing() -> None:
    """A frame of some columns becomes an access table; nothing is invented."""
    frame = accesses.conform(pl.DataFrame({"client": ["10.0.0.7"], "other": [1]}))
    assert frame.schema == pl.Schema(accesses.SCHEMA)
    assert frame["timestamp"].to_list() == [None]
