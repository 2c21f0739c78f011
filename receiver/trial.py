"""Trying a destination out: what it would be sent, and sending it something made up."""

from collections.abc import Sequence

from receiver import clock
from receiver.delivery import ReadEvent, attempt
from receiver.destinations import Parcel, Preview, Previews, make
from receiver.errors import NotFound
from receiver.models import (
    Attempt,
    Claim,
    Delivery,
    Event,
    Reading,
    Request,
    State,
    Status,
    Trigger,
    event_of,
)
from receiver.settings import DestinationSettings

NO_EVENT = "evt_0000000000000000"
"""The id of an event that is not stored."""


async def previewed(declared: DestinationSettings, event: Event) -> Preview:
    """
    What a destination would be sent about an event that was read.

    Raises:
        NotFound: destinations of this type cannot show what they send.
    """
    return await _previewed(declared, parcel(declared.name, event))


async def sent(
    declared: DestinationSettings,
    event: Event,
    delivery: Delivery,
    attempts: Sequence[Attempt],
) -> Preview:
    """
    What the last attempt at a delivery sent, or the first one will.

    What was sent is not kept: it is made once more, with the numbers and times of that
    attempt, by the configuration there is now.

    Raises:
        NotFound: destinations of this type cannot show what they send.
    """
    if attempts:
        last = attempts[-1]
        tried = Parcel(event, delivery, last.number, last.trigger, last.started_at)
    else:
        tried = Parcel(event, delivery, 1, delivery.trigger, clock.now())
    return await _previewed(declared, tried)


async def _previewed(declared: DestinationSettings, tried: Parcel) -> Preview:
    destination = make(declared)
    try:
        if not isinstance(destination, Previews):
            name, kind = declared.name, declared.type
            raise NotFound(f"{name}: a destination of type {kind} has no preview")
        return await destination.preview(tried)
    finally:
        await destination.close()


async def tested(declared: DestinationSettings, read: ReadEvent) -> Attempt:
    """Send a made-up event there now; nothing is stored."""
    destination = make(declared)
    try:
        return await attempt(destination, declared, _made_up(declared.name), read)
    finally:
        await destination.close()


def parcel(destination: str, event: Event) -> Parcel:
    """A first attempt at delivering an event there."""
    now = clock.now()
    delivery = Delivery(
        id="dlv_0000000000000000",
        event_id=event.id,
        destination=destination,
        status=Status.PENDING,
        attempts=0,
        created_at=now,
        due_at=now,
        settled_at=None,
        replay_id=None,
        sent_as=event.id,
        trigger=Trigger.MANUAL,
        round_attempts=0,
        round_started_at=now,
        progress="",
    )
    return Parcel(event, delivery, 1, Trigger.MANUAL, now)


def _made_up(destination: str) -> Claim:
    now = clock.now()
    body = b'{"type":"receiver.test","message":"a test of this destination"}'
    request = Request({"content-type": "application/json"}, {}, body, now)
    reading = Reading(
        key="receiver.test",
        type="receiver.test",
        subject="test",
        state=State.UNKNOWN,
        final=False,
        occurred_at=now,
    )
    event = event_of(
        "receiver", "receiver", request, reading, origin="test", id=NO_EVENT
    )
    return Claim(0, parcel(destination, event).delivery, event)
