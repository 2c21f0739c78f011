"""Replays: asked for, watched, stopped."""

from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from receiver import clock
from receiver.replay import targets
from receiver.stores import EventFilter, Page, StoredEvent
from receiver.web.api.changing import Done, change
from receiver.web.api.events import LONGEST_S, WHERE, event_filter
from receiver.web.api.operation import Call, Operation
from receiver.web.api.schemas import (
    COUNT,
    EVENT,
    LIMIT,
    NAME,
    REPLAY,
    YES_OR_NO,
    asked,
    either,
    ids,
    page,
    record,
    ref,
)

TRIED = 1_000
"""Events a dry run goes through, if there is time; it says if there may be more."""

_RATE = {"type": "number", "minimum": 0.00001, "maximum": 100_000}


@change("replay.created")
async def create_replay(call: Call) -> Done:
    parts, body = call.parts, call.body
    for name in body.get("to", ()):
        parts.destination(name)
    where = event_filter(body.get("where", {}))
    wanted = {**body, "where": _kept(where)} if "where" in body else dict(body)
    replay = await parts.replayer.create(wanted)
    return Done(replay, {"replay": replay.id})


async def try_replay(call: Call) -> object:
    """What the same body would make, if it were a replay."""
    parts, body = call.parts, call.body
    named = [parts.destination(name) for name in dict.fromkeys(body.get("to", ()))]
    events, counts = 0, Counter[str]()
    until = clock.monotonic() + LONGEST_S
    async for stored in _found(call, body):
        if stored is None or events == TRIED or clock.monotonic() > until:
            return _would(events, counts, more=True)
        events += 1
        read = parts.senders.read
        counts.update(named or await targets(parts.router, read, stored))
    return _would(events, counts, more=False)


def _would(events: int, counts: Counter[str], *, more: bool) -> object:
    found = {"events": events, "deliveries": counts.total(), "destinations": counts}
    return {**found, "more": more}


async def _found(
    call: Call, body: Mapping[str, Any]
) -> AsyncGenerator[StoredEvent | None, None]:
    """None: it took too long to look any further."""
    reader = call.parts.reader
    for event_id in dict.fromkeys(body.get("events", ())):
        stored = await reader.event(event_id)
        stored.whole()
        yield stored
    after = None
    while "where" in body:
        where = event_filter(body["where"])
        some: Page[StoredEvent] = await reader.search_events(
            where, limit=100, after=after, longest_s=LONGEST_S
        )
        for stored in some.items:
            if stored.body_pruned_at is None:
                yield stored
        if some.searched_to is not None:
            yield None
        if some.next is None:
            return
        after = some.next


def _kept(where: EventFilter) -> dict[str, str]:
    """As it is kept: times that were `2h` ago stay what they were."""
    found = {
        "source": where.source,
        "type": where.type,
        "subject": where.subject,
        "key": where.key,
        "state": where.state,
        "text": where.text,
        "since": where.since and clock.iso(where.since),
        "until": where.until and clock.iso(where.until),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


async def list_replays(call: Call) -> object:
    limit = call.query["limit"]
    found = await call.parts.reader.replays(
        limit=limit + 1, after=call.query.get("after")
    )
    more = found[limit - 1].id if len(found) > limit else None
    return {"items": found[:limit], "next": more, "searched_to": None}


async def show_replay(call: Call) -> object:
    return await call.parts.reader.replay(call.path["id"])


@change("replay.cancelled")
async def cancel_replay(call: Call) -> Done:
    replay = await call.parts.replayer.cancel(call.path["id"])
    return Done(replay, {"replay": replay.id})


_ASKED = either(
    "events",
    "where",
    of=asked(
        events=ids(EVENT),
        where={**asked(**WHERE), "minProperties": 1},  # all there is: say since when
        to={"type": "array", "items": NAME, "maxItems": 100},
        as_new=YES_OR_NO,
        per_second=_RATE,
    ),
)

OPERATIONS = (
    Operation(
        "POST",
        "/replays",
        create_replay,
        "New deliveries of stored events, to `to` or where today's routes send them.",
        ref("Replay"),
        body=_ASKED,
        status=201,
        refusals=(404, 409),
    ),
    Operation(
        "POST",
        "/replays/try",
        try_replay,
        f"What that would make: looks at up to {TRIED:,} events for a moment, changes nothing.",
        record(
            events=COUNT,
            deliveries=COUNT,
            destinations={"type": "object", "additionalProperties": COUNT},
            more=YES_OR_NO,
        ),
        body=_ASKED,
        refusals=(404, 409),
    ),
    Operation(
        "GET",
        "/replays",
        list_replays,
        "Replays, the newest first.",
        page("Replay"),
        query={"limit": LIMIT, "after": REPLAY},
    ),
    Operation(
        "GET",
        "/replays/{id}",
        show_replay,
        "One replay, and how far it is.",
        ref("Replay"),
        refusals=(404,),
    ),
    Operation(
        "POST",
        "/replays/{id}/cancel",
        cancel_replay,
        "Make no more deliveries; those that were made stay.",
        ref("Replay"),
        body=asked(),
        refusals=(404, 409),
    ),
)
