"""The store beside a plain model of it: whatever is done, both say the same."""

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from receiver.errors import NotFound
from receiver.models import Claim, OnDead, Status, Step
from receiver.stores.pruning import Cutoffs, Pruned
from tests.stores.conftest import Harness, SqliteHarness
from tests.stores.making import (
    ALL_EVENTS,
    NOW,
    assert_adds_up,
    claim,
    decision,
    deliveries,
    event,
    record,
    seconds,
)

DESTINATIONS = ("crm", "ops", "mail")
SETTLING = (Status.DELIVERED, Status.DEAD)
OPEN = (Status.PENDING, Status.DEAD)
places = st.integers(0, 50)

About = tuple[str, str]
"""A source and a subject."""

Line = tuple[About, bool]
"""What it is about, and whether it is the line beside, for what was asked by hand."""


def about_of(source: str, key: str) -> About:
    """Few subjects, so that several events share one."""
    return source, "another" if key in "1z" else "subject"


@dataclass
class Expected:
    """What a delivery should be."""

    id: str
    event: str
    destination: str
    about: About
    due_at: datetime
    replay: bool = False
    line: Line | None = None
    turn: bool = False
    status: Status = Status.PENDING
    attempts: int = 0
    round_attempts: int = 0
    manual: int = 0
    settled_at: datetime | None = None
    holder: Claim | None = None
    owner: str = ""
    manual_when_claimed: int = 0
    expired: bool = False

    @property
    def held(self) -> bool:
        return self.holder is not None and not self.expired


@dataclass
class Model:
    events: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    deliveries: dict[str, Expected] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    bodiless: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    gone_deliveries: Counter[tuple[str, str, Status]] = field(default_factory=Counter)
    running: dict[str, Expected] = field(default_factory=dict[str, Expected])
    """Those that were pruned before whoever has claimed them was done."""

    ordered: dict[str, OnDead] = field(default_factory=dict)

    def to(self, destination: str) -> list[Expected]:
        """Its deliveries, in the order they were made."""
        found = [d for d in self.deliveries.values() if d.destination == destination]
        return sorted(found, key=lambda d: d.id)

    def due(self, destination: str, now: datetime) -> list[Expected]:
        """What a claim without a limit gives."""
        mine = self.to(destination)
        ordered = destination in self.ordered
        running = [d for d in self.running.values() if d.destination == destination]
        busy = {d.about for d in (*mine, *running) if ordered and d.held}
        found: list[Expected] = []
        for one in sorted(mine, key=lambda d: (d.due_at, d.id)):
            waits = one.status is Status.PENDING and one.due_at <= now
            if not waits or one.held or (ordered and not one.turn):
                continue
            if one.about in busy:
                continue
            found.append(one)
            busy |= {one.about} if ordered else set()
        return found

    def stand(self, one: Expected, *, beside: bool) -> None:
        """It begins to stand in a line, where order is kept."""
        if one.destination in self.ordered:
            one.line, one.turn = (one.about, beside), False
            self.give_turn(one.destination, one.line)

    def leave(self, one: Expected) -> None:
        """It was settled."""
        line, one.turn = one.line, False
        if line is None:
            return
        blocks = self.ordered.get(one.destination) == "block" and not line[1]
        if one.status is not Status.DEAD or not blocks:
            one.line = None
        self.give_turn(one.destination, line)

    def give_turn(self, destination: str, line: Line) -> None:
        standing = [d for d in self.to(destination) if d.line == line]
        if standing and not any(d.turn for d in standing):
            standing[0].turn = standing[0].status is Status.PENDING

    def of(self, event_id: str) -> list[Expected]:
        return [d for d in self.deliveries.values() if d.event == event_id]

    def waits(self, event_id: str) -> bool:
        """Whether it must not be pruned."""
        mine = self.of(event_id)
        return any(d.status is Status.PENDING or d.line is not None for d in mine)

    def forget(self, event_id: str) -> None:
        """It was pruned, all but its key."""
        self.gone.add(event_id)
        for one in self.of(event_id):
            self.gone_deliveries[one.about[0], one.destination, one.status] += 1
            del self.deliveries[one.id]
            if (
                one.held
            ):  # cancelled while it ran: its subject waits for it all the same
                self.running[one.id] = one

    def keep_order(self, destination: str, on_dead: OnDead | None) -> None:
        before = self.ordered.pop(destination, None)
        if on_dead is not None:
            self.ordered[destination] = on_dead
        for one in self.to(destination):
            if on_dead is None:
                one.line, one.turn = None, False
            elif before is None and one.status is Status.PENDING:
                self.stand(one, beside=one.replay)
            elif on_dead == "skip" and one.line and one.status is Status.DEAD:
                self.leave(one)


class Stores(RuleBasedStateMachine):
    """Every rule does one thing to the store and to the model."""

    claims = Bundle("claims")

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.harness = self.implementation()(self.folder)
        self.store = self.runner.run(self.harness.owner())
        self.model = Model()
        self.now = NOW
        self.life = 0
        self._keep_order("crm", "skip")
        self._keep_order("ops", "block")
        for number in range(6):  # so that most rules have something to do at once
            self._accept("a", f"{number}", b"1", list(DESTINATIONS))

    def implementation(self) -> Callable[[Path], Harness]:
        raise NotImplementedError

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.runner.run(self.harness.close())
            self.runner.close()
            shutil.rmtree(self.folder)

    # -- rules

    @rule(wait=st.sampled_from([-5, 1, 7, 60]))
    def time_passes(self, wait: int) -> None:
        self.now += seconds(wait)

    @rule(
        source=st.sampled_from(["a", "a", "a", "b"]),
        key=st.sampled_from("23uvwxyz"),
        body=st.sampled_from([b"1", b"2"]),
        to=st.lists(st.sampled_from(DESTINATIONS), unique=True, max_size=3),
    )
    def accept(self, source: str, key: str, body: bytes, to: list[str]) -> None:
        self._accept(source, key, body, to)

    def _accept(self, source: str, key: str, body: bytes, to: list[str]) -> None:
        about = about_of(source, key)
        given = event(key, source=source, body=body, subject=about[1], at=self.now)
        before = self.model.events.get((source, key))

        added = self.runner.run(self.store.add(given, decision(*to), {}))

        assert added.created == (before is None)
        if before is not None:
            assert (added.event_id, added.same_body) == (before[0], before[1] == body)
            return
        self.model.events[source, key] = (added.event_id, body)
        self._learn(to, event_id=added.event_id, about=about, replay=False)

    @rule(
        target=claims,
        destination=st.sampled_from(DESTINATIONS),
        owner=st.sampled_from(["one", "two"]),
        limit=st.integers(1, 4),
        expired=st.booleans(),
    )
    def claim(self, destination: str, owner: str, limit: int, expired: bool) -> object:
        claims = self._claim(destination, owner, limit, expired=expired)
        return multiple(*((self.life, one) for one in claims))

    @rule(
        destination=st.sampled_from(DESTINATIONS),
        statuses=st.lists(
            st.sampled_from([Status.PENDING, *SETTLING]), min_size=1, max_size=4
        ),
        meanwhile=st.sampled_from(["nothing", "retry", "cancel", "both"]),
        wait=st.sampled_from([0, 5]),
    )
    def attempt(
        self, destination: str, statuses: list[Status], meanwhile: str, wait: int
    ) -> None:
        """Claim and record at once, with something done by hand in between."""
        claims = self._claim(destination, "one", len(statuses), expired=False)
        held = [self.model.deliveries[one.delivery.id] for one in claims]
        if meanwhile in ("retry", "both"):
            self._retry(held)
        if meanwhile in ("cancel", "both"):
            self._cancel(held)
        for one, status in zip(claims, statuses, strict=False):
            self._record(one, status, wait)

    @rule(
        destination=st.sampled_from(DESTINATIONS),
        statuses=st.lists(
            st.sampled_from([Status.PENDING, Status.DELIVERED, Status.DEAD]),
            min_size=4,
            max_size=12,
        ),
    )
    def work(self, destination: str, statuses: list[Status]) -> None:
        """One after the other, as far as it goes."""
        for status in statuses:
            for one in self._claim(destination, "one", 1, expired=False):
                self._record(one, status, 0)

    def _claim(
        self, destination: str, owner: str, limit: int, *, expired: bool
    ) -> Sequence[Claim]:
        due = self.model.due(destination, self.now)

        found = self.runner.run(
            claim(
                self.store,
                destination,
                owner=owner,
                now=self.now,
                limit=limit,
                lease_s=0 if expired else 3_600,
            )
        )

        assert [one.delivery.id for one in found.claims] == [d.id for d in due[:limit]]
        for one, delivery in zip(found.claims, due, strict=False):
            self._is_in_order(delivery)
            delivery.holder, delivery.owner = one, owner
            delivery.expired = expired
            delivery.manual_when_claimed = delivery.manual
        return found.claims

    @rule(
        one=consumes(claims),
        status=st.sampled_from([Status.PENDING, *SETTLING]),
        wait=st.sampled_from([0, 5]),
    )
    def record(self, one: tuple[int, Claim], status: Status, wait: int) -> None:
        life, held = one
        if life == self.life:  # else its process is dead
            self._record(held, status, wait)

    def _record(self, held: Claim, status: Status, wait: int) -> None:
        delivery = self.model.deliveries.get(held.delivery.id)
        if delivery is None:  # cancelled while it ran, then pruned
            self.runner.run(record(self.store, held))
            self.model.running.pop(held.delivery.id, None)
            return
        step = Step(status, self.now + seconds(wait))

        recorded = self.runner.run(record(self.store, held, step))

        mine = delivery.holder is held
        assert not recorded or mine
        assert recorded or not mine or delivery.expired
        if not recorded:
            return
        delivery.holder = None
        delivery.attempts += 1
        asked_meanwhile = delivery.manual > delivery.manual_when_claimed
        if delivery.status is not Status.PENDING:
            return
        if status is Status.DELIVERED or not asked_meanwhile:
            delivery.status, delivery.due_at = status, step.due_at
            delivery.settled_at = step.due_at if status in SETTLING else None
            delivery.round_attempts += 1
            delivery.manual = 0
            if status in SETTLING:
                self.model.leave(delivery)

    @rule(one=consumes(claims))
    def release(self, one: tuple[int, Claim]) -> None:
        life, held = one
        if life != self.life:
            return
        self.runner.run(self.store.release([held]))
        gone = self.model.running.get(held.delivery.id)
        if gone is not None and gone.holder is held:
            del self.model.running[held.delivery.id]
        delivery = self.model.deliveries.get(held.delivery.id)
        if delivery is not None and delivery.holder is held:
            delivery.holder = None

    @rule(owner=st.sampled_from(["one", "two"]))
    def forget(self, owner: str) -> None:
        self.runner.run(self.store.forget_claims(owner))
        model = self.model
        for delivery in (*model.deliveries.values(), *model.running.values()):
            if delivery.owner == owner:
                delivery.holder = None

    @rule(which=st.lists(places, min_size=1, max_size=8), what=st.booleans())
    def mend(self, which: list[int], what: bool) -> None:
        (self._retry if what else self._cancel)(self._some(which))

    def _retry(self, chosen: list[Expected]) -> None:
        count = self.runner.run(self.store.retry([d.id for d in chosen], self.now))
        changed = {
            d.id: d
            for d in chosen
            if d.status is Status.PENDING
            or (d.status is Status.DEAD and d.event not in self.model.bodiless)
        }
        dead = [d for d in changed.values() if d.status is Status.DEAD]
        for delivery in changed.values():
            delivery.status, delivery.due_at = Status.PENDING, self.now
            delivery.settled_at = None
            delivery.round_attempts = 0
            delivery.manual += 1
        for delivery in sorted(dead, key=lambda d: d.id):
            if delivery.line is None:
                self.model.stand(delivery, beside=True)
            else:
                self.model.give_turn(delivery.destination, delivery.line)
        assert count == len(changed)

    def _cancel(self, chosen: list[Expected]) -> None:
        count = self.runner.run(self.store.cancel([d.id for d in chosen], self.now))
        changed = {d.id: d for d in chosen if d.status in OPEN}
        for delivery in changed.values():
            delivery.status, delivery.settled_at = Status.CANCELLED, self.now
        for delivery in changed.values():
            self.model.leave(delivery)
        assert count == len(changed)

    @rule(
        which=st.lists(places, min_size=1, max_size=8), to=st.sampled_from(DESTINATIONS)
    )
    def move(self, which: list[int], to: str) -> None:
        chosen = {one.id: one for one in self._some(which)}
        moved = [
            one
            for _, one in sorted(chosen.items())
            if one.status in OPEN
            and one.destination != to
            and one.event not in self.model.bodiless
        ]

        _, count = self.runner.run(self.store.move(list(chosen), to, self.now))

        assert count == len(moved)
        found = self.runner.run(deliveries(self.store))
        new = [one for one in found if one.id not in self.model.deliveries]
        assert [one.event_id for one in new] == [one.event for one in moved]
        for one, old in zip(new, moved, strict=True):
            made = Expected(one.id, old.event, to, old.about, self.now, replay=True)
            self.model.deliveries[one.id] = made
            self.model.stand(made, beside=True)
            old.status, old.settled_at = Status.CANCELLED, self.now
        for old in moved:
            self.model.leave(old)

    @rule(which=places, to=st.sampled_from(DESTINATIONS), as_new=st.booleans())
    def replay(self, which: int, to: str, as_new: bool) -> None:
        events = list(self.model.events.items())
        (source, key), (event_id, _) = events[which % len(events)]

        async def replay() -> int:
            number = await self.store.create_replay({}, self.now)
            wanted = [(event_id, to, self.now)]
            return await self.store.add_replayed(
                number, wanted, as_new=as_new, now=self.now
            )

        if event_id in self.model.gone:
            with pytest.raises(NotFound):
                self.runner.run(replay())
            return
        if event_id in self.model.bodiless:
            assert self.runner.run(replay()) == 0
            return
        assert self.runner.run(replay()) == 1
        about = about_of(source, key)
        self._learn([to], event_id=event_id, about=about, replay=True)

    @rule(
        bodies=st.sampled_from([0, 1, 8, 60]),
        more=st.sampled_from([0, 1, 60, 3_600]),
        limit=st.integers(1, 5),
        steps=st.integers(1, 8),
    )
    def prune(self, bodies: int, more: int, limit: int, steps: int) -> None:
        """What is older than so many seconds, and what had to wait before."""
        wanted = Cutoffs(self.now - seconds(bodies), self.now - seconds(bodies + more))
        before = self._there()
        found = Pruned()
        for _ in range(steps):
            step = self.store.prune(wanted, limit=limit, now=self.now)
            found = found.and_then(self.runner.run(step))
        again = self.store.prune_held(limit=limit, now=self.now)
        found = found.and_then(self.runner.run(again))

        after = self._there()
        gone = before.keys() - after.keys()
        emptied = [one for one, whole in after.items() if before[one] and not whole]
        assert (found.events, found.bodies) == (len(gone), len(emptied))
        for event_id in (*gone, *emptied):
            assert not self.model.waits(event_id)
        ended = sum(len(self.model.of(event_id)) for event_id in gone)
        assert found.deliveries == ended
        for event_id in gone:
            self.model.forget(event_id)
        self.model.bodiless = {one for one, whole in after.items() if not whole}
        self._what_went_is_counted()

    def _what_went_is_counted(self) -> None:
        expected = self.model.gone_deliveries.copy()
        for one in self.model.deliveries.values():
            expected[one.about[0], one.destination, one.status] += 1
        assert expected == {
            (tally.source, tally.destination, status): count
            for tally in self.runner.run(self.store.ledger())
            for status, count in tally.by_status.items()
            if count
        }

    def _there(self) -> dict[str, bool]:
        """The events there are, and whether with their bodies."""
        found = self.runner.run(self.store.events(ALL_EVENTS, limit=1_000))
        return {one.event.id: one.body_pruned_at is None for one in found}

    @rule()
    def prune_all_that_is_settled(self) -> None:
        wanted = Cutoffs(self.now + seconds(999), self.now + seconds(999))
        while not self.runner.run(
            self.store.prune(wanted, limit=100, now=self.now)
        ).done:
            pass
        for _ in range(2):  # from where it was to the end, then from the beginning
            self.runner.run(self.store.prune_held(limit=1_000, now=self.now))
        there = self._there()
        for event_id, _ in self.model.events.values():
            if event_id in self.model.gone:
                continue
            assert (event_id in there) == self.model.waits(event_id), event_id
            if event_id not in there:
                self.model.forget(event_id)
        self.model.bodiless = {one for one, whole in there.items() if not whole}
        self._what_went_is_counted()

    @rule(
        destination=st.sampled_from(DESTINATIONS),
        on_dead=st.sampled_from([None, "skip", "block"]),
    )
    def keep_order(self, destination: str, on_dead: OnDead | None) -> None:
        self._keep_order(destination, on_dead)

    def _keep_order(self, destination: str, on_dead: OnDead | None) -> None:
        self.runner.run(self.store.keep_order({destination: on_dead}))
        if self.model.ordered.get(destination) != on_dead:
            self.model.keep_order(destination, on_dead)

    @rule(destination=st.sampled_from(DESTINATIONS), on=st.booleans())
    def pause_or_resume(self, destination: str, on: bool) -> None:
        (self._pause if on else self._resume)(destination)

    def _pause(self, destination: str) -> None:
        paused = self.runner.run(self.store.pause(destination, "by hand", self.now))
        assert paused == (destination not in self.model.paused)
        self.model.paused.add(destination)

    def _resume(self, destination: str) -> None:
        resumed = self.runner.run(self.store.resume(destination, self.now))
        assert resumed == (destination in self.model.paused)
        self.model.paused.discard(destination)

    @rule(crash=st.booleans())
    def start_again(self, crash: bool) -> None:
        if not crash:
            self.runner.run(self.store.close())
        again = self.harness.crash() if crash else self.harness.owner()
        self.store = self.runner.run(again)
        self.life += 1
        self.model.running.clear()
        for delivery in self.model.deliveries.values():
            delivery.holder = None

    # -- what must hold

    @invariant()
    def both_say_the_same(self) -> None:
        found = self.runner.run(deliveries(self.store))
        for delivery in found:
            expected = self.model.deliveries[delivery.id]
            assert (
                delivery.event_id,
                delivery.destination,
                delivery.status,
                delivery.attempts,
                delivery.round_attempts,
                delivery.due_at,
                delivery.settled_at,
            ) == (
                expected.event,
                expected.destination,
                expected.status,
                expected.attempts,
                expected.round_attempts,
                expected.due_at,
                expected.settled_at,
            )
        assert len(found) == len(self.model.deliveries)

    @invariant()
    def everything_adds_up(self) -> None:
        self.runner.run(assert_adds_up(self.store))
        totals = self.runner.run(self.store.totals())
        assert totals.events == len(self.model.events)

    @invariant()
    def the_same_are_paused(self) -> None:
        pauses = self.runner.run(self.store.pauses())
        standing = Counter(p.destination for p in pauses if p.ended_at is None)
        assert standing == Counter(self.model.paused)

    # -- steps

    def _is_in_order(self, one: Expected) -> None:
        """The promise itself, whatever the model thinks of lines."""
        on_dead = self.model.ordered.get(one.destination)
        if on_dead is None:
            return
        same = [d for d in self.model.to(one.destination) if d.about == one.about]
        assert not any(d.held for d in same)
        if one.line is None or one.line[1]:
            return
        earlier = [d for d in same if d.id < one.id and d.line == one.line]
        assert [d.status for d in earlier] == []

    def _learn(
        self, to: list[str], *, event_id: str, about: About, replay: bool
    ) -> None:
        """The new deliveries' ids; that there are as many as decided is the point."""
        found = self.runner.run(deliveries(self.store))
        new = [one for one in found if one.id not in self.model.deliveries]
        assert sorted(one.destination for one in new) == sorted(to)
        for one in new:
            expected = Expected(
                one.id, event_id, one.destination, about, self.now, replay=replay
            )
            self.model.deliveries[one.id] = expected
            self.model.stand(expected, beside=replay)

    def _some(self, which: list[int]) -> list[Expected]:
        every = list(self.model.deliveries.values())
        return [every[number % len(every)] for number in which] if every else []


class SqliteStores(Stores):
    def implementation(self) -> Callable[[Path], Harness]:
        return SqliteHarness


TestSqliteStores = SqliteStores.TestCase
TestSqliteStores.settings = settings(
    max_examples=60,
    stateful_step_count=50,
    deadline=None,
    print_blob=True,
    # Making a failure smaller takes minutes; add Phase.shrink when there is one.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
