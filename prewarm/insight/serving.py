"""Which pulls the cache served and which it did not: what a log tells of it, and how sure that is.

Four kinds of evidence, the best one that a source has:

- **logged**: the server says hit or miss of each request (nginx, Varnish, CloudFront, Artifactory, Spegel);
- **nodes**: an engine tells of uses beside pulls; every pull is one that the node did not have;
- **durations**: a pull that took far longer than a warm one of its size was cold. What is warm is learned
  from repeats within the hour, which nothing but a cache without room would have dropped;
- **model**: the first pull of a version fills the cache, which keeps it for a TTL (CNCF Distribution, proxy
  mode: counted from the fill) and never runs full.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times = NDArray[np.int64]
    Flags = NDArray[np.bool_]
    Reals = NDArray[np.float64]

Kind = Literal["logged", "nodes", "durations", "model"]

TTL = timedelta(days=7)
"""What CNCF Distribution keeps a fill for, unless it is told otherwise."""

TOLD = 0.5  # of the pulls must carry a fact for it to be evidence
AGAIN = 3600 * 10**6  # microseconds within which a repeat is taken to be warm
REPEATS = 20  # warm repeats that calibrate durations
SLOW = 4.0  # times a warm pull of that size is cold, where the log itself does not say
BOUNDS = (1.7, 20.0)  # between which a log may say so itself
SCATTER = np.log(3.0)  # of warm repeats, beyond which durations tell nothing
UNEXPLAINED = 0.35  # balanced error from which on a TTL explains nothing
FILLING = 900 * 10**6  # microseconds after a miss in which another one waits for the same fill


@dataclass(frozen=True, slots=True)
class Warmth:
    """Seconds that a warm pull of so many bytes takes, and from how many times that it is cold."""

    base: float
    per_byte: float
    slow: float

    def seconds(self, size: Reals) -> Reals:
        return self.base + self.per_byte * size


@dataclass(frozen=True, slots=True)
class Evidence:
    """How hits and misses of one source are known."""

    site: str
    source: str
    kind: Kind
    pulls: int
    told: int  # ... of them, of which it is known whether the cache had them
    ttl: timedelta | None  # of the cache: configured, assumed or, where `fitted`, read off the log
    fitted: Literal["ttl", "idle"] | None = None
    declared: bool = False  # somebody said what the TTL is
    warmth: Warmth | None = None

    @property
    def sure(self) -> str:
        return {"logged": "high", "nodes": "high", "durations": "medium", "model": "low"}[self.kind]

    @property
    def words(self) -> str:
        """One sentence for people."""
        where = f"{self.site}/{self.source}"
        if self.kind == "logged":
            return f"{where}: hits and misses are as logged, of {self.told:,} of {self.pulls:,} pulls"
        if self.kind == "nodes":
            return f"{where}: nodes tell of pulls and of uses of what they had, both as logged"
        if self.kind == "durations":
            slow = self.warmth.slow if self.warmth else SLOW
            return f"{where}: told by durations; {slow:.1f} times a warm pull of that size counts as cold"
        kept = f"{_hours(self.ttl)} from the fill" if self.ttl else "for ever"
        return (
            f"{where}: neither hits nor durations tell; modelled: the first pull of a version fills "
            f"the cache, which keeps it {kept} and never runs full"
        )


@dataclass(frozen=True, eq=False)
class Source:
    """The pulls of one source in order of (version, time), as arrays."""

    frame: pl.DataFrame  # see COLUMNS; sorted
    starts: Flags  # the first row of each version

    @property
    def times(self) -> Times:
        return self.frame["timestamp"].to_physical().to_numpy()

    def before(self, marked: Flags) -> Times:
        """For each row the time of the last marked one before it of its version; -1 where there is none."""
        rows = np.arange(len(marked))
        group = np.maximum.accumulate(np.where(self.starts, rows, 0))
        last = np.maximum.accumulate(np.where(marked, rows, -1))
        earlier = np.concatenate(([-1], last[:-1]))
        return np.where(earlier >= group, self.times[earlier], -1)


def source_of(pulls: pl.DataFrame) -> Source:
    """`pulls` (with `version`, `timestamp`) of one source, ready to be judged."""
    frame = pulls.sort("version", "timestamp")
    version = frame["version"].to_numpy()
    return Source(frame, np.concatenate(([True], version[1:] != version[:-1])) if len(frame) else _none())


def judge(source: Source, ttl: timedelta | None, known: bool) -> tuple[Evidence, Flags, Flags]:
    """How it is known, which pulls missed, and of which it is known at all.

    `ttl` is that of the cache; `known` says that somebody declared it, so that it is not read off the log.
    """
    frame = source.frame
    site, name = frame["site"][0] or "default", frame["source"][0] or "default"
    count = len(frame)

    def evidence(kind: Kind, told: int, keeps: timedelta | None = ttl, **more: object) -> Evidence:
        return Evidence(site, name, kind, count, told, keeps, declared=known, **more)  # type: ignore[arg-type]

    if (frame["kind"] == "local").any():
        misses = (frame["kind"] != "local").fill_null(True).to_numpy()
        return evidence("nodes", count, None), misses, np.ones(count, np.bool_)
    if frame["cache"].count() >= TOLD * count:
        told = frame["cache"].is_not_null().to_numpy()
        misses = (frame["cache"] == "miss").fill_null(False).to_numpy()
        kept, fitted = (ttl, None) if known else _kept(source, misses, told)
        warmth = _warmth_of(frame, told & ~misses)
        return evidence("logged", int(told.sum()), kept, fitted=fitted, warmth=warmth), misses, told
    warmth = _warmth(source) if frame["seconds"].count() >= TOLD * count else None
    if warmth is not None:
        told = frame["seconds"].is_not_null().to_numpy()
        misses = told & (np.exp(_slowness(frame, warmth)) >= warmth.slow)
        kept, fitted = (ttl, None) if known else _kept(source, misses, told)
        return evidence("durations", int(told.sum()), kept, fitted=fitted, warmth=warmth), misses, told
    return evidence("model", count), _modelled(source, ttl), np.ones(count, np.bool_)


def _modelled(source: Source, ttl: timedelta | None) -> Flags:
    """The first pull of a version misses, and the first one a TTL or more after the last miss."""
    misses = source.starts.copy()
    if ttl is None or not len(misses):
        return misses
    step, times = int(ttl.total_seconds() * 1e6), source.times
    first = np.flatnonzero(source.starts)
    ends = np.append(first[1:], len(misses))
    number = np.repeat(np.arange(len(first)), ends - first)
    span = int(times.max() - times.min()) + step + 1
    key = number * span + (times - times.min())  # one axis: versions one after the other
    current = first
    while len(current):  # a round for each lapse, as many as the log has TTLs
        place = np.searchsorted(key, key[current] + step)
        inside = place < ends[number[current]]
        current = place[inside]
        misses[current] = True
    return misses


def _kept(
    source: Source, misses: Flags, told: Flags
) -> tuple[timedelta | None, Literal["ttl", "idle"] | None]:
    """What explains the misses of versions seen before: a TTL from the fill, or a disk that forgets the idle.

    Each rule is one threshold; the one with fewer errors is taken, a TTL when they tie.
    """
    times = source.times
    filled, used = source.before(misses), source.before(told | misses)
    again = told & (filled >= 0) & (times - filled > FILLING)
    if not (misses & again).any():
        return None, None
    by_age = _threshold((times - filled)[again], misses[again])
    by_idle = _threshold((times - used)[again], misses[again])
    if by_age[1] <= min(by_idle[1] * 1.05 + 1e-9, UNEXPLAINED):
        return timedelta(microseconds=int(by_age[0])), "ttl"
    return timedelta(microseconds=int(by_idle[0])), "idle"


def _threshold(values: NDArray[np.int64] | Reals, positive: Flags) -> tuple[float, float]:
    """The value from which on rows are positive, and the balanced error of saying so."""
    order = np.argsort(values, kind="stable")
    sorted_values, flags = values[order], positive[order]
    total, negatives = max(int(flags.sum()), 1), max(int((~flags).sum()), 1)
    missed = np.concatenate(([0], np.cumsum(flags))) / total  # positives below the threshold
    false = 1 - np.concatenate(([0], np.cumsum(~flags))) / negatives  # negatives at or above it
    if not (~flags).any():
        false = np.zeros(len(flags) + 1)
    # A threshold between two equal values does not exist.
    usable = np.concatenate(([True], sorted_values[1:] != sorted_values[:-1], [True]))
    error = np.where(usable, (missed + false) / 2, np.inf)
    best = int(np.argmin(error))
    return float(sorted_values[min(best, len(sorted_values) - 1)]), float(error[best])


def _warmth(source: Source) -> Warmth | None:
    """What a warm pull takes, learned from repeats within the hour; None where the log does not tell."""
    frame, times = source.frame, source.times
    seconds = frame["seconds"].fill_null(np.nan).to_numpy()
    before = source.before(np.ones(len(frame), np.bool_))
    repeats = (before >= 0) & (times - before <= AGAIN) & (seconds > 0)
    if repeats.sum() < REPEATS:
        return None
    size = _bytes(frame)
    base, slope = _line(size[repeats], seconds[repeats])
    plain = Warmth(base, slope, SLOW)
    slowness = _slowness(frame, plain)
    warm = slowness[repeats]
    if np.median(np.abs(warm - np.median(warm))) > SCATTER:
        return None
    first = source.starts & (seconds > 0)
    both = first | repeats
    limit, error = _threshold(slowness[both], first[both])
    slow = float(np.clip(np.exp(limit), *BOUNDS)) if error <= 0.15 else SLOW
    return Warmth(base, slope, slow)


def _warmth_of(frame: pl.DataFrame, warm: Flags) -> Warmth | None:
    """What these pulls, known to be warm, took; None where too few durations are logged."""
    seconds = frame["seconds"].fill_null(0.0).to_numpy()
    timed = warm & (seconds > 0)
    return Warmth(*_line(_bytes(frame)[timed], seconds[timed]), SLOW) if timed.sum() >= REPEATS else None


def _line(size: Reals, seconds: Reals) -> tuple[float, float]:
    """Seconds = base + slope x bytes, through the medians of the smaller and of the larger half (robust)."""
    middle = np.median(size)
    small, large = size <= middle, size > middle
    if not large.any():
        return max(float(np.median(seconds)), 0.005), 0.0
    (x0, y0), (x1, y1) = ((np.median(size[part]), np.median(seconds[part])) for part in (small, large))
    slope = max(float((y1 - y0) / (x1 - x0)), 0.0)
    return max(float(y0 - slope * x0), 0.005), slope


def _slowness(frame: pl.DataFrame, warmth: Warmth) -> Reals:
    """Logarithm of how many times a warm pull of that size a pull took; -inf where it is not told."""
    seconds = frame["seconds"].fill_null(0.0).to_numpy()
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(np.maximum(seconds, 0.0) / warmth.seconds(_bytes(frame))))


def _bytes(frame: pl.DataFrame) -> Reals:
    return frame["bytes"].fill_null(0).cast(pl.Float64).to_numpy()


def _none() -> Flags:
    return np.zeros(0, np.bool_)


def _hours(span: timedelta) -> str:
    return f"{span.total_seconds() / 3600:.0f} h"
