"""Events that wait for each other become one event, once."""

import itertools
import json
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from receiver import clock, joins
from receiver.alerts import Alerts
from receiver.follower import Folded, Raise
from receiver.joins import Joins
from receiver.models import Decision, Event, State
from receiver.providers.kie import KieSource
from receiver.providers.senders import Senders
from receiver.settings import Join, Route, Server, Settings, Source, StoreSettings
from receiver.stores import EventFilter, Store, StoredEvent, open_store
from receiver.stores.pruning import Cutoffs
from tests.making import NOW, event, sample

MINUTE = timedelta(minutes=1)
SOURCES: Mapping[str, Source] = {
    name: KieSource(name, provider="kie") for name in ("kie", "other")
}
FILM = Join(
    "film",
    source="kie",
    when="event.final && 'job' in request.query",
    key="request.query.job",
    count=2,
    timeout=10 * MINUTE,
)
_keys = itertools.count()


def configured(named: Mapping[str, Join], routes: tuple[Route, ...] = ()) -> Settings:
    return Settings("t", Server(), StoreSettings(), SOURCES, {}, routes, named)


class Studio:
    """A store, what waits for parts, and what a provider sends."""

    def __init__(self, store: Store, *declared: Join) -> None:
        self.store = store
        self.woken: list[tuple[str, ...]] = []
        self.route(declared or (FILM,))

    def route(self, declared: tuple[Join, ...], routes: tuple[Route, ...] = ()) -> None:
        """As after a start with these."""
        named = {join.name: join for join in declared}
        found = configured(named, routes)
        self.alerts = Alerts(found, self.store, lambda to: self.woken.append(tuple(to)))
        self.joins = Joins(found, self.store, Senders(SOURCES.values()))

    async def sent(
        self,
        subject: str,
        job: str | None = "film-1",
        *,
        key: str | None = None,
        **changes: Any,
    ) -> str:
        """Store an event of kie about this task; its id."""
        query = changes.pop("query", {} if job is None else {"job": job})
        given = {"type": "task.succeeded", "source": "kie", "provider": "kie"}
        made = event(
            changes.pop("body", {"task": subject}),
            **{**given, "state": State.SUCCEEDED, "query": query, **changes},
            subject=subject,
            key=key or f"{subject}:{next(_keys)}",
        )
        return await self.stored(made)

    async def stored(self, made: Event) -> str:
        added = await self.store.add(made, Decision((), ()), {})
        return added.event_id

    async def follow(self, stretch_of: int = 3, *, crash: bool = False) -> None:
        """Fold what has come; a crash comes after telling and before keeping."""
        cursor = await self.store.cursor("f")
        while (stretch := await self.store.follow(cursor, stretch_of)).upto is not None:
            cursor = stretch.upto
            folded = await self.joins.fold(stretch.events, NOW)
            await self._keep(folded, cursor, crash=crash)

    async def look(self, now: Any, *, crash: bool = False) -> None:
        await self._keep(await self.joins.look(now), None, crash=crash)

    async def _keep(self, folded: Folded, upto: str | None, *, crash: bool) -> None:
        for one in folded.raises:
            await self.tell(one)
        if not crash:
            await self.store.advance("f", upto, folded.changes)

    async def tell(self, one: Raise) -> None:
        await self.alerts.tell(one.body, one.key)

    async def ends(self) -> list[StoredEvent]:
        where = EventFilter(source="receiver")
        return list(await self.store.events(where, limit=1_000, newest_first=False))

    async def told(self) -> list[dict[str, Any]]:
        return [json.loads(stored.event.body) for stored in await self.ends()]

    async def told_of(self) -> list[tuple[str, str, list[str]]]:
        """Type, key, and subjects of the parts of every end."""
        return [
            (body["type"], body["key"], [part["subject"] for part in body["parts"]])
            for body in await self.told()
        ]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    yield opened
    await opened.close()


@pytest.fixture
def studio(store: Store) -> Studio:
    return Studio(store)


# -- all have come


async def test_when_all_have_come_one_event_has_what_each_of_them_said(studio: Studio):
    said = json.loads(sample("task.succeeded", "a", "kie"))
    first = await studio.sent("a", body=said)
    await studio.follow()
    assert await studio.told() == []
    second = await studio.sent("b", body={"n": 2}, state=State.SUCCEEDED)
    await studio.follow()

    [stored] = await studio.ends()
    body = json.loads(stored.event.body)
    assert (stored.event.type, stored.event.subject) == ("join.completed", "film-1")
    assert (stored.event.state, stored.event.final) == (State.SUCCEEDED, True)
    assert (body["join"], body["key"], body["expected"]) == ("film", "film-1", 2)
    assert body["begun_at"] == "2026-01-24T10:02:07.000Z"
    one, two = body["parts"]
    assert (one["event_id"], two["event_id"]) == (first, second)
    assert (one["data"], two["data"]) == (said, {"n": 2})
    assert one["result_urls"] == json.loads(said["data"]["resultJson"])["resultUrls"]
    assert one["query"] == {"job": "film-1"}
    assert (one["type"], one["state"], one["failed"]) == (
        *("task.succeeded", "succeeded"),
        False,
    )


async def test_joins_of_different_keys_do_not_mix(studio: Studio):
    for subject, job in (("a", "1"), ("b", "2"), ("c", "2"), ("d", "3")):
        await studio.sent(subject, job)

    await studio.follow()

    assert await studio.told_of() == [("join.completed", "2", ["b", "c"])]


async def test_an_event_can_be_a_part_of_several_joins(store: Store):
    studio = Studio(store, FILM, replace(FILM, name="single", count=1))

    await studio.sent("a")
    await studio.follow()

    assert [body["join"] for body in await studio.told()] == ["single"]


async def test_what_a_join_makes_is_routed_like_any_event(studio: Studio):
    routes = (
        Route(name="r", source="receiver", types=("join.*",), to=("editor",)),
        Route(name="other", source="receiver", types=("batch.*",), to=("ops",)),
    )
    studio.route((FILM,), routes)
    await studio.sent("a")
    await studio.sent("b")

    await studio.follow()

    [stored] = await studio.ends()
    assert stored.decision.destinations == ("editor",)
    assert studio.woken == [("editor",)]


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "other"},
        {"type": "task.progress", "final": False},
        {"job": None},
        {"source": "receiver", "provider": "receiver"},
    ],
)
async def test_what_is_no_part_is_not_counted(studio: Studio, changes: dict[str, Any]):
    await studio.sent("a")
    await studio.sent("b", **changes)

    await studio.follow()

    assert [end for end in await studio.told() if "join" in end] == []


async def test_only_events_of_the_types_are_parts(store: Store):
    studio = Studio(store, replace(FILM, types=("video.*", "image.done")))
    for kind in ("video.done", "image.failed", "image.done"):
        await studio.sent(kind, type=kind)

    await studio.follow()

    assert await studio.told_of() == [
        ("join.completed", "film-1", ["video.done", "image.done"])
    ]


async def test_a_join_of_any_source_takes_the_same_subject_from_each(store: Store):
    studio = Studio(store, replace(FILM, source="*"))
    await studio.sent("a")
    await studio.sent("a", source="other")

    await studio.follow()

    assert await studio.told_of() == [("join.completed", "film-1", ["a", "a"])]


async def test_a_second_end_of_a_task_is_no_second_part(studio: Studio):
    first = await studio.sent("a", type="task.failed", state=State.FAILED)
    await studio.sent("a")
    await studio.follow()
    assert await studio.told() == []

    await studio.sent("b")
    await studio.follow()

    [body] = await studio.told()
    assert body["parts"][0]["event_id"] == first
    assert [part["failed"] for part in body["parts"]] == [True, False]
    assert body["state"] == "partial"


async def test_what_comes_after_the_end_changes_nothing(studio: Studio):
    for subject in ("a", "b", "c", "a"):
        await studio.sent(subject)
        await studio.follow()

    assert await studio.told_of() == [("join.completed", "film-1", ["a", "b"])]


async def test_a_count_may_come_with_the_parts_and_the_largest_holds(store: Store):
    studio = Studio(store, replace(FILM, count="int(request.query.of)"))
    for subject, of in (("a", 2), ("b", 3), ("c", 1)):
        assert await studio.told() == []
        await studio.sent(subject, query={"job": "film-1", "of": str(of)})
        await studio.follow()

    assert await studio.told_of() == [("join.completed", "film-1", ["a", "b", "c"])]
    [body] = await studio.told()
    assert body["expected"] == 3


@pytest.mark.parametrize("of", ["no", "0", "-1", "1001", ""])
async def test_an_event_with_a_count_that_is_none_is_no_part(store: Store, of: str):
    studio = Studio(store, replace(FILM, count="int(request.query.of)"))
    await studio.sent("a", query={"job": "film-1", "of": of})
    for subject in ("b", "c"):
        await studio.sent(subject, query={"job": "film-1", "of": "2"})

    await studio.follow()

    assert await studio.told_of() == [("join.completed", "film-1", ["b", "c"])]


async def test_an_expression_can_say_when_all_are_there(store: Store):
    complete = "parts.exists(p, p.data.scene == 'last') && parts.size() > 2"
    studio = Studio(store, replace(FILM, count=None, complete=complete))
    for subject, scene in (("a", "x"), ("b", "last"), ("c", "y")):
        assert await studio.told() == []
        await studio.sent(subject, body={"scene": scene})
        await studio.follow(1)

    assert await studio.told_of() == [("join.completed", "film-1", ["a", "b", "c"])]


async def test_an_expression_that_fails_leaves_the_join_open_until_its_time_is_up(
    store: Store,
):
    studio = Studio(store, replace(FILM, count=None, complete="parts[0].data.no > 1"))
    await studio.sent("a")

    await studio.follow()
    assert await studio.told() == []
    await studio.look(NOW + 10 * MINUTE)

    assert await studio.told_of() == [("join.timed_out", "film-1", ["a"])]


@pytest.mark.parametrize(
    "key", ["request.query.no", "data", "''", "true", "'x'.join(['a'])", "data.long"]
)
async def test_an_event_without_a_usable_key_is_no_part_and_stops_nothing(
    store: Store, key: str
):
    studio = Studio(store, replace(FILM, name="odd", key=key, count=1), FILM)
    await studio.sent("a", body={"long": "x" * 500})
    await studio.sent("b", body={"long": "x" * 500})

    await studio.follow()

    assert await studio.told_of() == [("join.completed", "film-1", ["a", "b"])]


async def test_a_key_may_be_a_number(store: Store):
    studio = Studio(store, replace(FILM, key="int(request.query.job)"))
    await studio.sent("a", "07")
    await studio.sent("b", "7")

    await studio.follow()

    assert await studio.told_of() == [("join.completed", "7", ["a", "b"])]


# -- failures and time


async def test_a_part_that_failed_counts_where_nothing_else_was_said(studio: Studio):
    await studio.sent("a", state=State.FAILED)
    await studio.sent("b", state=State.CANCELLED)

    await studio.follow()

    [body] = await studio.told()
    assert (body["type"], body["state"]) == ("join.completed", "failed")


async def test_a_failed_part_ends_a_join_at_once_that_fails_fast(store: Store):
    studio = Studio(store, replace(FILM, count=3, fail_fast=True))
    for subject, state in (
        *(("a", State.SUCCEEDED), ("b", State.FAILED)),
        *(("c", State.SUCCEEDED), ("d", State.FAILED)),
    ):
        await studio.sent(subject, state=state)

    await studio.follow()
    await studio.look(NOW + 99 * MINUTE)

    assert await studio.told_of() == [("join.failed", "film-1", ["a", "b"])]
    [body] = await studio.told()
    assert (body["state"], body["expected"]) == ("failed", 3)


async def test_when_the_time_is_up_what_is_there_is_told_once(studio: Studio):
    await studio.sent("a")
    await studio.follow()

    await studio.look(NOW + 10 * MINUTE - timedelta(milliseconds=1))
    assert await studio.told() == []
    await studio.look(NOW + 10 * MINUTE)
    await studio.look(NOW + 20 * MINUTE)
    await studio.sent("b")
    await studio.follow()

    assert await studio.told_of() == [("join.timed_out", "film-1", ["a"])]
    [body] = await studio.told()
    assert (body["state"], body["expected"]) == ("failed", 2)


async def test_a_join_that_is_complete_is_never_late(studio: Studio):
    await studio.sent("a")
    await studio.sent("b")
    await studio.follow()

    await studio.look(NOW + 99 * MINUTE)

    assert await studio.told_of() == [("join.completed", "film-1", ["a", "b"])]


async def test_more_overdue_joins_than_are_looked_at_in_one_go_all_end(
    studio: Studio,
):
    for number in range(joins.AT_A_TIME + 5):
        await studio.sent("a", f"film-{number}")
    await studio.follow(100)

    for _ in range(2):
        await studio.look(NOW + 10 * MINUTE)

    assert len({key for _, key, _ in await studio.told_of()}) == joins.AT_A_TIME + 5


# -- crashes


async def test_a_crash_between_telling_and_keeping_tells_nothing_twice(studio: Studio):
    await studio.sent("a")
    await studio.sent("b")
    await studio.follow(crash=True)

    await studio.follow(1)
    await studio.sent("c")
    await studio.follow()

    assert await studio.told_of() == [("join.completed", "film-1", ["a", "b"])]


async def test_a_part_that_comes_after_a_crash_at_the_timeout_makes_no_second_end(
    studio: Studio,
):
    await studio.sent("a")
    await studio.follow()
    await studio.look(NOW + 10 * MINUTE, crash=True)
    await studio.sent("b")

    await studio.follow()
    await studio.look(NOW + 20 * MINUTE)

    assert await studio.told_of() == [("join.timed_out", "film-1", ["a"])]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
async def test_whatever_the_order_and_the_crashes_each_join_ends_once(
    tmp_path_factory: pytest.TempPathFactory, seed: int
):
    chance = random.Random(seed)
    sizes = {f"film-{i}": chance.randint(1, 9) for i in range(5)}
    sent = [(job, f"{job}-{n}") for job, size in sizes.items() for n in range(size)]
    sent += chance.choices(sent, k=8)
    chance.shuffle(sent)
    folder = tmp_path_factory.mktemp("joins")
    store = await open_store(f"sqlite:///{folder}/receiver.db")
    try:
        studio = Studio(store, replace(FILM, count="int(request.query.of)"))
        for job, subject in sent:
            query = {"job": job, "of": str(sizes[job])}
            repeated = {"key": subject} if chance.random() < 0.5 else {}
            await studio.sent(subject, query=query, **repeated)
            if chance.random() < 0.4:
                await studio.follow(chance.randint(1, 9), crash=chance.random() < 0.5)
        await studio.follow(chance.randint(1, 9))

        ends = await studio.told()
        assert sorted(end["key"] for end in ends) == sorted(sizes)
        for end in ends:
            assert end["type"] == "join.completed"
            subjects = [part["subject"] for part in end["parts"]]
            assert len(set(subjects)) == len(subjects) == sizes[end["key"]]
    finally:
        await store.close()


# -- sizes


async def test_parts_that_do_not_fit_are_told_without_their_data(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(joins, "MOST_DATA_BYTES", 2_000)
    large = await studio.sent("a", body={"text": "x" * 3_000})
    await studio.sent("b", body={"small": True})

    await studio.follow()

    [body] = await studio.told()
    assert [part["data"] for part in body["parts"]] == [None, {"small": True}]
    assert body["parts"][0]["event_id"] == large


async def test_a_body_that_is_no_json_is_told_without_data(studio: Studio):
    await studio.sent("a", body=b"\xff")
    await studio.sent("b")

    await studio.follow()

    [body] = await studio.told()
    assert [part["data"] for part in body["parts"]] == [None, {"task": "b"}]


async def test_a_reload_is_for_what_comes(studio: Studio):
    await studio.sent("a")
    await studio.follow()
    named = {"film": replace(FILM, count=3)}
    studio.joins.reload(configured(named))

    for subject in ("b", "c"):
        await studio.sent(subject)
    await studio.follow()

    assert await studio.told_of() == [("join.completed", "film-1", ["a", "b", "c"])]


@pytest.mark.parametrize("events_go", [False, True])
async def test_a_join_that_ended_and_was_forgotten_is_not_told_of_again(
    studio: Studio, events_go: bool
):
    await studio.sent("one")
    await studio.sent("two")
    await studio.follow()
    first = await studio.ends()
    assert await studio.store.prune_joins(NOW + timedelta(days=1), 10) == 1
    if events_go:
        old = Cutoffs(events=clock.now() + timedelta(days=1))
        while not (await studio.store.prune(old, limit=10, now=NOW)).done:
            pass

    await studio.sent("one")  # the same again, with keys of their own
    await studio.sent("three")
    await studio.follow()

    left = [one.event.id for one in await studio.ends()]
    assert [one.event.key for one in first] == ["join:film:film-1"]
    assert left == ([] if events_go else [first[0].event.id])
