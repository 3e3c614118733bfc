"""The verbs `forecast` and `rank`: from the lake's pulls to what will be pulled, per site and hour."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from prewarm.demand import ranking
from prewarm.demand.calendars import HOUR, Site
from prewarm.demand.ranking import Expected, Explanation, Ranked
from prewarm.errors import NotEnoughHistory, SettingsError, UnknownName
from prewarm.lake import Change
from prewarm.pipeline.demand.histories import DEMAND, Counting, Extent, declared, extents, prior
from prewarm.pipeline.demand.outlooks import (
    Outlook,
    Question,
    check_hours,
    check_reach,
    outlook,
    outlooks,
)
from prewarm.pipeline.logs import clocks

if TYPE_CHECKING:
    from prewarm.demand.staleness import Staleness
    from prewarm.lake import Lake, Snapshot

MAX_MOMENTS = 1000


@dataclass(frozen=True, eq=False)
class ForecastResult:
    """Expected pulls per image and hour. `rows` has the columns of the lake's `forecasts`.

    `lo` and `hi` are those of the row's `level`: with several levels an image and hour has a row for each.
    """

    cutoffs: dict[str, datetime]  # by site: nothing after it was known
    model: str
    rows: pl.DataFrame
    warnings: tuple[str, ...] = ()

    @property
    def cutoff(self) -> datetime:
        """The earliest of the sites' cutoffs."""
        return min(self.cutoffs.values())

    def document(self) -> dict[str, Any]:
        """What `prewarm forecast --json` prints; times are datetimes in UTC, `rows` is an iterator."""
        several = ["site"] if len(self.cutoffs) > 1 else []
        columns = [*several, "image", "time", "mean", "probability", "level", "lo", "hi"]
        return {
            "cutoff": self.cutoff,
            "cutoffs": self.cutoffs,
            "model": self.model,
            "rows": self.rows.select(columns).iter_rows(named=True),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """The ranking of one window `[at, at + hours)`."""

    at: datetime
    ranking: tuple[Ranked, ...]


@dataclass(frozen=True, eq=False)
class RankResult:
    """One ranking for each moment that was asked for."""

    hours: int
    site: str | None  # None: all sites together
    model: str
    objective: str
    answers: tuple[Answer, ...]
    cutoffs: dict[str, datetime] = field(default_factory=dict)
    set_aside: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def ranking(self) -> tuple[Ranked, ...]:
        """The ranking of the first window."""
        return self.answers[0].ranking

    def document(self) -> dict[str, Any]:
        """What `prewarm rank --json` prints: one answer's keys, or `answers` when several were asked for."""
        shared = {"hours": self.hours, "site": self.site, "model": self.model, "objective": self.objective}
        each = [
            {"at": answer.at, **shared, "ranking": [asdict(ranked) for ranked in answer.ranking]}
            for answer in self.answers
        ]
        body = each[0] if len(each) == 1 else {**shared, "answers": each}
        return {**body, "cutoffs": self.cutoffs, "set_aside": self.set_aside, "warnings": list(self.warnings)}


def forecast(
    lake: Lake,
    sites: Mapping[str, Site],
    at: datetime,
    hours: int = 24,
    site: str | None = None,
    model: str = "auto",
    level: Sequence[int] = (90,),
    *,
    default: Site | None = None,
    counting: Counting = DEMAND,
    store: bool = True,
) -> ForecastResult:
    """Forecast `hours` hours from the site's hour that holds `at`, per site, and keep it in the lake.

    Sites that nobody declared have the clock of `default` (UTC). `level` are percents of central intervals.
    Raises NotEnoughHistory, UnknownName (site, model) and SettingsError (hours, level).
    """
    check_hours(hours, [at])
    if not level or not all(0 < percent < 100 for percent in level):
        raise SettingsError(f"level {tuple(level)!r} cannot be used; expected percents such as 80, 90")
    question = Question(model, counting)
    found: list[Outlook] = []
    warnings: list[str] = []
    unborn: list[str] = []  # sites that had logged nothing by then: at that time nobody knew of them
    rows = []
    for extent, place in _places(lake, sites, site, default, at):
        try:
            known, asked = outlook(lake, place, extent, at, question)
        except NotEnoughHistory as error:
            (warnings if extent.first < at else unborn).append(str(error))
            continue
        found.append(known)
        rows.append(_rows(known, asked, hours, level))
        warnings += [*_young_warnings(place, [(at, asked)]), *known.notes]
    if not found:
        raise NotEnoughHistory((*warnings, *unborn)[0])
    for table in rows if store else ():
        _store(lake, table)
    cutoffs = {each.history.grid.site.name: each.cutoff for each in found}
    return ForecastResult(
        cutoffs=cutoffs,
        model=found[0].model.name,
        rows=pl.concat(rows),
        warnings=(*warnings, *clocks.warnings(lake, cutoffs, sites, default)),
    )


def rank(
    lake: Lake,
    sites: Mapping[str, Site],
    at: Sequence[datetime],
    hours: int = 1,
    top: int = 50,
    site: str | None = None,
    objective: str = "pulls",
    model: str = "auto",
    *,
    until: datetime | None = None,
    default: Site | None = None,
    counting: Counting = DEMAND,
) -> RankResult:
    """Rank the images of each window `[T, T + hours)` for T in `at`: one site's, or all sites together.

    Each window is ranked from what the lake holds of the hours before T (before `until`, when that is
    earlier). It is always computed from the pulls and never read from stored forecasts: the model is
    deterministic, and the pulls may have grown since. Raises as `forecast` does.
    """
    _check(hours, at, top, objective)
    question = Question(model, counting)
    expected: dict[datetime, list[Expected]] = {moment: [] for moment in at}
    tags: dict[datetime, list[Staleness]] = {moment: [] for moment in at}
    found: list[Outlook] = []
    warnings: list[str] = []
    unborn: list[str] = []
    for extent, place in _places(lake, sites, site, default, max(at)):
        try:
            for known, asked in outlooks(lake, place, extent, at, question, until):
                found.append(known)
                answers_to = known.expected(sorted(set(asked.values())), hours)
                for moment, instead in asked.items():
                    expected[moment].append(answers_to[instead])
                    tags[moment].append(known.tags)
                warnings += [*_young_warnings(place, asked.items()), *known.notes]
        except NotEnoughHistory as error:
            (warnings if extent.first < max(at) else unborn).append(str(error))
    if not all(expected.values()):
        raise NotEnoughHistory((*warnings, *unborn)[0])
    sizes = largest(each.history.sizes for each in found)
    answers = tuple(
        answer(moment, ranking.rank(one(expected[moment]), sizes, objective, top), tags[moment])
        for moment in at
    )
    cutoffs = {each.history.grid.site.name: each.cutoff for each in found}
    warnings += clocks.warnings(lake, cutoffs, sites, default)
    warnings += _size_warnings(answers) if objective == "bytes" else []
    return RankResult(
        hours=hours,
        site=site,
        model=found[0].model.name,
        objective=objective,
        answers=answers,
        cutoffs=cutoffs,
        set_aside=_summed(found),
        warnings=tuple(warnings),
    )


def rank_day(
    lake: Lake,
    sites: Mapping[str, Site],
    day: date,
    top: int = 50,
    site: str | None = None,
    objective: str = "pulls",
    model: str = "auto",
    *,
    default: Site | None = None,
    counting: Counting = DEMAND,
) -> RankResult:
    """Rank every hour of a site's calendar day (23 or 25 hours when its clocks change).

    All hours are ranked from what was known when the day began, as a plan made the night before would be.
    All sites together have the day of the only site, or of `default`.
    """
    known = [extent.site for extent in extents(lake, site)]
    clock = declared(sites, known[0], default) if len(known) == 1 else (default or Site())
    start, hours = clock.day(day)
    at = [start + hour * HOUR for hour in range(hours)]
    return rank(
        lake, sites, at, 1, top, site, objective, model, until=start, default=default, counting=counting
    )


def explain(
    lake: Lake,
    sites: Mapping[str, Site],
    image: str,
    at: datetime,
    site: str | None = None,
    model: str = "auto",
    *,
    default: Site | None = None,
    counting: Counting = DEMAND,
) -> list[Explanation]:
    """Why `image` has the mean it has in the hour that holds `at`, at each site that knows it.

    Raises UnknownName when no site has pulled it or seen it pushed, and as `forecast` does.
    """
    check_hours(1, [at])
    question = Question(model, counting)
    found, missing = [], None
    for extent, place in _places(lake, sites, site, default, at):
        known, asked = outlook(lake, place, extent, at, question)
        hour = int((place.floor(asked) - known.cutoff) // HOUR)
        try:
            found.append(explanation(known, image, hour))
        except UnknownName as error:
            missing = error
    if missing is not None and not found:
        raise missing
    return found


def explanation(known: Outlook, image: str, hour: int) -> Explanation:
    """Why one site expects what it does of `image`, `hour` hours after its cutoff; UnknownName as above."""
    grid, name = known.history.grid, known.model.name
    born = ranking.explain_newborn(known.newborns, name, known.cutoff, image, hour)
    return born or ranking.explain(grid, name, known.answers, prior(), image, hour)


def _check(hours: int, at: Sequence[datetime], top: int, objective: str) -> None:
    check_hours(hours, at)
    if len(at) > MAX_MOMENTS:
        raise SettingsError(f"{len(at)} times are too many; expected at most {MAX_MOMENTS} in one call")
    if objective not in ranking.OBJECTIVES:
        raise UnknownName("objective", objective, ranking.OBJECTIVES)
    if top < 1:
        raise SettingsError(f"top {top} cannot be used; expected a number of images, such as 50")


def _places(
    lake: Lake, sites: Mapping[str, Site], site: str | None, default: Site | None, at: datetime
) -> Iterator[tuple[Extent, Site]]:
    """The sites that are asked about, each with its clock."""
    for extent in extents(lake, site):
        check_reach(extent, at)
        yield extent, declared(sites, extent.site, default)


def _rows(known: Outlook, at: datetime, hours: int, level: Sequence[int]) -> pl.DataFrame:
    """Rows of the lake's `forecasts`: images by name, each with its hours, each with its levels."""
    grid = known.history.grid
    begin = grid.site.floor(at)
    first = int((begin - known.cutoff) // HOUR)
    means = known.means(range(first, first + hours))
    names = pl.Series("image", known.images, dtype=pl.String)
    times = pl.Series("time", [begin + hour * HOUR for hour in range(hours)], dtype=pl.Datetime("us", "UTC"))
    rows, columns = np.divmod(np.arange(means.size), hours)
    body = pl.DataFrame(
        {
            "image": names.gather(rows),
            "time": times.gather(columns),
            "mean": means.ravel(),
            "probability": known.dispersion.probability(means).ravel(),
        }
    )
    tables = []
    for percent in level:
        lo, hi = known.dispersion.interval(means.ravel(), percent)
        tables.append(body.with_columns(pl.lit(percent).alias("level"), lo=lo, hi=hi))
    return pl.concat(tables).select(
        pl.lit(known.cutoff).dt.cast_time_unit("us").alias("cutoff"),
        pl.lit(grid.site.name).alias("site"),
        pl.lit(known.model.name).alias("model"),
        "image",
        "time",
        pl.col("mean", "probability").cast(pl.Float64),
        pl.col("level").cast(pl.Int32),
        pl.col("lo", "hi").cast(pl.Float64),
    )


def _store(lake: Lake, rows: pl.DataFrame) -> None:
    """Keep a forecast, once: the same rows as the last time are not written again."""
    site, model = rows.row(0, named=True)["site"], rows.row(0, named=True)["model"]
    id = f"forecast:{site}:{model}"
    digest = hashlib.sha256(str(rows.row(0)).encode() + rows.hash_rows().to_numpy().tobytes()).digest()
    fingerprint = int.from_bytes(digest[:7])

    def decide(seen: Snapshot) -> Change | None:
        return None if seen.progress(id) == fingerprint else Change(rows, {id: fingerprint})

    lake.commit("forecasts", decide)


def answer(at: datetime, ranked: Sequence[Ranked], tags: Sequence[Staleness]) -> Answer:
    """The ranking of the window that begins `at`, each image with what its sites' tags tell of it."""
    return Answer(at.astimezone(UTC), tuple(ranking.aged(ranked, tags, at)))


def one(parts: Sequence[Expected]) -> Expected:
    """What one site expects, or several together."""
    return parts[0] if len(parts) == 1 else ranking.together(parts)


def largest(sizes: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """What any site knows of the images' sizes; the largest where they disagree."""
    merged: dict[str, int] = {}
    for known in sizes:
        for image, size in known.items():
            merged[image] = max(size, merged.get(image, 0))
    return merged


def _summed(found: Iterable[Outlook]) -> dict[str, int]:
    """Pulls that were set aside, over sites; of several cutoffs of a site the last one tells."""
    latest = {each.history.grid.site.name: each.history.set_aside for each in found}
    return dict(sum((Counter(aside) for aside in latest.values()), Counter()))


def _young_warnings(place: Site, asked: Iterable[tuple[datetime, datetime]]) -> list[str]:
    """A word where the coming hour stands in for the one that was asked for."""
    return [
        f"site {place.name!r} has logged less than an hour; shown is the hour from {instead:%H:%M}Z"
        for moment, instead in asked
        if instead != moment
    ][:1]


def _size_warnings(answers: Iterable[Answer]) -> list[str]:
    unknown = {ranked.image for answer in answers for ranked in answer.ranking if ranked.bytes is None}
    if not unknown:
        return []
    return [f"{len(unknown)} of the ranked images have no known size; they count as of median size"]
