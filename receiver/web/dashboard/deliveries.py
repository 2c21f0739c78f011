"""Deliveries: found, one with its attempts, tried again and given up, one or many."""

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from receiver import clock
from receiver.models import Delivery, Status, Trigger
from receiver.moments import moment
from receiver.stores import DeliveryFilter, Page
from receiver.stores.confirming import Confirmation
from receiver.web.api.deliveries import cancel_deliveries, retry_deliveries
from receiver.web.api.events import LONGEST_S
from receiver.web.api.operation import Handle
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.api.schemas import MOST_IDS
from receiver.web.dashboard.gate import action, page
from receiver.web.dashboard.rendering import address
from receiver.web.dashboard.visit import Visit

A_PAGE = 50
AT_ONCE = 10_000
"""Deliveries changed by one form; whoever has more sends it again."""

FILTERS = ("status", "destination", "event", "since", "until")

_ACTIONS: Mapping[str, tuple[Handle, str]] = {
    "retry": (retry_deliveries, "retried"),
    "cancel": (cancel_deliveries, "cancelled"),
}
_CHANGEABLE = (Status.DEAD, Status.PENDING)


def routes(parts: Parts) -> list[Route]:
    """The list, many at once with a question before it, one."""
    return [
        page(parts, "/ui/deliveries", show_all),
        page(parts, "/ui/deliveries/change", ask_first),
        action(parts, "/ui/deliveries/change", change),
        page(parts, "/ui/deliveries/{id}", show),
        action(parts, "/ui/deliveries/{id}/{action}", change_one),
    ]


def chosen(asked: Mapping[str, str], now: datetime) -> DeliveryFilter:
    """
    The filter that a form's fields make.

    Raises:
        Problem: a status or a time is none.
    """
    try:
        since, until = (
            moment(asked[name], now) if name in asked else None
            for name in ("since", "until")
        )
        status = Status(asked["status"]) if "status" in asked else None
    except ValueError as error:
        raise Problem(400, "invalid_parameter", str(error)) from None
    where = DeliveryFilter(status, asked.get("destination"), asked.get("event"))
    return DeliveryFilter(where.status, where.destination, where.event_id, since, until)


async def show_all(visit: Visit) -> Response:
    asked, problem = visit.asked(*FILTERS), ""
    after = visit.asked("after").get("after")
    found: Page[Delivery] = Page([], None)
    try:
        where = chosen(asked, visit.now)
        found = await _search(visit, where, A_PAGE, after)
    except Problem as error:
        problem = error.message
    return visit.page(
        "deliveries.html",
        asked=asked,
        found=found,
        first=after is None,
        problem=problem,
        statuses=list(Status),
        destinations=list(visit.parts.settings.destinations),
        changeable=asked.get("status") in _CHANGEABLE,
    )


def is_held(delivery: Delivery, found: Confirmation | None) -> bool:
    """Whether it waits for what its event's sender says of it."""
    return (
        found is not None
        and found.verdict is None
        and delivery.status is Status.PENDING
        and delivery.attempts == 0
        and delivery.replay_id is None
        and delivery.trigger is Trigger.SCHEDULED
    )


async def show(visit: Visit) -> Response:
    reader, delivery_id = visit.parts.reader, visit.request.path_params["id"]
    delivery = await reader.delivery(delivery_id)
    confirmation = await reader.confirmation(delivery.event_id)
    return visit.page(
        "delivery.html",
        delivery=delivery,
        attempts=await reader.attempts(delivery_id),
        stored=await reader.event(delivery.event_id),
        changeable=delivery.status in _CHANGEABLE,
        confirmation=confirmation,
        held=is_held(delivery, confirmation),
    )


async def change_one(visit: Visit) -> Response:
    delivery_id = visit.request.path_params["id"]
    handle, said = _action(visit.request.path_params["action"])
    done = await visit.do(handle, {"ids": [delivery_id]})
    word = said if done["changed"] else "unchanged"
    return visit.go(f"/ui/deliveries/{delivery_id}", word, done["changed"])


# -- many


async def ask_first(visit: Visit) -> Response:
    """How many it would be; what comes later is not meant."""
    given = visit.request.query_params
    name = given.get("action", "")
    _action(name)
    ids = given.getlist("id")[:MOST_IDS]
    asked = visit.asked(*FILTERS)
    asked.setdefault("until", clock.iso(visit.now))
    count, more = len(ids), False
    if not ids:
        where = _wide(asked, visit)
        page_ = await _search(visit, where, MOST_IDS, None)
        count, more = len(page_.items), page_.next is not None
    return visit.page(
        "change.html", action=name, ids=ids, asked=asked, count=count, more=more
    )


async def change(visit: Visit) -> Response:
    handle, said = _action(visit.sent("action"))
    ids = visit.form.get("id", [])[:MOST_IDS]
    asked = {name: visit.sent(name) for name in FILTERS if visit.sent(name)}
    if ids:
        changed = (await visit.do(handle, {"ids": ids}))["changed"]
        return visit.go("/ui/deliveries", said, changed)
    where, changed = _wide(asked, visit), 0
    async for some in _found(visit, where):
        changed += (await visit.do(handle, {"ids": some}))["changed"]
    status = asked["status"] if changed >= AT_ONCE else ""
    back = address(
        "/ui/deliveries", status=status, destination=asked.get("destination", "")
    )
    return visit.go(back, said, changed)


def _wide(asked: Mapping[str, str], visit: Visit) -> DeliveryFilter:
    where = chosen(asked, visit.now)
    if where.status not in _CHANGEABLE:
        message = "choose what is dead, or what is pending, before changing all of it"
        raise Problem(400, "invalid_parameter", message)
    return where


async def _found(
    visit: Visit, where: DeliveryFilter
) -> AsyncGenerator[list[str], None]:
    """All that is found, in pieces, the newest first; at most AT_ONCE."""
    after, left = None, AT_ONCE
    while left > 0:
        found = await _search(visit, where, min(left, MOST_IDS), after)
        if found.items:
            left -= len(found.items)
            yield [delivery.id for delivery in found.items]
        after = found.next
        if after is None:
            return


async def _search(
    visit: Visit, where: DeliveryFilter, limit: int, after: str | None
) -> Page[Delivery]:
    return await visit.parts.reader.search_deliveries(
        where, limit=limit, after=after, longest_s=LONGEST_S
    )


def _action(name: str) -> tuple[Handle, str]:
    found: Any = _ACTIONS.get(name)
    if found is None:
        raise Problem(404, "not_found", "deliveries are retried or cancelled")
    handle, said = found
    return handle, said
