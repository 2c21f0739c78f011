"""Deliveries: found, one with its attempts, tried again and given up."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from receiver.destinations import Preview
from receiver.errors import Conflict, NotFound
from receiver.models import Delivery, Status
from receiver.moments import moment
from receiver.stores import DeliveryFilter, Page
from receiver.web.api.deliveries import (
    cancel_deliveries,
    listed_now,
    retry_deliveries,
    sent_to,
)
from receiver.web.api.events import LONGEST_S
from receiver.web.api.operation import Handle
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.dashboard.gate import action, page
from receiver.web.dashboard.visit import Visit

A_PAGE = 50
FILTERS = ("status", "destination", "event", "since", "until")

_ACTIONS: Mapping[str, tuple[Handle, str]] = {
    "retry": (retry_deliveries, "retried"),
    "cancel": (cancel_deliveries, "cancelled"),
}
CHANGEABLE = (Status.DEAD, Status.PENDING)


def routes(parts: Parts) -> list[Route]:
    """The list, and one."""
    return [
        page(parts, "/ui/deliveries", show_all),
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
        found = await search(visit, where, A_PAGE, after)
    except Problem as error:
        problem = error.message
    return visit.page(
        "deliveries.html",
        asked=asked,
        found=found,
        listed=await listed_now(visit.parts, found.items),
        first=after is None,
        problem=problem,
        statuses=list(Status),
        destinations=list(visit.parts.settings.destinations),
        changeable=asked.get("status") in CHANGEABLE,
    )


async def show(visit: Visit) -> Response:
    reader, delivery_id = visit.parts.reader, visit.request.path_params["id"]
    delivery = await reader.delivery(delivery_id)
    [one] = await listed_now(visit.parts, [delivery])
    return visit.page(
        "delivery.html",
        delivery=delivery,
        listed=one,
        attempts=await reader.attempts(delivery_id),
        stored=await reader.event(delivery.event_id),
        changeable=delivery.status in CHANGEABLE,
        confirmation=await reader.confirmation(delivery.event_id),
        sent=await _sent(visit, delivery_id),
    )


async def _sent(visit: Visit, delivery_id: str) -> Preview | str:
    """What goes there, or why that cannot be shown."""
    try:
        return await sent_to(visit.parts, delivery_id)
    except (Conflict, NotFound) as error:
        return str(error)


async def change_one(visit: Visit) -> Response:
    delivery_id = visit.request.path_params["id"]
    handle, said = change_called(visit.request.path_params["action"])
    done = await visit.do(handle, {"ids": [delivery_id]})
    word = said if done["changed"] else "unchanged"
    return visit.go(f"/ui/deliveries/{delivery_id}", word, done["changed"])


async def search(
    visit: Visit, where: DeliveryFilter, limit: int, after: str | None
) -> Page[Delivery]:
    """As much of a page as there is in a moment."""
    return await visit.parts.reader.search_deliveries(
        where, limit=limit, after=after, longest_s=LONGEST_S
    )


def change_called(name: str) -> tuple[Handle, str]:
    """
    What changes deliveries, and the word for what was done.

    Raises:
        Problem: there is no such change.
    """
    found: Any = _ACTIONS.get(name)
    if found is None:
        raise Problem(404, "not_found", "deliveries are retried or cancelled")
    handle, said = found
    return handle, said
