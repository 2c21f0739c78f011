"""What a sender does not sign counts for batches and joins only once it is confirmed."""

import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver import lifecycle
from receiver.alerts import Alerts
from receiver.batches import MOST_STEPS, Batches
from receiver.follower import Folded
from receiver.joins import Joins
from receiver.lifecycle import Said
from receiver.models import Decision, Event, Scalar, State
from receiver.providers.kie import KieSource
from receiver.providers.senders import Senders
from receiver.settings import Join, Route, Server, Settings, Source, StoreSettings
from receiver.stores import EventFilter, Store, open_store
from receiver.stores.confirming import Hold, Verdict
from receiver.stores.following import Followed
from receiver.subjects import Standing, Subject, SubjectFilter, Trouble
from receiver.timeline import timeline
from tests.making import NOW, event

MINUTE = timedelta(minutes=1)
STALL = timedelta(hours=2)
HOLD = Hold(NOW + MINUTE, NOW + MINUTE)
SOURCES: Mapping[str, Source] = {
    "kie": KieSource("kie", provider="kie", stall_after=STALL)
}
ALERTS = (Route(name="alerts", source="receiver", to=("ops",)),)
FILM_PARTS = 2
FILM = Join(
    "film",
    source="kie",
    when="event.final && 'job' in request.query",
    key="request.query.job",
    count=FILM_PARTS,
    timeout=10 * MINUTE,
)
VERDICTS: list[tuple[Verdict, bool]] = [
    ("confirmed", True),
    ("contradicted", False),
    ("unconfirmed", True),
    ("unconfirmed", False),
]


@dataclass
class Studio:
    """A store, what follows it, and a sender whose ends have to be confirmed."""

    store: Store
    folders: tuple[Batches, Joins] = field(init=False)
    sent_so_far: int = 0

    def __post_init__(self) -> None:
        found = Settings(
            "t", Server(), StoreSettings(), SOURCES, {}, ALERTS, {"film": FILM}
        )
        self.alerts = Alerts(found, self.store, lambda _: None)
        senders = Senders(SOURCES.values())
        self.folders = (
            Batches(found, self.store, senders),
            Joins(found, self.store, senders),
        )

    async def sent(
        self, subject: str = "task", *, held: bool = True, **changes: Any
    ) -> str:
        """An event of this task, which succeeded; its id."""
        facts: Mapping[str, Scalar] = changes.pop("facts", {})
        self.sent_so_far += 1
        given: dict[str, Any] = {
            "type": "task.succeeded",
            "source": "kie",
            "provider": "kie",
        }
        given |= {"state": State.SUCCEEDED, "query": {"job": "film-1"}}
        given |= {"key": f"{subject}:{self.sent_so_far}"}
        made = event({"task": subject}, **{**given, **changes}, subject=subject)
        return await self.stored(made, facts, held=held)

    async def stored(
        self, made: Event, facts: Mapping[str, Scalar], *, held: bool
    ) -> str:
        hold = HOLD if held else None
        added = await self.store.add(made, Decision((), ()), facts, hold)
        assert added.created
        return added.event_id

    async def decide(
        self, event_id: str, verdict: Verdict = "confirmed", *, deliver: bool = True
    ) -> None:
        await self.store.decide(event_id, verdict, "", deliver=deliver, now=NOW)

    async def follow(self, stretch_of: int = 3, *, crash: bool = False) -> None:
        """As the follower does; a crash comes after telling and before keeping."""
        cursor = await self.store.cursor("f")
        while (stretch := await self.store.follow(cursor, stretch_of)).upto is not None:
            cursor = stretch.upto
            if not await self._fold(stretch.events, cursor, crash=crash):
                return
        while cursor and (events := await self.store.decided(cursor, stretch_of)):
            if not await self._fold(events, None, crash=crash):
                return

    async def _fold(
        self, events: Any, upto: str | None, *, crash: bool = False
    ) -> bool:
        folded = [await folder.fold(events, NOW) for folder in self.folders]
        await self._tell(folded)
        if not crash:
            changes = [change for one in folded for change in one.changes]
            done = [one.id for one in events] if upto is None else []
            await self.store.advance("f", upto, changes, done)
        return not crash

    async def look(self, now: Any) -> None:
        for folder in self.folders:
            folded = await folder.look(now)
            await self._tell([folded])
            await self.store.advance("f", None, folded.changes)

    async def _tell(self, folded: list[Folded]) -> None:
        for one in folded:
            for alert in one.raises:
                await self.alerts.tell(alert.body, alert.key)

    async def told(self) -> list[dict[str, Any]]:
        where = EventFilter(source="receiver")
        found = await self.store.events(where, limit=1_000, newest_first=False)
        return [json.loads(stored.event.body) for stored in found]

    async def batch(self, subject: str = "task") -> Subject:
        [found] = await self.store.subjects(SubjectFilter(subject=subject), limit=10)
        return found

    async def standings(self, subject: str = "task") -> list[Standing | None]:
        steps = await self.store.subject_steps((await self.batch(subject)).id)
        return [step.standing for step in steps]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    yield opened
    await opened.close()


@pytest.fixture
def studio(store: Store) -> Studio:
    return Studio(store)


# -- batches


async def test_an_end_that_waits_is_shown_and_ends_nothing(studio: Studio):
    await studio.sent(held=False, type="task.running", state=State.RUNNING, final=False)
    await studio.follow()
    before = await studio.batch()
    await studio.sent(received_at=NOW + MINUTE, facts={"settled": 10})
    await studio.follow()

    found = await studio.batch()

    assert found == replace(before, troubles=(Trouble.UNCONFIRMED,))
    assert (found.state, found.final, found.events) == (State.RUNNING, False, 1)
    assert await studio.standings() == [None, Standing.WAITING]


@pytest.mark.parametrize(("verdict", "deliver"), VERDICTS)
async def test_it_counts_once_it_is_confirmed_or_let_through_and_never_otherwise(
    studio: Studio, verdict: Verdict, deliver: bool
):
    await studio.sent(held=False, type="task.running", state=State.RUNNING, final=False)
    await studio.follow()
    before = await studio.batch()
    event_id = await studio.sent(facts={"settled": 10})
    await studio.follow()

    await studio.decide(event_id, verdict, deliver=deliver)
    await studio.follow()
    await studio.follow()

    found = await studio.batch()
    standing = Standing(verdict) if deliver or verdict != "unconfirmed" else None
    assert await studio.standings() == [None, standing or Standing.CANCELLED]
    if deliver:
        assert (found.state, found.final, found.events) == (State.SUCCEEDED, True, 2)
        assert found.credits.settled == 10
        assert found.troubles == ()
    else:
        assert found == before


async def test_what_was_decided_before_it_was_followed_counts_the_same(studio: Studio):
    right, wrong = await studio.sent("a"), await studio.sent("b")
    await studio.decide(wrong, "contradicted", deliver=False)
    await studio.decide(right)

    await studio.follow()

    assert [(await studio.batch(name)).final for name in "ab"] == [True, False]
    assert await studio.standings("a") == [Standing.CONFIRMED]
    assert await studio.standings("b") == [Standing.CONTRADICTED]


async def test_a_life_that_only_strangers_told_of_begins_with_what_counts(
    studio: Studio,
):
    forged = await studio.sent()
    await studio.follow()
    await studio.decide(forged, "contradicted", deliver=False)
    await studio.follow()

    await studio.sent(
        held=False,
        received_at=NOW + MINUTE,
        occurred_at=NOW + MINUTE,
        state=State.RUNNING,
        final=False,
    )
    await studio.follow()

    found = await studio.batch()
    assert (found.begun_at, found.heard_at) == (NOW + MINUTE, NOW + MINUTE)
    assert (found.state, found.events) == (State.RUNNING, 1)


async def test_nobody_is_told_of_a_silence_that_only_a_stranger_broke(studio: Studio):
    await studio.sent(
        "mine",
        held=False,
        state=State.RUNNING,
        final=False,
        facts={},
    )
    for subject in ("mine", "strange"):
        forged = await studio.sent(subject, received_at=NOW + STALL - MINUTE)
        await studio.follow()
        await studio.decide(forged, "contradicted", deliver=False)
    await studio.follow()

    await studio.look(NOW + STALL)

    assert [body["batch"] for body in await studio.told()] == ["mine"]


async def test_a_stranger_cannot_make_a_life_long(studio: Studio):
    for number in range(MOST_STEPS + 20):
        forged = await studio.sent(key=f"forged:{number}")
        if number % 2:
            await studio.decide(forged, "contradicted", deliver=False)
    await studio.follow(100)

    standings = await studio.standings()

    assert len(standings) == MOST_STEPS
    assert standings[:2] == [Standing.WAITING, Standing.CONTRADICTED]


async def test_a_timeline_says_what_does_not_count_and_why(studio: Studio):
    for verdict, deliver in VERDICTS:
        event_id = await studio.sent(state=State.FAILED)
        await studio.decide(event_id, verdict, deliver=deliver)
    await studio.sent()
    await studio.follow()

    steps = await studio.store.subject_steps((await studio.batch()).id)

    assert [one.notes for one in timeline(steps)] == [
        (),
        ("contradicted by its sender's API: does not count",),
        ("never confirmed",),
        ("never confirmed: does not count",),
        ("not confirmed yet: does not count",),
    ]


# -- joins


async def test_a_join_waits_until_its_parts_are_confirmed(studio: Studio):
    first, second = await studio.sent("a"), await studio.sent("b")
    await studio.follow()
    await studio.decide(second)
    await studio.follow()
    assert await studio.told() == []

    await studio.decide(first)
    await studio.follow()
    await studio.follow()

    [told] = await studio.told()
    assert told["type"] == "join.completed"
    assert [part["event_id"] for part in told["parts"]] == [first, second]


async def test_a_contradicted_part_takes_no_part_and_not_the_place_of_the_true_one(
    studio: Studio,
):
    forged = await studio.sent("a", key="a")
    await studio.sent("b", held=False)
    await studio.follow()
    await studio.decide(forged, "contradicted", deliver=False)
    await studio.follow()
    assert await studio.told() == []

    true = await studio.sent("a", key="a", held=False)
    await studio.follow()

    [told] = await studio.told()
    assert true in [part["event_id"] for part in told["parts"]]


# -- whatever happens

SUBJECTS = [f"task-{number}" for number in range(4)]


def said(one: Followed) -> Said:
    return Said(
        one.type, one.state, one.final, one.occurred_at, one.received_at, one.facts
    )


class Chances:
    """What a sender, a stranger and an API do to a studio, and what of it counts."""

    def __init__(self, studio: Studio, chance: random.Random) -> None:
        self.studio = studio
        self.chance = chance
        self.counting: dict[str, set[str]] = defaultdict(set)
        self.waiting: list[tuple[str, str]] = []

    async def send(self) -> None:
        chance, subject = self.chance, self.chance.choice(SUBJECTS)
        held, final = chance.random() < 0.6, chance.random() < 0.6
        end = chance.choice([State.SUCCEEDED, State.FAILED])
        event_id = await self.studio.sent(
            subject,
            held=held,
            final=final,
            state=end if final else State.RUNNING,
            occurred_at=NOW + timedelta(seconds=chance.randint(0, 60)),
            facts={"settled": chance.randint(0, 3)},
        )
        if held:
            self.waiting.append((subject, event_id))
        else:
            self.counting[subject].add(event_id)

    async def decide(self) -> None:
        subject, event_id = self.waiting.pop(self.chance.randrange(len(self.waiting)))
        verdict, deliver = self.chance.choice(VERDICTS)
        await self.studio.decide(event_id, verdict, deliver=deliver)
        if deliver:
            self.counting[subject].add(event_id)

    async def go_by(self) -> None:
        for _ in range(self.chance.randint(1, 25)):
            await self.send()
            if self.waiting and self.chance.random() < 0.5:
                await self.decide()
            if self.chance.random() < 0.5:
                crash = self.chance.random() < 0.5
                await self.studio.follow(self.chance.randint(1, 5), crash=crash)
        while self.waiting:
            await self.decide()
        await self.studio.follow(self.chance.randint(1, 5))


async def check_life(studio: Studio, subject: str, counting: list[Followed]) -> None:
    found = await studio.store.subjects(SubjectFilter(subject=subject), limit=1)
    if not counting:
        assert all(one.events == 0 and not one.final for one in found)
        return
    life = reduce(lifecycle.after, map(said, counting), None)
    assert life is not None
    assert (found[0].state, found[0].final) == (life.state, life.final)
    assert (found[0].events, found[0].facts) == (len(counting), life.facts)
    assert Trouble.UNCONFIRMED not in found[0].troubles


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
async def test_whatever_is_decided_and_when_only_what_counts_changes_anything(
    tmp_path_factory: pytest.TempPathFactory, seed: int
):
    folder = tmp_path_factory.mktemp("unconfirmed")
    store = await open_store(f"sqlite:///{folder}/receiver.db")
    try:
        studio = Studio(store)
        chances = Chances(studio, random.Random(seed))

        await chances.go_by()

        counting = set[str]().union(*chances.counting.values())
        everything = (await store.follow(None, 1_000)).events
        counted = [one for one in everything if one.id in counting]
        for subject in SUBJECTS:
            mine = [one for one in counted if one.subject == subject]
            await check_life(studio, subject, mine)
        ended = {one.subject for one in counted if one.final}
        told = await studio.told()
        ends = [body for body in told if body["type"] == "join.completed"]
        assert len(ends) == (len(ended) >= FILM_PARTS)
        for body in ends:
            parts = {part["event_id"] for part in body["parts"]}
            assert len(parts) == FILM_PARTS
            assert parts <= counting
        assert await store.decided(everything[-1].id, 10) == []
    finally:
        await store.close()
