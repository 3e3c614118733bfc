"""Reads registry logs, forecasts pulls, warms caches.

In a notebook:

    import prewarm

    lake = prewarm.open("./lake", timezone="America/Boise")
    demand = lake.demand()                              # unique_id, ds, y
    tomorrow = prewarm.forecast(demand, h=24, level=[90])
    prewarm.evaluate(demand, models=["auto", "profile"])
    prewarm.plots.rhythm(demand, lake.site())

Names are loaded when they are first used (PEP 562), so that `import prewarm` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prewarm import plots
    from prewarm.demand.calendars import Site
    from prewarm.pipeline.analysis import Study, assess, forecast, open, rank, replay
    from prewarm.pipeline.demand.validation import cross_validation, evaluate

    __version__: str

__all__ = [
    "Site",
    "Study",
    "__version__",
    "assess",
    "cross_validation",
    "evaluate",
    "forecast",
    "open",
    "plots",
    "rank",
    "replay",
]

_HOMES = {
    "Site": "prewarm.demand.calendars",
    "Study": "prewarm.pipeline.analysis",
    "assess": "prewarm.pipeline.analysis",
    "cross_validation": "prewarm.pipeline.demand.validation",
    "evaluate": "prewarm.pipeline.demand.validation",
    "forecast": "prewarm.pipeline.analysis",
    "open": "prewarm.pipeline.analysis",
    "rank": "prewarm.pipeline.analysis",
    "replay": "prewarm.pipeline.analysis",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name == "plots":
        return import_module("prewarm.plots")
    if name == "__version__":
        return import_module("importlib.metadata").version("prewarm")
    raise AttributeError(f"module 'prewarm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
