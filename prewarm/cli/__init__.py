"""The command line: parse, call the pipeline, render. Data on stdout, progress and errors on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import click

from prewarm.cli import options, output
from prewarm.cli.advise import advise
from prewarm.cli.assess import assess
from prewarm.cli.caches import caches, formats, models
from prewarm.cli.demo import demo
from prewarm.cli.forecast import forecast, rank
from prewarm.cli.ingest import ingest, pulls
from prewarm.cli.pause import pause, resume
from prewarm.cli.replay import replay
from prewarm.cli.report import report
from prewarm.cli.run import plan, run
from prewarm.cli.schedules import schedules
from prewarm.cli.scorecard import scorecard
from prewarm.cli.serve import serve
from prewarm.cli.sources import sources
from prewarm.cli.upkeep import prune, refresh


class _Verbs(click.Group):
    """A group for which a reader that went away (`| head`) is the end and no error; click exits with 1."""

    def make_context(self, *given: Any, **more: Any) -> click.Context:
        with _readers_may_leave():  # --help and --version are answered in here
            return super().make_context(*given, **more)

    def invoke(self, ctx: click.Context) -> Any:
        with _readers_may_leave():
            code = super().invoke(ctx)
            sys.stdout.flush()
            return code


@contextmanager
def _readers_may_leave() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        output.discard()
        raise click.exceptions.Exit(0) from None


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("prewarm"), prog_name="prewarm", message="%(prog)s %(version)s")
@options.shared
@options.as_json
@click.pass_context
def cli(context: click.Context, /, **given: object) -> None:
    """Has the images that each site pulls in its cache before anyone asks.

    \b
    prewarm ingest /var/log/registry/*.log    logs become pulls in ./lake
    prewarm rank --top 10                     what will be pulled in the coming hour
    prewarm run --cache office --top 20       warm it
    """
    # What stands before the verb is the verb's, unless it says otherwise.
    said = {name: value for name, value in given.items() if value}
    context.default_map = dict.fromkeys(cli.commands, said)


_READ = (ingest, pulls, forecast, rank, scorecard)
_WARM = (plan, run, refresh, prune, pause, resume)
_TOLD = (assess, report, advise, replay)
for verb in (*_READ, *_WARM, *_TOLD, caches, sources, schedules, formats, models, serve, demo):
    cli.add_command(verb)
