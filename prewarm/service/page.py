"""`/` and `/docs`: pages to look at. Everything they need comes from the package; no other host is asked."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources

from fastapi import APIRouter, HTTPException, Request, Response

router = APIRouter(include_in_schema=False)

TYPES = {
    "page.html": "text/html; charset=utf-8",
    "docs.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "demand.js": "text/javascript; charset=utf-8",
    "value.js": "text/javascript; charset=utf-8",
    "warming.js": "text/javascript; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
}


@router.get("/")
def page(request: Request) -> Response:
    """The page: what each site will pull, and when it pulls."""
    return _file("page.html", request)


@router.get("/docs")
def docs(request: Request) -> Response:
    """The interface, described by its own OpenAPI document."""
    if not request.app.state.settings.service.docs:
        raise HTTPException(404, "service.docs is off")
    return _file("docs.html", request)


@router.get("/static/{name}")
def static(name: str, request: Request) -> Response:
    """Style and script of the pages."""
    if name not in TYPES:
        raise HTTPException(404, "no such file")
    return _file(name, request)


def _file(name: str, request: Request) -> Response:
    content = _content(name)
    tag = f'W/"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    told = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=told)
    return Response(content, media_type=TYPES[name], headers=told)


@cache
def _content(name: str) -> bytes:
    return (resources.files("prewarm.service") / "static" / name).read_bytes()
