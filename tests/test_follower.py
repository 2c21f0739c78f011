"""The follower folds each event once, in order, whatever fails meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from receiver import follower as module
from receiver import internal
from receiver.errors import StoreError
from receiver.follower import Folded, Follower, Raise
from receiver.stores import Store, open_store
from receiver.stores.following import Followed
from receiver.subjects import SubjectFilter
from tests.stores.making import accepted, decision, event
from tests.stores.subjects import change

NOW = datetime(2026, 1, 24, 10, 0, 0, tzinfo=UTC)


class Notes:
    """A folder that keeps a subject for each event, named by `naming`."""

    def __init__(self, naming: Callable[[Followed], str] = lambda one: one.id) -> None:
        self.naming = naming
        self.seen: list[str] = []
        self.looks = 0
        self.enough = asyncio.Event()
        self.wanted = 0
        self.raises: list[Raise] = []

    async def fold(self, events: Sequence[Followed], now: datetime) -> Folded:
        changes = [change(self.naming(one), one.id) for one in events]
        self.seen += [one.id for one in events]
        return Folded(changes, self.raises)

    async def look(self, now: datetime) -> Folded:
        self.looks += 1
        if len(self.seen) >= self.wanted:
            self.enough.set()
        return Folded()


async def tell(body: internal.Body, key: str) -> None:
    raise AssertionError(key)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 0.05)
    monkeypatch.setattr(module, "COLLECT_S", 0.0)


async def run(store: Store, notes: Notes, wanted: int = 0) -> None:
    """Follow until so many events were seen, and all of that is kept."""
    notes.wanted = wanted
    notes.enough.clear()
    follower = Follower("f", store, [notes], tell)
    await follower.start()
    async with asyncio.timeout(60):
        await notes.enough.wait()
    await follower.stop()


async def kept(store: Store) -> list[str]:
    found = await store.subjects(SubjectFilter(), limit=10_000)
    return [one.subject for one in reversed(found)]


async def test_all_that_was_stored_before_is_folded_in_its_order(store: Store):
    expected = [await accepted(store) for _ in range(module.STRETCH + 5)]

    await run(store, Notes(), len(expected))

    assert await kept(store) == expected


async def test_who_starts_again_goes_on_where_it_was(store: Store):
    first = [await accepted(store) for _ in range(3)]
    await run(store, Notes(), 3)
    second = [await accepted(store) for _ in range(3)]
    notes = Notes()

    await run(store, notes, 3)

    assert notes.seen == second
    assert await kept(store) == first + second


async def test_who_is_woken_folds_what_has_come(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "LOOK_S", 3600.0)
    folded = asyncio.Event()

    class Woken(Notes):
        async def fold(self, events: Sequence[Followed], now: datetime) -> Folded:
            folded.set()
            return await super().fold(events, now)

    notes = Woken()
    follower = Follower("f", store, [notes], tell)
    async with asyncio.timeout(60):
        await follower.start()
        await notes.enough.wait()  # it has looked, and found nothing

        event_id = await accepted(store)
        follower.wake()

        await folded.wait()
    await follower.stop()
    assert notes.seen == [event_id]


async def test_what_comes_without_a_wake_is_found_a_little_later(store: Store):
    notes = Notes()
    follower = Follower("f", store, [notes], tell)
    await follower.start()
    notes.wanted = 1

    event_id = await accepted(store)

    notes.enough.clear()
    async with asyncio.timeout(60):
        await notes.enough.wait()
    await follower.stop()
    assert notes.seen == [event_id]


async def test_an_event_that_cannot_be_folded_stops_no_other(store: Store):
    expected = [await accepted(store) for _ in range(5)]
    bad = expected[2]

    class Faulty(Notes):
        async def fold(self, events: Sequence[Followed], now: datetime) -> Folded:
            if any(one.id == bad for one in events):
                raise ZeroDivisionError
            return await super().fold(events, now)

    with capture_logs() as logs:
        await run(store, Faulty(), 4)

    assert await kept(store) == [one for one in expected if one != bad]
    assert await store.cursor("f") == expected[-1]
    assert [line["id"] for line in logs if line["event"] == "follower.skipped"] == [bad]


async def test_a_change_that_cannot_be_written_stops_no_other(store: Store):
    expected = [await accepted(store) for _ in range(4)]
    bad = expected[-1]

    await run(store, Notes(lambda one: "\ud800" if one.id == bad else one.id), 4)

    assert await kept(store) == expected[:-1]
    assert await store.cursor("f") == bad


async def test_what_could_not_be_kept_is_folded_again(store: Store):
    expected = [await accepted(store) for _ in range(3)]
    failing = [StoreError("the disk is full")]

    async def fail(body: internal.Body, key: str) -> None:
        if failing:
            raise failing.pop()

    notes = Notes()
    notes.raises = [Raise({"type": "batch.stalled", "subject": "bat_1"}, "k")]
    notes.wanted = 6
    follower = Follower("f", store, [notes], fail)

    await follower.start()
    async with asyncio.timeout(60):
        await notes.enough.wait()
    await follower.stop()

    assert notes.seen == expected * 2
    assert await kept(store) == expected


async def test_alerts_are_raised_before_what_was_found_is_kept(store: Store):
    """After a crash between the two it is raised again, which its key makes nothing."""
    await accepted(store)
    cursors: list[str | None] = []

    async def look(body: internal.Body, key: str) -> None:
        cursors.append(await store.cursor("f"))

    notes = Notes()
    notes.raises = [Raise({"type": "batch.stalled", "subject": "bat_1"}, "k")]
    notes.wanted = 1
    follower = Follower("f", store, [notes], look)

    await follower.start()
    async with asyncio.timeout(60):
        await notes.enough.wait()
    await follower.stop()

    assert cursors == [None]
    assert await store.cursor("f") is not None


async def test_a_long_way_to_go_is_said_once_and_its_end(store: Store):
    count = module.STRETCH * 10 + 1
    await asyncio.gather(*(store.add(event(), decision(), {}) for _ in range(count)))

    with capture_logs() as logs:
        await run(store, Notes(), count)

    said = [line["event"] for line in logs]
    assert said == ["follower.catching_up", "follower.caught_up"]
