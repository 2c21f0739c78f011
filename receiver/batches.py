"""
Batches: the folder that follows the life of every batch, task and job.

It keeps what became of each, raises `batch.ledger_mismatch` where credits do not add up
and `batch.stalled` where nothing was heard for too long; each once for a subject.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from receiver import ids, internal, lifecycle
from receiver.clock import from_ms
from receiver.credits import Mismatch, credits_of, mismatch
from receiver.follower import Folded, Raise
from receiver.lifecycle import Life, Said, after, dump, load, troubles
from receiver.models import Scalar, State
from receiver.providers.senders import Senders
from receiver.settings import Settings
from receiver.stores.following import Followed, FollowingReader, Known, Name
from receiver.subjects import (
    Standing,
    Subject,
    SubjectChange,
    SubjectStep,
    Trouble,
    counts,
)

MOST_STEPS = 100
"""Steps kept of one subject; of a busier one after these only what changes its state."""

SETTLES = timedelta(minutes=15)
"""How long after its end credits may still be given back before they are missed."""

NEWS = timedelta(days=1)
"""What is older when it is found out is noted, and nobody is woken for it: after an
upgrade all that was ever kept is looked through."""

STALLED_NEWS = timedelta(days=7)
"""The same for what should have ended: a server may have been down for a while."""

AT_A_TIME = 100
TURN = 20


@dataclass(slots=True)
class _One:
    """A subject while it is folded."""

    name: Name
    id: str
    provider: str
    life: Life
    steps: list[SubjectStep]
    facts: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    decided: list[SubjectStep] = field(default_factory=list[SubjectStep])


class Batches:
    """A `Folder`; see the module."""

    def __init__(
        self, settings: Settings, store: FollowingReader, senders: Senders
    ) -> None:
        self._store = store
        self._senders = senders
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go by these settings from now on."""
        self._stall_after = {
            source.name: source.stall_after
            for source in settings.sources.values()
            if source.stall_after is not None
        }

    # -- what events say

    async def fold(self, events: Sequence[Followed], now: datetime) -> Folded:
        """Each event into the life of its subject."""
        told = [e for e in events if e.subject and e.source != internal.SOURCE]
        if not told:
            return Folded()
        names = dict.fromkeys((e.source, e.subject) for e in told)
        known = await self._store.known_subjects(list(names))
        lives: dict[Name, _One] = {}
        for i, event in enumerate(told):
            await _breathe(i)
            name = (event.source, event.subject)
            if one := _grown(lives.get(name), known.get(name), event):
                lives[name] = one
        news = ids.made_at(ids.number("evt", events[-1].id)) > now - NEWS
        changes: list[SubjectChange] = []
        raises: list[Raise] = []
        for i, one in enumerate(lives.values()):
            await _breathe(i)
            one.facts = one.life.facts
            wrong = self._mismatch(one)
            changes.append(self._change(one, wrong))
            if news and wrong is not None and not wrong.early:
                raises.append(_mismatched(one, wrong))
        return Folded(changes, raises)

    def _mismatch(self, one: _One) -> Mismatch | None:
        if not one.life.final:
            return None
        sender = self._senders.of(one.name[0])
        return mismatch(one.facts, None if sender is None else sender.item_cost)

    def _change(self, one: _One, wrong: Mismatch | None) -> SubjectChange:
        source, subject = one.name
        life, check_at = one.life, None
        facts, state, final = one.facts, life.state, life.final
        sender = self._senders.of(source)
        expected = frozenset[State]()
        if final and sender is not None:
            expected = sender.expects(facts)
        found = set(troubles(life, expected))
        if wrong is not None and wrong.early and life.short is None:
            check_at = from_ms(life.heard) + SETTLES
        elif wrong is not None:
            found.add(Trouble.LEDGER)
        mark, request_id = life.mark, facts.get("request_id")
        kept = Subject(
            id=one.id,
            source=source,
            subject=subject,
            provider=one.provider,
            kind=mark.type.rpartition(".")[0] or mark.type if mark else "",
            state=state,
            final=final,
            begun_at=from_ms(life.begun),
            heard_at=from_ms(life.heard),
            ended_at=None if life.ended is None else from_ms(life.ended),
            events=life.events,
            troubles=tuple(sorted(found)),
            request_id=None if request_id is None else str(request_id),
            credits=credits_of(facts),
            facts=facts,
            stalled_at=None if life.stalled is None else from_ms(life.stalled),
        )
        return SubjectChange(kept, dump(life), check_at, one.steps, one.decided)

    # -- what only time says

    async def look(self, now: datetime) -> Folded:
        """Whose credits were missing for too long, and who is not heard of any more."""
        return await self._missing(now) or await self._stalled(now) or Folded()

    async def _missing(self, now: datetime) -> Folded | None:
        names = await self._store.unchecked_subjects(now, AT_A_TIME)
        changes: list[SubjectChange] = []
        raises: list[Raise] = []
        for one in await self._known(names):
            wrong = self._mismatch(one)
            one.life = lifecycle.short(one.life, now)
            changes.append(self._change(one, wrong))
            if wrong is not None and now - from_ms(one.life.heard) < NEWS + SETTLES:
                raises.append(_mismatched(one, wrong))
        return Folded(changes, raises) if changes else None

    async def _stalled(self, now: datetime) -> Folded | None:
        changes: list[SubjectChange] = []
        raises: list[Raise] = []
        for source, limit in self._stall_after.items():
            names = await self._store.silent_subjects(source, now - limit, AT_A_TIME)
            for one in await self._known(names):
                one.life = lifecycle.stalled(one.life, now)
                changes.append(self._change(one, self._mismatch(one)))
                if now - from_ms(one.life.heard) < limit + STALLED_NEWS:
                    raises.append(_stalled(one))
        return Folded(changes, raises) if changes else None

    async def _known(self, names: Sequence[Name]) -> list[_One]:
        known = await self._store.known_subjects(names)
        return [
            _One(name, kept.id, kept.provider, life, [], life.facts)
            for name, kept in known.items()
            for life in [load(kept.memory)]
        ]


async def _breathe(done: int) -> None:
    """Let others go on after a millisecond's work."""
    if done % TURN == TURN - 1:
        await asyncio.sleep(0)


def _grown(one: _One | None, known: Known | None, event: Followed) -> _One | None:
    """A subject with one more event in its life; None: there is nothing to be kept."""
    before = one.life if one else load(known.memory) if known else None
    life = _lived(before, event)
    if life is None:
        return None
    if one is None:
        number = ids.number("evt", event.id)
        subject_id = known.id if known is not None else ids.public("sub", number)
        name = (event.source, event.subject)
        one = _One(name, subject_id, event.provider, life, [])
    one.life = life
    if event.standing not in (None, Standing.WAITING):
        one.decided.append(_step(event))
    if _is_shown(event, before, life):
        one.steps.append(_step(event))
    return one


def _lived(before: Life | None, event: Followed) -> Life | None:
    if event.standing is None:
        return after(before, _said(event))
    if event.standing is Standing.WAITING:
        return lifecycle.awaited(before, _said(event))
    return lifecycle.decided(before, _said(event), counts=counts(event.standing))


def _is_shown(event: Followed, before: Life | None, life: Life) -> bool:
    """Whether the event is to be a step; one that does not count is none that is new."""
    if event.standing is Standing.WAITING:
        return life.held <= MOST_STEPS
    if not counts(event.standing):
        return False
    few = life.events <= MOST_STEPS
    return few or (before is not None and _became(before) != _became(life))


def _became(life: Life) -> tuple[object, ...]:
    return life.state, life.final, life.ends


def _said(event: Followed) -> Said:
    return Said(
        event.type,
        event.state,
        event.final,
        event.occurred_at,
        event.received_at,
        event.facts,
    )


def _step(event: Followed) -> SubjectStep:
    return SubjectStep(
        event.id,
        event.type,
        event.state,
        event.final,
        event.occurred_at,
        event.received_at,
        event.origin,
        event.standing,
    )


def _mismatched(one: _One, wrong: Mismatch) -> Raise:
    source, subject = one.name
    credits_ = credits_of(one.facts)
    body = internal.batch_ledger_mismatch(
        subject,
        source=source,
        problem=wrong.problem,
        reserved=credits_.reserved,
        settled=credits_.settled,
        refunded=credits_.refunded,
    )
    return Raise(body, f"batch.ledger_mismatch:{source}:{subject}")


def _stalled(one: _One) -> Raise:
    source, subject = one.name
    life = one.life
    body = internal.batch_stalled(
        subject, source=source, state=life.state, since=from_ms(life.heard)
    )
    return Raise(body, f"batch.stalled:{source}:{subject}")
