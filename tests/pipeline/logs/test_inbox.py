"""The inbox: what is acknowledged is safe, and moves on once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from prewarm.errors import Full, LakeError
from prewarm.logs.deliveries import Record
from prewarm.pipeline.logs.inbox import Inbox, Receipt
from tests.past import NOW


@contextmanager
def opened(folder: Path, limit: int = 1 << 20) -> Iterator[Inbox]:
    inbox = Inbox(folder, limit)
    try:
        yield inbox
    finally:
        inbox.close()


def event(number: int) -> Record:
    return Record("distribution", json.dumps({"n": number}).encode(), number)


def spooled(inbox: Inbox) -> list[int]:
    """What the spools hold, in order."""
    return [
        json.loads(line)["n"] for spool in inbox.spools() for line in spool.path.read_bytes().splitlines()
    ]


def test_what_is_accepted_is_spooled_once(tmp_path: Path) -> None:
    """In order, a spool for each source and kind; known ids are acknowledged and not kept again."""
    with opened(tmp_path) as inbox:
        first = inbox.accept("mirror", [event(1), event(2)]).result(60)
        second = inbox.accept("mirror", [event(2), event(3), event(3)]).result(60)
        inbox.accept("a/b", [Record("lines", b'{"n":9}')]).result(60)
        waited = inbox.waiting
        inbox.move(NOW)
        again = inbox.move(NOW)

        assert (first, second) == (Receipt(2, 0), Receipt(1, 2))
        assert [(each.source, each.kind) for each in inbox.spools()] == [
            ("a/b", "lines"),
            ("mirror", "distribution"),
        ]
        assert spooled(inbox) == [9, 1, 2, 3]
        assert again == 0
        assert waited == inbox.waiting > 0
        inbox.was_read()
        assert inbox.waiting == 0


def test_who_may_speak_of_some_sites_has_spools_of_its_own(tmp_path: Path) -> None:
    """Also after another process took over, and whatever is in a name."""
    bound = frozenset({"a@b,c/d", *(f"office-{n:03}" for n in range(100))})
    with opened(tmp_path) as inbox:
        inbox.accept("a/b", [event(1)], bound).result(60)
        inbox.accept("a/b", [event(2)]).result(60)
    with opened(tmp_path) as inbox:
        inbox.move(NOW)
        told = {each.sites: each.path.read_bytes() for each in inbox.spools() if each.source == "a/b"}
    assert [json.loads(told[sites])["n"] for sites in (bound, None)] == [1, 2]


def test_what_was_acknowledged_outlives_the_process(tmp_path: Path) -> None:
    """Another one finds it, and knows what is delivered again, moved or not."""
    with opened(tmp_path) as inbox:
        inbox.accept("mirror", [event(1)]).result(60)
        inbox.move(NOW)
        inbox.accept("mirror", [event(2)]).result(60)

    with opened(tmp_path) as inbox:
        receipt = inbox.accept("mirror", [event(1), event(2), event(3)]).result(60)
        inbox.move(NOW)

        assert receipt == Receipt(1, 2)
        assert spooled(inbox) == [1, 2, 3]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_frame_that_a_kill_has_torn_is_not_read(tmp_path: Path, cut: int) -> None:
    """It was never acknowledged: delivered again, it is new."""
    with opened(tmp_path) as inbox:
        inbox.accept("mirror", [event(1)]).result(60)
        inbox.accept("mirror", [event(2)]).result(60)
    (segment,) = (tmp_path / "log").iterdir()
    segment.write_bytes(segment.read_bytes()[:-cut])

    with opened(tmp_path) as inbox:
        receipt = inbox.accept("mirror", [event(1), event(2)]).result(60)
        inbox.move(NOW)

        assert receipt == Receipt(1, 1)
        assert spooled(inbox) == [1, 2]


def test_a_segment_that_a_kill_left_half_moved_is_moved_again(tmp_path: Path) -> None:
    """The spool is cut to what it was before, so that no line is there twice."""
    with opened(tmp_path) as inbox:
        inbox.accept("mirror", [event(1)]).result(60)
        inbox.move(NOW)
        inbox.accept("mirror", [event(2), event(3)]).result(60)
    name = "mirror/distribution/000000.ndjson"
    size = (tmp_path / "spool" / name).stat().st_size
    (segment,) = (tmp_path / "log").iterdir()
    (tmp_path / "moving.json").write_text(json.dumps({"segment": segment.name, "spools": {name: size}}))
    with (tmp_path / "spool" / name).open("ab") as spool:
        spool.write(b'{"n":2}\n{"n')

    with opened(tmp_path) as inbox:
        inbox.move(NOW)

        assert spooled(inbox) == [1, 2, 3]
    assert not (tmp_path / "moving.json").exists()


def test_a_move_that_was_finished_is_not_done_again(tmp_path: Path) -> None:
    """The kill came between the last two steps."""
    with opened(tmp_path) as inbox:
        inbox.accept("mirror", [event(1)]).result(60)
        inbox.move(NOW)
    intent = {"segment": "000000000001", "spools": {"mirror/distribution/000000.ndjson": 0}}
    (tmp_path / "moving.json").write_text(json.dumps(intent))

    with opened(tmp_path) as inbox:
        assert spooled(inbox) == [1]


def test_too_much_is_refused(tmp_path: Path) -> None:
    """Until the lake has taken some of it."""
    with opened(tmp_path, limit=100) as inbox:
        inbox.accept("mirror", [Record("lines", b"x" * 90)]).result(60)
        with pytest.raises(Full, match="send this again later"):
            inbox.accept("mirror", [Record("lines", b"x" * 20)])
        inbox.move(NOW)
        with pytest.raises(Full):
            inbox.accept("mirror", [Record("lines", b"x" * 20)])
        inbox.was_read()
        assert inbox.accept("mirror", [Record("lines", b"x" * 20)]).result(60) == Receipt(1, 0)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    """The lock goes with its holder."""
    with opened(tmp_path), pytest.raises(LakeError, match="another service takes this lake's deliveries"):
        Inbox(tmp_path)
    with opened(tmp_path):
        pass


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    """Nothing is acknowledged, and the id is not taken for known."""
    with opened(tmp_path) as inbox:
        shutil.rmtree(tmp_path / "log")
        with pytest.raises(LakeError, match="nothing was taken"):
            inbox.accept("mirror", [event(1)]).result(60)
        (tmp_path / "log").mkdir()
        assert inbox.accept("mirror", [event(1)]).result(60) == Receipt(1, 0)


def test_what_was_moved_long_ago_is_forgotten(tmp_path: Path) -> None:
    """Disk and memory are bounded by the hour."""
    with opened(tmp_path) as inbox:
        inbox.accept("mirror", [event(1)]).result(60)
        inbox.move(NOW)
        inbox.move(NOW + timedelta(hours=2))

    assert not list((tmp_path / "done").iterdir())
