"""
One attempt at one delivery.

    make the parcel -> send it -> name the outcome

A refusal, a timeout or a 500 is an outcome, not an error: `attempt` raises only when
it is cancelled, and then nothing is written down and somebody else tries.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from receiver import clock, logs
from receiver.destinations import Destination, Digests, Parcel
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
    [made] = await attempt_together(destination, settings, [claim], read)
    return made


async def attempt_together(
    destination: Destination,
    settings: DestinationSettings,
    claims: Sequence[Claim],
    read: ReadEvent,
) -> list[Attempt]:
    """
    Make one attempt at all of the claims at once, within the settings' `timeout`.

    More than one only where the destination can tell of several (`Digests`).
    """
    started_at = clock.now()
    started = clock.monotonic()
    parcels = [
        Parcel(
            event=await read(claim.event) if destination.needs_reading else claim.event,
            delivery=claim.delivery,
            number=claim.delivery.attempts + 1,
            trigger=claim.delivery.trigger,
            now=started_at,
        )
        for claim in claims
    ]
    outcome = await _send(destination, settings, parcels)
    duration_ms = (clock.monotonic() - started) * 1000
    return [
        Attempt(parcel.number, parcel.trigger, started_at, duration_ms, outcome)
        for parcel in parcels
    ]


async def _send(
    destination: Destination, settings: DestinationSettings, parcels: Sequence[Parcel]
) -> Outcome:
    seconds = settings.timeout.total_seconds()
    try:
        async with asyncio.timeout(seconds):
            if len(parcels) > 1 and isinstance(destination, Digests):
                return await destination.send_many(parcels)
            [parcel] = parcels
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
