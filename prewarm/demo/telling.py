"""The story's words and tables, on a console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prewarm.demo.mornings import BIGGER, FOUR, LONGER, NOBODY, ORACLE, OURS, WEEKLY, Comparison, Conditions
from prewarm.insight.replay import Cause, Result

BARS = " ▁▂▃▄▅▆▇█"

REMEDIES = {
    Cause.NEVER_SEEN: "nothing can",
    Cause.FRESH_PUSH: "replication on push can",
    Cause.TAG_MOVED: "a warm run can",
    Cause.TTL_LAPSED: "a warm run or a longer expiry can",
    Cause.EVICTED: "a warm run or a bigger disk can",
}
"""What removes misses of each cause."""


def opening(console: Console) -> None:
    """What this is, before anything else."""
    console.print()
    console.print(
        Text.assemble(
            ("prewarm demo", "bold"),
            "  on SYNTHETIC data: six weeks of offices that never existed, their logs written by a generator",
        )
    )


def section(console: Console, number: int, title: str, note: str = "") -> None:
    """A numbered heading, with a dim remark."""
    console.print()
    console.print(Text.assemble((f"{number}  {title}", "bold"), (f"   {note}" if note else "", "dim")))


def say(console: Console, words: str, style: str = "") -> None:
    """One indented line."""
    console.print(Text(f"   {words}", style=style))


def table(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> None:
    """An aligned table; the first `left` columns hold words, the others numbers."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="left" if number < left else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    grid = Table.grid()
    grid.add_column(width=3)
    grid.add_column()
    grid.add_row("", drawn)
    console.print(grid)


def rhythm(console: Console, hours: Mapping[str, Sequence[float]]) -> None:
    """Mean pulls per hour of a working day, one line a site, each on its own clock."""
    width = max(len(site) for site in hours)
    scale = "".join(f"{hour:02d}    " for hour in range(0, 24, 3))
    say(console, f"{'':{width}}  {scale}", "dim")
    for site, means in hours.items():
        peak = max(range(24), key=means.__getitem__)
        console.print(
            Text.assemble(
                f"   {site:{width}}  ",
                ("".join(2 * _bar(mean, max(means)) for mean in means), "cyan"),
                (f"  busiest at {peak:02d}:00 with {means[peak]:.0f} pulls", "dim"),
            )
        )


def ranking(console: Console, top: Sequence[tuple[str, float, float]]) -> None:
    """(name, expected pulls, probability of any), best first."""
    width = max((len(name) for name, _, _ in top), default=0)
    most = max((mean for _, mean, _ in top), default=1.0)
    for place, (name, mean, probability) in enumerate(top, start=1):
        bar = "█" * round(24 * mean / most)
        console.print(
            Text.assemble(
                f"  {place:2d}  {name:{width}}  {mean:6.1f}  ",
                (f"{bar:24}", "cyan"),
                (f"  P {probability:.2f}", "dim"),
            )
        )


def rivals(console: Console, comparison: Comparison, conditions: Conditions) -> None:
    """The table of policies, the causes of what remained, and the verdict."""
    mornings = len(comparison.days)
    rows = [
        _policy(name, comparison.results[name], mornings) for name in (NOBODY, FOUR, WEEKLY, OURS, ORACLE)
    ]
    rows += [
        _policy(name, comparison.fixes[name], mornings)
        for name in (LONGER, BIGGER)
        if name in comparison.fixes
    ]
    table(console, ("warmed by", "served warm", "cold", "waited", "warmed", "wasted", "upstream"), rows)
    _causes(console, comparison)
    answer, reason = comparison.verdict.answer, comparison.verdict.reason
    console.print(Text.assemble("   ", (f"{answer}", "bold"), f": {reason} a morning"))


def _policy(name: str, result: Result, mornings: int) -> tuple[str, ...]:
    return (
        name,
        f"{result.hit_ratio:.1%}",
        f"{result.missed}",
        f"{result.seconds / max(mornings, 1):.1f} s",
        size(result.warmed_bytes) if result.warmed_bytes else "–",
        size(result.wasted_bytes) if result.warmed_bytes else "–",
        size(result.upstream_bytes),
    )


def _causes(console: Console, comparison: Comparison) -> None:
    """Cold pulls by cause: without us, with us, and what removes them."""
    nobody, ours = comparison.results[NOBODY].misses, comparison.results[OURS].misses
    rows = [
        (str(cause), REMEDIES[cause], str(nobody.get(cause, 0)), str(ours.get(cause, 0)))
        for cause in Cause
        if nobody.get(cause) or ours.get(cause)
    ]
    if rows:
        table(console, ("cold because", "what removes it", "nobody", "prewarm"), rows, left=2)


def size(count: float) -> str:
    """`1.2 GB`, by powers of a thousand."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def clock(time: datetime, timezone: str) -> str:
    """`Tue 17 Nov 08:00`, on the site's clock."""
    return time.astimezone(ZoneInfo(timezone)).strftime("%a %d %b %H:%M")


def _bar(value: float, most: float) -> str:
    return BARS[-(-int(value * 8_000) // max(int(most * 1_000), 1))] if most else BARS[0]
