"""Small files, replaced whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from prewarm.pipeline.durable import replace_file


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """A shorter content leaves nothing of the longer one, nor a part beside it."""
    path = tmp_path / "paused.json"
    for content in (b"a longer one", b"short"):
        replace_file(path, content)

    assert path.read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_meanwhile_has_the_old_one(tmp_path: Path) -> None:
    """What was opened before stays as it was, so that nobody sees half of each."""
    path = tmp_path / "paused.json"
    replace_file(path, b"old")
    with path.open("rb") as reader:
        replace_file(path, b"new")

        assert reader.read() == b"old"


def test_what_the_file_system_refuses_leaves_the_old_one(tmp_path: Path) -> None:
    """Here a folder stands where the part would be written."""
    path = tmp_path / "paused.json"
    replace_file(path, b"old")
    (tmp_path / "paused.new").mkdir()

    with pytest.raises(IsADirectoryError):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"
