"""Holdout: warmed against withheld, as an experiment; with intervals, and when the answer will be clear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from prewarm.insight.causes import Judged
from prewarm.insight.reports import Report
from prewarm.insight.reports.doubts import doubts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Reals = NDArray[np.float64]

DRAWS = 2000  # of the bootstrap, with a fixed seed: the same data give the same interval
LEVEL = (2.5, 97.5)
SIGMAS = 1.96
FEWEST = 5  # pulled images on each side, before anything is said


def holdout(told: pl.DataFrame, judged: Judged) -> Report:
    """Miss rates and seconds of both arms; `told` are trials as `followed` gave them.

    The unit is an image of a run: its pulls hang together, so whole images are drawn again. `first_miss_rate`
    is of the first pull of each, which alone is what warming changes for sure.
    """
    pulled = told.filter(pl.col("pulls") > 0)
    arms = {arm: pulled.filter(pl.col("arm") == arm) for arm in ("warmed", "withheld")}
    rows = [_arm(arm, told.filter(pl.col("arm") == arm), rows) for arm, rows in arms.items()]
    few = [arm for arm, found in arms.items() if len(found) < FEWEST]
    said = [
        f"a difference: of the {arm} images {len(arms[arm])} were pulled in their window; it takes {FEWEST}"
        for arm in few
    ]
    if not len(told.filter(pl.col("arm") == "withheld")):
        said.append("anything: no run has withheld an image; set schedules.NAME.holdout, such as 0.1")
    summary: dict[str, Any] = {"runs": told["run"].n_unique(), "days": _days(told)}
    summary |= {} if few else _difference(arms["warmed"], arms["withheld"], _days(told))
    return Report("holdout", summary, {"arms": rows}, judged.sure(), judged.words(), (*said, *doubts(judged)))


def _arm(arm: str, tried: pl.DataFrame, pulled: pl.DataFrame) -> dict[str, Any]:
    first = pulled["first_miss"].cast(pl.Float64).to_numpy()
    misses, pulls = pulled["misses"].to_numpy(), pulled["pulls"].to_numpy()
    took = [each.to_numpy() for each in pulled["took"]]
    row: dict[str, Any] = {"arm": arm, "images": len(tried), "pulled": len(pulled), "pulls": int(pulls.sum())}
    row |= _told("first_miss_rate", _drawn(len(first), lambda at: first[at].mean()))
    row |= _told("miss_rate", _drawn(len(first), lambda at: misses[at].sum() / pulls[at].sum()))
    if sum(map(len, took)):
        for name, level in (("p50", 50), ("p95", 95)):
            row |= _told(name, _drawn(len(took), lambda at, q=level: _percentile(took, at, q)))
    return row


def _percentile(took: list[Reals], at: NDArray[np.int64], level: float) -> float:
    every = np.concatenate([took[place] for place in at])
    return float(np.percentile(every, level)) if len(every) else float("nan")


def _difference(warmed: pl.DataFrame, withheld: pl.DataFrame, days: int) -> dict[str, Any]:
    """First-miss rate of withheld minus warmed; positive: warming removes misses."""
    ours, theirs = (rows["first_miss"].cast(pl.Float64).to_numpy() for rows in (warmed, withheld))
    difference = float(theirs.mean() - ours.mean())
    dice = np.random.default_rng(1)
    drawn = _means(theirs, dice) - _means(ours, dice)
    lo, hi = np.percentile(drawn, LEVEL)
    return {
        "misses_removed_per_image": round(difference, 4),
        "lo": round(float(lo), 4),
        "hi": round(float(hi), 4),
        "clear": bool(lo > 0 or hi < 0),
        "days_until_clear": _until(difference, _error(ours, theirs), days),
    }


def _error(ours: Reals, theirs: Reals) -> float:
    """Standard error of the difference; rates of 0 and 1 are drawn in a little (Agresti and Caffo)."""
    rates = [(each.sum() + 1) / (len(each) + 2) for each in (ours, theirs)]
    sizes = [len(each) + 2 for each in (ours, theirs)]
    return float(np.sqrt(sum(p * (1 - p) / n for p, n in zip(rates, sizes, strict=True))))


def _until(difference: float, error: float, days: int) -> int | None:
    """Further days at this pace until the interval leaves 0; None where there is no difference to see."""
    if abs(difference) < 1e-3:
        return None
    needed = days * (SIGMAS * error / abs(difference)) ** 2
    return max(int(np.ceil(needed - days)), 0)


def _means(values: Reals, dice: np.random.Generator) -> Reals:
    return np.asarray(values[dice.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1))


def _drawn(count: int, figure: Any) -> tuple[float, Reals] | None:
    """The figure of all images, and of images drawn again; None without any."""
    if not count:
        return None
    dice = np.random.default_rng(1)
    draws = [figure(dice.integers(0, count, count)) for _ in range(DRAWS // 10)]
    return float(figure(np.arange(count))), np.array(draws, dtype=np.float64)


def _told(name: str, drawn: tuple[float, Reals] | None) -> dict[str, float | None]:
    if drawn is None:
        return {name: None, f"{name}_lo": None, f"{name}_hi": None}
    value, draws = drawn
    lo, hi = np.nanpercentile(draws, LEVEL)
    return {name: round(value, 4), f"{name}_lo": round(float(lo), 4), f"{name}_hi": round(float(hi), 4)}


def _days(told: pl.DataFrame) -> int:
    return max(told["start"].dt.date().n_unique(), 1) if len(told) else 0
