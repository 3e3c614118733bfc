"""A Plan as a JSON document, and back.

The document is what `prewarm plan --json` prints and what the lake keeps; `run --plan FILE` takes one from
anybody, so reading is strict and bounded: unknown keys, wrong types, names that are no references and
oversized lists are refused with the path of the value and an example.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from prewarm.errors import InvalidReference, SettingsError, nearest
from prewarm.references import Reference, is_digest
from prewarm.warming.planning import Budget, Plan, Skip, Warm

T = TypeVar("T")

MAX_DOCUMENT = 64 * 2**20  # bytes of a plan file
MAX_ROWS = 200_000
MAX_TEXT = 4096

_PLAN_KEYS = (
    "id", "cache", "site", "created_at", "window", "budget", "model", "objective",
    "bytes", "warms", "skipped", "withheld", "meta", "warnings",
)  # fmt: skip
_WARM_KEYS = ("image", "digest", "bytes", "score", "reason", "rank", "p_stale")
_SKIP_KEYS = ("image", "reason", "held", "failed", "digest", "rank")
_REQUIRED = ("id", "cache", "warms")


def to_document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values; times are ISO-8601 UTC, sizes are bytes."""
    return {
        "id": plan.id,
        "cache": plan.cache,
        "site": plan.site,
        "created_at": _stamp(plan.created_at),
        "window": {"start": _stamp(plan.window[0]), "end": _stamp(plan.window[1])},
        "budget": {
            "top": plan.budget.top,
            "max_bytes": plan.budget.max_bytes,
            "max_pulls": plan.budget.max_pulls,
            "ready_by": _stamp(plan.budget.ready_by) if plan.budget.ready_by else None,
        },
        "model": plan.model,
        "objective": plan.objective,
        "bytes": plan.bytes,
        "warms": [_warm_document(warm) for warm in plan.warms],
        "skipped": [
            {
                "image": skip.image,
                "reason": skip.reason,
                "held": skip.held,
                "failed": skip.failed,
                "digest": skip.digest,
                "rank": skip.rank,
            }
            for skip in plan.skipped
        ],
        "withheld": [_warm_document(warm) for warm in plan.withheld],
        "meta": dict(plan.meta),
    }


def to_text(plan: Plan) -> str:
    """The plan as JSON text."""
    return json.dumps(to_document(plan), ensure_ascii=False)


def from_text(text: str | bytes) -> Plan:
    """The plan of a JSON text; raises SettingsError with one line that says what is wrong where."""
    if len(text) > MAX_DOCUMENT:
        raise _refused("", f"is longer than {MAX_DOCUMENT} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise _refused("", "is no JSON; `prewarm plan --cache NAME --json` writes one") from None
    return from_document(document)


def from_document(document: object) -> Plan:
    """The plan of a parsed document; raises SettingsError as `from_text` does."""
    table = _table(document, "", _PLAN_KEYS, _REQUIRED)
    created = _optional(_time, table.get("created_at"), "created_at") or datetime.fromtimestamp(0, UTC)
    plan = Plan(
        id=_name(table["id"], "id"),
        cache=_name(table["cache"], "cache"),
        site=_optional(_name, table.get("site"), "site"),
        created_at=created,
        window=_optional(_window, table.get("window"), "window") or (created, created),
        budget=_optional(_budget, table.get("budget"), "budget") or Budget(),
        model=_text(table.get("model", ""), "model"),
        objective=_text(table.get("objective", ""), "objective"),
        warms=_rows(_warm, table["warms"], "warms"),
        skipped=_rows(_skip, table.get("skipped", []), "skipped"),
        withheld=_rows(_warm, table.get("withheld", []), "withheld"),
        meta=_meta(table.get("meta", {}), "meta"),
    )
    _check_distinct(plan)
    return plan


def _check_distinct(plan: Plan) -> None:
    """An image has one place in a plan, or it would have two outcomes."""
    images = [warm.image for warm in plan.warms + plan.withheld] + [skip.image for skip in plan.skipped]
    for image, times in Counter(images).items():
        if times > 1:
            raise _refused("", f"names {image} {times} times; an image has one place in a plan")


def _warm_document(warm: Warm) -> dict[str, Any]:
    return {
        "image": warm.image,
        "digest": warm.digest,
        "bytes": warm.bytes,
        "score": warm.score,
        "reason": warm.reason,
        "rank": warm.rank,
        "p_stale": warm.p_stale,
    }


def _warm(value: object, where: str) -> Warm:
    table = _table(value, where, _WARM_KEYS, ("image",))
    return Warm(
        image=_image(table["image"], f"{where}.image"),
        digest=_optional(_digest, table.get("digest"), f"{where}.digest"),
        bytes=_optional(_count, table.get("bytes"), f"{where}.bytes"),
        score=_number(table.get("score", 0.0), f"{where}.score"),
        reason=_text(table.get("reason", ""), f"{where}.reason"),
        rank=_count(table.get("rank", 0), f"{where}.rank"),
        p_stale=_optional(_number, table.get("p_stale"), f"{where}.p_stale"),
    )


def _skip(value: object, where: str) -> Skip:
    table = _table(value, where, _SKIP_KEYS, ("image",))
    return Skip(
        image=_image(table["image"], f"{where}.image"),
        reason=_text(table.get("reason", ""), f"{where}.reason"),
        held=_flag(table.get("held", False), f"{where}.held"),
        failed=_flag(table.get("failed", False), f"{where}.failed"),
        digest=_optional(_digest, table.get("digest"), f"{where}.digest"),
        rank=_count(table.get("rank", 0), f"{where}.rank"),
    )


def _budget(value: object, where: str) -> Budget:
    table = _table(value, where, ("top", "max_bytes", "max_pulls", "ready_by"), ())
    return Budget(
        top=_optional(_count, table.get("top"), f"{where}.top"),
        max_bytes=_optional(_count, table.get("max_bytes"), f"{where}.max_bytes"),
        max_pulls=_optional(_count, table.get("max_pulls"), f"{where}.max_pulls"),
        ready_by=_optional(_time, table.get("ready_by"), f"{where}.ready_by"),
    )


def _window(value: object, where: str) -> tuple[datetime, datetime]:
    table = _table(value, where, ("start", "end"), ("start", "end"))
    start, end = _time(table["start"], f"{where}.start"), _time(table["end"], f"{where}.end")
    if end < start:
        raise _refused(where, "ends before it starts")
    return start, end


def _meta(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > 100:
        raise _refused(where, "must be an object of at most 100 texts")
    return {_text(key, where): _text(entry, f"{where}[{key[:60]!r}]") for key, entry in value.items()}


def _table(value: object, where: str, known: tuple[str, ...], required: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _refused(where, f"must be an object with {', '.join(known)}")
    for key in value:
        if key not in known:
            near = nearest(key, known)
            hint = f"; did you mean {near!r}?" if near else f"; known: {', '.join(known)}"
            raise _refused(where, f"has an unknown key {key[:60]!r}{hint}")
    for key in required:
        if key not in value:
            raise _refused(where, f"lacks {key!r}")
    return value


def _rows(read: Callable[[object, str], T], value: object, where: str) -> tuple[T, ...]:
    if not isinstance(value, list) or len(value) > MAX_ROWS:
        raise _refused(where, f"must be a list of at most {MAX_ROWS} images")
    return tuple(read(row, f"{where}[{index}]") for index, row in enumerate(value))


def _optional(read: Callable[[object, str], T], value: object, where: str) -> T | None:
    return None if value is None else read(value, where)


def _image(value: object, where: str) -> str:
    try:
        return str(Reference.parse(_text(value, where)))
    except InvalidReference as invalid:
        raise _refused(where, str(invalid)) from None


def _digest(value: object, where: str) -> str:
    if not isinstance(value, str) or not is_digest(value):
        raise _refused(where, "must be a digest: sha256: and 64 hexadecimal characters")
    return value


def _time(value: object, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        if moment is not None and moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _refused(where, "must be a time with its offset: 2026-11-24T08:00:00Z")


def _name(value: object, where: str) -> str:
    text = _text(value, where)
    if not text or not text.isprintable():
        raise _refused(where, "must be a printable name: office")
    return text


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise _refused(where, f"must be a text of at most {MAX_TEXT} characters")
    return value


def _count(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise _refused(where, "must be a whole number, 0 or more: 1000000")
    return value


def _number(value: object, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= 1e300:
        raise _refused(where, "must be a number: 12.5")
    return float(value)


def _flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise _refused(where, "must be true or false")
    return value


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _refused(where: str, why: str) -> SettingsError:
    place = f"plan: {where}" if where else "plan"
    return SettingsError(f"{place} {why}")
