"""Ingest: exactly once, however the log is cut, rotated, copied, compressed or killed."""

from __future__ import annotations

import gzip
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from prewarm import compute
from prewarm.errors import LakeError, SettingsError, UnknownFormat, UnknownName, UnreadableInput
from prewarm.lake import Change, Lake, Snapshot
from prewarm.logs import pulls, skew
from prewarm.logs.files import Source
from prewarm.pipeline.logs.ingest import IngestResult, ingest
from prewarm.pipeline.logs.reading import PACE, Pace
from tests import logmaker

SMALL = Pace(chunk=4_000, batch=60)
SEEDS = range(2)
SAMPLES = Path(__file__).parents[3] / "data/samples"


def read(lake: Path, *paths: Path | str, pace: Pace = PACE, **source: object) -> IngestResult:
    return ingest(Lake.open(lake), [Source(paths=tuple(map(str, paths)), **source)], pace=pace)  # type: ignore[arg-type]


def content(lake: Path, *extra: str) -> list[tuple[object, ...]]:
    """What a lake holds, in a fixed order: all that the log says of its pulls."""
    columns = [name for name in pulls.SCHEMA if name not in ("provisional", "offset")]
    rows = Lake.open(lake).read("pulls", columns=[*columns, *extra])
    return sorted(rows.rows(), key=repr)


def pushed(lake: Path) -> list[tuple[object, ...]]:
    return sorted(Lake.open(lake).read("pushes").rows(), key=repr)


@pytest.fixture(params=SEEDS)
def log(request: pytest.FixtureRequest) -> bytes:
    return logmaker.log(request.param)


@pytest.fixture
def whole(log: bytes, tmp_path: Path) -> Path:
    """A lake that read the log undisturbed, in one piece."""
    (tmp_path / "whole.log").write_bytes(log)
    read(tmp_path / "whole", tmp_path / "whole.log")
    return tmp_path / "whole"


# ------------------------------------------------------------------ what comes out


def test_counts_add_up(tmp_path: Path) -> None:
    """Every line is an access, ignored or malformed, and the lake holds what was counted."""
    (tmp_path / "x.log").write_bytes(logmaker.log(1))
    result = read(tmp_path / "lake", tmp_path / "x.log")
    assert result.lines == logmaker.log(1).count(b"\n")
    assert result.lines == result.accesses + sum(result.ignored.values()) + result.malformed
    assert result.malformed == logmaker.log(1).count(b"noise") > 0
    assert result.pulls == len(content(tmp_path / "lake")) > 50
    assert result.pushes == len(pushed(tmp_path / "lake")) > 5
    (report,) = result.files
    assert (report.format, report.lines, report.accesses) == ("combined", result.lines, result.accesses)


def test_the_result_has_the_keys_that_scripts_rely_on(tmp_path: Path) -> None:
    """`--json` prints exactly this object."""
    (tmp_path / "x.log").write_bytes(logmaker.log(1))
    document = read(tmp_path / "lake", tmp_path / "x.log").to_dict()
    assert {"lines", "accesses", "pulls", "ignored", "malformed", "duplicates", "files", "seconds"} <= set(
        document
    )
    assert set(document["files"][0]) == {"path", "format", "wrapper", "lines", "accesses", "malformed"}


def test_a_source_names_site_and_registry(tmp_path: Path) -> None:
    """The longest fitting rewrite wins; other names belong to the source's registry."""
    requests = ["hub/library/nginx", "hub/private/app", "acme/api"]
    lines = [logmaker.line(logmaker.BEGIN, "c", f"GET /v2/{name}/manifests/1") for name in requests]
    (tmp_path / "x.log").write_bytes(b"".join(lines))
    rewrite = {"hub/": "docker.io/", "hub/private/": "registry.acme.io/"}
    read(tmp_path / "lake", tmp_path / "x.log", name="m", site="boise", registry="ghcr.io", rewrite=rewrite)
    rows = Lake.open(tmp_path / "lake").read("pulls").sort("registry")
    assert rows.select("registry", "repository", "site", "source").rows() == [
        ("docker.io", "library/nginx", "boise", "m"),
        ("ghcr.io", "acme/api", "boise", "m"),
        ("registry.acme.io", "app", "boise", "m"),
    ]


def test_finished_pulls_go_straight_to_the_lake(tmp_path: Path) -> None:
    """One row is one pull, no session, no access; a later chunk still knows the header."""
    rows = "".join(f"2026-11-23T08:{n:02}:00Z,nginx:1.{n},boise\n" for n in range(60))
    (tmp_path / "x.csv").write_text("timestamp,image,site\n" + rows)
    result = read(tmp_path / "lake", tmp_path / "x.csv", format="events", pace=Pace(chunk=200, batch=7))
    assert (result.pulls, result.accesses, result.malformed) == (60, 0, 0)
    sites = Lake.open(tmp_path / "lake").read("pulls", columns=["site"])["site"]
    assert sites.unique().to_list() == ["boise"]


@pytest.mark.parametrize("hole", [70_000, 900_000, 30 << 20])
def test_a_log_that_begins_with_a_hole_is_read(tmp_path: Path, hole: int) -> None:
    """copytruncate leaves NULs where the writer was; a sparse file of them is one endless line."""
    log = logmaker.log(1)
    with (tmp_path / "x.log").open("wb") as file:
        file.truncate(hole)
        file.seek(hole)
        file.write(b"\n" + log)
    result = read(tmp_path / "lake", tmp_path / "x.log")
    (tmp_path / "y.log").write_bytes(log)
    assert result.pulls == read(tmp_path / "whole", tmp_path / "y.log").pulls
    assert content(tmp_path / "lake") == content(tmp_path / "whole")


def test_clients_are_kept_under_pseudonyms_where_a_key_is_set(tmp_path: Path) -> None:
    """No table holds an address or a user; all else is as without, and read again it stays so."""
    log = logmaker.log(1)
    (tmp_path / "x.log").write_bytes(log[: len(log) // 2])
    read(tmp_path / "hidden", tmp_path / "x.log", client_key=b"0123456789abcdef")
    (tmp_path / "x.log").write_bytes(log)
    read(tmp_path / "hidden", tmp_path / "x.log", client_key=b"0123456789abcdef")
    read(tmp_path / "plain", tmp_path / "x.log")
    hidden, plain = (Lake.open(tmp_path / name).read("pulls") for name in ("hidden", "plain"))
    assert hidden.height == plain.height
    assert sorted(hidden.group_by("client").len()["len"]) == sorted(plain.group_by("client").len()["len"])
    told = {name for column in ("client", "user") for name in plain[column].drop_nulls()}
    kept = b"".join(path.read_bytes() for path in (tmp_path / "hidden").rglob("*") if path.is_file())
    assert told
    assert not any(f'"{name}"'.encode() in kept for name in told)
    assert told.isdisjoint({*hidden["client"], *hidden["user"]})


def test_no_message_shows_a_line_where_a_key_is_set(tmp_path: Path) -> None:
    """Neither an example of what was malformed or stamped wrongly, nor why no format fits."""
    line = '10.9.8.7 - alice [24/Nov/{}:08:15:02 +0000] "GET /v2/a/manifests/1 HTTP/1.1" {} 5 "-" "x"\n'
    (tmp_path / "x.log").write_text(
        line.format(2026, 200) * 3 + line.format(2099, 200) + line.format(2026, "ok")
    )
    (tmp_path / "y.log").write_text("10.9.8.7 alice was here\n" * 5)

    told = read(tmp_path / "lake", tmp_path / "x.log", client_key=b"0123456789abcdef")
    with pytest.raises(UnreadableInput) as refused:
        read(tmp_path / "lake", tmp_path / "y.log", client_key=b"0123456789abcdef")

    assert told.skewed
    assert told.malformed_reasons
    for words in (str(refused.value), str(told.to_dict()), *told.warnings):
        assert "10.9.8.7" not in words
        assert "alice" not in words


# ------------------------------------------------------------------ exactly once


def test_reading_again_changes_nothing(whole: Path, tmp_path: Path) -> None:
    """Also under another name and compressed; no commit is made."""
    before, version = content(whole), Lake.open(whole).snapshot("pulls").version
    log = tmp_path / "whole.log"
    os.rename(log, tmp_path / "whole.log.1")
    (tmp_path / "whole.log.2.gz").write_bytes(gzip.compress((tmp_path / "whole.log.1").read_bytes()))
    for path in ("whole.log.1", "whole.log.2.gz"):
        result = read(whole, tmp_path / path)
        assert (result.lines, result.accesses, result.pulls) == (0, 0, 0)
    assert content(whole) == before
    assert Lake.open(whole).snapshot("pulls").version == version


def test_small_batches_make_the_same_lake(log: bytes, whole: Path, tmp_path: Path) -> None:
    """A session that straddles chunks and commits is one."""
    (tmp_path / "x.log").write_bytes(log)
    read(tmp_path / "lake", tmp_path / "x.log", pace=SMALL)
    assert content(tmp_path / "lake") == content(whole)
    assert pushed(tmp_path / "lake") == pushed(whole)


def test_a_growing_log_makes_the_same_lake(log: bytes, whole: Path, tmp_path: Path) -> None:
    """Read at any moment, in the middle of a line or of a pull, nothing is lost or doubled."""
    path, counted = tmp_path / "x.log", 0
    for cut in [*sorted(random.Random(1).sample(range(1, len(log)), 12)), len(log)]:
        path.write_bytes(log[:cut])
        counted += read(tmp_path / "lake", path).pulls
    assert content(tmp_path / "lake", "file") == content(whole, "file")
    assert counted == len(content(whole))
    assert pushed(tmp_path / "lake") == pushed(whole)


def test_rotated_files_make_the_same_lake(log: bytes, whole: Path, tmp_path: Path) -> None:
    """Given in one call, in whatever order, they are read in the order of time."""
    cuts = [0, *_line_starts(log, 4), len(log)]
    for number, (start, end) in enumerate(pairwise(cuts)):
        data = log[start:end]
        name = f"x.log.{len(cuts) - number}" + (".gz" if number % 2 else "")
        (tmp_path / name).write_bytes(gzip.compress(data) if number % 2 else data)
    result = read(tmp_path / "lake", tmp_path / "x.log.*", pace=SMALL)
    assert content(tmp_path / "lake") == content(whole)
    assert result.pulls == len(content(whole))


def test_rotation_between_reads_makes_the_same_lake(log: bytes, whole: Path, tmp_path: Path) -> None:
    """Each night the log is renamed and begins anew; the glob finds both."""
    for start, end in zip([0, *_line_starts(log, 5)], [*_line_starts(log, 5), len(log)], strict=True):
        (tmp_path / "x.log").write_bytes(log[start : (start + end) // 2])
        read(tmp_path / "lake", tmp_path / "x.log*")
        (tmp_path / "x.log").write_bytes(log[start:end])
        read(tmp_path / "lake", tmp_path / "x.log*")
        os.rename(tmp_path / "x.log", tmp_path / f"x.log.{1_000_000 - start}")
    read(tmp_path / "lake", tmp_path / "x.log*")
    assert content(tmp_path / "lake") == content(whole)


def test_parallel_logs_of_one_source_are_read_together(log: bytes, whole: Path, tmp_path: Path) -> None:
    """Two front ends share the clients of a pull: their lines meet in time, not file by file."""
    lines = log.splitlines(keepends=True)
    (tmp_path / "a.log").write_bytes(b"".join(lines[::2]))
    (tmp_path / "b.log").write_bytes(b"".join(lines[1::2]))
    read(tmp_path / "lake", tmp_path / "?.log", pace=SMALL)
    assert content(tmp_path / "lake") == content(whole)


def test_copies_given_together_count_once(log: bytes, whole: Path, tmp_path: Path) -> None:
    """A glob that matches the log, its half-old backup and its compressed copy."""
    (tmp_path / "x.log").write_bytes(log)
    (tmp_path / "x.log.bak").write_bytes(log[: len(log) // 2])
    (tmp_path / "x.log.gz").write_bytes(gzip.compress(log))
    os.symlink(tmp_path / "x.log", tmp_path / "x.log.link")
    assert read(tmp_path / "lake", tmp_path / "x.log*").pulls == len(content(whole))
    assert content(tmp_path / "lake") == content(whole)


def test_processes_make_the_same_lake(log: bytes, whole: Path, tmp_path: Path) -> None:
    """Where a chunk is parsed changes nothing."""
    (tmp_path / "x.log").write_bytes(log)
    source = Source(paths=(str(tmp_path / "x.log"),))
    with compute.processes(2) as pool:
        ingest(Lake.open(tmp_path / "lake"), [source], executor=pool, pace=SMALL)
    assert content(tmp_path / "lake") == content(whole)


def test_lines_of_one_request_meet_across_chunks(tmp_path: Path) -> None:
    """Application and access line of a request fall into different commits and are still one."""
    sample = SAMPLES / "distribution-docker-logs.log"
    at_once = read(tmp_path / "whole", sample)
    pieces = read(tmp_path / "lake", sample, pace=Pace(chunk=1_500, batch=20))
    assert content(tmp_path / "lake") == content(tmp_path / "whole")
    assert pieces.accesses == at_once.accesses


@pytest.mark.parametrize("pace", [PACE, Pace(chunk=1_500, batch=20)], ids=["one commit", "many"])
def test_a_tag_that_only_the_access_line_tells_meets_its_layers(tmp_path: Path, pace: Pace) -> None:
    """Distribution 3.0.0 logs no HEAD of a manifest itself; its access line names no registry."""
    lines = (SAMPLES / "distribution-docker-logs.log").read_bytes().splitlines(keepends=True)
    by_app = [
        b for b in lines if not (b.startswith(b"time=") and b"method=HEAD" in b and b"/manifests/" in b)
    ]
    (tmp_path / "x.log").write_bytes(b"".join(by_app))
    read(tmp_path / "whole", SAMPLES / "distribution-docker-logs.log")
    read(tmp_path / "lake", tmp_path / "x.log", pace=pace)
    columns = ["client", "registry", "repository", "tag", "digest", "kind", "blobs"]
    whole, lake = (Lake.open(tmp_path / name).read("pulls", columns=columns) for name in ("whole", "lake"))
    assert sorted(lake.rows(), key=repr) == sorted(whole.rows(), key=repr)
    assert len(by_app) < len(lines)


def test_two_sources_of_one_registry_count_once(tmp_path: Path) -> None:
    """The JSON and the text log of one registry carry the same request ids."""
    sample = SAMPLES / "distribution-json.log"
    lines = sample.read_bytes().splitlines(keepends=True)
    (tmp_path / "a.log").write_bytes(b"".join(lines))
    (tmp_path / "b.log").write_bytes(b"shipped by another agent\n" + b"".join(lines))
    first = read(tmp_path / "lake", tmp_path / "a.log", name="a")
    second = read(tmp_path / "lake", tmp_path / "b.log", name="b")
    assert first.pulls > 0
    assert (second.pulls, second.duplicates) == (0, first.pulls)


def test_a_stamp_from_the_future_holds_nothing_back(tmp_path: Path) -> None:
    """One line from 2099 and one from 1970 are kept and told, and other sessions close as if without them."""
    log = logmaker.log(2)
    at = _line_starts(log, 3)[1]
    skewed = b"".join(
        logmaker.line(time, "10.7.7.7", "GET /v2/acme/skewed/manifests/1")
        for time in (logmaker.BEGIN.replace(year=2099), logmaker.BEGIN.replace(year=1970))
    )
    (tmp_path / "x.log").write_bytes(log[:at] + skewed + log[at:])
    (tmp_path / "y.log").write_bytes(log)
    written = (logmaker.BEGIN + timedelta(days=1)).timestamp()
    for name in ("x.log", "y.log"):
        os.utime(tmp_path / name, (written, written))
    told = read(tmp_path / "lake", tmp_path / "x.log", pace=SMALL)
    assert told.skewed == {skew.AHEAD: 1, skew.EARLY: 1}
    assert "/2099:" in told.examples[skew.AHEAD]
    assert "/1970:" in told.examples[skew.EARLY]
    assert read(tmp_path / "plain", tmp_path / "y.log", pace=SMALL).skewed == {}
    skewed_pulls = [row for row in content(tmp_path / "lake") if "acme/skewed" in row]
    others = [row for row in content(tmp_path / "lake") if "acme/skewed" not in row]
    assert len(skewed_pulls) == 2
    assert others == content(tmp_path / "plain")


def test_a_poller_is_counted_in_pieces(tmp_path: Path) -> None:
    """A session that never pauses would otherwise hold progress back for ever."""
    (tmp_path / "x.log").write_bytes(logmaker.log(3))
    read(tmp_path / "lake", tmp_path / "x.log", pace=SMALL)
    rows = Lake.open(tmp_path / "lake").read("pulls", pl.col("repository") == "acme/polled")
    assert len(rows) == 3
    assert all(row["until"] - row["timestamp"] <= timedelta(hours=1) for row in rows.iter_rows(named=True))


def test_files_of_one_source_may_differ_in_format(tmp_path: Path) -> None:
    """The format of the file beside it is only a first guess."""
    (tmp_path / "a.log").write_bytes(logmaker.log(1, pulls=5))
    (tmp_path / "b.log").write_bytes((SAMPLES / "distribution-json.log").read_bytes())
    (tmp_path / "c.log").write_bytes(logmaker.log(2, pulls=5))
    result = read(tmp_path / "lake", tmp_path)
    assert [report.format for report in result.files] == ["combined", "distribution", "combined"]


def test_a_log_whose_format_was_changed_is_read_to_its_end(tmp_path: Path) -> None:
    """In whatever pieces: what the first format cannot read may be of another."""
    early, late = logmaker.log(1, pulls=5), b"".join(_as_json(number) for number in range(40))
    first = read(tmp_path / "first", _written(tmp_path / "first.log", early)).accesses
    both = _written(tmp_path / "both.log", early + late)
    told = read(tmp_path / "whole", both)
    assert (told.accesses, told.malformed) == (first + 40, 0)
    assert read(tmp_path / "small", both, pace=SMALL).accesses == first + 40
    assert content(tmp_path / "whole") == content(tmp_path / "small")
    named = read(tmp_path / "named", both, format="combined")
    assert (named.accesses, named.malformed) == (first, 40)


def test_a_log_may_begin_long_before_its_first_request(tmp_path: Path) -> None:
    """Its format is looked for further on where the first lines are of none."""
    noise = b"2026/11/24 08:00:00 [notice] 1#1: start worker process\n" * 3000
    log = _written(tmp_path / "late.log", noise + logmaker.log(1, pulls=5) * 2)
    assert read(tmp_path / "lake", log).malformed == 3000
    with pytest.raises(UnknownFormat, match="none fits"):
        read(tmp_path / "lake", _written(tmp_path / "noise.log", noise))


def _as_json(number: int) -> bytes:
    request = f'"request_method":"GET","request_uri":"/v2/acme/late/manifests/{number}"'
    at = f'"time_iso8601":"2026-11-25T08:15:{number:02d}Z"'
    return f'{{{at},"remote_addr":"10.9.0.{number}",{request},"status":200}}\n'.encode()


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("stamp", ["31/Dec/9999:23:59:59 -1200", "31/Dec/9999:23:59:59 +0000"])
def test_a_time_that_no_calendar_has_spoils_no_lake(tmp_path: Path, stamp: str) -> None:
    """The line is malformed; its pull would stand in a partition that nothing can read."""
    line = logmaker.line(logmaker.BEGIN, "10.7.7.7", "GET /v2/acme/skewed/manifests/1")
    log = logmaker.log(1, pulls=5)
    (tmp_path / "x.log").write_bytes(log + line.replace(b"23/Nov/2026:07:00:00 +0000", stamp.encode()))
    (tmp_path / "y.log").write_bytes(log)
    skewed, plain = (read(tmp_path / f"{name}lake", tmp_path / f"{name}.log") for name in "xy")
    assert skewed.malformed_reasons.pop("a year that no calendar has") == 1
    assert skewed.malformed_reasons == plain.malformed_reasons
    assert content(tmp_path / "xlake") == content(tmp_path / "ylake")


# ------------------------------------------------------------------ killed


class Mortal(Lake):
    """A lake whose process is killed at its n-th commit, before or after it."""

    def __init__(self, root: str, commits: int, after: bool) -> None:
        super().__init__(root)
        object.__setattr__(self, "left", [commits])
        object.__setattr__(self, "after", after)

    def commit(self, table: str, decide: Callable[[Snapshot], Change | None]) -> bool:
        left: list[int] = self.left  # type: ignore[attr-defined]
        left[0] -= 1
        if left[0] == 0 and not self.after:  # type: ignore[attr-defined]
            os.kill(os.getpid(), signal.SIGKILL)
        done = super().commit(table, decide)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done


def die_while_reading(lake: str, path: str, commits: str, after: str) -> None:
    """The child of the test below."""
    ingest(Mortal(lake, int(commits), after == "after"), [Source(paths=(path,))], pace=SMALL)


@pytest.mark.parametrize("after", ["before", "after"])
@pytest.mark.parametrize("commits", [(1, 2, 3), (5, 1, 9)])
def test_killed_at_any_commit_the_lake_ends_the_same(
    tmp_path: Path, commits: tuple[int, ...], after: str
) -> None:
    """SIGKILL between two commits, between pushes and pulls, three times over; then undisturbed."""
    path = tmp_path / "x.log"
    path.write_bytes(logmaker.log(5))
    read(tmp_path / "whole", path)
    code = "import sys; from tests.pipeline.logs.test_ingest import die_while_reading as f; f(*sys.argv[1:])"
    for count in commits:
        command = [sys.executable, "-c", code, str(tmp_path / "lake"), str(path), str(count), after]
        died = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, timeout=60)
        assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    read(tmp_path / "lake", path, pace=SMALL)
    assert content(tmp_path / "lake", "file") == content(tmp_path / "whole", "file")
    assert pushed(tmp_path / "lake") == pushed(tmp_path / "whole")


def test_a_rival_reading_the_same_file_is_noticed(tmp_path: Path) -> None:
    """Two processes cannot both count the same lines: the slower one stops, and nothing is doubled."""
    path = tmp_path / "x.log"
    path.write_bytes(logmaker.log(1))
    rivals = [1]

    class Raced(Lake):
        def commit(self, table: str, decide: Callable[[Snapshot], Change | None]) -> bool:
            if rivals.pop() if rivals else 0:
                read(tmp_path / "lake", path)
            return super().commit(table, decide)

    with pytest.raises(LakeError, match=r"being read into .* by another process"):
        ingest(Raced(str(tmp_path / "lake")), [Source(paths=(str(path),))])
    read(tmp_path / "whole", path)
    assert content(tmp_path / "lake") == content(tmp_path / "whole")


# ------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("name", "data", "error", "why"),
    [
        ("empty.log", b"", UnreadableInput, "empty.log is empty: nothing to read"),
        ("prose.log", b"the quick brown fox\n" * 50, UnknownFormat, "prose.log: no known format"),
        ("single.log", b"x" * 100_000, UnknownFormat, "single.log: no known format"),
        ("wide.log", "x\n".encode("utf-16"), UnreadableInput, "wide.log is UTF-16"),
        ("bad.gz", b"\x1f\x8b\x08garbage", UnreadableInput, "bad.gz cannot be decompressed"),
    ],
)
def test_what_cannot_be_read_is_refused_and_nothing_written(
    tmp_path: Path, name: str, data: bytes, error: type[Exception], why: str
) -> None:
    """One line, and not even the lake's folder."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(error, match=why) as caught:
        read(tmp_path / "lake", tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "lake").exists()


def test_a_missing_path_is_refused_even_beside_good_ones(tmp_path: Path) -> None:
    """What was named must be there; the good file is not read either, so nothing is half done."""
    (tmp_path / "x.log").write_bytes(logmaker.log(1, pulls=5))
    with pytest.raises(UnreadableInput, match="does not exist"):
        read(tmp_path / "lake", tmp_path / "x.log", tmp_path / "y.log")
    assert not (tmp_path / "lake").exists()


def test_a_stranger_in_a_folder_is_skipped_with_a_warning(tmp_path: Path) -> None:
    """A folder may hold other things; what was found in it is not what was asked for by name."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "x.log").write_bytes(logmaker.log(1, pulls=5))
    (tmp_path / "logs" / "README").write_text("the logs of the mirror\n" * 20)
    (tmp_path / "logs" / "new.log").touch()
    result = read(tmp_path / "lake", tmp_path / "logs")
    assert result.pulls > 0
    assert sorted(warning.split("/")[-1].split(":")[0] for warning in result.warnings) == [
        "README",
        "new.log is empty",
    ]


def test_unknown_format_names_are_refused(tmp_path: Path) -> None:
    """The known ones are listed."""
    (tmp_path / "x.log").write_bytes(logmaker.log(1, pulls=5))
    with pytest.raises(UnknownName, match=r"known: .*combined.*distribution"):
        read(tmp_path / "lake", tmp_path / "x.log", format="nginxx")


def test_a_rewrite_that_makes_no_name_is_refused(tmp_path: Path) -> None:
    """Before anything is read."""
    (tmp_path / "x.log").write_bytes(logmaker.log(1, pulls=5))
    with pytest.raises(SettingsError, match="makes no image name"):
        read(tmp_path / "lake", tmp_path / "x.log", rewrite={"a/": "Not A Name/"})


def test_one_bad_source_among_several_is_a_warning(tmp_path: Path) -> None:
    """A mirror whose log is missing tonight does not stop the others."""
    (tmp_path / "x.log").write_bytes(logmaker.log(1, pulls=5))
    sources = [Source("a", (str(tmp_path / "no.log"),)), Source("b", (str(tmp_path / "x.log"),))]
    result = ingest(Lake.open(tmp_path / "lake"), sources)
    assert result.pulls > 0
    assert "no.log does not exist" in result.warnings[0]


def test_damage_in_the_middle_keeps_what_was_read(tmp_path: Path) -> None:
    """A truncated gzip is read as far as it goes, and says so."""
    packed = gzip.compress(logmaker.log(1))
    (tmp_path / "x.log.gz").write_bytes(packed[: len(packed) // 2])
    result = read(tmp_path / "lake", tmp_path / "x.log.gz")
    assert result.pulls > 0
    assert "is damaged after" in result.warnings[0]


def _line_starts(log: bytes, pieces: int) -> list[int]:
    """Where to cut a log into about `pieces` whole-line pieces."""
    return [log.index(b"\n", len(log) * n // pieces) + 1 for n in range(1, pieces)]
