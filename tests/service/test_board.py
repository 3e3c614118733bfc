"""The board: fresh when the lake is, and standing while the lake is in trouble."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from prewarm.errors import LakeError, NotEnoughHistory
from prewarm.lake import Lake
from prewarm.service.app import create_app
from prewarm.service.board import KEPT, Board
from prewarm.settings import load
from tests.past import NOW, lake_with
from tests.service.conftest import A, B, opened

BORN = {"registry": "docker.io", "repository": "acme/api", "tag": "new"}


@pytest.fixture
def board(tmp_path: Path) -> Board:
    lake_with(tmp_path, A)
    found = Board(load(lake=str(tmp_path / "lake")), lambda: NOW)
    found.look(NOW)
    return found


def test_the_same_lake_in_the_same_hour_is_not_looked_at_twice(board: Board) -> None:
    """Answers stay with what they were made of."""
    before = board.read()
    board.look(NOW + timedelta(minutes=5))
    assert board.read() is before


def test_a_push_alone_is_shown(board: Board, tmp_path: Path) -> None:
    """It ranks a tag that nobody has pulled yet: that cannot wait for the next pull or hour."""
    pushed = {"timestamp": NOW - timedelta(minutes=5), "site": "default", **BORN}
    Lake.open(tmp_path / "lake").append("pushes", pl.DataFrame([pushed]))
    board.look(NOW)
    assert board.read().overview.views["default"].outlook.newborns.images == ("docker.io/acme/api:new",)


def test_new_pulls_and_new_hours_are_shown(board: Board, tmp_path: Path) -> None:
    """A commit, or the turn of an hour, replaces what stands there."""
    before = board.read()
    lake_with(tmp_path, B)
    board.look(NOW)
    after = board.read()
    assert after.overview.views["default"].grid.images == (A, B)
    board.look(NOW + timedelta(hours=1))
    assert board.read() is not after
    assert before.overview.views["default"].grid.images == (A,)


def test_a_lake_in_trouble_leaves_what_stands(board: Board, tmp_path: Path) -> None:
    """Readers keep the last overview; the trouble is told, and passes."""
    before, log = board.read(), tmp_path / "lake" / "pulls" / "_delta_log"
    kept = {each: each.read_bytes() for each in log.iterdir()}
    for each in kept:
        each.write_bytes(b"no JSON")
    board.look(NOW + timedelta(hours=1))
    assert isinstance(board.trouble, LakeError)
    assert board.read() is before

    for each, content in kept.items():
        each.write_bytes(content)
    board.look(NOW + timedelta(hours=1))
    assert board.trouble is None


class Panic(datetime):
    """A moment that cannot be reckoned with."""

    def replace(self, *_: object, **__: object) -> Panic:
        raise pl.exceptions.PanicException("out of bounds")


PANIC = Panic(2026, 11, 24)


@pytest.mark.parametrize("moment", [NOW.replace(tzinfo=None), PANIC], ids=["without a zone", "panic"])
def test_a_defect_is_trouble_as_any_other(
    board: Board, caplog: pytest.LogCaptureFixture, moment: datetime
) -> None:
    """It ends no looking: what stands stays, metrics and readers are told, and the log has the trace.

    A panic of Polars is a defect, too, though Python does not count it among the exceptions.
    """
    before, empty = board.read(), Board(board.settings, board.now)
    for each in (board, empty):
        each.look(moment)

    assert board.read() is before
    assert isinstance(board.trouble, LakeError)
    with pytest.raises(LakeError, match="log"):
        empty.read()
    assert "Traceback" in caplog.text

    board.look(NOW)
    assert board.trouble is None


def test_an_empty_board_says_why(tmp_path: Path) -> None:
    """First that nobody has looked yet, then that there is nothing to see."""
    board = Board(load(lake=str(tmp_path / "lake")), lambda: NOW)
    with pytest.raises(LakeError, match="ask again"):
        board.read()
    board.look(NOW)
    with pytest.raises(NotEnoughHistory, match="prewarm ingest"):
        board.read()


def test_an_answer_is_made_once(board: Board) -> None:
    """The second asker gets the first one's bytes."""
    held = board.read()
    assert held.answer("q", lambda: b"first") == b"first"
    assert held.answer("q", lambda: b"second") == b"first"


def test_no_more_answers_are_kept_than_fit(board: Board) -> None:
    """Whoever asks for ever other things fills no memory; what was asked last is kept."""
    held = board.read()
    for question in range(2 * KEPT):
        held.answer(question, lambda: b"body")
    assert list(held.answers) == list(range(KEPT, 2 * KEPT))


def test_a_service_becomes_ready_when_pulls_arrive(tmp_path: Path) -> None:
    """Not ready says what is missing and when to ask again; nothing needs a restart."""
    app = create_app(load(lake=str(tmp_path / "lake")), lambda: NOW)
    with opened(app) as client:
        empty = client.get("/readyz")
        lake_with(tmp_path, A)
        app.state.board.look(NOW)
        ready = client.get("/readyz")

    assert empty.status_code == 503
    assert "prewarm ingest" in empty.json()["detail"]
    assert empty.headers["retry-after"] == "5"
    assert ready.status_code == 200
