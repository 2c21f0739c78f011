"""Deliveries: found, shown with their attempts, tried again, given up, moved."""

from collections.abc import Sequence

from receiver import clock
from receiver.destinations import Preview
from receiver.models import Delivery, Status
from receiver.plain import plain
from receiver.stores import DeliveryFilter
from receiver.trial import sent
from receiver.waiting import Listed, listed, shown_listed
from receiver.web.api.changing import Done, change
from receiver.web.api.events import LONGEST_S
from receiver.web.api.operation import Call, Operation
from receiver.web.api.parts import Parts
from receiver.web.api.schemas import (
    COUNT,
    DELIVERY,
    EVENT,
    JSON,
    LIMIT,
    NAME,
    REPLAY,
    WHEN,
    asked,
    ids,
    many,
    maybe,
    one_of,
    page,
    record,
    ref,
)
from receiver.web.api.times import times

_CHANGED = record(changed=COUNT)


async def list_deliveries(call: Call) -> object:
    given = call.query
    since, until = times(given, "since", "until")
    where = DeliveryFilter(
        Status(given["status"]) if "status" in given else None,
        given.get("destination"),
        given.get("event"),
        since,
        until,
    )
    found = await call.parts.reader.search_deliveries(
        where, limit=given["limit"], after=given.get("after"), longest_s=LONGEST_S
    )
    return {
        "items": [
            shown_listed(one) for one in await listed_now(call.parts, found.items)
        ],
        "next": found.next,
        "searched_to": found.searched_to,
    }


async def listed_now(parts: Parts, deliveries: Sequence[Delivery]) -> list[Listed]:
    """These deliveries with what is known around them."""
    destinations, held_back = parts.settings.destinations, parts.dispatcher.held_back()
    return await listed(parts.reader, deliveries, destinations, held_back, clock.now())


async def show_delivery(call: Call) -> object:
    reader, delivery_id = call.parts.reader, call.path["id"]
    delivery = await reader.delivery(delivery_id)
    attempts = await reader.attempts(delivery_id)
    [one] = await listed_now(call.parts, [delivery])
    return {"delivery": delivery, "attempts": attempts, "wait": one.wait}


async def show_sent(call: Call) -> object:
    return plain(await sent_to(call.parts, call.path["id"]))


async def sent_to(parts: Parts, delivery_id: str) -> Preview:
    """
    What the last attempt at a delivery sent, or the first one will.

    Raises:
        NotFound: there is no such delivery, its destination is not configured any more,
            or cannot show what it sends.
        Conflict: the event's body is gone.
    """
    delivery = await parts.reader.delivery(delivery_id)
    name = parts.destination(delivery.destination)
    stored = await parts.reader.event(delivery.event_id)
    event = await parts.senders.read(stored.whole())
    attempts = await parts.reader.attempts(delivery_id)
    return await sent(parts.settings.destinations[name], event, delivery, attempts)


@change("deliveries.retried")
async def retry_deliveries(call: Call) -> Done:
    parts, wanted = call.parts, call.body["ids"]
    changed = await parts.store.retry(wanted, clock.now())
    parts.dispatcher.retried(parts.settings.destinations)
    return _changed(changed, len(wanted))


@change("deliveries.cancelled")
async def cancel_deliveries(call: Call) -> Done:
    parts, wanted = call.parts, call.body["ids"]
    changed = await parts.store.cancel(wanted, clock.now())
    parts.dispatcher.wake(parts.settings.destinations)  # others may have the turn
    return _changed(changed, len(wanted))


@change("deliveries.moved")
async def move_deliveries(call: Call) -> Done:
    parts, wanted = call.parts, call.body["ids"]
    to = parts.destination(call.body["to"])
    now = clock.now()
    if "replay" in call.body:  # NotFound if there is none
        await parts.reader.replay(call.body["replay"])
    replay_id, changed = await parts.store.move(
        wanted, to, now, replay_id=call.body.get("replay")
    )
    parts.dispatcher.wake(parts.settings.destinations)
    details = {"count": changed, "asked": len(wanted), "to": to, "replay": replay_id}
    return Done({"changed": changed, "replay": replay_id}, details, changed > 0)


def _changed(changed: int, wanted: int) -> Done:
    details = {"count": changed, "asked": wanted}
    return Done({"changed": changed}, details, changed > 0)


OPERATIONS = (
    Operation(
        "GET",
        "/deliveries",
        list_deliveries,
        "Deliveries, the newest first, with how each was attempted last and what it"
        " waits for.",
        page("ListedDelivery"),
        query={
            "status": one_of(Status),
            "destination": NAME,
            "event": EVENT,
            "since": WHEN,
            "until": WHEN,
            "limit": LIMIT,
            "after": DELIVERY,
        },
    ),
    Operation(
        "GET",
        "/deliveries/{id}",
        show_delivery,
        "One delivery with every attempt, and what was answered.",
        record(
            delivery=ref("Delivery"),
            attempts=many(ref("Attempt")),
            wait=maybe(ref("Wait")),
        ),
        refusals=(404,),
    ),
    Operation(
        "GET",
        "/deliveries/{id}/sent",
        show_sent,
        "What its last attempt sent, or its first one will, by today's configuration.",
        JSON,
        refusals=(404, 409),
    ),
    Operation(
        "POST",
        "/deliveries/retry",
        retry_deliveries,
        "A new round of attempts for those that are pending or dead.",
        _CHANGED,
        body=asked("ids", ids=ids(DELIVERY)),
        refusals=(404,),
    ),
    Operation(
        "POST",
        "/deliveries/cancel",
        cancel_deliveries,
        "Never try those again that are pending or dead.",
        _CHANGED,
        body=asked("ids", ids=ids(DELIVERY)),
        refusals=(404,),
    ),
    Operation(
        "POST",
        "/deliveries/move",
        move_deliveries,
        "Send what is pending or dead elsewhere: a replay there and a cancel here, in one.",
        record(changed=COUNT, replay=REPLAY),
        body=asked("ids", "to", ids=ids(DELIVERY), to=NAME, replay=REPLAY),
        refusals=(404, 409),
    ),
)
