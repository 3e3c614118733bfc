"""The story's words and tables, on a console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from prewarm.demo.mornings import NOBODY, OURS, WEEKLY, Comparison, Conditions
from prewarm.insight.costs import Cost
from prewarm.insight.reasons import REMEDIES, Cause
from prewarm.insight.replay import Result

BARS = " ▁▂▃▄▅▆▇█"


def opening(console: Console) -> None:
    """What this is, before anything else."""
    console.print()
    console.print(Text.assemble(("prewarm demo", "bold"), " on SYNTHETIC data"))
    say(
        console,
        "Six weeks of offices that never were, as mirrors would have logged them.",
        "dim",
    )


def section(console: Console, number: int, title: str, note: str) -> None:
    """A numbered heading, and a dim line that says what is shown."""
    console.print()
    console.print(Text.assemble((f"{number}  ", "dim"), (title, "bold")))
    say(console, note, "dim")
    console.print()


def say(console: Console, words: str | Text, style: str = "", indent: int = 3) -> None:
    """A line that stays indented where it has to be folded."""
    text = Text(words, style=style) if isinstance(words, str) else words
    console.print(Padding(text, (0, 0, 0, indent), expand=False))


def table(
    console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()
) -> None:
    """An aligned, indented table; columns named in `right` hold numbers."""
    drawn = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim"
    )
    for column in columns:
        first = column == columns[0]
        drawn.add_column(
            column, justify="right" if column in right else "left", no_wrap=first, overflow="fold"
        )
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(Padding(drawn, (0, 0, 0, 3), expand=False))


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
                (f"  {means[peak]:.0f} at {peak:02d}:00", "dim"),
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


def rivals(console: Console, comparison: Comparison, cost: Cost) -> None:
    """The table of policies, the causes of what remained, and the verdict."""
    mornings = len(comparison.days)
    rows = [_policy(name, result, mornings) for name, result in comparison.results.items()]
    rows += [_policy(name, result, mornings) for name, result in comparison.fixes.items()]
    columns = ("warmed by", "served warm", "cold", "waited", "warmed", "wasted", "upstream")
    table(console, columns, rows, right=columns[1:])
    milliseconds, megabits = cost.round_trip * 1000, cost.bandwidth * 8 / 1e6
    model = f"{milliseconds:.0f} ms a request, {megabits:.0f} Mbit/s upstream"
    say(console, f"waited: by all clients, a morning, modelled with {model}", "dim")
    console.print()
    _causes(console, comparison)
    console.print()
    _verdict(console, comparison, 3)
    ahead, behind = _mornings(comparison.results[OURS], comparison.results[WEEKLY])
    say(
        console,
        f"Against a weekly list, prewarm waited less on {ahead} of {mornings} mornings, more on {behind}.",
    )


def verdicts(console: Console, comparisons: Sequence[Comparison]) -> None:
    """One site after the other: how warm it is without us, and what follows."""
    width = max(len(comparison.site) for comparison in comparisons)
    for comparison in comparisons:
        served = comparison.results[NOBODY].hit_ratio
        say(console, f"{comparison.site:{width}}  a warm LRU served {served:.1%} of the mornings' pulls")
        _verdict(console, comparison, 5 + width)


def _verdict(console: Console, comparison: Comparison, indent: int) -> None:
    told = comparison.verdict
    say(console, Text.assemble((told.answer.words, "bold"), f": {told.reason}."), indent=indent)


def _mornings(ours: Result, theirs: Result) -> tuple[int, int]:
    """On how many mornings we waited less, and on how many more, by a second at least."""
    gains = [their - our for our, their in zip(ours.waiting, theirs.waiting, strict=True)]
    return sum(gain >= 1 for gain in gains), sum(gain <= -1 for gain in gains)


def conditions(given: Conditions, comparison: Comparison) -> str:
    """What all policies share, in words."""
    mirror, pulls = given.mirror, comparison.results[NOBODY].pulls
    disk = f"a {size(mirror.capacity)} mirror" if mirror.capacity else "a mirror"
    expiry = f"expiry {mirror.ttl.days} days after the fill" if mirror.ttl else "no expiry"
    return (
        f"{len(comparison.days)} mornings of 07:00 to 12:00, {pulls} pulls; {disk}, {expiry};"
        f" each may warm {given.top} images and {size(given.max_bytes)} a morning"
    )


def closing(console: Console, seconds: float, lake: Path | None) -> None:
    """How long it took and where to go on."""
    console.print()
    say(
        console,
        f"Told in {seconds:.1f} s, on synthetic data. The same verbs on your own mirror's log:",
        "dim",
    )
    say(console, "  prewarm ingest /var/log/registry/access.log && prewarm rank")
    if lake is not None:
        say(console, f"This lake is kept: {lake}", "dim")
    console.print()


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
        (str(cause), str(REMEDIES[cause]), str(nobody.get(cause, 0)), str(ours.get(cause, 0)))
        for cause in Cause
        if nobody.get(cause) or ours.get(cause)
    ]
    if rows:
        table(
            console,
            ("cold because", "what removes it", "nobody", "prewarm"),
            rows,
            right=("nobody", "prewarm"),
        )


def size(count: float) -> str:
    """`1.2 GB`, by powers of a thousand."""
    units = ["B", "kB", "MB", "GB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"


def clock(time: datetime, timezone: str) -> str:
    """`Tue 17 Nov 08:00`, on the site's clock."""
    return time.astimezone(ZoneInfo(timezone)).strftime("%a %d %b %H:%M")


def _bar(value: float, most: float) -> str:
    return BARS[-(-int(value * 8_000) // max(int(most * 1_000), 1))] if most else BARS[0]
