"""What was delivered goes into the lake: the inbox is moved on, and its spools are read as logs are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from prewarm.errors import UnreadableInput
from prewarm.logs import files, pulls
from prewarm.logs.deliveries import FORMATS
from prewarm.logs.files import Source
from prewarm.pipeline.logs.ingest import IngestResult, ingest

if TYPE_CHECKING:
    from prewarm.lake import Lake
    from prewarm.pipeline.logs.inbox import Inbox, Spool


def feed(
    lake: Lake,
    inbox: Inbox,
    source_of: Callable[[str], Source],
    *,
    now: datetime,
    gap: timedelta = pulls.GAP,
    stopping: Callable[[], bool] = lambda: False,
) -> IngestResult:
    """Read what was delivered since the last time.

    `source_of` gives the source of a name; deliveries of one that is no longer configured wait until it is
    again. For the one thread that moves the inbox. Raises LakeError when the lake cannot be written:
    nothing is lost, and the next call reads it.
    """
    inbox.move(now)
    result = IngestResult()
    spools = {each: source for each in inbox.spools() if (source := _source(each, source_of, result))}
    together: dict[tuple[object, ...], list[Spool]] = {}
    for spool in spools:
        together.setdefault((spool.source, spool.kind, spool.sites), []).append(spool)
    sources = [
        replace(spools[some[0]], paths=tuple(str(each.path) for each in some)) for some in together.values()
    ]
    if sources:
        try:
            warned = result.warnings
            result = ingest(lake, sources, gap=gap, stopping=stopping)
            result.warnings += warned
        except UnreadableInput as unreadable:
            result.warnings.append(str(unreadable))
    if not stopping():
        inbox.was_read()
        _tidy(lake, spools)
    return result


def _source(spool: Spool, source_of: Callable[[str], Source], result: IngestResult) -> Source | None:
    try:
        source = source_of(spool.source)
    except LookupError as unknown:
        result.warnings.append(f"deliveries wait for their source: {unknown}")
        return None
    return replace(source, format=FORMATS.get(spool.kind, source.format), sites=spool.sites)


def _tidy(lake: Lake, spools: dict[Spool, Source]) -> None:
    """Remove spools that grow no more and of which the lake has everything."""
    snapshot = lake.snapshot("pulls")
    load = partial(files.loaded, find=snapshot.progress)
    heads = snapshot.progress(files.HEADS) or 0
    for spool, source in spools.items():
        if not spool.newest:
            known = files.identify(str(spool.path), source.site, load, heads)
            if known.progress is not None and not known.unread:
                spool.path.unlink()
