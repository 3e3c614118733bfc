"""A client of the REST service, for scripts and notebooks. Needs the standard library alone.

    from prewarm.client import Client

    service = Client("http://127.0.0.1:8080")
    for row in service.rankings(site="boise", limit=10)["ranking"]:
        print(row["rank"], row["image"], row["mean"])
    run = service.run(cache="office", top=20)
    for event in service.events(run["id"]):
        print(event.name, event.data)

Answers are the JSON objects that docs/api.md describes. Times that are given are aware; a refusal is a
`Refused`, with the service's own words.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from http.client import HTTPException
from typing import Any, Literal, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from prewarm.errors import ServiceError

Objective = Literal["pulls", "any-pull", "bytes"]
Json = dict[str, Any]
T = TypeVar("T")

PATIENCE = 3  # times that an answer which is being computed is asked for again
LARGEST = 64 << 20  # bytes of an answer


class Refused(ServiceError):
    """The service's refusal: `status`, `kind` and its words as the message (RFC 9457).

    `later` is in how many seconds to ask again for an answer that is being made, else None.
    """

    def __init__(
        self, message: str, status: int, kind: str = "about:blank", later: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.later = later


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run: `plan`, `started`, `outcome` or `end`."""

    number: int
    name: str
    data: Json


class Client:
    """One service. `token` is a bearer token, `ca_file` a PEM file of an own certificate authority.

    Raises ServiceError when nobody answers, and Refused for every answer of 400 and above.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        token: str | None = None,
        *,
        timeout: float = 60.0,
        ca_file: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ServiceError(f"{url!r} is no address of a service; example: http://127.0.0.1:8080")
        self._url = url.rstrip("/")
        self._headers = {"Accept": "application/json"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )
        self._timeout = timeout
        self._sleep = sleep
        trust = ssl.create_default_context(cafile=ca_file)
        handlers: list[Any] = [_NoRedirects(), HTTPSHandler(context=trust)]
        if urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1"):
            handlers.append(ProxyHandler({}))
        self._opener = build_opener(*handlers)

    # ------------------------------------------------------------------ reads

    def rankings(
        self,
        *,
        site: str | None = None,
        at: datetime | None = None,
        day: date | None = None,
        hours: int | None = None,
        limit: int | None = None,
        offset: int | None = None,
        objective: Objective | None = None,
        model: str | None = None,
    ) -> Json:
        """The images of a window by expected pulls, best first; of each hour of a `day`."""
        return self._get(
            "rankings", site=site, at=at, day=day, hours=hours, limit=limit, offset=offset,
            objective=objective, model=model,
        )  # fmt: skip

    def forecasts(
        self,
        *,
        image: str | None = None,
        site: str | None = None,
        hours: int | None = None,
        level: Sequence[int] | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Json:
        """Expected pulls by image and hour, with chances and intervals."""
        return self._get(
            "forecasts", image=image, site=site, hours=hours, level=level, limit=limit, offset=offset
        )

    def demand(
        self,
        *,
        image: str | None = None,
        site: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Json:
        """Pulls by image and hour, as they were."""
        return self._get(
            "demand", image=image, site=site, since=since, until=until, limit=limit, offset=offset
        )

    def rhythm(self, *, site: str | None = None, image: str | None = None) -> Json:
        """Mean pulls by hour and weekday."""
        return self._get("rhythm", site=site, image=image)

    def images(
        self,
        *,
        site: str | None = None,
        contains: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
    ) -> Json:
        """Images that are known, with their sizes."""
        return self._get("images", site=site, contains=contains, limit=limit, offset=offset)

    def image(self, image: str, *, site: str | None = None) -> Json:
        """All that is known of one image: demand, layers, other tags, where it is warm."""
        return self._get(f"images/{quote(image, safe='/:@')}", site=site)

    def sites(self) -> Json:
        """Every site: its clock, what was logged, its next peak."""
        return self._get("sites")

    def report(
        self,
        name: str,
        *,
        site: str | None = None,
        image: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        group: str | None = None,
    ) -> Json:
        """What happened: misses, hit-rate, latency, concentration, savings, warmed, holdout, growth."""
        asked: dict[str, Any] = {"site": site, "image": image, "since": since, "until": until, "group": group}
        return self._get(f"reports/{quote(name, safe='')}", **asked)

    def reports(self) -> Json:
        """The names of the reports."""
        return self._get("reports")

    def advice(
        self,
        *,
        site: str | None = None,
        image: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        group: str | None = None,
    ) -> Json:
        """A strategy for each repository, with the evidence and the estimated gain."""
        asked: dict[str, Any] = {"site": site, "image": image, "since": since, "until": until, "group": group}
        return self._get("advice", **asked)

    def assessment(self, *, site: str | None = None) -> Json:
        """Does pre-warming pay? The verdict on the pulls of the lake, and why."""
        return self._get("assessment", site=site)

    def figure(
        self, name: str, *, site: str | None = None, image: str | None = None, scheme: str | None = None
    ) -> str:
        """A figure as SVG: band, causes, arms or scores."""
        asked = {"site": site, "image": image, "scheme": scheme}
        return self._read(self._request(f"figures/{quote(name, safe='')}", asked), bytes.decode)

    def scorecard(
        self, *, site: str | None = None, hours: int | None = None, origins: int | None = None
    ) -> Json:
        """How good each model would have been."""
        return self._get("scorecard", site=site, hours=hours, origins=origins)

    def caches(self) -> Json:
        """Every cache: its driver, its site, its schedules."""
        return self._get("caches")

    def schedules(self) -> Json:
        """Every schedule: when it begins next, what it did last."""
        return self._get("schedules")

    # ------------------------------------------------------------------ plans and runs

    def plans(self, *, cache: str | None = None, limit: int | None = None, offset: int | None = None) -> Json:
        """Plans that the lake keeps, the newest first."""
        return self._get("plans", cache=cache, limit=limit, offset=offset)

    def plan(self, cache: str, **wanted: Any) -> Json:
        """Make a plan; `wanted` are the other keys of `POST /v1/plans`, such as `top` and `max_bytes`."""
        return self._post("plans", {"cache": cache, **wanted})

    def plan_of(self, id: str) -> Json:
        """The plan of that id."""
        return self._get(f"plans/{quote(id, safe='')}")

    def runs(self, *, cache: str | None = None, limit: int | None = None, offset: int | None = None) -> Json:
        """Runs, the newest first."""
        return self._get("runs", cache=cache, limit=limit, offset=offset)

    def run(
        self,
        *,
        cache: str | None = None,
        plan: str | None = None,
        schedule: str | None = None,
        **wanted: Any,
    ) -> Json:
        """Begin a run: of a plan, of a schedule, or of a cache with what to plan for."""
        named = {"cache": cache, "plan": plan, "schedule": schedule}
        return self._post("runs", {key: value for key, value in named.items() if value is not None} | wanted)

    def run_of(self, id: str) -> Json:
        """The run of that id, as it is now."""
        return self._get(f"runs/{quote(id, safe='')}")

    def cancel(self, id: str) -> Json:
        """End a run early, in order."""
        return self._post(f"runs/{quote(id, safe='')}/cancel")

    def events(self, id: str, after: int = 0) -> Iterator[Event]:
        """What happens in a run, as it happens, from the event after `after` on; ends with the run."""
        request = self._request(f"runs/{quote(id, safe='')}/events", {})
        request.add_header("Last-Event-ID", str(after))
        with self._answer(request) as answer:
            yield from _events(line.decode() for line in answer)

    # ------------------------------------------------------------------ control

    def pause(self, why: str | None = None) -> Json:
        """Set the kill switch: nothing warms until `resume`."""
        return self._post("pause", {"why": why})

    def resume(self) -> Json:
        """Unset the kill switch."""
        return self._post("resume")

    def pause_schedule(self, name: str) -> Json:
        """Nothing is begun by that schedule until it is resumed."""
        return self._post(f"schedules/{quote(name, safe='')}/pause")

    def resume_schedule(self, name: str) -> Json:
        """Let that schedule go on."""
        return self._post(f"schedules/{quote(name, safe='')}/resume")

    def ingest(
        self, source: str, records: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> Json:
        """Deliver records of a log, or events; on return they are safe."""
        return self._post(f"ingest/{quote(source, safe='')}", list(records), idempotency_key)

    # ------------------------------------------------------------------ HTTP

    def _get(self, path: str, **query: Any) -> Json:
        return self._told(self._request(path, query))

    def _post(self, path: str, body: Any = None, key: str | None = None) -> Json:
        request = self._request(path, {}, {} if body is None and not path.startswith("ingest") else body)
        if key is not None:
            request.add_header("Idempotency-Key", key)
        return self._told(request)

    def _request(self, path: str, query: Mapping[str, Any], body: Any = None) -> Request:
        given = {key: _text(value) for key, value in query.items() if value is not None}
        asked = urlencode(given, doseq=True)
        data = None if body is None else json.dumps(body, default=_text).encode()
        made = Request(f"{self._url}/v1/{path}{'?' if asked else ''}{asked}", data, dict(self._headers))
        if data is not None:
            made.add_header("Content-Type", "application/json")
        return made

    def _told(self, request: Request) -> Json:
        found: Json = self._read(request, json.loads)
        return found

    def _read(self, request: Request, parse: Callable[[bytes], T]) -> T:
        try:
            with self._patiently(request) as answer:
                body = answer.read(LARGEST)
                if answer.length:
                    raise ValueError(f"{answer.length} bytes are missing")
            return parse(body)
        except (ValueError, OSError, HTTPException) as broken:
            raise ServiceError(f"{self._url}: its answer broke off or cannot be read: {broken}") from None

    def _patiently(self, request: Request) -> Any:
        """The answer; of a read that is still being computed, after asking again."""
        patience = PATIENCE if request.get_method() == "GET" else 0
        while True:
            try:
                return self._answer(request)
            except Refused as refused:
                if refused.later is None or not patience:
                    raise
                patience -= 1
                self._sleep(refused.later)

    def _answer(self, request: Request) -> Any:
        try:
            return self._opener.open(request, timeout=self._timeout)
        except HTTPError as refused:
            raise _refusal(refused) from None
        except (URLError, OSError, HTTPException) as silent:
            why = " ".join(str(getattr(silent, "reason", silent)).split())
            raise ServiceError(f"{self._url} does not answer: {why}; is `prewarm serve` running?") from None


class _NoRedirects(HTTPRedirectHandler):
    """The token goes to the service alone."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _refusal(refused: HTTPError) -> Refused:
    wait = refused.headers.get("Retry-After", "")
    later = float(wait) if refused.code == 503 and wait.isdecimal() else None
    with refused:
        try:
            problem = json.loads(refused.read(1 << 20))
            kind = str(problem.get("type", "about:blank"))
            return Refused(str(problem["detail"]), refused.code, kind, later)
        except (ValueError, KeyError, TypeError, AttributeError, OSError, HTTPException):
            return Refused(f"{refused.code} {refused.reason}", refused.code, later=later)


def _events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events (WHATWG HTML, "Server-sent events"), as this service writes them."""
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.rstrip("\n").partition(": ")
        if colon and name:
            fields[name] = value
        elif not line.strip() and fields:
            if "data" in fields:
                yield Event(int(fields.get("id", "0")), fields.get("event", ""), json.loads(fields["data"]))
            fields = {}


def _text(value: Any) -> Any:
    """A value as the service takes it."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ServiceError(f"{value} has no zone; example: datetime(2026, 11, 30, 8, tzinfo=UTC)")
        return value.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return value
