"""The command line as scripts use it: flags, JSON keys, exit codes, what lands on which stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from prewarm.cli import cli
from tests.cli.conftest import Prewarm
from tests.logs_of_a_day import DAYS, pull, request

MONDAY_AT_EIGHT = "2026-11-16T08:00Z"
PULLS = 24 * DAYS + 3 * DAYS + 24 * DAYS


def test_a_log_becomes_a_ranking_without_any_file(prewarm: Prewarm, log: Path) -> None:
    """`ingest` and `rank` need no configuration: the lake is ./lake."""
    assert prewarm("ingest", str(log)).code == 0

    ranked = prewarm("rank", "--at", MONDAY_AT_EIGHT, "--json")

    assert ranked.code == 0
    assert [row["image"] for row in ranked.document["ranking"]] == [
        "docker.io/acme/web:1.0",
        "docker.io/acme/api:2.1",
    ]


def test_ingest_counts_what_it_read(prewarm: Prewarm, log: Path) -> None:
    """The keys that scripts rely on, and a second reading that reads nothing."""
    first = prewarm("ingest", str(log), "--json").document
    second = prewarm("ingest", str(log), "--json").document

    lines = len(log.read_text().splitlines())
    assert (first["lines"], first["accesses"], first["pulls"]) == (lines, lines, PULLS)
    assert (first["malformed"], first["duplicates"]) == (0, 0)
    assert first["files"] == [
        {
            "path": str(log),
            "format": "combined",
            "wrapper": None,
            "lines": lines,
            "accesses": lines,
            "malformed": 0,
        }
    ]
    assert {"ignored", "seconds"} <= first.keys()
    assert (second["lines"], second["pulls"]) == (0, 0)


def test_pulls_are_exported_in_every_form(prewarm: Prewarm, log: Path) -> None:
    """Table, CSV, NDJSON and JSON list the same pulls."""
    prewarm("ingest", str(log))

    rows = [json.loads(line) for line in prewarm("pulls", "--format", "ndjson").out.splitlines()]
    keys = {
        "timestamp",
        "site",
        "client",
        "registry",
        "repository",
        "tag",
        "digest",
        "kind",
        "status",
        "blobs",
    }
    assert len(rows) == PULLS
    assert keys <= rows[0].keys()
    assert rows[0]["timestamp"].endswith("Z")
    assert prewarm("pulls", "--json").document["pulls"] == rows
    assert len(prewarm("pulls", "--format", "csv").out.splitlines()) == PULLS + 1
    assert "docker.io/acme/api:2.1" in prewarm("pulls").out


@pytest.mark.parametrize(
    "said",
    [
        *(f"pulls --format {form}" for form in ("csv", "parquet", "ndjson", "table")),
        "--version",
        "rank --help",
    ],
)
def test_a_reader_that_goes_away_is_no_error(prewarm: Prewarm, log: Path, said: str) -> None:
    """`prewarm pulls | head -1`: exit 0, nothing on stderr."""
    prewarm("ingest", str(log))

    reading, writing = os.pipe()
    os.close(reading)
    export = [sys.executable, "-m", "prewarm", *said.split()]
    ran = subprocess.run(export, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)

    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full, a device without room, is Linux's")
@pytest.mark.parametrize("form", ["csv", "parquet", "ndjson"])
def test_output_that_finds_no_room_is_one_line(prewarm: Prewarm, log: Path, form: str) -> None:
    """Exit 1, one line: no trace, and no second error at exit."""
    prewarm("ingest", str(log))

    with Path("/dev/full").open("wb") as full:
        export = [sys.executable, "-m", "prewarm", "pulls", "--format", form]
        ran = subprocess.run(export, stdout=full, stderr=subprocess.PIPE, text=True, check=False)

    assert (ran.returncode, ran.stderr) == (1, "prewarm: No space left on device\n")


def test_pulls_are_filtered(prewarm: Prewarm, log: Path) -> None:
    """By image, kind and time; the end is outside."""
    prewarm("ingest", str(log))

    checks = prewarm("pulls", "--kind", "check", "--json").document["pulls"]
    morning = prewarm(
        "pulls",
        "--image",
        "acme/web",
        "--since",
        "2026-11-02T00:00Z",
        "--until",
        "2026-11-03T00:00Z",
        "--json",
    ).document["pulls"]

    assert {row["repository"] for row in checks} == {"acme/idle"}
    assert len(morning) == 3


def test_rank_answers_several_times_and_a_whole_day(prewarm: Prewarm, log: Path) -> None:
    """--at may be repeated; --day gives the 24 hours of the site's day."""
    prewarm("ingest", str(log))

    several = prewarm("rank", "--at", MONDAY_AT_EIGHT, "--at", "2026-11-16T09:00Z", "--json").document
    day = prewarm("rank", "--day", "2026-11-16", "--top", "1", "--json").document

    assert [answer["at"] for answer in several["answers"]] == ["2026-11-16T08:00:00Z", "2026-11-16T09:00:00Z"]
    assert len(day["answers"]) == 24
    assert day["answers"][8]["ranking"][0]["image"] == "docker.io/acme/web:1.0"
    assert day["answers"][3]["ranking"][0]["image"] == "docker.io/acme/api:2.1"


def test_rank_explains_an_image(prewarm: Prewarm, log: Path) -> None:
    """--explain shows the steps from the site to the number."""
    prewarm("ingest", str(log))

    told = prewarm("rank", "--at", MONDAY_AT_EIGHT, "--explain", "acme/web:1.0")

    assert told.code == 0
    assert "hour of week" in told.out


def test_an_explanation_in_json_stands_beside_the_ranking_it_explains(prewarm: Prewarm, log: Path) -> None:
    """Scripts find the keys of `rank` whether or not they ask why."""
    prewarm("ingest", str(log))

    plain = prewarm("rank", "--at", MONDAY_AT_EIGHT, "--json").document
    told = prewarm("rank", "--at", MONDAY_AT_EIGHT, "--explain", "acme/web:1.0", "--json").document

    [why] = told.pop("explanations")
    assert told == plain
    assert why["image"] == told["ranking"][0]["image"]
    assert why["mean"] == pytest.approx(told["ranking"][0]["mean"], abs=1e-3)


def test_forecast_has_intervals(prewarm: Prewarm, log: Path) -> None:
    """Every row has a mean, a probability and an interval around it."""
    prewarm("ingest", str(log))

    document = prewarm(
        "forecast", "--at", MONDAY_AT_EIGHT, "--hours", "2", "--level", "80", "--json"
    ).document

    assert document["cutoff"] == "2026-11-15T23:00:00Z"
    assert document["model"] == "auto"
    assert len(document["rows"]) == 2 * 2
    for row in document["rows"]:
        assert row["lo"] <= row["mean"] <= row["hi"] or row["mean"] < 0.5
        assert 0 <= row["probability"] <= 1


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["ingest", "missing.log"], 1, "missing.log does not exist", id="no such log"),
        pytest.param(["ingest"], 2, "give a PATH", id="nothing to read"),
        pytest.param(
            ["ingest", "--source", "hooks", "--set", "sources.hooks.site='boise'"],
            2,
            "has no path",
            id="no path",
        ),
        pytest.param(["rank"], 1, "prewarm ingest", id="empty lake"),
        pytest.param(["rank", "--at", "tomorrow"], 2, "2026-11-30T08:00Z", id="no time"),
        pytest.param(["rank", "--at", "9999-12-31T23:59-05:00"], 2, "end of time", id="last moment"),
        pytest.param(["rank", "--explain", "A::"], 1, "no image reference", id="no reference"),
        pytest.param(
            ["rank", "--explain", "a", "--at", "2026-11-16", "--at", "2026-11-17"],
            2,
            "one --at",
            id="two hours",
        ),
        pytest.param(["plan", "--cache", "ofice"], 1, "no cache called 'ofice'", id="unknown cache"),
        pytest.param(["run"], 2, "--cache NAME", id="nothing to run"),
        pytest.param(["run", "--plan", "p0"], 1, "no plan called 'p0'", id="unknown plan"),
        pytest.param(["run", "--cache", "a", "--cache", "b"], 2, "given 2 times", id="two caches"),
        pytest.param(["run", "--plan", "p0", "--top", "3"], 2, "leave out --top", id="a plan and a wish"),
        pytest.param(["sources", "check", "x"], 1, "no source called 'x'", id="unknown source"),
        pytest.param(["sources", "check"], 2, "no source to check", id="no source"),
        pytest.param(["rank", "--config", "x.toml"], 1, "x.toml: no such file", id="no config"),
        pytest.param(["rank", "--set", "laek=x"], 1, "did you mean 'lake'", id="typo in --set"),
        pytest.param(["serve", "--host", "0.0.0.0"], 1, "needs a token", id="open to the world"),
        pytest.param(["rank", "--timezone", "Mars/Base"], 1, "Mars/Base", id="no such zone"),
        pytest.param(["ingest", "x.log", "--registry", "http://x/"], 2, "no registry host", id="no registry"),
        pytest.param(["pulls", "--kind", "foo"], 2, "'foo' is not one of", id="no such kind"),
        pytest.param(["report"], 2, "Choose from: misses, hit-rate", id="no report named"),
        pytest.param(["pear"], 2, "No such command 'pear'", id="no such verb"),
    ],
)
def test_a_refusal_is_one_line_and_writes_nothing(
    prewarm: Prewarm, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    """Exit 1 or 2, one line on stderr that teaches, nothing on stdout, no lake."""
    ran = prewarm(*arguments)

    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "lake").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"hello world\n", "no known format fits", id="unknown format"),
        pytest.param(b"", "is empty: nothing to read", id="empty"),
        pytest.param(b"\x1f\x8b\x08\x00", "cannot be decompressed", id="truncated gzip"),
        pytest.param(None, "holds no log file", id="folder without logs"),
    ],
)
def test_a_log_that_cannot_be_read_is_one_line_and_writes_nothing(
    prewarm: Prewarm, tmp_path: Path, content: bytes | None, words: str
) -> None:
    """Exit 1, the file by its name."""
    path = tmp_path / "x.log"
    path.mkdir() if content is None else path.write_bytes(content)

    ran = prewarm("ingest", "x.log")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("prewarm: x.log")
    assert words in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not (tmp_path / "lake").exists()


def test_a_log_that_may_not_be_read_is_one_line(prewarm: Prewarm) -> None:
    """The system's refusal is passed on; a process's memory is refused to root as well."""
    ran = prewarm("ingest", "/proc/self/mem")

    assert (ran.code, ran.out) == (1, "")
    assert len(ran.err.splitlines()) == 1


def test_lines_that_are_repeated_hide_their_secrets(prewarm: Prewarm, log: Path) -> None:
    """A malformed line is shown as an example, on the terminal and in JSON."""
    log.write_text(log.read_text() + "GET https://bob:s3cret@x.io/?sig=s3cret Authorization: Bearer s3cret\n")

    ran = prewarm("ingest", str(log), "--json")

    assert ran.document["malformed"] == 1
    assert "s3cret" not in ran.out + ran.err


def test_json_may_stand_before_the_verb(prewarm: Prewarm, log: Path) -> None:
    """As every flag that verbs share."""
    assert prewarm("--json", "ingest", str(log)).document["pulls"] == PULLS


@pytest.mark.parametrize("verb", ["rank", "forecast", "scorecard"])
def test_a_time_before_all_logs_is_one_line(prewarm: Prewarm, log: Path, verb: str) -> None:
    """The first time there is cannot be reckoned from; what it asks for is not there anyway."""
    prewarm("ingest", str(log))

    ran = prewarm(verb, "--at", "0001-01-01T00:00Z")

    assert (ran.code, ran.out) == (1, "")
    assert "no complete hour before" in ran.err
    assert len(ran.err.splitlines()) == 1


def test_all_times_can_be_asked_for(prewarm: Prewarm, log: Path) -> None:
    """The first and the last day there are stand for no limit."""
    prewarm("ingest", str(log))

    ran = prewarm("pulls", "--since", "0001-01-02", "--until", "9999-12-31", "--json")

    assert len(ran.document["pulls"]) == PULLS


def test_sources_are_listed_and_checked(prewarm: Prewarm, tmp_path: Path, log: Path) -> None:
    """A check names each file and its format, and exits with 3 when there is none."""
    (tmp_path / "prewarm.toml").write_text(
        '[sources.mirror-log]\npath = "access.log*"\nsite = "boise"\nregistry = "docker.io"\n'
        '[sources.gone]\npath = "gone/*.log"\n[sources.hook]\n'
    )

    listed = prewarm("sources", "--json").document["sources"]
    good = prewarm("sources", "check", "mirror-log", "--json")
    every = prewarm("sources", "check")

    assert [row["name"] for row in listed] == ["gone", "hook", "mirror-log"]
    assert listed[2] == {
        "name": "mirror-log",
        "site": "boise",
        "registry": "docker.io",
        "format": "auto",
        "path": ["access.log*"],
    }
    assert good.code == 0
    assert good.document["sources"] == {
        "mirror-log": [{"subject": log.name, "ok": True, "message": "combined"}]
    }
    assert every.code == 3
    assert "no file fits gone/*.log" in every.out
    assert not (tmp_path / "lake").exists()


def test_a_cache_that_is_down_is_not_planned(prewarm: Prewarm, tmp_path: Path, log: Path) -> None:
    """Exit 1, one line with its address; a dry run is the same question."""
    prewarm("ingest", str(log))
    (tmp_path / "prewarm.toml").write_text(
        '[caches.edge]\ndriver = "mirror"\nurl = "http://127.0.0.1:1"\nupstream = "docker.io"\n'
    )

    for verb in (["plan"], ["run", "--dry-run"]):
        ran = prewarm(*verb, "--cache", "edge", "--at", MONDAY_AT_EIGHT, "--timezone", "Europe/Berlin")
        assert (ran.code, ran.out) == (1, "")
        assert "cannot be planned while nobody answers" in ran.err
        assert "127.0.0.1:1" in ran.err
        assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize("verb", ["pulls", "rank", "forecast"])
def test_a_site_that_nobody_knows_is_refused(prewarm: Prewarm, log: Path, verb: str) -> None:
    """One line with the nearest known site, instead of an empty answer."""
    prewarm("ingest", str(log), "--site", "boise")

    ran = prewarm(verb, "--site", "boize")

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "prewarm: no site called 'boize'; did you mean 'boise'? known: boise\n"


def test_a_plan_for_a_site_that_nobody_knows_is_refused(prewarm: Prewarm, tmp_path: Path, log: Path) -> None:
    """A cache whose site is misspelt would be warmed with nothing."""
    prewarm("ingest", str(log), "--site", "boise")
    (tmp_path / "prewarm.toml").write_text('[caches.edge]\ndriver = "layout"\npath = "oci"\nsite = "boize"\n')

    ran = prewarm("plan", "--cache", "edge", "--at", MONDAY_AT_EIGHT)

    assert (ran.code, ran.out) == (1, "")
    assert "did you mean 'boise'?" in ran.err


def test_shared_flags_may_stand_before_the_verb(prewarm: Prewarm, tmp_path: Path, log: Path) -> None:
    """`prewarm --lake L ingest` is `prewarm ingest --lake L`; the verb's own word wins."""
    assert prewarm("--lake", "here", "ingest", str(log)).code == 0
    assert (
        prewarm("--lake", "nowhere", "pulls", "--lake", "here").out == prewarm("pulls", "--lake", "here").out
    )

    assert (tmp_path / "here").is_dir()
    assert not (tmp_path / "lake").exists()


def test_a_log_of_a_few_minutes_is_ranked(prewarm: Prewarm, tmp_path: Path) -> None:
    """Less than an hour of history speaks of the coming hour, and says so."""
    start = datetime(2026, 11, 2, 7, 10, tzinfo=UTC)
    (tmp_path / "young.log").write_text("\n".join(pull(start, "acme/api", "2.1", "10.0.0.1")) + "\n")
    prewarm("ingest", "young.log")

    for verb in ("rank", "forecast"):
        ran = prewarm(verb, "--at", "2026-11-02T07:30Z", "--json")
        assert ran.code == 0
        assert "shown is the hour from 08:00Z" in ran.err
    early = prewarm("rank", "--at", "2026-11-02T07:05Z")

    assert early.code == 1
    assert "no complete hour before" in early.err


def test_the_upstream_that_a_request_names_wins(prewarm: Prewarm, tmp_path: Path) -> None:
    """`?ns=` is the registry that the client wants; --registry stands for requests that name none."""
    at = datetime(2026, 11, 2, 7, tzinfo=UTC)
    lines = [
        request(at, "GET", "acme/a", "manifests/1?ns=ghcr.io", 200, 10, "10.0.0.1"),
        request(at, "GET", "acme/b", "manifests/1", 200, 10, "10.0.0.1"),
    ]
    (tmp_path / "ns.log").write_text("\n".join(lines) + "\n")
    prewarm("ingest", "ns.log", "--registry", "quay.io")

    images = [row["image"] for row in prewarm("pulls", "--json").document["pulls"]]
    assert images == ["ghcr.io/acme/a:1", "quay.io/acme/b:1"]


def test_a_config_with_a_typo_names_the_nearest_key(prewarm: Prewarm, tmp_path: Path) -> None:
    """prewarm.toml is read from the working folder and refused by name."""
    (tmp_path / "prewarm.toml").write_text('[sites.boise]\ntimezon = "America/Boise"\n')

    ran = prewarm("rank")

    assert ran.code == 1
    assert "prewarm.toml: unknown key 'sites.boise.timezon'; did you mean 'timezone'?" in ran.err


def test_a_layout_is_warmed_from_a_plan(prewarm: Prewarm, tmp_path: Path, log: Path) -> None:
    """Images of registries that are not listed are skipped with the line that would allow them."""
    prewarm("ingest", str(log))
    (tmp_path / "prewarm.toml").write_text('[caches.edge]\ndriver = "layout"\npath = "oci"\n')

    planned = prewarm("plan", "--cache", "edge", "--at", MONDAY_AT_EIGHT, "--json")

    assert planned.code == 0
    assert {"id", "cache", "window", "budget", "warms", "skipped", "withheld"} <= planned.document.keys()
    assert "[registries." in planned.document["skipped"][0]["reason"]


@pytest.mark.parametrize("verb", sorted(cli.commands))
def test_every_verb_and_flag_has_help(verb: str) -> None:
    """The manual is the program's own, so nothing in it may be silent."""
    command = cli.commands[verb]

    assert command.help
    silent = [
        p.name for p in command.params if p.param_type_name == "option" and not getattr(p, "help", None)
    ]
    assert [name for name in silent if name not in {"hours", "top", "form", "objective"}] == []


def test_malformed_lines_are_told_with_an_example(prewarm: Prewarm, tmp_path: Path) -> None:
    """By reason, on stderr and in the document; what a terminal would obey is escaped."""
    line = '10.0.0.1 - - [24/Nov/2026:09:00:00 +0000] "GET /v2/a/b/manifests/1 HTTP/1.1" 200 5 "" "docker/24"'
    (tmp_path / "x.log").write_text(f"{line}\n\x1b[31mgarbage\nmore\n")
    ran = prewarm("ingest", "x.log", "--json")
    document = json.loads(ran.out)
    assert document["malformed_reasons"] == {"not an access line": 2}
    assert document["examples"] == {"not an access line": r"\x1b[31mgarbage"}
    assert ran.err == "prewarm: warning: 2 malformed: not an access line; such as \\x1b[31mgarbage\n"


def test_a_prune_that_every_cache_refuses_has_its_keys_all_the_same(prewarm: Prewarm, tmp_path: Path) -> None:
    """A lake without pulls cannot tell what is used: two refusals, nothing to evict, exit 3."""
    caches = "".join(f'[caches.{name}]\ndriver = "layout"\npath = "{name}"\n' for name in ("one", "two"))
    (tmp_path / "prewarm.toml").write_text(caches)

    done = prewarm("prune", "--json")

    assert done.code == 3
    assert [each["cache"] for each in done.document["refused"]] == ["one", "two"]
    assert (done.document["evict"], done.document["reclaimed"], done.document["keep"]) == ([], 0, [])
