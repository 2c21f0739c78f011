"""
One attempt at one delivery.

    make the parcel -> send it -> name the outcome

A refusal, a timeout or a 500 is an outcome, not an error: `attempt` raises only when
it is cancelled, and then nothing is written down and somebody else tries.
"""

import asyncio
from collections.abc import Awaitable, Callable

from receiver import clock, logs
from receiver.destinations import Destination, Parcel
from receiver.models import Attempt, Claim, Event, Outcome, Result
from receiver.settings import DestinationSettings

ReadEvent = Callable[[Event], Awaitable[Event]]
"""Fills in what only the body knows: links to results, and until when they hold."""


async def attempt(
    destination: Destination,
    settings: DestinationSettings,
    claim: Claim,
    read: ReadEvent,
) -> Attempt:
    """Make one attempt, within the settings' `timeout`."""
    started_at = clock.now()
    started = clock.monotonic()
    event = claim.event
    if destination.needs_reading:
        event = await read(event)
    parcel = Parcel(
        event=event,
        delivery=claim.delivery,
        number=claim.delivery.attempts + 1,
        trigger=claim.delivery.trigger,
        now=started_at,
    )
    outcome = await _send(destination, settings, parcel)
    duration_ms = (clock.monotonic() - started) * 1000
    return Attempt(parcel.number, parcel.trigger, started_at, duration_ms, outcome)


async def _send(
    destination: Destination, settings: DestinationSettings, parcel: Parcel
) -> Outcome:
    seconds = settings.timeout.total_seconds()
    try:
        async with asyncio.timeout(seconds):
            return await destination.send(parcel)
    except TimeoutError as error:
        said, notes = _said_until(error.__cause__)
        wrong = " ".join([f"no answer within {seconds:g} s", *notes])
        return Outcome(Result.TIMEOUT, wrong, response=said)
    except Exception as error:  # noqa: BLE001 (see below)
        # A destination that raises has a fault of its own; the delivery must survive it.
        logs.get().exception("delivery.fault", destination=settings.name)
        return Outcome(
            Result.ERROR, f"fault in the destination ({type(error).__name__})"
        )


def _said_until(cancelled: BaseException | None) -> tuple[str, list[str]]:
    """What a destination that was cut off has to tell of the other side and itself."""
    if not isinstance(cancelled, asyncio.CancelledError):
        return "", []
    said = next((text for text in cancelled.args if isinstance(text, str)), "")
    return said, getattr(cancelled, "__notes__", [])
