"""
Every page and every read of the API, with what can be asked of them, for benchmarks.

What there is comes from the OpenAPI document and the dashboard's routes: a page, a read
or a parameter that is not in `ASKED` is an error, so that none is forgotten.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from receiver import clock
from receiver.models import Status
from receiver.stores import DeliveryFilter, EventFilter, Reader
from receiver.stores.joining import JoinState
from receiver.subjects import SubjectFilter
from receiver.web.api import OPERATIONS
from receiver.web.api.openapi import document
from receiver.web.api.parts import Parts
from receiver.web.dashboard import pages

HALF = timedelta(days=45)
_EVENTS = (
    "",
    "source=sora2",
    "source=seldom",
    "type=batch.completed",
    "type=batch.r*",
    "type=nothing.*",
    "subject={subject}",
    "subject=nobody",
    "subject={subject}&type=batch.completed",
    "key={key}",
    "key=nothing",
    "state=partial",
    "state=failed",
    "since={half}",
    "until={half}",
    "source=seldom&since={half}&type=batch.created",
    "text=cdn.sora2",
    "text={subject}",
    "text=there+is+none",
    "text=THERE+IS+NONE&type=batch.created",
    "after={late_event}",
    "after={early_event}",
)
_DELIVERIES = (
    "",
    "status=delivered",
    "status=dead",
    "status=pending",
    "status=cancelled",
    "destination=a",
    "destination=nobody",
    "status=dead&destination=b",
    "status=dead&destination=a",
    "status=pending&destination=b",
    "status=dead&since={half}",
    "status=dead&until={half}",
    "event={event}",
    "since={half}",
    "until={half}",
    "after={delivery}",
    "status=dead&destination=c&after={delivery}",
)
_BATCHES = (
    "",
    "source=sora2",
    "source=seldom",
    "subject={subject}",
    "subject=nobody",
    "state=partial",
    "state=running",
    "state=cancelled",
    "request_id=order-of-{subject}",
    "request_id=nobody",
    "source=seldom&state=partial",
    "since={half}",
    "until={half}",
    "after={batch}",
)
_PROBLEMS = ("ledger", "stalled", "late", "no_start", "contradictory")
_JOINS = (
    "",
    "state=open",
    "state=completed",
    "state=failed",
    "key=order-3",
    "state=completed&after={join}",
)
_REJECTIONS = (
    "",
    "source=sora2",
    "source=nobody",
    "code=no_signature",
    "code=nothing",
    "after={rejection}",
)
_CREDITS = ("", "since={half}", "until={half}", "source=seldom", "since={half_day}")

ASKED: Mapping[str, Sequence[str]] = {
    "/": ("",),
    "/ui/events": _EVENTS,
    "/ui/events/{id}": ("",),
    "/ui/events/{id}/body": ("",),
    "/ui/deliveries": _DELIVERIES,
    "/ui/deliveries/{id}": ("",),
    "/ui/deliveries/change": (
        "action=retry&status=dead",
        "action=cancel&status=pending&destination=a",
        "action=retry&status=dead&destination=b&since={half}",
    ),
    "/ui/destinations": ("",),
    "/ui/destinations/{name}": ("",),
    "/ui/joins": _JOINS,
    "/ui/joins/{id}": ("",),
    "/ui/replays": ("", "after={replay}"),
    "/ui/replays/new": (
        "",
        "source=seldom",
        "type=batch.completed",
        "text=there+is+none",
        "subject={subject}",
        "since={half_day}",
    ),
    "/ui/replays/{id}": ("",),
    "/ui/rejections": _REJECTIONS,
    "/ui/rejections/{id}": ("",),
    "/ui/rejections/{id}/body": ("",),
    "/ui/batches": (
        *_BATCHES,
        *(f"trouble={name}" for name in _PROBLEMS),
        "open=1",
        "since=90d&state=running",
    ),
    "/ui/batches/{id}": ("", "pictures=1"),
    "/ui/batches/credits": (*_CREDITS, "since=90d"),
    "/ui/audit": ("", "after={change}"),
    "/ui/ledger": ("",),
    "/ui/sign-in": ("",),
    "/ui/static/{name}": ("",),
    "/ui/live": ("",),
    "/api/v1/status": ("",),
    "/api/v1/audit": ("", "limit=500", "after={change}"),
    "/api/v1/events": (*_EVENTS, "limit=500", "limit=500&text=there+is+none"),
    "/api/v1/events/{id}": ("",),
    "/api/v1/events/{id}/body": ("",),
    "/api/v1/events/{id}/explain": ("",),
    "/api/v1/events/{id}/preview": ("destination=a",),
    "/api/v1/batches": (
        *_BATCHES,
        *(f"problem={name}" for name in _PROBLEMS),
        "final=true",
        "final=false",
        "older_than=1h",
        "older_than=60d",
        "older_than=1h&final=false&source=seldom",
        "limit=500",
    ),
    "/api/v1/batches/{id}": ("",),
    "/api/v1/batches/credits": (*_CREDITS, "by=day", "by=source"),
    "/api/v1/deliveries": (*_DELIVERIES, "limit=500"),
    "/api/v1/deliveries/{id}": ("",),
    "/api/v1/deliveries/{id}/sent": ("",),
    "/api/v1/joins": (*_JOINS, "limit=500"),
    "/api/v1/joins/{id}": ("",),
    "/api/v1/replays": ("", "limit=500", "after={replay}"),
    "/api/v1/replays/{id}": ("",),
    "/api/v1/rejections": (*_REJECTIONS, "limit=500"),
    "/api/v1/rejections/{id}": ("",),
    "/api/v1/rejections/{id}/body": ("",),
    "/api/v1/sources": ("",),
    "/api/v1/destinations": ("",),
    "/api/v1/destinations/{name}": ("",),
    "/api/v1/stream": (
        "",
        "source=seldom",
        "type=batch.r*",
        "subject=nobody",
        "body=true",
        "raw=true",
        "after={late_event}",
    ),
    "/healthz": ("",),
    "/readyz": ("",),
    "/metrics": ("",),
}
"""What is asked for at each path; words in braces are filled in."""

READS_ALL = ("/ui/ledger?add=1", "/api/v1/status?ledger=true")
"""Only on request, and as slow as they are; measured apart."""

STREAMS = ("/ui/live", "/api/v1/stream")
_NOT_LOOKED_AT = {"/ui/{rest:path}"}
_ELSEWHERE = {("/api/v1/status", "ledger")}
_MOST = 1_000


@dataclass(frozen=True, slots=True)
class Look:
    """A page or a read: where it is kept in mind, and what is asked for."""

    path: str
    url: str

    @property
    def is_page(self) -> bool:
        return not self.path.startswith("/api/")

    @property
    def is_stream(self) -> bool:
        return self.path in STREAMS


async def looks(reader: Reader) -> list[Look]:
    """
    All of them, with what is in this store.

    Raises:
        ValueError: there is a page, a read or a parameter that is not asked for.
    """
    _check()
    known = await _known(reader)
    kinds = {"events": "event", "deliveries": "delivery", "batches": "batch"}
    kinds |= {"replays": "replay", "rejections": "rejection", "joins": "join"}
    found: list[Look] = []
    for path, several in ASKED.items():
        noun = path.removeprefix("/api/v1").removeprefix("/ui").split("/")[1]
        name = "app.css" if noun == "static" else "a"
        at = path.format(id=known.get(kinds.get(noun, "")), name=name)
        for query in several:
            filled = query.format_map(known)
            found.append(Look(path, f"{at}?{filled}" if query else at))
    return found


def _check() -> None:
    missing = _there_are() - ASKED.keys()
    described: Mapping[str, Mapping[str, Any]] = document(OPERATIONS)["paths"]
    for path, methods in described.items():
        if "get" not in methods or path in missing:
            continue
        asked = {
            part.split("=")[0] for query in ASKED[path] for part in query.split("&")
        }
        for one in methods["get"].get("parameters", ()):
            name = one["name"]
            paths = one["in"] == "path" or (path, name) in _ELSEWHERE
            if not paths and name not in asked and not (name == "limit" and asked):
                missing.add(f"{path}?{name}=")
    if missing:
        raise ValueError(f"add to ASKED: {', '.join(sorted(missing))}")


def _there_are() -> set[str]:
    """Paths of every page and every read."""
    described = document(OPERATIONS)["paths"]
    reads = {path for path, methods in described.items() if "get" in methods}
    nobody = cast("Parts", _Nothing())
    shown = {route.path for route in pages.routes(nobody) if "GET" in _methods(route)}
    return (reads | shown) - _NOT_LOOKED_AT


def _methods(route: Any) -> set[str]:
    return route.methods or set()


class _Nothing:
    """Routes are only made with it."""


async def _known(reader: Reader) -> dict[str, Any]:
    """Ids and names that are in the middle of the store."""
    half = clock.now() - HALF
    [event, *_] = await reader.events(EventFilter(until=half), limit=1)
    early = await reader.events(EventFilter(), limit=1_000, newest_first=False)
    late = await reader.events(EventFilter(), limit=1_000)
    dead = DeliveryFilter(Status.DEAD, until=half)
    [delivery] = await reader.deliveries(dead, limit=1)
    [batch] = await reader.subjects(SubjectFilter(until=half), limit=1)
    rejections = await reader.rejections(source=None, limit=_MOST)
    joins = await reader.list_joins([JoinState.COMPLETED], limit=_MOST)
    replays = await reader.replays(limit=_MOST)
    changes = await reader.audit(limit=_MOST)
    return {
        "event": event.event.id,
        "subject": event.event.subject,
        "key": event.event.key,
        "early_event": early[-1].event.id,
        "late_event": late[-1].event.id,
        "delivery": delivery.id,
        "batch": batch.id,
        "rejection": rejections[len(rejections) // 2].id,
        "join": joins[len(joins) // 2].id,
        "replay": replays[0].id,
        "change": changes[len(changes) // 2].id,
        "half": clock.iso(half),
        "half_day": clock.iso(clock.now() - timedelta(hours=12)),
    }
