"""
Confirming: what a sender does not sign is asked for at its API before it is delivered.

    held -> asked, ever more seldom -> the same: due now
                                    -> something else: cancelled, and told of
                                    -> nothing in time: as `on_unconfirmed` says

Nothing here is in the way of answers, and a crash loses nothing: what is held is in the
store, with a time at which it falls due by itself.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from receiver import clock, logs
from receiver.alerts import Alerts
from receiver.errors import NotFound, Rejected, StoreError
from receiver.models import Event, Reading, Scalar
from receiver.providers.senders import Senders
from receiver.providers.status import Found, KeyRefused, Unanswered, UnknownSubject
from receiver.providers.status.askers import Askers, SourceAsker
from receiver.providers.status.reading import read_made
from receiver.stores import Store, StoredEvent
from receiver.stores.confirming import Held, Verdict

FIRST_GAP_S, LONGEST_GAP_S = 2.0, 30.0
UNKNOWN_OFTEN = 3
"""So often an API may not know what just ended: it may be a little behind."""

AFTER_A_START = timedelta(seconds=30)
"""What should have been decided while nothing ran is asked for so long."""

AGAIN_S = 2.0
_NOT_SAID_ALIKE = frozenset({"code", "results", "results_sha256", "state", "type"})
"""Facts that an API has in another form, or that are compared by themselves."""


class Confirmer:
    """
    Decides about what is held, and wakes who follows events; `start` begins and `stop`
    ends it.
    """

    def __init__(
        self,
        store: Store,
        senders: Senders,
        askers: Askers,
        alerts: Alerts,
        wake: Callable[[], None],
    ) -> None:
        self._wake = wake
        self._store = store
        self._senders = senders
        self._askers = askers
        self._alerts = alerts
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._running = False

    async def start(self) -> None:
        """
        Decide about what is held, also since before the last stop.

        Raises:
            StoreError: that cannot be read.
        """
        self._running = True
        soonest = clock.now() + AFTER_A_START
        for held in await self._store.held():
            self.expect(replace(held, until=max(held.until, soonest)))

    def expect(self, held: Held) -> None:
        """An event is held: ask about it."""
        if self._running and held.event_id not in self._tasks:
            task = asyncio.create_task(self._run(held), name="confirm")
            self._tasks[held.event_id] = task
            task.add_done_callback(lambda _: self._tasks.pop(held.event_id, None))

    async def stop(self) -> None:
        """End; what is held stays so, until the next start or until it falls due."""
        self._running = False
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, held: Held) -> None:
        while True:
            try:
                await self._decide(held)
            except StoreError as error:
                logs.get().warning(
                    "confirming.failed", id=held.event_id, error=str(error)
                )
                await asyncio.sleep(AGAIN_S)
                continue
            except NotFound:
                pass
            except Exception:  # noqa: BLE001 (it falls due by itself, or is cancelled by hand)
                logs.get().exception("confirming.fault", id=held.event_id)
            return

    async def _decide(self, held: Held) -> None:
        stored = await self._store.event(held.event_id)
        event = await self._senders.read(stored.event)
        verdict, note = await self._verdict(held, replace(stored, event=event))
        asker = self._asker(held)
        cancels = asker is not None and asker.provider.source.on_unconfirmed == "cancel"
        deliver = verdict == "confirmed" or (verdict == "unconfirmed" and not cancels)
        now = clock.now()
        await self._store.decide(event.id, verdict, note, deliver=deliver, now=now)
        self._wake()
        self._tell(event, verdict, note, deliver=deliver)

    def _asker(self, held: Held) -> SourceAsker | None:
        """Who asks about it; None where nothing is confirmed any more."""
        asker = self._askers.of(held.source)
        return asker if asker is not None and asker.provider.confirms else None

    async def _verdict(self, held: Held, stored: StoredEvent) -> tuple[Verdict, str]:
        """Ask until it is clear, or until there is no more time."""
        gap_s, unknown, why = FIRST_GAP_S, 0, "there was no time to ask"
        while (asker := self._asker(held)) is not None:
            left_s = (held.until - clock.now()).total_seconds()
            if left_s <= 0:
                return "unconfirmed", why
            try:
                async with asyncio.timeout(left_s):
                    verdict, why = await _asked(asker, stored)
            except TimeoutError:
                continue
            except UnknownSubject as error:
                unknown, why = unknown + 1, f"the API was asked: {error}"
                verdict = "unconfirmed" if unknown >= UNKNOWN_OFTEN else None
            if verdict is not None:
                return verdict, why
            await asyncio.sleep(min(gap_s, left_s))
            gap_s = min(gap_s * 2, LONGEST_GAP_S)
        return "unconfirmed", "its source asks no API any more"

    def _tell(
        self, event: Event, verdict: Verdict, note: str, *, deliver: bool
    ) -> None:
        log = logs.get().bind(id=event.id, source=event.source, subject=event.subject)
        if verdict == "confirmed":
            log.info("event.confirmed")
            return
        log.warning("event.unconfirmed", verdict=verdict, why=note, delivered=deliver)
        contradicted = verdict == "contradicted"
        self._alerts.event_unconfirmed(
            event, note, contradicted=contradicted, delivered=deliver
        )


async def _asked(asker: SourceAsker, stored: StoredEvent) -> tuple[Verdict | None, str]:
    """
    The verdict after one question, None if it is open yet; and why.

    Raises:
        UnknownSubject: the API does not know the subject.
    """
    try:
        found = await asker.ask(stored.event.subject)
    except KeyRefused as error:
        hurry = asker.provider.source.on_unconfirmed == "deliver"
        why = f"the API does not take the key: {error}"
        return ("unconfirmed" if hurry else None), why
    except Unanswered as error:
        return None, f"the API gave no answer: {error}"
    if not found.final:
        return None, f"the API only says {found.word or 'nothing'}"
    return judged(stored, _readings(asker, found))


def judged(stored: StoredEvent, readings: Sequence[Reading]) -> tuple[Verdict, str]:
    """Whether what the API says of an ended subject is what its event says (pure)."""
    event = stored.event
    same = [reading for reading in readings if reading.key == event.key]
    if not readings:
        return "unconfirmed", "the API says that it ended, and not how"
    reading = (same or readings)[-1]
    if reading.state is not event.state:
        return "contradicted", f"the API says {reading.state}, not {event.state}"
    if more := set(event.result_urls) - set(reading.result_urls):
        count = "a link" if len(more) == 1 else f"{len(more)} links"
        return "contradicted", f"{count} to results are not those of the API"
    differing = _differing(stored.facts, reading.facts)
    if differing:
        return "contradicted", f"the API says otherwise of: {', '.join(differing)}"
    return "confirmed", ""


def _differing(
    facts: Mapping[str, Scalar], theirs: Mapping[str, Scalar]
) -> Sequence[str]:
    common = (facts.keys() & theirs.keys()) - _NOT_SAID_ALIKE
    return sorted(name for name in common if facts[name] != theirs[name])


def _readings(asker: SourceAsker, found: Found) -> list[Reading]:
    """What the webhooks mean that should have come; those that cannot be read do not."""
    readings: list[Reading] = []
    for webhook in found.webhooks:
        with suppress(Rejected):
            readings.append(read_made(asker.provider, webhook, clock.now()))
    return readings
