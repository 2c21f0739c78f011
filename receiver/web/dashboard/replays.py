"""Replays: asked for, watched, stopped."""

from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from receiver.models import Replay
from receiver.web.api.events import WHERE
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.api.replays import cancel_replay, create_replay, try_replay
from receiver.web.dashboard.events import chosen
from receiver.web.dashboard.gate import action, page
from receiver.web.dashboard.visit import Visit

A_PAGE = 50
FASTEST = 100_000


def routes(parts: Parts) -> list[Route]:
    """The list, a new one with a look at what it would make, one, its end."""
    return [
        page(parts, "/ui/replays", show_all),
        page(parts, "/ui/replays/new", ask),
        action(parts, "/ui/replays/new", create),
        page(parts, "/ui/replays/{id}", show),
        action(parts, "/ui/replays/{id}/cancel", cancel),
    ]


async def show_all(visit: Visit) -> Response:
    after = visit.asked("after").get("after")
    found = await visit.parts.reader.replays(limit=A_PAGE + 1, after=after)
    more = found[A_PAGE - 1].id if len(found) > A_PAGE else None
    return visit.page("replays.html", found=found[:A_PAGE], next=more, first=not after)


async def show(visit: Visit) -> Response:
    replay = await visit.parts.reader.replay(visit.request.path_params["id"])
    return visit.page("replay.html", replay=replay)


async def cancel(visit: Visit) -> Response:
    replay_id = visit.request.path_params["id"]
    await visit.do(cancel_replay, {}, id=replay_id)
    return visit.go(f"/ui/replays/{replay_id}", "stopped")


async def ask(visit: Visit) -> Response:
    """What it would make, before it is made."""
    if not visit.may_write:
        raise Problem(403, "read_only", "replays are for who may change something")
    asked = visit.asked(*WHERE)
    chosen(asked)
    would = await visit.do(try_replay, {"where": asked})
    return visit.page(
        "new_replay.html",
        asked=asked,
        would=would,
        destinations=list(visit.parts.settings.destinations),
    )


async def create(visit: Visit) -> Response:
    replay: Replay = await visit.do(create_replay, _wanted(visit))
    return visit.go(f"/ui/replays/{replay.id}", "replayed")


def _wanted(visit: Visit) -> dict[str, Any]:
    """
    What the API is asked for.

    Raises:
        Problem: the rate is no number, or too large.
    """
    where = {name: visit.sent(name) for name in WHERE if visit.sent(name)}
    chosen(where)
    event = visit.sent("event")
    wanted: dict[str, Any] = {"events": [event]} if event else {"where": where}
    to = [name for name in visit.form.get("to", []) if name]
    if to:
        wanted["to"] = to[:100]
    if visit.sent("as_new"):
        wanted["as_new"] = True
    rate = visit.sent("per_second")
    if rate:
        wanted["per_second"] = _rate(rate)
    return wanted


def _rate(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0
    if not 0 < found <= FASTEST:
        message = f"a rate is a number above 0, at most {FASTEST:,}"
        raise Problem(400, "invalid_parameter", message)
    return found
