"""What every store promises to who follows it: each event once, in order of commit."""

import asyncio
import random
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from receiver.errors import NotFound, StoreError
from receiver.models import State
from receiver.stores import Reader, Store
from receiver.stores.following import Followed
from receiver.subjects import (
    SubjectFilter,
    Trouble,
)
from tests.stores.conftest import Harness
from tests.stores.making import NOW, accepted, decision, event, seconds
from tests.stores.subjects import MEMORY, change, step

ALL = SubjectFilter()


async def followed(
    reader: Reader, after: str | None = None, limit: int = 7
) -> tuple[list[Followed], str | None]:
    """All there is beyond the cursor, and the cursor after it."""
    found: list[Followed] = []
    while (stretch := await reader.follow(after, limit)).upto is not None:
        found += stretch.events
        after = stretch.upto
    return found, after


async def test_events_are_followed_in_the_order_in_which_they_were_committed(
    store: Store, reader: Reader
):
    expected = [await accepted(store, "crm", "ops") for _ in range(20)]

    found, cursor = await followed(reader)

    assert [one.id for one in found] == expected
    assert cursor == expected[-1]
    assert (found[0].source, found[0].type, found[0].subject) == (
        "sora2",
        "batch.completed",
        "batch_1",
    )


async def test_who_follows_while_events_are_added_sees_each_once_and_in_order(
    store: Store, reader: Reader
):
    chance = random.Random(4)
    created: set[str] = set()
    done = asyncio.Event()

    async def add(number: int) -> None:
        for i in range(25):
            at = NOW + timedelta(
                days=chance.randint(-400, 400)
            )  # verified again, or not
            key = f"{number}-{i}" if chance.random() < 0.7 else f"{i}"
            bad = chance.random() < 0.1
            made = event(key, at=at, subject="\ud800" if bad else "bat_1")
            with suppress(StoreError):
                added = await store.add(made, decision("crm"), {})
                if added.created:
                    created.add(added.event_id)

    async def follow() -> list[str]:
        found: list[str] = []
        cursor: str | None = None
        while True:
            ended = done.is_set()
            some, cursor = await followed(reader, cursor)
            found += [one.id for one in some]
            if ended:
                return found

    following = asyncio.create_task(follow())
    await asyncio.gather(*(add(number) for number in range(12)))
    done.set()
    found = await following

    assert len(found) == len(set(found))
    assert set(found) == created
    assert found == sorted(found)


async def test_a_clock_set_back_between_two_starts_hides_nothing_from_a_follower(
    harness: Harness, store: Store
):
    later = [await accepted(store, at=NOW + timedelta(days=9)) for _ in range(3)]
    await store.advance("f", later[-1], [])
    harness.forget_events()

    opened = await harness.crash()
    fresh = await accepted(opened, at=NOW)

    found, _ = await followed(opened, await opened.cursor("f"))
    assert [one.id for one in found] == [fresh]


async def test_what_was_made_of_events_is_kept_with_how_far_it_has_come(
    harness: Harness, store: Store
):
    event_id = await accepted(store)
    assert await store.cursor("f") is None

    await store.advance("f", event_id, [change(event_id=event_id)])
    opened = await harness.crash()

    assert await opened.cursor("f") == event_id
    assert await opened.cursor("another") is None
    [found] = await opened.subjects(ALL, limit=10)
    assert found.subject == "bat_1"


async def test_nothing_is_kept_if_a_change_cannot_be_written(store: Store):
    event_id = await accepted(store)

    with pytest.raises(StoreError):
        await store.advance("f", event_id, [change(), change("\ud800")])

    assert await store.cursor("f") is None
    assert await store.subjects(ALL, limit=10) == []


async def test_changes_alone_leave_the_cursor_where_it_is(store: Store):
    event_id = await accepted(store)
    await store.advance("f", event_id, [])

    await store.advance("f", None, [change(event_id=event_id)])

    assert await store.cursor("f") == event_id
    assert len(await store.subjects(ALL, limit=10)) == 1


async def test_a_subject_keeps_its_id_and_what_was_noted_of_asking(store: Store):
    first, second = await accepted(store), await accepted(store)
    assert await store.register_subjects("sora2", "sora2", ["bat_1"], NOW) == 1
    [registered] = await store.subjects(ALL, limit=10)
    assert registered.registered_at == NOW
    assert (registered.state, registered.events) == (State.UNKNOWN, 0)

    await store.advance(
        "f", first, [change(event_id=first, steps=[step(first), step(second)])]
    )

    [found] = await store.subjects(ALL, limit=10)
    assert found.id == registered.id
    assert found.registered_at == NOW
    assert found.state is State.RUNNING
    steps = await store.subject_steps(found.id)
    assert [one.event_id for one in steps] == [first, second]
    assert await store.register_subjects("sora2", "sora2", ["bat_1"], NOW) == 0
    assert await store.subjects(ALL, limit=10) == [found]


async def test_a_step_that_is_kept_again_is_there_once(store: Store):
    event_id = await accepted(store)
    steps = [step(event_id, final=True)]

    await store.advance("f", event_id, [change(event_id=event_id, steps=steps)])
    await store.advance("f", event_id, [change(event_id=event_id, steps=steps)])

    [found] = await store.subjects(ALL, limit=10)
    assert await store.subject_steps(found.id) == steps


async def test_what_is_known_of_subjects_is_found_by_their_names(store: Store):
    names = [f"bat_{number}" for number in range(120)]
    event_id = await accepted(store)
    changes = [change(name, f"evt_{i + 1:016x}") for i, name in enumerate(names)]
    await store.advance("f", event_id, changes)

    found = await store.known_subjects(
        [("sora2", "bat_7"), ("sora2", "none"), ("none", "bat_1")]
        + [("sora2", name) for name in names]
    )

    assert {name for _, name in found} == set(names)
    assert found["sora2", "bat_7"].memory == MEMORY
    assert found["sora2", "bat_7"].provider == "sora2"


async def test_the_longest_silence_is_found_first_and_only_of_what_goes_on(
    store: Store,
):
    event_id = await accepted(store)
    long: dict[str, Any] = {"heard_at": NOW - seconds(90)}
    changes = [
        change("newer", "evt_0000000000000001", heard_at=NOW - seconds(70)),
        change("older", "evt_0000000000000002", **long),
        change("heard", "evt_0000000000000003"),
        change("ended", "evt_0000000000000004", final=True, ended_at=NOW, **long),
        change("told", "evt_0000000000000005", stalled_at=NOW, **long),
    ]
    await store.advance("f", event_id, changes)

    found = await store.silent_subjects("sora2", NOW - seconds(60), 10)

    assert found == [("sora2", "older"), ("sora2", "newer")]
    assert await store.silent_subjects("other", NOW, 10) == []


async def test_what_is_to_be_looked_at_again_is_found_when_it_is_time(store: Store):
    event_id = await accepted(store)
    changes = [
        change("now", "evt_0000000000000001", check_at=NOW),
        change("later", "evt_0000000000000002", check_at=NOW + seconds(60)),
        change("never", "evt_0000000000000003"),
    ]
    await store.advance("f", event_id, changes)

    found = await store.unchecked_subjects(NOW, 10)

    assert found == [("sora2", "now")]


async def test_subjects_are_found_by_what_is_known_of_them(store: Store):
    event_id = await accepted(store)
    other = await store.add(event(source="kie"), decision(), {})
    wrong: dict[str, Any] = {"troubles": (Trouble.LATE, Trouble.LEDGER)}
    await store.advance(
        "f",
        event_id,
        [
            change("a", "evt_0000000000000001", request_id="order-1"),
            change("b", "evt_0000000000000002", final=True, state=State.PARTIAL),
            change("c", "evt_0000000000000003", **wrong),
            change("a", other.event_id, source="kie", heard_at=NOW - seconds(60)),
        ],
    )

    async def names(where: SubjectFilter) -> list[tuple[str, str]]:
        found = await store.subjects(where, limit=10)
        return [(one.source, one.subject) for one in found]

    kie = ("kie", "a")
    assert await names(SubjectFilter(subject="a")) == [kie, ("sora2", "a")]
    assert await names(SubjectFilter(source="kie")) == [kie]
    assert await names(SubjectFilter(request_id="order-1")) == [("sora2", "a")]
    assert await names(SubjectFilter(state=State.PARTIAL)) == [("sora2", "b")]
    assert await names(SubjectFilter(final=True)) == [("sora2", "b")]
    assert len(await names(SubjectFilter(final=False))) == 3
    assert await names(SubjectFilter(trouble=Trouble.LEDGER)) == [("sora2", "c")]
    assert await names(SubjectFilter(trouble=Trouble.STALLED)) == []
    assert await names(SubjectFilter(silent_since=NOW)) == [kie]
    assert await names(SubjectFilter(since=NOW)) == [kie]
    [found] = await store.subjects(SubjectFilter(subject="c"), limit=10)
    assert found.troubles == (Trouble.LATE, Trouble.LEDGER)


async def test_pages_of_subjects_have_each_once_the_newest_first(store: Store):
    event_id = await accepted(store)
    changes = [change(f"bat_{i}", f"evt_{i + 1:016x}") for i in range(10)]
    await store.advance("f", event_id, changes)

    found: list[str] = []
    after: str | None = None
    while page := await store.subjects(ALL, limit=3, after=after):
        found += [one.subject for one in page]
        after = page[-1].id

    assert found == [f"bat_{i}" for i in reversed(range(10))]


async def test_a_subject_that_is_not_there_is_not_found(store: Store):
    with pytest.raises(NotFound):
        await store.subject("sub_0000000000000001")


async def test_subjects_of_which_nothing_was_heard_for_long_are_forgotten(store: Store):
    first = await accepted(store, at=NOW - timedelta(days=3))
    second = await accepted(store, at=NOW - timedelta(days=2))
    third = await accepted(store, at=NOW)
    old: dict[str, Any] = {"heard_at": NOW - timedelta(days=2)}
    await store.advance(
        "f",
        third,
        [
            change("old", first, steps=[step(first)], **old),
            change("older, heard of", "evt_0000000000000001"),
            change("old, too", second, **old),
            change("new", third),
        ],
    )
    gone = (await store.subjects(SubjectFilter(subject="old"), limit=1))[0].id

    pruned = [await store.prune_subjects(NOW - timedelta(days=1), 1) for _ in range(3)]

    assert pruned == [1, 1, 0]
    left = [one.subject for one in await store.subjects(ALL, limit=10)]
    assert left == ["new", "older, heard of"]
    assert await store.subject_steps(gone) == []
