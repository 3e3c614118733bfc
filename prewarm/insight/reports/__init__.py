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
    scope: Mapping[str, Any] = field(default_factory=dict)  # site, image, since, until

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
        return replace(self, before=None if earlier is None else earlier.summary)


def share(part: float, whole: float) -> float | None:
    """`part / whole`; None where there is no whole."""
    return round(part / whole, 6) if whole else None


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
