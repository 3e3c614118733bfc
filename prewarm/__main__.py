"""`prewarm` and `python -m prewarm`: the one place that turns errors into exit codes."""

from __future__ import annotations

import gc
import os
import sys

import click

from prewarm.errors import PrewarmError, hide_secrets

ALLOCATOR = "narenas:1,oversize_threshold:0"
"""Of Polars (jemalloc, "TUNING"): one pool for all threads."""

KEEPING = "dirty_decay_ms:30000"
"""Its free pages are kept for half a minute."""

READERS = {"ingest", "assess", "demo"}
"""Verbs whose time goes into reading logs."""

DONE, REFUSED, USAGE, PARTLY, INTERRUPTED = 0, 1, 2, 3, 130


def main() -> None:
    """Run the command line. Exit 0 done, 1 refused (one line says why), 2 usage, 3 partly done."""
    # Imports make many objects that stay: looking through them again and again, and once more at the end,
    # is a fifth of a short verb's time.
    gc.set_threshold(20_000, 20, 100)
    # It counts only before Polars is imported.
    os.environ.setdefault("_RJEM_MALLOC_CONF", allocator(sys.argv[1:]))
    # numpy's linear algebra would start a thread for every core, which costs more than it ever does for us.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    code = run(sys.argv[1:])
    gc.freeze()
    sys.exit(code)


def allocator(arguments: list[str]) -> str:
    """How Polars is to hold memory for `prewarm` called with `arguments`.

    A log is frame after frame of one size: to give their pages back and ask for them again is an eighth of
    the time of reading it. Other verbs would hold tens of megabytes for nothing.
    """
    return ALLOCATOR if READERS.isdisjoint(arguments) else f"{ALLOCATOR},{KEEPING}"


def run(arguments: list[str]) -> int:
    """The exit code of `prewarm` called with `arguments`."""
    from prewarm.cli import cli, output

    try:
        code = cli.main(arguments, prog_name="prewarm", standalone_mode=False)
        return code if isinstance(code, int) else DONE
    except click.UsageError as wrong:
        command = wrong.ctx.command_path if wrong.ctx else "prewarm"
        words = " ".join(wrong.format_message().split())  # click lists the choices of an argument in lines
        click.echo(f"prewarm: {hide_secrets(words)} (see {command} --help)", err=True)
        return USAGE
    except click.ClickException as refused:
        refused.show()
        return REFUSED
    except PrewarmError as refused:
        click.echo(f"prewarm: {hide_secrets(str(refused))}", err=True)
        return REFUSED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except OSError as refused:
        # The machine's own refusals, such as a full disk behind `> file`.
        where = f"{refused.filename}: " if refused.filename else ""
        click.echo(f"prewarm: {where}{refused.strerror or refused}", err=True)
        output.discard()
        return REFUSED


if __name__ == "__main__":
    main()
