"""What every store promises of order: a subject's deliveries one at a time, in turn."""

import asyncio
import time
from collections.abc import Sequence

import pytest

from receiver.models import Claim, OnDead, Trigger
from receiver.stores import Reader, Store
from tests.stores.conftest import Harness
from tests.stores.making import (
    AGAIN,
    DEAD,
    NOW,
    assert_adds_up,
    claim,
    decision,
    deliveries,
    event,
    ids,
    record,
    seconds,
)


@pytest.fixture(params=["skip", "block"])
async def on_dead(request: pytest.FixtureRequest, store: Store) -> OnDead:
    found: OnDead = request.param
    await store.keep_order({"crm": found})
    return found


async def accepted(
    store: Store, count: int, subject: str = "a", **changes
) -> list[str]:
    """The ids of new events of one subject for `crm`, one after the other."""
    return [
        (
            await store.add(event(subject=subject, **changes), decision("crm"), {})
        ).event_id
        for _ in range(count)
    ]


async def taken(store: Store, **wishes) -> list[Claim]:
    return list((await claim(store, **wishes)).claims)


def events(claims: Sequence[Claim]) -> list[str]:
    return [one.event.id for one in claims]


async def worked_off(store: Store) -> list[str]:
    """The events in the order they are given, each delivered."""
    order: list[str] = []
    while found := await taken(store):
        order += events(found)
        for one in found:
            assert await record(store, one)
    return order


async def replayed(store: Store, event_ids: Sequence[str], to: str = "crm") -> None:
    replay = await store.create_replay({}, NOW)
    wanted = [(one, to, NOW) for one in event_ids]
    await store.add_replayed(replay, wanted, as_new=False, now=NOW)


# -- in turn


async def test_a_subjects_deliveries_are_given_one_at_a_time_in_order(
    store: Store, on_dead: OnDead
):
    accepted_ids = await accepted(store, 5)

    order: list[str] = []
    for _ in range(5):
        [one] = await taken(store)
        assert await taken(store) == []
        order += events([one])
        await record(store, one)

    assert order == accepted_ids
    await assert_adds_up(store)


async def test_other_subjects_and_destinations_flow_on(store: Store, on_dead: OnDead):
    [a, _] = await accepted(store, 2, "a")
    [b, _] = await accepted(store, 2, "b")
    await store.add(event(subject="a"), decision("ops"), {})
    await store.add(event(subject="a"), decision("ops"), {})

    crm = await taken(store)
    ops = await taken(store, destination="ops")

    assert events(crm) == [a, b]
    assert len(ops) == 2


async def test_the_same_words_from_two_sources_are_two_subjects(
    store: Store, on_dead: OnDead
):
    [a] = await accepted(store, 1, source="one")
    [b] = await accepted(store, 1, source="two")

    assert events(await taken(store)) == [a, b]


async def test_a_retry_that_waits_holds_back_only_its_subject(
    store: Store, on_dead: OnDead
):
    [first, second] = await accepted(store, 2, "a")
    [one] = await taken(store)
    await record(store, one, AGAIN)
    [other] = await accepted(store, 1, "b")

    meanwhile = await claim(store)
    later = await taken(store, now=AGAIN.due_at)
    for each in later:
        await record(store, each)

    assert events(meanwhile.claims) == [other]
    assert meanwhile.next_due_at == AGAIN.due_at
    assert events(later) == [first]
    assert events(await taken(store)) == [second]


async def test_a_claim_given_back_keeps_its_place(store: Store, on_dead: OnDead):
    [first, _] = await accepted(store, 2)
    [one] = await taken(store)

    await store.release([one])

    assert events(await taken(store)) == [first]


async def test_a_crash_changes_nothing_about_the_order(
    harness: Harness, store: Store, on_dead: OnDead
):
    accepted_ids = await accepted(store, 4)
    [one] = await taken(store)
    await record(store, one)
    await taken(store)

    again = await harness.crash()
    accepted_ids += await accepted(again, 2)

    assert await worked_off(again) == accepted_ids[1:]
    await assert_adds_up(again)


async def test_what_is_cancelled_lets_the_next_go_when_it_is_not_in_flight_any_more(
    store: Store, on_dead: OnDead
):
    [_, second, third] = await accepted(store, 3)
    [one] = await taken(store)

    await store.cancel([one.delivery.id], NOW)
    in_flight = await taken(store)
    await record(store, one)
    [two] = await taken(store)
    await store.release([two])
    await store.cancel([two.delivery.id], NOW)

    assert in_flight == []
    assert events([two]) == [second]
    assert events(await taken(store)) == [third]


async def test_one_behind_that_is_cancelled_or_retried_changes_no_turn(
    store: Store, reader: Reader, on_dead: OnDead
):
    [first, _, third] = await accepted(store, 3)
    _, two, three = await deliveries(reader)

    await store.cancel([two.id], NOW)
    await store.retry([three.id], NOW)

    [one] = await taken(store)
    assert await taken(store) == []
    await record(store, one)
    [last] = await taken(store)
    assert (events([one]), events([last])) == ([first], [third])
    assert last.delivery.trigger is Trigger.MANUAL


# -- dead


async def test_where_dead_ones_are_skipped_the_next_has_its_turn(store: Store):
    await store.keep_order({"crm": "skip"})
    [_, second] = await accepted(store, 2)
    [one] = await taken(store)

    await record(store, one, DEAD)

    assert events(await taken(store)) == [second]


async def test_where_dead_ones_block_the_subject_waits_until_it_is_delivered(
    harness: Harness, store: Store, reader: Reader
):
    await store.keep_order({"crm": "block"})
    accepted_ids = await accepted(store, 2)
    [other] = await accepted(store, 1, "b")
    [one, two] = await taken(store)
    await record(store, two)
    await record(store, one, DEAD)
    accepted_ids += await accepted(store, 1)

    store = await harness.crash()
    blocked = await taken(store)
    [queue] = await store.queues()
    await store.retry([one.delivery.id], NOW)
    [again] = await taken(store)
    await record(store, again, DEAD)
    still_blocked = await taken(store)
    await store.retry([one.delivery.id], NOW)

    assert events([two]) == [other]
    assert (blocked, still_blocked) == ([], [])
    assert queue.blocking == one.delivery.id
    assert await worked_off(store) == accepted_ids
    [queue] = await store.queues()
    assert queue.blocking is None
    await assert_adds_up(store)


async def test_where_dead_ones_block_a_cancelled_one_does_not(store: Store):
    await store.keep_order({"crm": "block"})
    [_, second] = await accepted(store, 2)
    [one] = await taken(store)
    await record(store, one, DEAD)

    await store.cancel([one.delivery.id], NOW)

    assert events(await taken(store)) == [second]


async def test_a_dead_one_that_was_skipped_is_retried_beside_its_line(store: Store):
    await store.keep_order({"crm": "skip"})
    [first, second, third] = await accepted(store, 3)
    [one] = await taken(store)
    await record(store, one, DEAD)
    [two] = await taken(store)

    await store.retry([one.delivery.id], NOW)
    beside_what_runs = await taken(store)
    await record(store, two)
    [again] = await taken(store)
    await record(store, again, AGAIN)  # it waits, and holds nobody back

    assert beside_what_runs == []
    assert (events([two]), events([again])) == ([second], [first])
    assert again.delivery.trigger is Trigger.MANUAL
    assert events(await taken(store)) == [third]


async def test_dead_ones_retried_together_go_in_the_order_they_were_accepted(
    store: Store,
):
    await store.keep_order({"crm": "skip"})
    accepted_ids = await accepted(store, 4)
    dead: list[str] = []
    while found := await taken(store):
        await record(store, found[0], DEAD)
        dead += ids(found)

    await store.retry(dead[::-1], NOW)

    assert await worked_off(store) == accepted_ids


# -- replays


async def test_replays_keep_their_own_order_and_never_overlap_what_is_in_flight(
    store: Store, on_dead: OnDead
):
    accepted_ids = await accepted(store, 3)
    done = await worked_off(store)
    [new] = await accepted(store, 1)
    [running] = await taken(store)

    await replayed(store, accepted_ids)
    meanwhile = await taken(store)
    await record(store, running, AGAIN)
    replays = await worked_off(store)

    assert done == accepted_ids
    assert events([running]) == [new]
    assert meanwhile == []
    assert replays == accepted_ids
    assert events(await taken(store, now=AGAIN.due_at)) == [new]


async def test_a_replay_that_fails_holds_back_the_replays_of_its_subject_only(
    store: Store, on_dead: OnDead
):
    [a, b] = [*await accepted(store, 1, "a"), *await accepted(store, 1, "b")]
    await worked_off(store)
    await replayed(store, [a, a, b])
    [one, other] = await taken(store)

    await record(store, one, AGAIN)
    await record(store, other)
    [new] = await accepted(store, 1, "a")

    assert events([one, other]) == [a, b]
    assert await worked_off(store) == [new]
    [again] = await taken(store, now=AGAIN.due_at)
    await record(store, again, DEAD)
    assert events(await taken(store)) == [a]


async def test_both_lines_of_a_subject_are_looked_at_beyond_those_in_flight(
    store: Store, on_dead: OnDead
):
    subjects = [f"{i}" for i in range(6)]
    firsts = [(await accepted(store, 1, subject))[0] for subject in subjects]
    await worked_off(store)
    for first, subject in zip(firsts, subjects, strict=True):
        await replayed(store, [first])
        await accepted(store, 1, subject)

    found = await taken(store, limit=3)
    more = await taken(store, limit=3)

    assert (len(found), len(more)) == (3, 3)
    assert len({one.event.subject for one in (*found, *more)}) == 6
    assert await taken(store) == []


# -- what is pending when order begins and ends


async def test_what_is_pending_when_order_begins_is_put_in_line(
    harness: Harness, store: Store
):
    a = await accepted(store, 4, "a")
    b = await accepted(store, 2, "b")
    [running, dead, *rest] = await taken(store, limit=3)
    await store.release(rest)
    await record(store, dead, DEAD)

    await store.keep_order({"crm": "block"})
    meanwhile = await taken(store, limit=10)
    for one in meanwhile:
        await store.release([one])
    await record(store, running, AGAIN)
    store = await harness.crash()
    [first] = await taken(store, now=AGAIN.due_at, limit=1)

    assert events(meanwhile) == [b[0]]
    assert events([running, dead]) == [a[0], a[1]]
    assert events([first]) == [b[0]]
    await store.release([first])
    now = await taken(store, now=AGAIN.due_at)
    assert sorted(events(now)) == sorted([a[0], b[0]])
    for one in now:
        await record(store, one)
    assert await worked_off(store) == [a[2], b[1], a[3]]
    await assert_adds_up(store)


async def test_what_is_pending_when_order_ends_is_given_as_it_is_due(
    store: Store, on_dead: OnDead
):
    [_, *rest] = await accepted(store, 4)
    [one] = await taken(store)
    await record(store, one, AGAIN)

    await store.keep_order({"crm": None})
    found = await taken(store)

    assert events(found) == rest
    for each in found:
        await record(store, each)
    assert len(await taken(store, now=AGAIN.due_at)) == 1
    await assert_adds_up(store)


async def test_dead_ones_hold_back_nobody_any_more_when_blocking_ends(store: Store):
    await store.keep_order({"crm": "block"})
    [_, second] = await accepted(store, 2)
    [one] = await taken(store)
    await record(store, one, DEAD)

    await store.keep_order({"crm": "skip"})

    assert events(await taken(store)) == [second]
    assert (await store.queues())[0].blocking is None


async def test_order_is_kept_by_what_is_added_while_it_begins(store: Store):
    before = await accepted(store, 1)

    added, _, late = await asyncio.gather(
        accepted(store, 2), store.keep_order({"crm": "skip"}), accepted(store, 2)
    )

    order: list[str] = []
    while found := await taken(store):
        assert len(found) == 1
        order += events(found)
        await record(store, found[0])
    assert sorted(order) == order
    assert set(order) == {*before, *added, *late}


async def test_what_was_settled_before_order_begins_again_is_not_given_again(
    store: Store,
):
    await store.keep_order({"crm": "skip"})
    before = await accepted(store, 1)
    ending = asyncio.create_task(store.keep_order({"crm": None}))
    await asyncio.sleep(0)  # it waits for the writer
    before += await accepted(store, 1)
    await ending
    worked = await worked_off(store)

    await store.keep_order({"crm": "skip"})
    [after] = await accepted(store, 1)

    assert worked == before
    assert await worked_off(store) == [after]


async def test_a_destination_that_is_not_named_stays_as_it_was(
    harness: Harness, store: Store
):
    await store.keep_order({"crm": "skip"})
    await store.keep_order({"ops": None})
    await store.keep_order({})
    [first, _] = await accepted(await harness.crash(), 2)
    again = await harness.crash()

    assert events(await taken(again)) == [first]


# -- by hand only


async def test_only_what_was_asked_for_by_hand_is_given_when_that_is_wanted(
    store: Store, reader: Reader
):
    await accepted(store, 3)
    _, two, _ = await deliveries(reader)
    none = await claim(store, by_hand=True)
    await store.retry([two.id], NOW + seconds(5))

    early = await claim(store, by_hand=True)
    found = await claim(store, by_hand=True, now=NOW + seconds(5))

    assert (none.claims, none.next_due_at) == ([], None)
    assert (early.claims, early.next_due_at) == ([], NOW + seconds(5))
    assert ids(found.claims) == [two.id]


async def test_what_was_asked_for_by_hand_waits_for_its_turn(
    store: Store, reader: Reader, on_dead: OnDead
):
    await accepted(store, 2)
    one, two = await deliveries(reader)
    await store.retry([two.id], NOW)
    behind = await claim(store, by_hand=True)
    await store.retry([one.id], NOW)

    assert behind.claims == []
    assert ids((await claim(store, by_hand=True)).claims) == [one.id]


# -- cost


async def test_ten_thousand_waiting_for_one_subject_cost_the_others_nothing(
    store: Store, on_dead: OnDead
):
    await asyncio.gather(*(accepted(store, 1, "busy") for _ in range(10_000)))
    [one] = await taken(store)
    await record(store, one, AGAIN)

    started = time.process_time()  # of all threads, so nobody else counts
    for i in range(100):
        await accepted(store, 1, f"{i}")
        [other] = await taken(store)
        await record(store, other)
    used = time.process_time() - started

    assert used < 2.5  # looking through the line each time would take ten times that
