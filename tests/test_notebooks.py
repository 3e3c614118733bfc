"""Every notebook runs on a small generated lake, holds no output, and reads as a document."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from prewarm.lake import Lake
from tests.demand.samples import after, pull, table

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """A notebook in the current format."""
    book: NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return book


def lake(folder: Path) -> str:
    """Three weeks: a morning image, a nightly one, and a build tag that is new every day."""
    rows = [
        pull(after(day, hour, minute), tag)
        for day in range(21)
        for hour, tag, count in ((8, "morning", 6), (1, "night", 3), (15, f"build-{day}", 2))
        for minute in range(count)
    ]
    Lake.open(folder / "lake").append("pulls", table(*rows))
    return str(folder / "lake")


def with_parameter(book: NotebookNode, path: str) -> NotebookNode:
    """The notebook over another lake: its one assignment of `lake_path` is replaced."""
    (cell,) = [cell for cell in book.cells if 'lake_path = "./lake"' in cell.source]
    cell.source = cell.source.replace('"./lake"', repr(path))
    return book


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    """On a lake it has never seen, without an error, with a picture at the end."""
    book = with_parameter(read(path), lake(tmp_path))
    NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in book.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert "image/png" in outputs[-1].data


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_without_output(path: Path) -> None:
    """Output is the reader's own data; it is stripped."""
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_holds_no_logic(path: Path) -> None:
    """It imports prewarm and nothing else, and defines nothing: logic lives where it is tested."""
    code = [cell.source for cell in read(path).cells if cell.cell_type == "code"]
    lines = [line.strip() for source in code for line in source.splitlines()]
    assert {line for line in lines if line.startswith(("import ", "from "))} == {"import prewarm"}
    assert not [line for line in lines if line.startswith(("def ", "class ", "for "))]


def test_there_are_notebooks() -> None:
    """An empty folder would let every test above pass."""
    assert NOTEBOOKS
