"""Accesses become pulls by the rules of the architecture page."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewarm.logs import accesses, pulls

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
LAYER = 30_000_000
CONFIG = 1_500


def digest(name: str) -> str:
    """A digest that is the same for the same name."""
    return "sha256:" + name.encode().hex().rjust(64, "0")


def ask(method: str | None, reference: str, at: float, **fields: Any) -> dict[str, Any]:
    """One access of a containerd node for a manifest of `acme/api`, `at` seconds after the start."""
    return {
        "timestamp": START + timedelta(seconds=at),
        "client": "10.0.0.7",
        "agent": "containerd/1.7.22",
        "method": method,
        "registry": "ghcr.io",
        "repository": "acme/api",
        "reference": reference,
        "object": "manifest",
        "status": 200,
        "bytes": 1_000,
        "family": "access",
    } | fields


def blob(name: str, at: float, size: int | None = LAYER, **fields: Any) -> dict[str, Any]:
    """One GET of a blob."""
    return ask("GET", digest(name), at, **({"object": "blob", "bytes": size} | fields))


def cold(
    tag: str, at: float, layers: tuple[str, ...] = ("base", "app"), **fields: Any
) -> list[dict[str, Any]]:
    """What a containerd node sends that has nothing of an image yet."""
    manifests = [ask("HEAD", tag, at), ask("GET", digest(f"index-{tag}"), at + 0.1)]
    manifests += [ask("GET", digest(f"platform-{tag}"), at + 0.2)]
    blobs = [blob(f"config-{tag}", at + 0.3, CONFIG)] + [blob(name, at + 0.4) for name in layers]
    return [row | fields for row in manifests + blobs]


def table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """An access table; offsets count the rows unless they are given."""
    numbered = [{"offset": number} | row for number, row in enumerate(rows)]
    frame = pl.DataFrame(numbered, schema_overrides=accesses.SCHEMA, infer_schema_length=None)
    extra = [name for name in ("site", "source") if name in frame.columns]
    return accesses.conform(frame).hstack(frame.select(extra))


def pull(rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
    """The pulls that these accesses make, in order of time."""
    requests = pulls.merge_requests(table(rows))
    return list(pulls.collapse(pulls.sessions(requests, **options)).iter_rows(named=True))


def columns(found: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in found]


# --- one pull a tag -----------------------------------------------------------------------------


def test_a_cold_containerd_pull_is_one_pull_with_tag_and_digest() -> None:
    """The tag is in the HEAD, the bytes are in the blobs; one pull has both."""
    (found,) = pull(cold("2.1", 0))
    assert found["tag"] == "2.1"
    assert found["digest"] == digest("index-2.1")
    assert (found["kind"], found["status"], found["blobs"]) == ("layers", "ok", 3)
    assert found["bytes"] == 2 * LAYER + CONFIG
    assert (found["timestamp"], found["until"]) == (START, START + timedelta(seconds=0.4))


def test_a_node_with_shared_content_asks_for_no_manifest() -> None:
    """HEAD of the tag, then blobs only: still the pull of that tag."""
    found = pull([ask("HEAD", "2.1", 0), blob("app", 1)])
    assert columns(found, "tag", "digest", "kind", "blobs") == [("2.1", None, "layers", 1)]


def test_two_tags_in_one_session_are_two_pulls() -> None:
    """One pull for each tag; blobs join the latest tag asked for."""
    found = pull(cold("2.1", 0) + cold("2.2", 5, layers=("new",)))
    assert columns(found, "tag", "blobs", "bytes") == [
        ("2.1", 3, 2 * LAYER + CONFIG),
        ("2.2", 2, LAYER + CONFIG),
    ]


def test_a_base_layer_of_two_tags_is_no_repetition() -> None:
    """The same layer fetched for two different tags does not mean two clients."""
    found = pull(cold("2.1", 0) + cold("2.2", 5))
    assert columns(found, "tag", "blobs") == [("2.1", 3), ("2.2", 3)]


def test_a_tag_asked_for_again_takes_its_blobs_back() -> None:
    """2.1, then 2.2, then 2.1 again: two pulls, and the last blobs are those of 2.1."""
    rows = [ask("HEAD", "2.1", 0), ask("HEAD", "2.2", 1), ask("HEAD", "2.1", 2), blob("app", 3)]
    assert columns(pull(rows), "tag", "kind") == [("2.1", "layers"), ("2.2", "check")]


def test_a_tag_checked_twice_is_one_check() -> None:
    """HEADs alone are a check, once a session however often they come."""
    found = pull([ask("HEAD", "2.1", 0), ask("HEAD", "2.1", 30)])
    assert columns(found, "tag", "kind", "blobs", "bytes") == [("2.1", "check", 0, 0)]


def test_not_modified_is_a_check() -> None:
    """A 304 transfers nothing."""
    assert columns(pull([ask("GET", "2.1", 0, status=304)]), "kind") == [("check",)]


def test_a_manifest_without_layers_is_a_manifest_pull() -> None:
    """A warm podman reads tag, platform and config again; the config is no layer."""
    found = pull([ask("GET", "2.1", 0), ask("GET", digest("platform"), 1), blob("config", 2, CONFIG)])
    assert columns(found, "kind", "blobs", "digest") == [("manifest", 1, None)]


def test_manifest_fetches_of_an_unknown_method_are_of_an_unknown_kind() -> None:
    """An audit log that does not tell GET from HEAD says so; a layer of the session shows more."""
    untold = [ask(None, name, 0, family="event") for name in ("1.0", digest("platform"))]
    assert columns(pull(untold), "tag", "kind") == [("1.0", None)]
    assert columns(pull([*untold, blob("base", 1)]), "tag", "kind") == [("1.0", "layers")]


def test_blobs_before_the_tag_join_the_first_tag() -> None:
    """Stamps of one second may put a blob before the HEAD that it belongs to."""
    found = pull([blob("app", 0), ask("HEAD", "2.1", 1)])
    assert columns(found, "tag", "kind", "timestamp") == [("2.1", "layers", START + timedelta(seconds=1))]


def test_layers_fetched_twice_before_the_tag_are_two_pulls_with_a_time() -> None:
    """Stamps of whole seconds, or none in order, may put the manifest last."""
    found = pull([blob("base", 0), blob("base", 0), ask("HEAD", "1", 0)])
    assert columns(found, "tag", "kind") == [("1", "layers")] * 2
    assert found[0]["timestamp"] == found[1]["timestamp"] is not None


def test_a_session_by_digest_is_one_pull() -> None:
    """Index and platform manifest of a pull by digest are one pull of the index."""
    found = pull([ask("GET", digest("index"), 0), ask("GET", digest("platform"), 1), blob("app", 2)])
    assert columns(found, "tag", "digest", "kind") == [(None, digest("index"), "layers")]


def test_a_logged_digest_of_the_tag_wins() -> None:
    """Response headers name the digest of a tag even when it was fetched by GET."""
    found = pull([ask("GET", "2.1", 0, digest=digest("index")), ask("GET", digest("platform"), 1)])
    assert columns(found, "digest") == [(digest("index"),)]


# --- what ends a session, what does not ------------------------------------------------------


@pytest.mark.parametrize(("pause", "expected"), [(60, 1), (61, 2)])
def test_a_gap_of_a_minute_ends_a_session(pause: float, expected: int) -> None:
    """Sixty seconds still belong together, more do not."""
    assert len(pull([ask("HEAD", "2.1", 0), ask("HEAD", "2.1", pause)])) == expected


def test_the_gap_is_a_setting() -> None:
    """A shorter gap splits sooner."""
    rows = [ask("HEAD", "2.1", 0), ask("HEAD", "2.1", 10)]
    assert len(pull(rows, gap=timedelta(seconds=5))) == 2


def test_a_slow_layer_stays_in_the_session_that_asked_for_it() -> None:
    """An application log stamps the completion, five minutes after the request began."""
    rows = [ask("HEAD", "2.1", 0, family="app"), blob("app", 301, seconds=300.0, family="app")]
    found = pull(rows)
    assert columns(found, "kind", "seconds") == [("layers", 301.0)]


@pytest.mark.parametrize(
    "other",
    [
        {"client": "10.0.0.8"},
        {"user": "ci"},
        {"agent": "docker/27.1"},
        {"registry": "quay.io"},
        {"repository": "acme/web"},
        {"site": "boise"},
        {"source": "other.log"},
    ],
)
def test_another_client_or_repository_is_another_session(other: dict[str, str]) -> None:
    """A session is one client asking one repository."""
    rows = [{"site": None, "source": None} | ask("HEAD", "2.1", at) for at in (0, 1)]
    assert len(pull([rows[0], rows[1] | other])) == 2


def test_versions_of_an_agent_share_a_session() -> None:
    """The agent's family is its first word before the slash."""
    rows = [ask("HEAD", "2.1", 0), ask("GET", digest("x"), 1, agent="containerd/2.0 (linux)")]
    assert len(pull(rows)) == 1


# --- many clients behind one address ---------------------------------------------------------


@pytest.mark.parametrize("interval", [0.0, 0.3, 1.5])
def test_many_cold_clients_behind_one_address_show_by_repetition(interval: float) -> None:
    """Two hundred nodes behind one address fetch each layer two hundred times, however they interleave."""
    rows = list(itertools.chain.from_iterable(cold("2.1", node * interval) for node in range(200)))
    found = pull(rows)
    assert len(found) == 200
    assert {row["blobs"] for row in found} == {3}


def test_a_repeated_pull_starts_with_its_own_manifest_request() -> None:
    """The second pull of a session is dated by the manifest before its layers."""
    found = pull(cold("2.1", 0) + cold("2.1", 20))
    assert [row["kind"] for row in found] == ["layers", "layers"]
    assert found[0]["timestamp"] == START
    assert abs((found[1]["timestamp"] - START).total_seconds() - 20) < 1
    assert found[1]["digest"] == digest("index-2.1")


def test_a_repeated_pull_starts_with_the_first_of_its_manifest_requests() -> None:
    """Tag, index, platform manifest, layer, a second between each; then the same by another client."""

    def steps(at: float) -> list[dict[str, Any]]:
        asked = [ask("HEAD", "1.0", at), ask("GET", digest("i"), at + 1), ask("GET", digest("m"), at + 2)]
        return [*asked, blob("l", at + 3)]

    found = pull(steps(0) + steps(20))

    assert [row["timestamp"] for row in found] == [
        pull(steps(0))[0]["timestamp"],
        pull(steps(20))[0]["timestamp"],
    ]


def test_partly_warm_clients_are_counted_by_the_layer_most_fetched() -> None:
    """One of three clients lacks the base layer as well: three pulls."""
    rows = cold("2.1", 0) + cold("2.1", 1, layers=("app",)) + cold("2.1", 2, layers=("app",))
    assert [row["blobs"] for row in pull(rows)] == [3, 2, 2]


def test_retries_after_an_error_are_no_repetition() -> None:
    """A layer that failed and was fetched again was fetched once."""
    rows = [*cold("2.1", 0, layers=()), blob("app", 1, 0, status=500), blob("app", 2)]
    assert columns(pull(rows), "blobs", "kind") == [(2, "layers")]


def test_an_aborted_transfer_is_no_repetition() -> None:
    """A 200 that wrote a part of the layer was not fetched whole."""
    rows = [*cold("2.1", 0, layers=()), blob("app", 1, LAYER // 3), blob("app", 2)]
    assert columns(pull(rows), "blobs", "bytes") == [(2, LAYER + CONFIG)]


def test_ranged_reads_are_no_repetition() -> None:
    """Parallel open-ended ranges of one layer are one blob, and are not summed."""
    ranges = [blob("app", 1, size, status=206) for size in (LAYER, LAYER // 2, LAYER // 4)]
    assert columns(pull([*cold("2.1", 0, layers=()), *ranges]), "blobs", "bytes") == [(2, LAYER + CONFIG)]


def test_configs_read_again_are_no_repetition() -> None:
    """Tools read the config as often as they like."""
    rows = [*cold("2.1", 0), blob("config-2.1", 2, CONFIG), blob("config-2.1", 3, CONFIG)]
    assert len(pull(rows)) == 1


# --- layers and configs ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"bytes": 64 * 1024}, "layers"),
        ({"bytes": 64 * 1024 - 1}, "manifest"),
        ({"bytes": None}, "layers"),
        ({"bytes": 0, "status": 307}, "layers"),
        ({"bytes": 900, "media_type": "application/vnd.oci.image.layer.v1.tar+gzip"}, "layers"),
        ({"bytes": 900, "media_type": "application/vnd.docker.image.rootfs.diff.tar.gzip"}, "layers"),
        ({"bytes": 90_000, "media_type": "application/vnd.oci.image.config.v1+json"}, "manifest"),
        ({"bytes": 90_000, "media_type": "application/vnd.docker.container.image.v1+json"}, "manifest"),
    ],
)
def test_a_blob_is_a_layer_by_type_else_by_size(fields: dict[str, Any], kind: str) -> None:
    """The media type tells; without one, 64 KiB or an unknown size makes a layer."""
    found = pull([ask("GET", "2.1", 0), blob("x", 1) | fields])
    assert columns(found, "kind", "blobs") == [(kind, 1)]


def test_bytes_are_unknown_when_the_size_of_a_blob_is() -> None:
    """A redirected blob logs no size; a part of the sum would be a lie."""
    assert columns(pull([*cold("2.1", 0), blob("s3", 1, 0, status=307)]), "bytes") == [(None,)]


# --- what makes no pull ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        blob("app", 0),
        ask("HEAD", digest("app"), 0, object="blob"),
        ask("GET", "2.1", 0, status=401),
        ask("GET", "2.1", 0, status=500),
        ask("PUT", "2.1", 0, status=201),
        ask("GET", digest("x"), 0, status=404),
        ask("GET", "2.1", 0, agent="prewarm/0.1.0"),
        ask("GET", None, 0, object="tags"),
        ask("GET", digest("x"), 0, object="referrers"),
        ask("GET", f"sha256-{'a' * 64}.sig", 0),
        ask("HEAD", f"sha256-{'a' * 64}", 0),
        ask("GET", f"sha256-{'a' * 64}.att", 0, status=404),
    ],
    ids=lambda row: f"{row['method']}-{row['object']}-{row['status']}",
)
def test_no_pull(row: dict[str, Any]) -> None:
    """Blobs without a manifest, refusals, pushes, lists, signatures and our own requests are no demand."""
    assert pull([row]) == []


def test_a_signature_does_not_hide_the_image() -> None:
    """Verifying a signature in the session of a pull leaves that one pull."""
    signature = [ask("GET", f"sha256-{'a' * 64}.sig", 2), blob("signature", 3, 300)]
    assert columns(pull(cold("2.1", 0) + signature), "tag", "blobs") == [("2.1", 3)]


def test_a_challenge_before_the_answer_is_not_counted() -> None:
    """401, then the same request with a token: one pull."""
    rows = [ask("HEAD", "2.1", 0, status=401), *cold("2.1", 1)]
    assert columns(pull(rows), "tag", "status", "kind") == [("2.1", "ok", "layers")]


# --- missed ----------------------------------------------------------------------------------


def test_a_tag_that_is_not_there_is_missed_once() -> None:
    """Demand that found nothing is one missed pull however often it asked."""
    rows = [ask("HEAD", "2.1", 0, status=404, bytes=90), ask("GET", "2.1", 1, status=404, bytes=90)]
    found = pull(rows)
    assert columns(found, "tag", "status", "kind", "digest", "blobs") == [("2.1", "missed", None, None, 0)]


def test_a_tag_found_in_the_same_session_is_not_missed() -> None:
    """A 404 that a retry healed is a pull."""
    assert columns(pull([ask("HEAD", "2.1", 0, status=404), *cold("2.1", 1)]), "status") == [("ok",)]


# --- facts of a pull -------------------------------------------------------------------------


def test_an_unfinished_head_of_distribution_3_0_names_the_tag() -> None:
    """Release 3.0.0 logs only that a HEAD was authorized; the blobs that follow belong to its tag."""
    rows = [ask("HEAD", "2.1", 0, status=None, family="app"), blob("app", 1, family="app")]
    assert columns(pull(rows), "tag", "kind") == [("2.1", "layers")]


def test_keys_of_all_requests_are_kept() -> None:
    """A webhook with one of these ids is then known to be the same pull."""
    rows = [ask("HEAD", "2.1", 0, key="b"), blob("app", 1, key="a"), blob("base", 1)]
    assert columns(pull(rows), "keys") == [(["a", "b"],)]


@pytest.mark.parametrize(
    ("seen", "expected"), [(["hit", "hit"], "hit"), (["hit", "miss"], "miss"), ([None] * 2, None)]
)
def test_one_miss_makes_the_pull_a_miss(seen: list[str | None], expected: str | None) -> None:
    """A pull waited for the upstream if any of its requests did."""
    rows = [ask("HEAD", "2.1", 0, cache=seen[0]), blob("app", 1, cache=seen[1])]
    assert columns(pull(rows), "cache") == [(expected,)]


def test_seconds_are_unknown_where_the_log_has_none() -> None:
    """Access lines have no duration; whole-second stamps would pretend one."""
    assert columns(pull(cold("2.1", 0)), "seconds") == [(None,)]


@pytest.mark.parametrize(
    ("registry", "repository", "expected"),
    [
        (None, "nginx", "docker.io/library/nginx:1"),
        ("docker.io", "nginx", "docker.io/library/nginx:1"),
        ("index.docker.io", "acme/api", "docker.io/acme/api:1"),
        ("127.0.0.1:5000", "nginx", "127.0.0.1:5000/nginx:1"),
    ],
)
def test_images_have_canonical_names(registry: str | None, repository: str, expected: str) -> None:
    """docker.io is the default registry and keeps its one-part names in library/."""
    rows = table([ask("GET", "1", 0, registry=registry, repository=repository)])
    found = pulls.collapse(pulls.sessions(rows))
    assert found.select(pulls.image_of())["image"].to_list() == [expected]


def test_an_image_without_a_tag_is_named_by_digest() -> None:
    """The id of a pull by digest carries the digest."""
    found = pulls.collapse(pulls.sessions(table([ask("GET", digest("index"), 0)])))
    assert found.select(pulls.image_of())["image"].to_list() == [f"ghcr.io/acme/api@{digest('index')}"]


# --- independence of order and cut -----------------------------------------------------------

_MIXED = (
    cold("2.1", 0)
    + cold("2.1", 3)
    + cold("2.2", 4, layers=("base", "new"))
    + [ask("HEAD", "9", 5, status=404), ask("HEAD", "2.1", 90), blob("late", 91)]
    + cold("2.1", 1, client="10.0.0.9", agent="docker/27.1")
)


@given(st.permutations(range(len(_MIXED))))
def test_pulls_do_not_depend_on_the_order_of_rows(order: list[int]) -> None:
    """Lines keep their offsets; the rows of the table may come in any order."""
    rows = table(list(_MIXED))
    shuffled = rows[order]
    assert pulls.collapse(pulls.sessions(shuffled)).equals(pulls.collapse(pulls.sessions(rows)))
    sessions = pulls.sessions(rows)
    assert pulls.collapse(sessions[order]).equals(pulls.collapse(sessions))


@given(st.integers(0, len(_MIXED)))
def test_other_sessions_do_not_change_a_pull(extra: int) -> None:
    """A session gives the same pulls whatever else is in the table."""
    noise = [row | {"client": "10.9.9.9"} for row in _MIXED[:extra]]
    found = [row for row in pull(list(_MIXED) + noise) if row["client"] != "10.9.9.9"]
    assert found == pull(list(_MIXED))


def test_no_accesses_make_no_pulls() -> None:
    """An empty table gives an empty table of the right columns."""
    found = pulls.collapse(pulls.sessions(accesses.empty()))
    assert found.schema == pl.Schema(pulls.SCHEMA)
    assert found.is_empty()


# --- tags of digests, pushes -----------------------------------------------------------------


def test_a_pull_by_digest_gets_the_tag_last_seen_on_it() -> None:
    """Tags move: the pair that held at the time of the pull counts, later ones do not."""
    learned = pulls.pairs_of(
        pulls.collapse(pulls.sessions(table(cold("2.1", 0) + cold("2.1", 500, client="10.0.0.9"))))
    )
    moved = learned.with_columns(pl.col("timestamp") + timedelta(hours=2), tag=pl.lit("2.2"))
    by_digest = pulls.collapse(pulls.sessions(table([ask("GET", digest("index-2.1"), 3600)])))
    assert pulls.attribute(by_digest, pl.concat([learned, moved]))["tag"].to_list() == ["2.1"]


def test_a_digest_never_seen_with_a_tag_stays_a_digest() -> None:
    """Nothing is made up, and pulls that have a tag are left alone."""
    found = pulls.collapse(pulls.sessions(table([ask("GET", digest("x"), 0), *cold("2.1", 500)])))
    attributed = pulls.attribute(found, pulls.pairs_of(found))
    assert attributed["tag"].to_list() == [None, "2.1"]


def test_pushes_are_stored_manifests() -> None:
    """A PUT answered 201 is a push, by tag or by digest; a refused one is none."""
    rows = [
        ask("PUT", "2.1", 0, status=201),
        ask("PUT", digest("x"), 1, status=201),
        ask("PUT", "2.2", 2, status=401),
        ask("GET", "2.1", 3),
    ]
    found = pulls.pushes(table(rows))
    assert found.select("repository", "tag", "digest").rows() == [
        ("acme/api", "2.1", None),
        ("acme/api", None, digest("x")),
    ]
