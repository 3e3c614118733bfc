"""What the documents say must be true: links lead somewhere, settings load, commands and flags exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from prewarm.cli import cli
from prewarm.settings import load

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "deploy" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HOW_TO = [ROOT / "README.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
COMMANDS = [
    (page, line) for page in HOW_TO for line in re.findall(r"^ {4}(prewarm .*)$", page.read_text(), re.M)
]


def name(value: object) -> str | None:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file of the project."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", HOW_TO, ids=name)
def test_settings_can_be_loaded(page: Path, tmp_path: Path) -> None:
    """Each TOML block is a valid file, alone or with the cache that its page refers to."""
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), flags=re.S):
        table = tomllib.loads(block.replace('"…"', f'"{"0" * 64}"'))
        if "schedules" in table:
            block += '\n[caches.office]\ndriver = "layout"\npath = "oci"\n'
        (tmp_path / "prewarm.toml").write_text(block.replace('"…"', f'"{"0" * 64}"'))
        load(tmp_path / "prewarm.toml")


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=name)
def test_commands_can_be_typed(page: Path, line: str) -> None:
    """Each verb, flag and value is one that the program takes."""
    verb, *arguments = shlex.split(line.partition("  #")[0])[1:]
    command = cli.commands[verb]

    command.make_context(verb, [word for word in arguments if word != "\\"], parent=click.Context(cli))
