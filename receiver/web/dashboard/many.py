"""Many deliveries changed at once: a question first, and so many that a form can wait."""

from collections.abc import Mapping
from typing import NamedTuple

from starlette.responses import Response
from starlette.routing import Route

from receiver import clock
from receiver.stores import DeliveryFilter
from receiver.web.api.operation import Handle
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.api.schemas import MOST_IDS
from receiver.web.dashboard.deliveries import (
    CHANGEABLE,
    FILTERS,
    change_called,
    chosen,
    search,
)
from receiver.web.dashboard.gate import action, page
from receiver.web.dashboard.rendering import address
from receiver.web.dashboard.visit import Visit

AT_ONCE = 10_000
"""Deliveries changed by one form; whoever has more is asked again for the rest."""

LONGEST_S = 10.0
"""Looking for them ends after this; the rest is asked for again, too."""

PATH = "/ui/deliveries/change"


class _Done(NamedTuple):
    """How many were changed, and after which one to go on; None: that was all."""

    changed: int
    after: str | None


def routes(parts: Parts) -> list[Route]:
    """The question, and what is done."""
    return [page(parts, PATH, ask_first), action(parts, PATH, change)]


async def ask_first(visit: Visit) -> Response:
    """How many it would be; what comes later is not meant."""
    given = visit.request.query_params
    name = given.get("action", "")
    change_called(name)
    ids = given.getlist("id")[:MOST_IDS]
    asked = visit.asked(*FILTERS)
    asked.setdefault("until", clock.iso(visit.now))
    after = visit.asked("after").get("after", "")
    count, more = len(ids), False
    if not ids:
        found = await search(visit, _wide(asked, visit), MOST_IDS, after or None)
        count, more = len(found.items), found.next is not None
    return visit.page(
        "change.html",
        action=name,
        ids=ids,
        asked=asked,
        after=after,
        count=count,
        more=more,
        at_once=AT_ONCE,
    )


async def change(visit: Visit) -> Response:
    """Change what was chosen; if more is found than is changed at once, ask again."""
    name, ids = visit.sent("action"), visit.form.get("id", [])[:MOST_IDS]
    handle, said = change_called(name)
    if ids:
        changed = (await visit.do(handle, {"ids": ids}))["changed"]
        return visit.go("/ui/deliveries", said, changed)
    asked = {name: visit.sent(name) for name in FILTERS if visit.sent(name)}
    after = visit.sent("after") or None
    done = await _changed(visit, handle, _wide(asked, visit), after)
    if done.after is not None:
        rest = address(PATH, action=name, after=done.after, **asked)
        return visit.go(rest, said, done.changed)
    back = address("/ui/deliveries", destination=asked.get("destination", ""))
    return visit.go(back, said, done.changed)


async def _changed(
    visit: Visit, handle: Handle, where: DeliveryFilter, after: str | None
) -> _Done:
    """The newest first; at most AT_ONCE, and as many as are found in time."""
    changed, left, until = 0, AT_ONCE, clock.monotonic() + LONGEST_S
    while left > 0 and clock.monotonic() < until:
        found = await search(visit, where, min(left, MOST_IDS), after)
        if found.items:
            ids = [delivery.id for delivery in found.items]
            changed += (await visit.do(handle, {"ids": ids}))["changed"]
            left -= len(ids)
        after = found.next
        if after is None:
            return _Done(changed, None)
    return _Done(changed, after)


def _wide(asked: Mapping[str, str], visit: Visit) -> DeliveryFilter:
    """
    Raises:
        Problem: that would be all there are.
    """
    where = chosen(asked, visit.now)
    if where.status not in CHANGEABLE:
        message = "choose what is dead, or what is pending, before changing all of it"
        raise Problem(400, "invalid_parameter", message)
    return where
