"""What every store promises about joins: their parts, kept with the cursor."""

from dataclasses import replace
from typing import Any

import pytest

from receiver.errors import NotFound, StoreError
from receiver.stores import Reader, Store
from receiver.stores.joining import JoinChange, Joined, JoinState, Part
from tests.stores.conftest import Harness
from tests.stores.making import NOW, accepted, seconds

NAME = ("film", "film-1")
BEGUN = Joined(*NAME, NOW, NOW + seconds(60), JoinState.OPEN, 2, ())


async def part(store: Store, subject: str, *, failed: bool = False) -> Part:
    return Part("sora2", subject, await accepted(store), failed)


async def keep(
    store: Store, joined: Joined, *added: Part, upto: str | None = None
) -> Joined:
    """The join with these parts more, as it is kept."""
    joined = replace(joined, parts=[*joined.parts, *added])
    await store.advance("f", upto, [JoinChange(joined, added)])
    return joined


async def test_what_is_kept_of_a_join_is_found_again(store: Store, reader: Reader):
    assert await reader.joins([NAME]) == {}
    parts = [await part(store, "a"), await part(store, "b", failed=True)]

    kept = await keep(store, BEGUN, *parts)

    found = await reader.joins([NAME, ("film", "another"), ("another", "film-1")])
    assert found == {NAME: kept}


async def test_parts_come_one_after_the_other_and_stay_in_their_order(
    store: Store, reader: Reader
):
    first, second = await part(store, "z"), await part(store, "a")

    kept = await keep(store, BEGUN, first)
    kept = await keep(store, kept, second)

    assert (await reader.joins([NAME]))[NAME].parts == [first, second]


async def test_a_part_that_is_kept_again_is_there_once(store: Store, reader: Reader):
    first = await part(store, "a")
    kept = await keep(store, BEGUN, first)

    await keep(store, replace(kept, parts=()), first)

    assert (await reader.joins([NAME]))[NAME].parts == [first]


async def test_when_a_join_began_and_is_due_is_decided_once(
    store: Store, reader: Reader
):
    await keep(store, BEGUN)

    later = replace(BEGUN, begun_at=NOW + seconds(5), due_at=NOW + seconds(500))
    await keep(store, replace(later, expected=7, state=JoinState.COMPLETED))

    assert (await reader.joins([NAME]))[NAME] == replace(
        BEGUN, expected=7, state=JoinState.COMPLETED, parts=[]
    )


async def test_only_open_joins_whose_time_is_up_are_overdue(
    store: Store, reader: Reader
):
    for key, due_s, state in (
        ("late", 10, JoinState.OPEN),
        ("later", 5, JoinState.OPEN),
        ("now", 60, JoinState.OPEN),
        ("not yet", 61, JoinState.OPEN),
        ("done", 1, JoinState.COMPLETED),
        ("failed", 1, JoinState.FAILED),
        ("told", 1, JoinState.TIMED_OUT),
    ):
        due_at = NOW + seconds(due_s)
        await keep(store, replace(BEGUN, key=key, due_at=due_at, state=state))

    found = await reader.overdue_joins(NOW + seconds(60), 10)

    assert [one.key for one in found] == ["later", "late", "now"]
    assert found[:1] == await reader.overdue_joins(NOW + seconds(60), 1)


async def test_a_join_is_kept_with_how_far_the_follower_has_come(
    harness: Harness, store: Store
):
    first = await part(store, "a")
    kept = await keep(store, BEGUN, first, upto=first.event_id)

    opened = await harness.crash()

    assert await opened.cursor("f") == first.event_id
    assert await opened.joins([NAME]) == {NAME: kept}


async def test_a_join_that_cannot_be_kept_moves_no_cursor(store: Store):
    first = await part(store, "\ud800")

    with pytest.raises(StoreError):
        await keep(store, BEGUN, first, upto=first.event_id)

    assert await store.cursor("f") is None
    assert await store.joins([NAME]) == {}


async def test_old_joins_that_have_ended_are_forgotten_with_their_parts(store: Store):
    first, second = await part(store, "a"), await part(store, "b")
    ended = replace(BEGUN, state=JoinState.COMPLETED)
    await keep(store, replace(ended, key="old"), first, second)
    await keep(store, replace(BEGUN, key="old, open"), first)
    await keep(store, replace(ended, key="old, too", state=JoinState.FAILED))
    young = replace(ended, key="young", begun_at=NOW + seconds(1))
    await keep(store, young, second)

    pruned = [await store.prune_joins(NOW + seconds(1), limit) for limit in (1, 9, 9)]

    assert pruned == [1, 1, 0]
    names = [("film", key) for key in ("old", "old, open", "old, too", "young")]
    found = await store.joins(names)
    assert {key: len(one.parts) for (_, key), one in found.items()} == {
        "old, open": 1,
        "young": 1,
    }
    begun_anew = replace(BEGUN, key="old")
    await keep(store, begun_anew)
    assert (await store.joins([("film", "old")]))["film", "old"].parts == []


async def test_joins_are_listed_by_what_became_of_them_the_newest_first(
    store: Store, reader: Reader
):
    parts = [await part(store, "a"), await part(store, "b", failed=True)]
    states = [*JoinState, JoinState.OPEN]
    for i, state in enumerate(states):
        await keep(store, replace(BEGUN, key=f"k{i}", state=state), *parts[: i % 3])

    async def keys(*wanted: JoinState, **more: Any) -> list[str]:
        found = await reader.list_joins(wanted, **{"limit": 10, **more})
        return [one.key for one in found]

    everything = await reader.list_joins(list(JoinState), limit=10)
    assert [one.key for one in everything] == ["k4", "k3", "k2", "k1", "k0"]
    assert await keys(JoinState.OPEN) == ["k4", "k0"]
    assert await keys(JoinState.COMPLETED, JoinState.FAILED) == ["k3", "k1"]
    assert await keys(*JoinState, limit=2) == ["k4", "k3"]
    assert await keys(*JoinState, limit=2, after=everything[1].id) == ["k2", "k1"]
    assert await keys() == []
    two = everything[2]
    assert (two.state, two.parts, two.failed) == (JoinState.TIMED_OUT, 2, 1)
    assert (two.begun_at, two.due_at, two.expected) == (NOW, NOW + seconds(60), 2)


async def test_a_join_is_found_by_its_key_and_shown_with_its_parts(
    store: Store, reader: Reader
):
    parts = [await part(store, "z"), await part(store, "a", failed=True)]
    await keep(store, BEGUN, *parts)
    await keep(store, replace(BEGUN, name="other"))

    names = [NAME, ("other", NAME[1]), ("film", "another")]
    found = await reader.find_joins(names)

    assert [one.name for one in found] == ["other", "film"]
    assert await reader.join_parts(found[1].id) == (found[1], parts)
    assert await reader.join_parts(found[0].id) == (found[0], [])
    for nobody in ("jon_00000000000000ff", "evt_0000000000000001", "x"):
        with pytest.raises(NotFound):
            await reader.join_parts(nobody)
