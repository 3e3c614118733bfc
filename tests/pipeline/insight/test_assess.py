"""The verdict of `assess` on logs with a label: from the lines of a mirror, with as much as it logged."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from prewarm.errors import NotEnoughHistory
from prewarm.insight.reasons import Cause
from prewarm.insight.verdict import Answer
from prewarm.logs.files import Source
from prewarm.pipeline.insight.assess import assess
from prewarm.pipeline.insight.reports import TERMS, Terms
from tests.traffic import MONDAY, Ask, days, lines, mornings, steady, through

DAY = timedelta(days=1)
LOGGED: list[dict[str, bool]] = [{"cache": True}, {"seconds": True}, {"cache": True, "seconds": True}]
PLAIN: dict[str, bool] = {}


def _assessed(folder: Path, text: str, terms: Terms = TERMS) -> Any:
    log = folder / "access.log"
    log.write_text(text)
    return assess([Source("log", (str(log),))], terms)


def _builds(count: int) -> list[Ask]:
    """A build a night under a tag of its own, which the office runs the next morning."""
    dice = random.Random(5)
    return [
        Ask(
            at + timedelta(seconds=dice.uniform(0, 3600)), f"10.0.0.{person}",
            f"acme/svc{service}:build-{day}",
            0, 250_000_000,
        )
        for day, at in enumerate(days(count, weekends=False))
        for service in range(8)
        for person in range(6)
    ]  # fmt: skip


@pytest.mark.parametrize("logged", [*LOGGED, PLAIN])
@pytest.mark.parametrize("count", [4, 12])
def test_mornings_on_moved_tags_pay(tmp_path: Path, logged: dict[str, bool], count: int) -> None:
    """Every morning the first client of each image waits for what was pushed in the night."""
    found = _assessed(tmp_path, lines(through([*mornings(count), *steady(count, images=4)]), **logged))

    assert found.verdict == Answer.PAYS
    assert found.top_n in (5, 10)
    assert found.document()["saving"]["by_list_seconds_per_day"] > 60


@pytest.mark.parametrize("logged", [*LOGGED, PLAIN])
def test_tags_without_digests_are_told_by_their_blobs(tmp_path: Path, logged: dict[str, bool]) -> None:
    """A client that fetches by tag shows no digest; moved tags are no lapses all the same."""
    found = _assessed(tmp_path, lines(through([*mornings(12), *steady(12, images=4)]), by_tag=True, **logged))

    assert found.verdict == Answer.PAYS
    assert found.document()["causes"][Cause.TAG_MOVED]["misses"] >= 0.8 * 6 * 9


@pytest.mark.parametrize("logged", [*LOGGED, PLAIN])
def test_fresh_builds_pay_by_replication(tmp_path: Path, logged: dict[str, bool]) -> None:
    """Tags that nobody could list are brought by their push."""
    found = _assessed(tmp_path, lines(through([*_builds(12), *steady(12, images=4)]), **logged))

    assert found.verdict == Answer.PAYS
    assert found.document()["causes"][Cause.FRESH_PUSH]["share"] > 0.8
    assert found.document()["saving"]["on_push_seconds_per_day"] > 100


@pytest.mark.parametrize("logged", LOGGED)
@pytest.mark.parametrize("hours", [6, 24, 48])
def test_a_short_ttl_comes_first(tmp_path: Path, logged: dict[str, bool], hours: int) -> None:
    """Images that never change miss again and again: no forecast is needed for that."""
    found = _assessed(tmp_path, lines(through(steady(12), timedelta(hours=hours)), **logged))

    assert found.verdict == Answer.FIX_FIRST
    assert found.why[0].startswith("TTL")
    assert found.top_n is None


def test_a_known_ttl_makes_a_plain_log_tell(tmp_path: Path) -> None:
    """Without hits or durations a TTL has to be said: then the model finds what it costs."""
    text = lines(through(steady(12), timedelta(hours=24)))

    assert _assessed(tmp_path, text).verdict == Answer.NO
    assert _assessed(tmp_path, text, Terms(ttls={"default": timedelta(hours=24)})).verdict == Answer.FIX_FIRST


@pytest.mark.parametrize("logged", LOGGED)
def test_a_full_disk_comes_first(tmp_path: Path, logged: dict[str, bool]) -> None:
    """What is dropped and asked for again wants room."""
    rare = [
        Ask(at + timedelta(minutes=9 * image), "10.0.2.1", f"acme/big{image}:1", 0, 900_000_000)
        for at in days(14)
        for image in range(12)
    ]
    found = _assessed(tmp_path, lines(through([*steady(14, images=5), *rare], None, 9_000_000_000), **logged))

    assert found.verdict == Answer.FIX_FIRST
    assert found.why[0].startswith("disk")


@pytest.mark.parametrize("logged", [*LOGGED, PLAIN])
@pytest.mark.parametrize("count", [1, 3, 12])
def test_a_warm_mirror_does_not_pay(tmp_path: Path, logged: dict[str, bool], count: int) -> None:
    """A mirror that has run for a while holds what is popular, however short the log of it."""
    met = [each for each in through(steady(count + 4), None) if each.ask.at >= MONDAY + 4 * DAY]
    found = _assessed(tmp_path, lines(met, **logged))

    assert found.verdict == Answer.NO
    assert "already" in found.why[0]


@pytest.mark.parametrize("logged", [{"cache": True}, {"cache": True, "seconds": True}])
def test_one_cold_morning_pays_where_hits_are_logged(tmp_path: Path, logged: dict[str, bool]) -> None:
    """A day is too short for habits; what several clients asked for is taken to come back."""
    found = _assessed(tmp_path, lines(through(mornings(1, images=20, people=8)), **logged))

    assert (found.verdict, found.sure) == (Answer.PAYS, "medium")
    assert any(word.startswith("habits") for word in found.cannot_say)


def test_few_misses_that_cost_much_are_worth_it(tmp_path: Path) -> None:
    """Of a thousand pulls six miss, and each of these stops an office for minutes."""
    huge = [
        Ask(at + timedelta(minutes=n), f"10.0.0.{n % 9}", f"ml/train{image}:main", day, 9_000_000_000)
        for day, at in enumerate(days(6))
        for image in range(2)
        for n in range(300)
    ]
    found = _assessed(tmp_path, lines(through(huge), cache=True, seconds=True))

    assert found.verdict == Answer.PAYS
    assert found.document()["saving"]["share_of_pulls"] < 0.01


def test_images_nobody_comes_back_for_do_not_pay(tmp_path: Path) -> None:
    """Misses that nothing can remove are no reason to warm, however many."""
    dice = random.Random(2)
    asks = [
        Ask(
            at + timedelta(seconds=dice.uniform(0, 30_000)),
            f"10.0.0.{n % 9}",
            f"lab/{day}-{n}:1",
            0,
            300_000_000,
        )
        for day, at in enumerate(days(8))
        for n in range(30)
    ]
    found = _assessed(tmp_path, lines(through(asks), cache=True))

    assert found.verdict == Answer.NO
    assert found.document()["causes"][Cause.NEVER_SEEN]["share"] == 1


def test_a_spent_quota_comes_first(tmp_path: Path) -> None:
    """Pulls that were refused with 429 are counted from the log, retries once."""
    text = lines(through(steady(3)), cache=True)
    stamp = "%d/%b/%Y:%H:%M:%S +0000"
    request = '"GET /v2/library/new/manifests/1 HTTP/1.1" 429 90 "-" "docker/27.3.1" MISS'
    times = [
        MONDAY + timedelta(days=1, minutes=20 * client, seconds=second)
        for client in range(40)
        for second in range(3)
    ]
    refused = [f"10.0.0.{n // 3} - - [{time:{stamp}}] {request}\n" for n, time in enumerate(times)]
    found = _assessed(tmp_path, text + "".join(refused))

    assert found.verdict == Answer.FIX_FIRST
    assert found.why[0].startswith("quota: 40 pulls")
    assert found.document()["causes"][Cause.QUOTA]["misses"] == 40


def test_the_page_has_every_part(tmp_path: Path) -> None:
    """What scripts rely on, and what people read."""
    document = _assessed(tmp_path, lines(through(mornings(5)), seconds=True)).document()

    assert {"verdict", "causes", "top", "hours", "why", "sure", "traffic", "for", "top_n"} <= document.keys()
    assert document["causes"].keys() == {str(each) for each in Cause}
    assert document["for"]["hours"][0] in (8, 9)
    assert sum(row["pulls"] for row in document["hours"]) == document["traffic"]["pulls"]


def test_a_log_without_pulls_is_refused(tmp_path: Path) -> None:
    """In one line that says what the log held."""
    text = '10.0.0.1 - - [02/Nov/2026:08:00:00 +0000] "GET /v2/ HTTP/1.1" 200 2 "-" "docker/27.3.1"\n'

    with pytest.raises(NotEnoughHistory, match="hold no pull: 20 lines"):
        _assessed(tmp_path, 20 * text)


@pytest.mark.parametrize(
    "name",
    [
        "k8s-events-corev1.ndjson",
        "docker-events-20.10.ndjson",
        "dockerhub-usage-report.csv",
        "distribution-webhook-v2-distribution-3.1.ndjson",
        "cloudfront-w3c.tsv",
        "varnishncsa.log",
        "spegel-0.7-debug.log",
        "client-sequence-podman-skopeo-buildah.log",
    ],
)
def test_a_few_lines_of_any_source_are_assessed_without_claims(name: str) -> None:
    """Nodes, webhooks, hourly counts, proxies: a page, whose verdict is not sure."""
    log = Path(__file__).parents[2] / "goldens" / name

    assert assess([Source("log", (str(log),))]).document()["sure"] == "low"


def test_a_log_of_pollers_claims_nothing_of_a_cache(tmp_path: Path) -> None:
    """Nothing but HEADs: no hit rate is made up from no pull."""
    log = tmp_path / "access.log"
    line = '10.0.0.1 - - [02/Nov/2026:08:{:02}:00 +0000] "HEAD /v2/a/b/manifests/1 HTTP/1.1" 200 7\n'
    log.write_text("".join(line.format(minute) for minute in range(60)))

    told = assess([Source("log", (str(log),))])

    assert told.verdict is Answer.NO
    assert told.why == (
        "no pull of the log is known to have transferred an image, so there is nothing to warm",
    )
    assert told.document()["hit_rate"] is None


def test_what_is_not_logged_is_said_where_nothing_missed(tmp_path: Path) -> None:
    """Neither bytes nor durations, and no miss that would need them."""
    pulls = lines(through(steady(4, images=1))).replace(" 37500000 ", " - ").replace(" 700 ", " - ")
    (tmp_path / "access.log").write_text(pulls)

    told = assess([Source("log", (str(tmp_path / "access.log"),))])

    assert told.misses.summary["misses"] == 0
    assert any(word.startswith("bytes") for word in told.cannot_say)
    assert any(word.startswith("durations") for word in told.cannot_say)
