"""Events: found, and one of them with all there is to know about it."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from receiver.errors import NotFound
from receiver.models import Event, State
from receiver.offload import beside
from receiver.shown import shown_event
from receiver.stores import DeliveryFilter, EventFilter, Page, StoredEvent
from receiver.web.api.deliveries import listed_now
from receiver.web.api.events import (
    LONGEST_S,
    MOST_DELIVERIES,
    WHERE,
    download_event,
    event_filter,
    explain_event,
)
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.dashboard.gate import page
from receiver.web.dashboard.joins import joins_of
from receiver.web.dashboard.tree import Node, tree
from receiver.web.dashboard.visit import Visit

A_PAGE = 50
SHOWN_BYTES = 200_000
"""Of a body; the rest is downloaded."""

_ID = re.compile("(?:evt|dlv|rpl|rej|sub)_[0-9a-f]{16}")

WITH_ATTEMPTS = 20
"""Deliveries whose attempts stand on the event's own page."""


def routes(parts: Parts) -> list[Route]:
    """The list, one event, and its body."""
    return [
        page(parts, "/ui/events", show_all),
        page(parts, "/ui/events/{id}", show),
        page(parts, "/ui/events/{id}/body", download),
    ]


def chosen(asked: dict[str, str]) -> EventFilter:
    """
    The filter that a form's fields make.

    Raises:
        Problem: a state or a time is none.
    """
    if asked.get("state", State.PENDING) not in list(State):
        raise Problem(400, "invalid_parameter", "there is no such state")
    return event_filter(asked)


async def show_all(visit: Visit) -> Response:
    asked, problem = visit.asked(*WHERE), ""
    if (named := await _named(visit, asked.get("text", ""))) is not None:
        return visit.go(named)
    after = visit.asked("after").get("after")
    found: Page[StoredEvent] = Page([], None)
    try:
        found = await visit.parts.reader.search_events(
            chosen(asked), limit=A_PAGE, after=after, longest_s=LONGEST_S
        )
    except Problem as error:
        problem = error.message
    return visit.page(
        "events.html",
        asked=asked,
        found=found,
        first=after is None,
        problem=problem,
        states=list(State),
        sources=[provider.source.name for provider in visit.parts.senders],
    )


async def _named(visit: Visit, text: str) -> str | None:
    """The page of what has this id; None: nothing has, or it is none."""
    reader = visit.parts.reader
    kinds: Mapping[str, tuple[str, Callable[[str], Awaitable[object]]]] = {
        "evt": ("events", reader.event),
        "dlv": ("deliveries", reader.delivery),
        "rpl": ("replays", reader.replay),
        "rej": ("rejections", reader.rejection),
        "sub": ("batches", reader.subject),
    }
    if not _ID.fullmatch(text):
        return None
    folder, find = kinds[text[:3]]
    try:
        await find(text)
    except NotFound:
        return None
    return f"/ui/{folder}/{text}"


async def show(visit: Visit) -> Response:
    parts, event_id = visit.parts, visit.request.path_params["id"]
    stored = await parts.reader.event(event_id)
    event = await parts.senders.read(stored.event)
    deliveries = await parts.reader.deliveries(
        DeliveryFilter(event_id=event_id), limit=MOST_DELIVERIES, newest_first=False
    )
    confirmation = await parts.reader.confirmation(event_id)
    attempts = {
        delivery.id: await parts.reader.attempts(delivery.id)
        for delivery in deliveries[:WITH_ATTEMPTS]
    }
    return visit.page(
        "event.html",
        event=event,
        facts=stored.facts,
        decided=stored.decision,
        shown=shown_event(parts.senders, stored, body=False),
        data=await beside(len(event.body), _tree_of, event),
        raw=raw_text(event.body),
        deliveries=await listed_now(parts, deliveries),
        attempts=attempts,
        confirmation=confirmation,
        joins=[] if stored.body_pruned_at else await joins_of(visit, event),
        variants=await parts.reader.variants(event_id),
        pruned_at=stored.body_pruned_at,
        explained=None if stored.body_pruned_at else await _explained(visit, event_id),
        destinations=list(parts.settings.destinations),
        source=parts.senders.of(event.source),
    )


def _tree_of(event: Event) -> Node | None:
    return tree(event.data) if event.data is not None else None


async def _explained(visit: Visit, event_id: str) -> Any:
    return await visit.ask(explain_event, id=event_id)


async def download(visit: Visit) -> Response:
    found: Response = await visit.ask(
        download_event, id=visit.request.path_params["id"]
    )
    return found


def raw_text(body: bytes) -> str:
    """As much of a body as a page shows, whatever it is."""
    return body[:SHOWN_BYTES].decode(errors="replace")
