"""
Reconciling: asking senders what became of subjects that did not end, as far as we know.

    silent for long -> asked -> it has ended: the webhooks that should have come are made
                             -> it goes on, or there is no answer: asked again, later

What is made is an event like any other, of origin `reconciled`, under the key of the
real one; should that come after all it is a duplicate.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

from receiver import clock, logs
from receiver.errors import Conflict, NotFound, Rejected, StoreError
from receiver.models import State
from receiver.providers import Provider
from receiver.providers.status import (
    Found,
    KeyRefused,
    Made,
    Unanswered,
    UnknownSubject,
)
from receiver.providers.status.askers import Askers, SourceAsker
from receiver.providers.status.reading import read_made
from receiver.settings import Settings, Source
from receiver.stores import Store
from receiver.stores.asking import Waiting
from receiver.subjects import SubjectFilter

LONGEST_GAP = timedelta(hours=6)
GIVEN_UP_AFTER = timedelta(days=30)
"""A subject that is silent for so long is not asked for any more."""

UNKNOWN_OFTEN = 5
"""So often an API may not know a subject before it is given up."""

AT_ONCE = 50
FAILURES_IN_A_ROW = 3
"""After so many questions without an answer the others wait for the next round."""

_FAR = (State.UNKNOWN, State.PENDING, State.RUNNING)
"""How far a subject may have come without having ended."""

Outcome = Literal["ended", "open", "unknown", "unanswered", "key_refused"]


@dataclass(frozen=True, slots=True)
class MadeEvent:
    """An event that was made, or would be; or why it is refused."""

    type: str
    status: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking about a subject; `word` is the API's own for its state."""

    subject: str
    outcome: Outcome
    word: str = ""
    note: str = ""
    events: Sequence[MadeEvent] = ()


class Answered(Protocol):
    """`receiver.ingest.Answer`."""

    @property
    def word(self) -> str: ...

    @property
    def id(self) -> str | None: ...


class Accept(Protocol):
    """`Intake.accept_asked`."""

    async def __call__(
        self, provider: Provider, webhook: Made, *, dry_run: bool = False
    ) -> Answered: ...


class Reconciler:
    """Asks when it is told to, and by itself after `start`."""

    def __init__(
        self, settings: Settings, store: Store, askers: Askers, accept: Accept
    ) -> None:
        self._store = store
        self._askers = askers
        self._accept = accept
        self._tasks: list[asyncio.Task[None]] = []
        self._running = False
        self._sources: Mapping[str, Source] = settings.sources

    async def start(self) -> None:
        """Begin to ask, for the sources that want it."""
        self._running = True
        self._begin()

    async def reload(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        await self._end()
        self._sources = settings.sources
        if self._running:
            self._begin()

    async def stop(self) -> None:
        """Ask no more by itself."""
        self._running = False
        await self._end()

    async def register(self, source: str, subjects: Sequence[str]) -> int:
        """
        These exist, whether or not anything comes of them; how many were not known.

        Raises:
            NotFound: there is no such source.
            StoreError: nothing was kept.
        """
        provider = self._source(source).provider
        names = list(dict.fromkeys(subjects))
        new = await self._store.register_subjects(source, provider, names, clock.now())
        await self._store.ask_anew(source, names)
        return new

    async def ask(self, source: str, subject: str, *, dry_run: bool = False) -> Asked:
        """
        Ask about one subject and keep the events that are missing; not with `dry_run`.

        Raises:
            NotFound, Conflict: there is no such source, or it has no key for an API.
            StoreError: what was found could not be kept.
        """
        asker = self._askers.of(self._source(source).name)
        if asker is None:
            raise Conflict(f"source {source!r} has no api_key: nobody can be asked")
        try:
            found = await asker.ask(subject)
        except UnknownSubject as error:
            return Asked(subject, "unknown", note=str(error))
        except KeyRefused as error:
            return Asked(subject, "key_refused", note=str(error))
        except Unanswered as error:
            return Asked(subject, "unanswered", note=str(error))
        events = await self._keep(asker, source, subject, found, dry_run=dry_run)
        outcome: Outcome = "ended" if found.final else "open"
        refused = [event.status for event in events if event.event_id is None]
        note = "" if dry_run else "; ".join(refused)
        return Asked(subject, outcome, found.word, note, events)

    def refused(self) -> Mapping[str, str]:
        """Of the sources whose APIs do not take the key, why."""
        return self._askers.refused()

    def _source(self, name: str) -> Source:
        found = self._sources.get(name)
        if found is None:
            known = ", ".join(self._sources)
            raise NotFound(f"there is no source {name!r}; configured: {known}")
        return found

    # -- what was found

    async def _keep(
        self,
        asker: SourceAsker,
        source: str,
        subject: str,
        found: Found,
        *,
        dry_run: bool,
    ) -> list[MadeEvent]:
        where = SubjectFilter(source=source, subject=subject)
        known = await self._store.subjects(where, limit=1)
        state = known[0].state if known else State.UNKNOWN
        made: list[MadeEvent] = []
        for webhook in found.webhooks:
            try:
                reading = read_made(asker.provider, webhook, clock.now())
                if not found.final and not _is_further(reading.state, state):
                    continue
                answer = await self._accept(asker.provider, webhook, dry_run=dry_run)
                made.append(MadeEvent(reading.type, answer.word, answer.id))
            except Rejected as error:
                made.append(MadeEvent("", f"refused, {error.code}: {error.message}"))
        return made

    # -- by itself

    def _begin(self) -> None:
        for source in self._sources.values():
            if source.reconcile is not None and self._askers.of(source.name):
                work = self._watch(source, source.reconcile)
                name = f"reconcile-{source.name}"
                self._tasks.append(asyncio.create_task(work, name=name))

    async def _end(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, source: Source, every: timedelta) -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            try:
                await self._round(source, every)
            except StoreError as error:
                logs.get().warning(
                    "reconcile.failed", source=source.name, error=str(error)
                )
            except Exception:  # noqa: BLE001 (it must not end silently)
                logs.get().exception("reconcile.fault", source=source.name)

    async def _round(self, source: Source, every: timedelta) -> None:
        """Ask about all that is due, unless the API does not answer."""
        silence = source.stall_after or every
        in_vain = 0
        while waiting := await self._store.to_ask(
            source.name,
            silent_since=clock.now() - silence,
            now=clock.now(),
            limit=AT_ONCE,
        ):
            for one in waiting:
                asked = await self.ask(source.name, one.subject)
                if asked.outcome == "key_refused":
                    return
                await self._note(source.name, one, asked, every)
                in_vain = in_vain + 1 if asked.outcome == "unanswered" else 0
                if in_vain >= FAILURES_IN_A_ROW:
                    return

    async def _note(
        self, source: str, one: Waiting, asked: Asked, every: timedelta
    ) -> None:
        counts = asked.outcome != "unanswered"
        next_at = _next(one, asked, every, clock.now())
        words = asked.note or f"the API said {asked.word or 'nothing'}"
        await self._store.asked(
            source, one.subject, counts=counts, next_at=next_at, note=words
        )
        log = logs.get().bind(source=source, subject=asked.subject)
        log.info(
            "subject.asked",
            outcome=asked.outcome,
            said=asked.word,
            events=[event.type for event in asked.events],
            **({"why": asked.note} if asked.note else {}),
        )
        if next_at is None:
            log.warning("subject.given_up", asked=one.asked + counts, why=words)


def _next(
    one: Waiting, asked: Asked, every: timedelta, now: datetime
) -> datetime | None:
    """When to ask again; None: not any more."""
    if asked.outcome == "unknown" and one.asked + 1 >= UNKNOWN_OFTEN:
        return None
    if now - one.heard_at > GIVEN_UP_AFTER:
        return None
    if asked.outcome == "unanswered":
        return now + every
    doubled: timedelta = every * 2 ** min(one.asked + 1, 20)
    return now + max(every, min(doubled, LONGEST_GAP))


def _is_further(state: State, known: State) -> bool:
    """Whether that is news of a subject of which this much is known."""
    return known in _FAR and (
        state not in _FAR or _FAR.index(state) > _FAR.index(known)
    )
