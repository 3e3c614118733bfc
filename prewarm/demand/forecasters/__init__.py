"""Plug point: forecasters, one module per model.

A forecaster is stateless: history in, means out. Hours are numbered from the cutoff: `ahead =
range(0, 24)` is the day that follows it, `range(9, 10)` one hour with nine unknown hours between.

A driver is a callable that takes a `Prior` (what other registries look like, for histories too short to
say) and returns a Forecaster: a class whose only required argument it is, or a function.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from prewarm import plugins
from prewarm.demand.distribution import EDGES, TYPICAL, Dispersion, calibrate
from prewarm.errors import SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from prewarm.demand.series import Grid

DEFAULT = "auto"
PRIOR_FORMAT = 2


class Forecaster(Protocol):
    """The contract, run over every driver (tests/contracts.py): rows after the cutoff cannot change the
    answer, the order of images does not matter, no negative or non-finite mean, any history survives."""

    name: str

    def forecast(self, history: Grid, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        ...


class Answers(Protocol):
    """A model that has learnt all it needs of one history, and how far its own tests were off."""

    @property
    def dispersion(self) -> Dispersion: ...

    def means(self, ahead: range) -> NDArray[np.float32]:
        """Expected pulls, images x len(ahead)."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A forecaster may also have `fit`: then the costly part is done once for any hours ahead."""

    def fit(self, history: Grid, before: Dispersion | None = None) -> Answers:
        """Learn from `history`; `before` is the dispersion where its tests are too few to say."""
        ...


@dataclass(frozen=True, eq=False)
class _Asked:
    """The answers of a forecaster without `fit`."""

    model: Forecaster
    history: Grid
    dispersion: Dispersion

    def means(self, ahead: range) -> NDArray[np.float32]:
        return self.model.forecast(self.history, ahead)


def fit(model: Forecaster, history: Grid, before: Dispersion = TYPICAL) -> Answers:
    """`model` on `history`, with its dispersion: from its own tests, else from its last days' errors."""
    if isinstance(model, Learner):
        return model.fit(history, before)
    return _Asked(model, history, calibrate(history, model.forecast, before))


@dataclass(frozen=True, slots=True)
class Prior:
    """What a registry looks like before its own log says so; plain data, rebuilt by `make models`.

    `workday` and `weekend` are 24 multiples of the mean rate each, by hour of day on the site's clock.
    `version` ends in a digest of the data that it was made from.
    """

    workday: tuple[float, ...] = (1.0,) * 24
    weekend: tuple[float, ...] = (1.0,) * 24
    dispersion: Dispersion = TYPICAL
    version: str = "flat"

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Prior:
        """Read `models/prior.json`; raises SettingsError when it is of another format, damaged or changed."""
        if document.get("format") != PRIOR_FORMAT:
            raise SettingsError(
                f"the model artefact has format {document.get('format')!r}, this prewarm reads "
                f"{PRIOR_FORMAT}; rebuild it with: make models"
            )
        try:
            if document["sha256"] != _checksum(document):
                raise ValueError("its contents are not those of its sha256")
            return cls(
                workday=_numbers(document["profile"]["workday"], 24),
                weekend=_numbers(document["profile"]["weekend"], 24),
                dispersion=Dispersion(EDGES, _numbers(document["dispersion"]["alpha"], len(EDGES) + 1)),
                version=str(document["version"])[:40],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SettingsError(
                f"the model artefact is damaged ({error}); rebuild it with: make models"
            ) from None

    def document(self) -> dict[str, Any]:
        """The inverse of `parse`."""
        body = {
            "format": PRIOR_FORMAT,
            "version": self.version,
            "profile": {"workday": list(self.workday), "weekend": list(self.weekend)},
            "dispersion": {"edges": list(self.dispersion.edges), "alpha": list(self.dispersion.alpha)},
        }
        return body | {"sha256": _checksum(body)}


FLAT = Prior()
Driver = Callable[[Prior], Forecaster]


def load(name: str, prior: Prior = FLAT) -> Forecaster:
    """The forecaster called `name`. UnknownName lists the known ones."""
    driver: Driver = plugins.load(plugins.FORECASTERS, name)
    return driver(prior)


def names() -> list[str]:
    """Every forecaster's name, sorted."""
    return plugins.names(plugins.FORECASTERS)


def _checksum(document: Mapping[str, Any]) -> str:
    """Of everything but the checksum itself, whatever the spaces and the order of keys."""
    body = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _numbers(values: Any, count: int) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) != count or not all(0 < number < 1e6 for number in numbers):
        raise ValueError(f"expected {count} positive numbers")
    return numbers
