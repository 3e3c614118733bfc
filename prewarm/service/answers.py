"""Bodies of reads: JSON or CSV, with an ETag, and 304 where the asker has it already."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query as Parameters
from fastapi import Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field
from pydantic_core import to_json

from prewarm.quantities import reckonable

Form = Literal["json", "csv"]
Moment = Annotated[AwareDatetime, AfterValidator(reckonable)]
"""A time of a question: ISO 8601 with a zone, in UTC from here on."""

CACHING = "private, max-age=15"
HELD = "prewarm.held"  # in the scope of a request that was answered from what is held alone
TYPES: Mapping[str, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "svg": "image/svg+xml",
}


class Query(BaseModel):
    """What every question has in common: nothing but what it declares."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Bare = Annotated[Query, Parameters()]
"""The question of a route that takes no parameter: one that is given is refused, not ignored."""


class Paged(Query):
    """A question that is answered with a page of rows."""

    limit: int = Field(50, ge=1, le=1000, description="rows at most")
    offset: int = Field(0, ge=0, le=10_000_000, description="rows to pass over")
    format: Form = Field("json", description="csv gives the rows alone")

    def page(self, rows: list[Any]) -> list[Any]:
        """The rows that are asked for."""
        return rows[self.offset : self.offset + self.limit]


def reply(
    request: Request, body: bytes, form: Form | Literal["svg"] = "json", *, held: bool = True
) -> Response:
    """`body` with its ETag; 304 when the request names that. `held`: it was made of what is held alone."""
    # Weak: the same answer may travel compressed.
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    told = {"ETag": tag, "Cache-Control": CACHING}
    if held:
        request.scope[HELD] = True
    if named(tag, request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=told)
    return Response(body, media_type=TYPES[form], headers=told)


def as_json(document: Mapping[str, Any]) -> bytes:
    """Times in ISO 8601, UTC; what is not a number is null."""
    return to_json(document, inf_nan_mode="null")


def as_csv(columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """A header and the rows; what nobody knows is empty."""
    names = list(columns)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    writer.writerow(names)
    writer.writerows([_cell(row[name]) for name in names] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def named(tag: str, wanted: str) -> bool:
    """Whether If-None-Match names this entity (RFC 9110, section 13.1.2; weak comparison)."""
    names = {each.strip().removeprefix("W/") for each in wanted[:4096].split(",")}
    return "*" in names or tag.removeprefix("W/") in names


def told(
    status: int, description: str, document: Mapping[str, Any], refusals: Mapping[int, str]
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a command for the OpenAPI document: what it answers with, and what it refuses."""
    problem = {"application/problem+json": {"example": _PROBLEM}}
    found: dict[int | str, dict[str, Any]] = {
        each: {"description": words, "content": problem} for each, words in refusals.items()
    }
    content = {"application/json": {"example": document}}
    return {status: {"description": description, "content": content}} | found


def example(document: Mapping[str, Any], table: str | None = None) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route for the OpenAPI document: one example, and what a read may refuse with."""
    content: dict[str, Any] = {"application/json": {"example": document}}
    if table is not None:
        content["text/csv"] = {"example": table}
    problem = {"application/problem+json": {"example": _PROBLEM}}
    return {
        200: {"description": "found", "content": content},
        304: {"description": "the ETag named by If-None-Match is still right"},
        404: {"description": "a site, image or model that nobody knows", "content": problem},
        409: {"description": "the lake holds nothing to learn from yet", "content": problem},
        422: {"description": "a parameter that cannot be used", "content": problem},
        503: {"description": "the first forecast is being made, or the lake cannot be read"},
    }


_PROBLEM = {
    "type": "UnknownName",
    "title": "no site called 'boize'; did you mean 'boise'? known",
    "status": 404,
    "detail": "no site called 'boize'; did you mean 'boise'? known: berlin, boise",
}
