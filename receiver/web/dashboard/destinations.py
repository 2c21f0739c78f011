"""Destinations: how they do, pausing and resuming them, trying them out."""

from collections.abc import Sequence

from starlette.responses import Response
from starlette.routing import Route

from receiver.errors import NotFound
from receiver.ledger import Standing
from receiver.models import Attempt
from receiver.web.api.destinations import (
    pause_destination,
    resume_destination,
    standings_now,
    test_destination,
)
from receiver.web.api.parts import Parts
from receiver.web.dashboard.gate import action, page
from receiver.web.dashboard.visit import Visit

LONGEST_REASON = 500


def routes(parts: Parts) -> list[Route]:
    """All of them, one, and what can be done with it."""
    return [
        page(parts, "/ui/destinations", show_all),
        page(parts, "/ui/destinations/{name}", show),
        action(parts, "/ui/destinations/{name}/pause", pause),
        action(parts, "/ui/destinations/{name}/resume", resume),
        action(parts, "/ui/destinations/{name}/test", test),
    ]


async def show_all(visit: Visit) -> Response:
    return visit.page(
        "destinations.html",
        standings=await standings_now(visit.parts),
        settings=visit.parts.settings,
        trends=visit.parts.trends,
    )


async def show(visit: Visit) -> Response:
    return await _one(visit, None)


async def pause(visit: Visit) -> Response:
    reason = visit.sent("reason")[:LONGEST_REASON] or "paused by hand"
    return await _changed(visit, "paused", {"reason": reason})


async def resume(visit: Visit) -> Response:
    return await _changed(visit, "resumed", {})


async def test(visit: Visit) -> Response:
    name = visit.request.path_params["name"]
    made: Attempt = await visit.do(test_destination, {}, name=name)
    return await _one(visit, made)


async def _changed(visit: Visit, said: str, body: dict[str, str]) -> Response:
    name = visit.request.path_params["name"]
    handle = pause_destination if said == "paused" else resume_destination
    done = await visit.do(handle, body, name=name)
    path = visit.request.url.path.rpartition("/")[0]
    return visit.go(path, said if done["changed"] else "unchanged")


async def _one(visit: Visit, tried: Attempt | None) -> Response:
    name = visit.request.path_params["name"]
    standing = _named(await standings_now(visit.parts), name)
    return visit.page(
        "destination.html",
        standing=standing,
        declared=visit.parts.settings.destinations.get(name),
        tried=tried,
        trends=visit.parts.trends,
        routes=[r for r in visit.parts.settings.routes if name in r.to],
    )


def _named(found: Sequence[Standing], name: str) -> Standing:
    for one in found:
        if one.queue.destination == name:
            return one
    raise NotFound("there is no destination of this name, and nothing waits for one")
