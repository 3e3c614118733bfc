"""Every error as RFC 9457 problem details, from one table."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from polars.exceptions import PanicException
from starlette.exceptions import HTTPException

from prewarm import errors

DEFECTS = (Exception, PanicException)
"""What is caught where a defect must end nothing else: a panic of Polars is no `Exception`."""

STATUS: dict[type[errors.PrewarmError], int] = {
    errors.InvalidReference: 422,
    errors.SettingsError: 422,
    errors.UnknownName: 404,
    errors.NotEnoughHistory: 409,
    errors.CacheBusy: 409,
    errors.Paused: 409,
    errors.CacheError: 502,
    errors.ForbiddenHost: 403,
    errors.LakeError: 503,
    errors.UnreadableInput: 422,
    errors.Full: 429,
    errors.RegistryError: 502,
}


def install(app: FastAPI) -> None:
    """Answer every refusal of `app` with `application/problem+json`."""

    @app.exception_handler(errors.PrewarmError)
    async def refused(_: Request, error: errors.PrewarmError) -> JSONResponse:
        status = _status(error)
        later = {"Retry-After": "5"} if status in (429, 503) else {}
        return problem(status, str(error), kind=type(error).__name__, headers=later)

    @app.exception_handler(HTTPException)
    async def declined(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "body"
        said = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            said = _unknown(field, _known(request, str(first["loc"][0])))
        if first["type"] == "json_invalid":
            field, said = "body", f"is no JSON: {first['ctx']['error']}"
        return problem(422, f"{field}: {said}", kind="InvalidParameter")


def problem(
    status: int, detail: str, *, kind: str = "about:blank", headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """One problem document (RFC 9457, section 3)."""
    document = {"type": kind, "title": detail.partition(":")[0], "status": status, "detail": detail}
    return JSONResponse(document, status, headers=dict(headers or {}), media_type="application/problem+json")


def failure() -> JSONResponse:
    """A defect: what it says may be about paths, and is not for askers."""
    return problem(500, "the service failed to answer; its log says why", kind="InternalError")


def _status(error: errors.PrewarmError) -> int:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)


def _known(request: Request, where: str) -> list[str]:
    """What the route that was asked takes there: in its `query`, or in its `body`."""
    route = request.scope["route"].dependant
    given = route.body_params if where == "body" else route.query_params
    known = (each.field_info.annotation for each in given)
    return sorted(name for model in known for name in getattr(model, "model_fields", ()))


def _unknown(name: str, known: list[str]) -> str:
    near = errors.nearest(name, known)
    hint = f"; did you mean {near!r}?" if near else ";"
    return f"unknown parameter{hint} known: {', '.join(known) or 'none'}"
