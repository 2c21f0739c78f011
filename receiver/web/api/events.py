"""Events: found, shown, explained."""

from collections.abc import Mapping

from receiver.destinations import Preview
from receiver.explain import explained
from receiver.models import State
from receiver.plain import plain
from receiver.routing import decide
from receiver.shown import shown_event
from receiver.stores import DeliveryFilter, EventFilter, Page, StoredEvent
from receiver.trial import previewed
from receiver.web.api.operation import Call, Operation
from receiver.web.api.responses import download
from receiver.web.api.schemas import (
    EVENT,
    JSON,
    LIMIT,
    NAME,
    TEXT,
    WHEN,
    many,
    maybe,
    one_of,
    page,
    record,
    ref,
)
from receiver.web.api.times import times

LONGEST_S = 0.06
"""A search that takes longer gives what it has."""

MOST_DELIVERIES = 1_000

WHERE = {
    "source": NAME,
    "type": {**NAME, "description": 'a type, or a glob like "batch.*"'},
    "subject": NAME,
    "key": NAME,
    "state": one_of(State),
    "since": WHEN,
    "until": WHEN,
    "text": {**NAME, "description": "in the body, whatever the case of ASCII letters"},
}
"""What chooses events, in a query and in a body."""


def event_filter(given: Mapping[str, str]) -> EventFilter:
    """
    The filter that WHERE's fields make.

    Raises:
        Problem: a time is none.
    """
    since, until = times(given, "since", "until")
    return EventFilter(
        source=given.get("source"),
        type=given.get("type"),
        subject=given.get("subject"),
        since=since,
        until=until,
        key=given.get("key"),
        state=State(given["state"]) if "state" in given else None,
        text=given.get("text"),
    )


async def list_events(call: Call) -> object:
    chosen = {name: call.query[name] for name in WHERE if name in call.query}
    found = await call.parts.reader.search_events(
        event_filter(chosen),
        limit=call.query["limit"],
        after=call.query.get("after"),
        longest_s=LONGEST_S,
    )
    return _page(call, found)


def _page(call: Call, found: Page[StoredEvent]) -> object:
    senders = call.parts.senders
    items = [shown_event(senders, stored, body=False) for stored in found.items]
    return {"items": items, "next": found.next, "searched_to": found.searched_to}


async def show_event(call: Call) -> object:
    reader, event_id = call.parts.reader, call.path["id"]
    stored = await reader.event(event_id)
    where = DeliveryFilter(event_id=event_id)
    deliveries = await reader.deliveries(
        where, limit=MOST_DELIVERIES, newest_first=False
    )
    variants = await reader.variants(event_id)
    shown = shown_event(call.parts.senders, stored, body=True)
    return {**shown, "deliveries": deliveries, "variants": variants}


async def download_event(call: Call) -> object:
    stored = await call.parts.reader.event(call.path["id"])
    return download(stored.whole().body, f"{stored.event.id}.body")


async def explain_event(call: Call) -> object:
    parts = call.parts
    stored = await parts.reader.event(call.path["id"])
    event = await parts.senders.read(stored.whole())
    today = explained(parts.router, event)
    return {
        "decided": stored.decision,
        "today": [one.plain() for one in today],
        "today_destinations": decide([one.opinion for one in today]).destinations,
    }


async def preview_event(call: Call) -> object:
    parts = call.parts
    name = parts.destination(call.query["destination"])
    stored = await parts.reader.event(call.path["id"])
    event = await parts.senders.read(stored.whole())
    found: Preview = await previewed(parts.settings.destinations[name], event)
    return plain(found)


_EXPLAINED = record(
    route=TEXT,
    verdict=TEXT,
    when=maybe(TEXT),
    detail=TEXT,
    operands=many(record(text=TEXT, value=TEXT)),
)

OPERATIONS = (
    Operation(
        "GET",
        "/events",
        list_events,
        "Events, the newest first.",
        page("Event"),
        query={**WHERE, "limit": LIMIT, "after": EVENT},
    ),
    Operation(
        "GET",
        "/events/{id}",
        show_event,
        "One event with its body, its deliveries and what repeated it.",
        ref("EventInFull"),
        refusals=(404,),
    ),
    Operation(
        "GET",
        "/events/{id}/body",
        download_event,
        "The body, byte for byte.",
        "application/octet-stream",
        refusals=(404, 409),
    ),
    Operation(
        "GET",
        "/events/{id}/explain",
        explain_event,
        "Why it went where it went, and where it would go today.",
        record(
            decided=ref("Decision"),
            today=many(_EXPLAINED),
            today_destinations=many(TEXT),
        ),
        refusals=(404, 409),
    ),
    Operation(
        "GET",
        "/events/{id}/preview",
        preview_event,
        "What a destination would be sent about it; nothing is sent.",
        JSON,
        query={"destination": NAME},
        required=("destination",),
        refusals=(404, 409),
    ),
)
