"""
Events as they are accepted, as server-sent events.

The id of each message is the event's, and the store is read from there on: a client
that comes back with `Last-Event-ID` (or `after`) misses nothing and gets nothing twice.
An id without a message says how far was looked: also before the first event, and where
none was wanted.
"""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from receiver import clock, ids
from receiver.shown import Wanted, streamed
from receiver.web.api.operation import Call, Operation
from receiver.web.api.problems import Problem
from receiver.web.api.schemas import EVENT, NAME, YES_OR_NO
from receiver.web.api.streaming import KEEP_ALIVE_S, POLL_S, EventStream
from receiver.web.clients import address


async def stream_events(call: Call) -> object:
    query = call.query
    if query["raw"] and not call.who.may_write:
        message = f"the {call.who.name} may only look: signatures are not shown to it"
        raise Problem(403, "read_only", message)
    last = query.get("after") or call.request.headers.get("last-event-id")
    if last is None:
        last = ids.public("evt", ids.floor(clock.now()))
    ids.number("evt", last)  # NotFound if it is none
    client = address(call.parts.settings.server, call.request)
    return EventStream(call.parts, call.who.name, client, _messages(call, last))


async def _messages(call: Call, last: str) -> AsyncGenerator[str, None]:
    parts = call.parts
    wanted = Wanted(**{k: v for k, v in call.query.items() if k != "after"})
    yield f": connected\nid: {last}\n\n"
    spoken_at = clock.monotonic()
    while not parts.stopping.is_set():
        found = streamed(parts.reader, parts.senders, wanted, last)
        async with aclosing(found) as some:
            async for one in some:
                last = one.id
                if one.shown is not None:
                    yield f"id: {last}\nevent: event\ndata: {json.dumps(one.shown)}\n\n"
                    spoken_at = clock.monotonic()
                elif clock.monotonic() - spoken_at > KEEP_ALIVE_S:
                    yield f": still here\nid: {last}\n\n"
                    spoken_at = clock.monotonic()
                if parts.stopping.is_set():
                    return
        await parts.pause_or_stop(POLL_S)


OPERATIONS = (
    Operation(
        "GET",
        "/stream",
        stream_events,
        "Events as they are accepted (server-sent events; resume with Last-Event-ID).",
        "text/event-stream",
        query={
            "source": NAME,
            "type": NAME,
            "subject": NAME,
            "after": EVENT,
            "body": {**YES_OR_NO, "default": False},
            "raw": {
                **YES_OR_NO,
                "default": False,
                "description": "with headers as they came, signatures and all, and the"
                " body in base64: not for read tokens",
            },
        },
        refusals=(403, 404),
    ),
)
