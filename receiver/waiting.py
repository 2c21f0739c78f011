"""
What a pending delivery waits for (pure), and lists of deliveries that say so.

    not configured > paused > held > behind another > breaker, Retry-After > later > rate

The first of these that is so is what is said: mending what comes after it alone would
not help.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from receiver.models import Delivery, HeldBack, Status
from receiver.plain import plain
from receiver.settings import DestinationSettings
from receiver.stores import Reader
from receiver.stores.searching import Surroundings


class WaitsFor(StrEnum):
    """What a pending delivery waits for."""

    DESTINATION = "destination"
    RESUME = "resume"
    CONFIRMATION = "confirmation"
    LINE = "line"
    BREAKER = "breaker"
    RETRY_AFTER = "retry_after"
    RETRY = "retry"
    TIME = "time"
    RATE = "rate"
    ATTEMPT = "attempt"


@dataclass(frozen=True, slots=True)
class Wait:
    """
    What a pending delivery waits for, why, and until when that is known to last.

    `behind` is the delivery that has to be settled before it.
    """

    waits_for: WaitsFor
    why: str = ""
    until: datetime | None = None
    behind: str | None = None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """
    What is known of all destinations: their settings, why some are paused, and of the
    process that serves which are given next to nothing now.
    """

    destinations: Mapping[str, DestinationSettings]
    paused: Mapping[str, str]
    held_back: Mapping[str, HeldBack] = field(default_factory=dict[str, HeldBack])


@dataclass(frozen=True, slots=True)
class Listed:
    """A delivery as lists show it."""

    delivery: Delivery
    around: Surroundings
    wait: Wait | None

    @property
    def next_at(self) -> datetime | None:
        """When it is attempted next, as far as anybody knows."""
        if self.wait is None:
            return None
        is_due = self.wait.waits_for in (WaitsFor.RATE, WaitsFor.ATTEMPT)
        return self.delivery.due_at if is_due else self.wait.until


NOTHING = Surroundings(None, None, None, None, None)
"""Of a delivery that has gone since."""


async def listed(
    reader: Reader,
    deliveries: Sequence[Delivery],
    destinations: Mapping[str, DestinationSettings],
    held_back: Mapping[str, HeldBack],
    now: datetime,
) -> list[Listed]:
    """A page of deliveries with what is known around them."""
    around = await reader.surroundings(deliveries)
    pauses = await reader.pauses()
    paused = {p.destination: p.reason for p in pauses if p.ended_at is None}
    known = Circumstances(destinations, paused, held_back)
    found = [(one, around.get(one.id, NOTHING)) for one in deliveries]
    return [Listed(one, its, wait(one, its, known, now)) for one, its in found]


_WORDS = {
    WaitsFor.DESTINATION: "",
    WaitsFor.RESUME: "paused",
    WaitsFor.CONFIRMATION: "held",
    WaitsFor.LINE: "",
    WaitsFor.BREAKER: "breaker open",
    WaitsFor.RETRY_AFTER: "held back",
    WaitsFor.RETRY: "tried again after",
    WaitsFor.TIME: "not due yet",
    WaitsFor.RATE: "due",
    WaitsFor.ATTEMPT: "due: attempted now, or next",
}


def in_words(found: Wait) -> str:
    """What it waits for; `Wait.until` is not said."""
    words, why = _WORDS[found.waits_for], found.why
    if found.behind is not None:
        return f"behind {found.behind}, of the same subject"
    if found.waits_for is WaitsFor.RETRY:
        return f"{words} {why}" if why else "tried again"
    return f"{words}: {why}" if words and why else words or why


def wait(
    delivery: Delivery, around: Surroundings, known: Circumstances, now: datetime
) -> Wait | None:
    """None of one that is settled."""
    if delivery.status is not Status.PENDING:
        return None
    return _of_the_destination(delivery, around, known) or _of_time(
        delivery, around, known, now
    )


def _of_the_destination(
    delivery: Delivery, around: Surroundings, known: Circumstances
) -> Wait | None:
    """What does not end by itself at a time that is known."""
    name = delivery.destination
    if name not in known.destinations:
        return Wait(WaitsFor.DESTINATION, "its destination is not configured")
    if name in known.paused:
        return Wait(WaitsFor.RESUME, known.paused[name])
    if around.held_until is not None:
        why = "its sender's API has to say the same"
        return Wait(WaitsFor.CONFIRMATION, why, around.held_until)
    if around.behind is not None:
        return Wait(WaitsFor.LINE, behind=around.behind)
    return None


def _of_time(
    delivery: Delivery, around: Surroundings, known: Circumstances, now: datetime
) -> Wait:
    held = known.held_back.get(delivery.destination)
    if held is not None and held.until > delivery.due_at:
        breaker = held.by == "breaker"
        kind = WaitsFor.BREAKER if breaker else WaitsFor.RETRY_AFTER
        return Wait(kind, held.why, held.until)
    if delivery.due_at > now and delivery.round_attempts:
        return Wait(WaitsFor.RETRY, str(around.last or ""), delivery.due_at)
    if delivery.due_at > now:
        return Wait(WaitsFor.TIME, until=delivery.due_at)
    rate = known.destinations[delivery.destination].max_rate
    if rate is not None:
        return Wait(WaitsFor.RATE, f"at most {rate} are sent there")
    return Wait(WaitsFor.ATTEMPT)


def why_not(found: Listed) -> str:
    """In short why it is not delivered: what it waits for, or how it failed last."""
    if found.wait is not None:
        return in_words(found.wait)
    delivered = found.delivery.status is Status.DELIVERED
    return "" if delivered else str(found.around.last or "")


def shown_listed(found: Listed) -> dict[str, Any]:
    """A listed delivery as JSON, the same for the commands and the API."""
    around = found.around
    return {
        **plain(found.delivery),
        "type": around.type,
        "subject": around.subject,
        "last": plain(around.last),
        "wait": plain(found.wait),
    }
