"""A report as one HTML file: no script, no style sheet and no picture from anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from prewarm.cli.output import shown, size

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 180, 56, 22
ROWS = 50  # of a table

_STYLE = """
:root {
  color-scheme: light dark; --ink: #1f3b57; --accent: #d1603d; --line: #c8d0d8; --pale: #f3f5f7;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #a9c7e4; --accent: #e8845f; --line: #43505c; --pale: #1c242c; }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; color: var(--ink); }
.verdict { font-size: 1.3rem; font-weight: 600; color: var(--accent); margin: .2rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; max-width: 100%; }
.wide { overflow-x: auto; } th, td { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid var(--line); font-weight: 600; } td.n, th.n { text-align: right; }
tbody tr:nth-child(even) { background: var(--pale); } td { overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
.bar { fill: var(--ink); } .part { fill: var(--accent); } .axis { stroke: var(--line); }
small, .note { color: GrayText; }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """The whole document."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def report_page(document: Mapping[str, Any]) -> str:
    """The document of a report, as `--json` prints it."""
    named = f"prewarm report {document['report']}"
    scope = [
        f"{key} {shown(document[key])}"
        for key in ("site", "image", "group", "since", "until")
        if document.get(key)
    ]
    change = document.get("change") or {}
    left_out = {"report", "site", "image", "group", "since", "until", "sure", "before", "change"}
    figures = [
        {"figure": label(key), "value": value, **({"change": change.get(key)} if change else {})}
        for key, value in document.items()
        if key not in left_out and not isinstance(value, list | dict)
    ]
    parts = [
        f"<h1>{escape(named)}</h1>",
        f"<small>{escape(', '.join(scope) or 'the whole lake')}</small>",
        table(figures),
    ]
    parts += hours(document.get("hours", []))
    for name, rows in document.items():
        if name not in ("hours", "evidence", "cannot_say") and isinstance(rows, list) and rows:
            parts += [f"<h2>{escape(label(name))}</h2>", table(rows)]
    return page(named, [*parts, *notes(document)])


def assessment_page(document: Mapping[str, Any]) -> str:
    """The document of an assessment, as `--json` prints it."""
    traffic, saving = document["traffic"], document["saving"]
    causes = [{"cause": cause, **row} for cause, row in document["causes"].items()]
    span = f"{shown(traffic['first'])} to {shown(traffic['last'])}"
    return page(
        "prewarm assess",
        [
            "<h1>Does pre-warming pay here?</h1>",
            f'<p class="verdict">{escape(document["verdict"])}</p>',
            *(f"<p>{escape(line)}</p>" for line in document["why"]),
            f"<small>sure: {escape(str(document['sure']))}; {escape(span)}; {traffic['pulls']:,} pulls of "
            f"{traffic['clients']:,} clients in {traffic['lines']:,} lines</small>",
            *hours(document["hours"], document["timezone"]),
            "<h2>misses by cause</h2>",
            table(causes),
            "<h2>what would be saved</h2>",
            table([{"figure": label(key), "value": value} for key, value in saving.items()]),
            "<h2>with a list of n images</h2>",
            table(document["lists"]),
            "<h2>images that carry the pulls</h2>",
            table(document["top"]),
            *notes(document),
        ],
    )


def hours(rows: Sequence[Mapping[str, Any]], zone: str = "") -> list[str]:
    """Bars of pulls by hour of the day, and the misses among them."""
    by_hour = {row["hour"]: row for row in rows if "hour" in row and "pulls" in row}
    if not by_hour:
        return []
    most = max(row["pulls"] for row in by_hour.values()) or 1
    step = (WIDTH - LEFT) / 24
    drawn = []
    for hour in range(24):
        row = by_hour.get(hour, {"pulls": 0})
        x = LEFT + hour * step
        told = f"{hour:02}:00: {row['pulls']:,} pulls"
        told += f", {row['misses']:,} misses" if "misses" in row else ""
        drawn.append(f"<g><title>{told}</title>{_bar('bar', x, step, row['pulls'] / most)}")
        drawn.append(_bar("part", x, step, row.get("misses", 0) / most) + "</g>")
        if hour % 3 == 0:
            drawn.append(
                f'<text x="{x + step / 2:.1f}" y="{HEIGHT + 15}" text-anchor="middle">{hour:02}</text>'
            )
    axis = f'<line class="axis" x1="{LEFT}" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>'
    scale = f'<text x="{LEFT - 6}" y="11" text-anchor="end">{most:,}</text>'
    scale += f'<text x="{LEFT - 6}" y="{HEIGHT}" text-anchor="end">0</text>'
    picture = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + BOTTOM}" width="{WIDTH}" role="img" '
        f'aria-label="pulls by hour of the day">{"".join(drawn)}{axis}{scale}</svg>'
    )
    told = "pulls by hour of the day" + (f", {zone}" if zone else "")
    misses = any("misses" in row for row in by_hour.values())
    legend = "; in the accent colour those that missed" if misses else ""
    return [f"<h2>{escape(told)}</h2>", picture, f'<p class="note">Each bar is an hour{legend}.</p>']


def _bar(style: str, x: float, step: float, part: float) -> str:
    tall = part * (HEIGHT - 4)
    place = f'x="{x + 2:.1f}" y="{HEIGHT - tall:.1f}" width="{step - 4:.1f}" height="{tall:.1f}"'
    return f'<rect class="{style}" {place}/>'


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table; numbers to the right."""
    if not rows:
        return ""
    names = list(rows[0])
    right = {name for name in names if any(isinstance(row[name], int | float) for row in rows)}
    style = {name: ' class="n"' if name in right else "" for name in names}
    head = "".join(f"<th{style[name]}>{escape(label(name))}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td{style[name]}>{escape(cell(name, row))}</td>" for name in names) + "</tr>"
        for row in rows[:ROWS]
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def notes(document: Mapping[str, Any]) -> list[str]:
    """How it is known, and what it cannot say."""
    lines = [
        *document.get("evidence", ()),
        *(f"Cannot say: {line}" for line in document.get("cannot_say", ())),
    ]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    sure = document.get("sure")
    told = f" (sure: {escape(str(sure))})" if sure else ""
    return [f"<h2>how this is known{told}</h2><ul>{items}</ul>"] if items else []


def label(name: str) -> str:
    """A key as people read it."""
    return name.replace("_", " ")


def cell(name: str, row: Mapping[str, Any]) -> str:
    """A value as people read it: sizes in units, shares in percent."""
    value = row[name]
    said = str(row.get("figure", name)) if name == "value" else name
    if "bytes" in said and "rate" not in said and isinstance(value, int | float):
        return size(int(value))
    if isinstance(value, float) and (
        said.endswith(("share", "rate")) or "share of" in said or said == "together"
    ):
        return f"{value:.1%}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return shown(value)
