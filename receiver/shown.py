"""What the commands and the API show alike, without what is as good as a secret."""

import base64
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from receiver.errors import NotFound
from receiver.messages.words import number
from receiver.models import Event, Rejection
from receiver.plain import plain
from receiver.providers.kept import shown_headers, shown_query
from receiver.providers.senders import Senders
from receiver.stores import Reader, StoredEvent
from receiver.stores.following import Followed
from receiver.subjects import CreditsLine, Subject, SubjectStep, Trouble, counts

MOST_ITEMS = 1_000

MEANINGS: dict[Trouble, str] = {
    Trouble.NO_START: "it ended, and the event of its beginning never came",
    Trouble.NO_RUNNING: "it ended, and no event said that it runs",
    Trouble.LATE: "an event came more than five minutes after it happened",
    Trouble.OUT_OF_ORDER: "an event came after one that had happened later",
    Trouble.CONTRADICTORY: "two ends that differ, or a state that went back",
    Trouble.LEDGER: "its credits do not add up",
    Trouble.STALLED: "it has not ended, and nothing was heard of it for long",
    Trouble.UNCONFIRMED: "its sender's API has not said yet what an event says",
}
"""What each trouble means, in words that follow its name and a colon."""

A_STEP = 100
"""Events of a stream that are looked at together."""


def shown_event(senders: Senders, stored: StoredEvent, *, body: bool) -> dict[str, Any]:
    """An event as JSON, signatures masked."""
    event: dict[str, Any] = plain(stored.event)
    masked = senders.masked(stored.event.source)
    event["headers"] = shown_headers(stored.event.headers, masked)
    if not body:
        del event["body"]
    return {
        **event,
        "facts": dict(stored.facts),
        "decision": plain(stored.decision),
        "body_pruned_at": plain(stored.body_pruned_at),
    }


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    Which events a stream has, and how; `type` is a glob, None does not restrict.

    With `raw` an event has, beside what is shown, what is needed to send it once more:
    the headers that were kept, signatures and all, and the body in base64.
    """

    source: str | None = None
    type: str | None = None
    subject: str | None = None
    body: bool = False
    raw: bool = False

    def fits(self, event: Followed) -> bool:
        return (
            self.source in (None, event.source)
            and self.subject in (None, event.subject)
            and fnmatchcase(event.type, self.type or "*")
        )


@dataclass(frozen=True, slots=True)
class Streamed:
    """An event of a stream; without one it says how far was looked."""

    id: str
    shown: Mapping[str, Any] | None


async def streamed(
    reader: Reader, senders: Senders, wanted: Wanted, after: str
) -> AsyncGenerator[Streamed, None]:
    """What came after this event, as far as it is there now."""
    upto: str | None = after
    while upto is not None:
        after = upto
        yield Streamed(after, None)
        some = await reader.follow(after, A_STEP)
        for event in filter(wanted.fits, some.events):
            with suppress(NotFound):  # it cannot be read, or is gone already
                stored = await reader.event(event.id)
                yield Streamed(event.id, _streamed(senders, stored, wanted))
        upto = some.upto


def _streamed(senders: Senders, stored: StoredEvent, wanted: Wanted) -> dict[str, Any]:
    shown = shown_event(senders, stored, body=wanted.body)
    if wanted.raw:
        encoded = base64.b64encode(stored.event.body).decode()
        shown["raw"] = {"headers": dict(stored.event.headers), "base64": encoded}
    return shown


def shown_rejection(
    senders: Senders, rejection: Rejection, *, body: bool
) -> dict[str, Any]:
    """A refused request as JSON, signatures masked, digests left out."""
    found: dict[str, Any] = plain(rejection)
    masked = senders.masked(rejection.source)
    found["headers"] = shown_headers(rejection.headers, masked)
    found["query"] = shown_query(rejection.query)
    if not body:
        del found["body"]
    return found


async def shown_batch(
    reader: Reader, senders: Senders, found: Subject
) -> dict[str, Any]:
    """A batch as JSON, with the steps of its life and its results."""
    steps = await reader.subject_steps(found.id)
    event = await last_event(reader, senders, steps)
    results = {"items": items_of(event), "result_urls": links_of(event)}
    return {**plain(found), "steps": plain(steps), **plain(results)}


async def last_event(
    reader: Reader, senders: Senders, steps: Sequence[SubjectStep]
) -> Event | None:
    """The event with the results: the last one that has some, and is still there."""
    found: Event | None = None
    ends = [step for step in steps if step.final and counts(step.standing)]
    for step in reversed(ends):
        try:
            stored = await reader.event(step.event_id)
        except NotFound:
            continue
        event = await senders.read(stored.event)
        if event.result_urls or items_of(event):
            return event
        found = found or event
    return found


def items_of(event: Event | None) -> list[dict[str, Any]]:
    """The items that its body lists, where it lists any."""
    data = event.data if event is not None else None
    found = data.get("items") if isinstance(data, dict) else None
    listed = found if isinstance(found, list) else []
    return [one for one in listed[:MOST_ITEMS] if isinstance(one, dict)]


def lasted(found: Subject, event: Event | None) -> timedelta | None:
    """How long it took; what the event with its results says, where nothing else does."""
    data = event.data if event is not None else None
    if found.lasted is not None or found.kind != "batch" or not isinstance(data, dict):
        return found.lasted
    said = number(data.get("duration_ms"))
    return timedelta(milliseconds=said) if said is not None and said > 0 else None


def links_of(event: Event | None) -> tuple[str, ...]:
    """Where its results are."""
    return event.result_urls if event is not None else ()


def shown_credits(line: CreditsLine) -> dict[str, Any]:
    """A line of credits as JSON."""
    return {**plain(line), "day": line.day.isoformat() if line.day else None}
