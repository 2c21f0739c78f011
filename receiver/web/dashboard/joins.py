"""Joins: which still wait, for what, and how the last ones ended."""

from starlette.responses import Response
from starlette.routing import Route

from receiver import internal
from receiver.joins import names_for
from receiver.models import Event
from receiver.stores import Reader
from receiver.stores.joining import JoinState, ListedJoin
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.dashboard.gate import page
from receiver.web.dashboard.rendering import address
from receiver.web.dashboard.visit import Visit

A_PAGE = 50
ENDED = [state for state in JoinState if state is not JoinState.OPEN]
LATELY = 20
"""Ended ones below those that wait."""


def routes(parts: Parts) -> list[Route]:
    """The lists, and one of them."""
    return [
        page(parts, "/ui/joins", show_all),
        page(parts, "/ui/joins/{id}", show),
    ]


async def show_all(visit: Visit) -> Response:
    asked, reader = visit.asked("state", "key"), visit.parts.reader
    after = visit.asked("after").get("after")
    state = asked.get("state", JoinState.OPEN)
    if state not in list(JoinState):
        raise Problem(400, "invalid_parameter", "there is no such state")
    ended: list[ListedJoin] = []
    if "key" in asked:
        names = [(name, asked["key"]) for name in visit.parts.settings.joins]
        with_key = await reader.find_joins(names)
        found = [one for one in with_key if "state" not in asked or one.state == state]
    else:
        states = [JoinState(state)]
        found = list(await reader.list_joins(states, limit=A_PAGE + 1, after=after))
        if not asked and after is None:
            ended = list(await reader.list_joins(ENDED, limit=LATELY))
    return visit.page(
        "joins.html",
        asked=asked,
        found=found[:A_PAGE],
        next=found[A_PAGE - 1].id if len(found) > A_PAGE else None,
        ended=ended,
        first=after is None,
        states=list(JoinState),
    )


async def joins_of(visit: Visit, event: Event) -> list[tuple[ListedJoin, bool]]:
    """The joins an event is for, and of each whether it is one of its parts."""
    reader, settings = visit.parts.reader, visit.parts.settings
    found = await reader.find_joins(names_for(settings.joins.values(), event))
    return [(one, await _has(reader, one, event)) for one in found]


async def _has(reader: Reader, join: ListedJoin, event: Event) -> bool:
    _, parts = await reader.join_parts(join.id)
    return any(part.event_id == event.id for part in parts)


async def show(visit: Visit) -> Response:
    found, parts = await visit.parts.reader.join_parts(visit.request.path_params["id"])
    told = f"join:{found.name}:{found.key}"
    return visit.page(
        "join.html",
        join=found,
        parts=parts,
        declared=visit.parts.settings.joins.get(found.name),
        told_by=address("/ui/events", source=internal.SOURCE, key=told),
    )
