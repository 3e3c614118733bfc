"""What happened, measured from logs: one module per report, plain functions of judged pulls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import polars as pl

from prewarm.errors import UnknownName

if TYPE_CHECKING:
    import pandas as pd

Name = Literal["misses", "hit-rate", "latency", "concentration", "savings", "warmed", "holdout", "growth"]
NAMES: tuple[str, ...] = get_args(Name)

Row = dict[str, Any]
KEYS = ("site", "repository", "image", "client", "group", "cause", "remedy", "hour")
"""Columns that say what a row is about."""


@dataclass(frozen=True, eq=False)
class Report:
    """Key figures, tables of rows, and what it cannot say and why."""

    name: str
    summary: Mapping[str, Any]
    tables: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    sure: str | None = None  # high, medium, low; None where nothing is inferred
    evidence: tuple[str, ...] = ()
    cannot_say: tuple[str, ...] = ()
    before: Mapping[str, Any] | None = None  # the summary of the period before
    scope: Mapping[str, Any] = field(default_factory=dict)  # site, image, since, until, group
    leads: Mapping[str, str] = field(default_factory=dict)  # the figure of a table whose change is told

    @property
    def change(self) -> dict[str, float] | None:
        """Every number of the summary minus that of the period before."""
        if self.before is None:
            return None
        return {
            key: round(value - self.before[key], 6)
            for key, value in self.summary.items()
            if _number(value) and _number(self.before.get(key))
        }

    @property
    def main(self) -> Sequence[Mapping[str, Any]]:
        """The rows of its CSV: those of the first table that has any, else the summary as one."""
        return next((rows for rows in self.tables.values() if rows), [self.summary])

    def document(self) -> dict[str, Any]:
        """What `prewarm report NAME --json` prints."""
        tables = {key: [dict(row) for row in rows] for key, rows in self.tables.items()}
        told = {"sure": self.sure, "evidence": list(self.evidence), "cannot_say": list(self.cannot_say)}
        return {
            "report": self.name, **self.scope, **self.summary, **tables, **told,
            "before": dict(self.before) if self.before is not None else None, "change": self.change,
        }  # fmt: skip

    def frame(self, table: str | None = None) -> pd.DataFrame:
        """One of its tables, without a name the first one, for pandas. UnknownName where it has none such."""
        name = table or next(iter(self.tables), "")
        if name not in self.tables:
            raise UnknownName(f"table of the report {self.name}", name, self.tables)
        return pl.DataFrame(list(self.tables[name])).to_pandas()

    def beside(self, earlier: Report | None) -> Report:
        """The same report next to that of the period before."""
        if earlier is None:
            return self
        tables = {
            name: _beside(rows, earlier.tables.get(name, ()), self.leads.get(name))
            for name, rows in self.tables.items()
        }
        return replace(self, before=earlier.summary, tables=tables)


def _beside(rows: Sequence[Row], earlier: Sequence[Row], lead: str | None) -> Sequence[Row]:
    """Rows with the `change` of their lead figure; None where the period before does not have it."""
    if lead is None:
        return rows
    before = {_key(row): row[lead] for row in earlier}
    return [row | {"change": _minus(row[lead], before.get(_key(row)))} for row in rows]


def _key(row: Row) -> tuple[object, ...]:
    """What a row is about: its texts."""
    return tuple(row.get(name) for name in KEYS)


def _minus(value: object, before: object) -> float | None:
    if isinstance(value, int | float) and isinstance(before, int | float):
        return round(value - before, 6)
    return None


def share(part: float, whole: float) -> float | None:
    """`part / whole`; None where there is no whole."""
    return round(part / whole, 6) if whole else None


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
