"""What every store promises: what is retried, cancelled, replayed or paused by hand."""

import asyncio

import pytest

from receiver.errors import NotFound
from receiver.models import Pause, Status, Trigger
from receiver.stores import DeliveryFilter, Reader, Store
from tests.stores.conftest import Harness
from tests.stores.making import (
    AGAIN,
    DEAD,
    NOW,
    accepted,
    assert_adds_up,
    claim,
    deliveries,
    difference,
    ids,
    one_claim,
    record,
    seconds,
)

UNKNOWN = "dlv_0000000000000001"

# -- by hand


async def test_what_is_cancelled_in_flight_stays_cancelled_and_the_attempt_is_kept(
    store: Store, reader: Reader
):
    one = await one_claim(store)

    assert await store.cancel([one.delivery.id], NOW + seconds(1)) == 1
    assert await record(store, one)

    after = await reader.delivery(one.delivery.id)
    assert (after.status, after.attempts) == (Status.CANCELLED, 1)
    assert after.settled_at == NOW + seconds(1)
    assert len(await reader.attempts(one.delivery.id)) == 1
    await assert_adds_up(store, reader)


@pytest.mark.parametrize("step", [DEAD, AGAIN], ids=["dead", "again"])
async def test_a_retry_in_flight_begins_a_new_round_when_the_attempt_failed(
    store: Store, reader: Reader, step: object
):
    one = await one_claim(store)

    asked_at = NOW + seconds(5)
    assert await store.retry([one.delivery.id], asked_at) == 1
    assert await record(store, one, DEAD if step is DEAD else AGAIN)

    after = await reader.delivery(one.delivery.id)
    assert (after.status, after.attempts, after.round_attempts) == (
        Status.PENDING, 1, 0,
    )  # fmt: skip
    assert (after.due_at, after.round_started_at) == (asked_at, asked_at)
    assert after.trigger is Trigger.MANUAL
    assert ids((await claim(store, now=asked_at)).claims) == [one.delivery.id]
    await assert_adds_up(store, reader)


async def test_a_retry_in_flight_is_done_when_the_attempt_delivers(
    store: Store, reader: Reader
):
    one = await one_claim(store)
    await store.retry([one.delivery.id], NOW)

    await record(store, one)

    assert (await reader.delivery(one.delivery.id)).status is Status.DELIVERED
    assert (await claim(store)).claims == []
    await assert_adds_up(store, reader)


async def test_a_retry_asked_for_while_held_is_not_given_to_another(store: Store):
    one = await one_claim(store)

    await store.retry([one.delivery.id], NOW)

    assert (await claim(store, owner="two")).claims == []


async def test_a_retry_of_a_dead_delivery_starts_a_new_round(
    store: Store, reader: Reader
):
    one = await one_claim(store)
    await record(store, one, DEAD)

    assert await store.retry([one.delivery.id], NOW + seconds(9)) == 1

    [two] = (await claim(store, now=NOW + seconds(9))).claims
    assert (two.delivery.attempts, two.delivery.round_attempts) == (1, 0)
    assert (two.delivery.trigger, two.delivery.settled_at) == (Trigger.MANUAL, None)
    assert two.delivery.round_started_at == NOW + seconds(9)
    await record(store, two, AGAIN)
    [three] = (await claim(store, now=AGAIN.due_at)).claims
    assert three.delivery.trigger is Trigger.SCHEDULED
    assert [one.number for one in await reader.attempts(one.delivery.id)] == [1, 2]
    await assert_adds_up(store, reader)


async def test_retry_and_cancel_count_what_they_changed(store: Store, reader: Reader):
    for _ in range(4):
        await accepted(store, "crm")
    delivered, dead, cancelled, pending = (await claim(store)).claims
    await record(store, delivered)
    await record(store, dead, DEAD)
    await store.cancel([cancelled.delivery.id], NOW)
    every = ids([delivered, dead, cancelled, pending])

    retried = await store.retry(every, NOW)
    stopped = await store.cancel(every, NOW)
    again = await store.cancel(every, NOW)
    never = await store.retry(every, NOW)

    assert (retried, stopped, again, never) == (2, 2, 0, 0)
    statuses = [(await reader.delivery(one)).status for one in every]
    assert statuses == [Status.DELIVERED] + [Status.CANCELLED] * 3
    await assert_adds_up(store, reader)


async def test_a_dead_delivery_can_be_cancelled_and_waited_for_nobody(
    store: Store, reader: Reader
):
    one = await one_claim(store)
    await record(store, one, DEAD)

    assert await store.cancel([one.delivery.id], NOW + seconds(2)) == 1

    after = await reader.delivery(one.delivery.id)
    assert (after.status, after.settled_at) == (Status.CANCELLED, NOW + seconds(2))
    await assert_adds_up(store, reader)


async def test_a_delivery_named_many_times_is_changed_once(
    store: Store, reader: Reader
):
    one = await one_claim(store)
    await record(store, one, DEAD)

    assert await store.retry([one.delivery.id] * 1_200, NOW) == 1
    await assert_adds_up(store, reader)
    assert await store.cancel([one.delivery.id] * 1_200, NOW) == 1
    await assert_adds_up(store, reader)


async def test_thousands_of_deliveries_are_changed_in_one_call(
    store: Store, reader: Reader
):
    await asyncio.gather(*(accepted(store, "crm") for _ in range(1_100)))
    every = [delivery.id for delivery in await deliveries(reader)]

    assert await store.cancel(every, NOW) == 1_100
    await assert_adds_up(store, reader)


@pytest.mark.parametrize("operation", ["retry", "cancel"])
async def test_an_unknown_id_is_not_found_and_nothing_is_changed(
    store: Store, reader: Reader, operation: str
):
    await accepted(store, "crm")
    await accepted(store, "crm")
    done, dead = (await claim(store)).claims
    await record(store, done)
    await record(store, dead, DEAD)
    change = store.retry if operation == "retry" else store.cancel

    for unknown in (UNKNOWN, "dlv_ffffffffffffffff", "evt_0000000000000001", "x"):
        with pytest.raises(NotFound, match=unknown):
            await change([*ids([done, dead]), unknown], NOW)

    assert (await reader.delivery(dead.delivery.id)).status is Status.DEAD
    await assert_adds_up(store, reader)
    assert await change([], NOW) == 0


# -- replays


@pytest.mark.parametrize("as_new", [False, True])
async def test_replayed_deliveries_are_new_ones_of_the_same_event(
    store: Store, reader: Reader, as_new: bool
):
    event_id = await accepted(store, "crm")
    due = NOW + seconds(30)
    replay = await store.create_replay({"events": [event_id]}, NOW)
    wanted = [(event_id, "crm", due), (event_id, "new", due)]

    added = await store.add_replayed(replay, wanted, as_new=as_new, now=NOW)

    assert added == 2
    found = await deliveries(reader, DeliveryFilter(event_id=event_id))
    assert [d.replay_id for d in found] == [None, replay, replay]
    assert [d.destination for d in found] == ["crm", "crm", "new"]
    assert [d.due_at for d in found] == [NOW, due, due]
    sent_as = [d.sent_as for d in found]
    assert sent_as[0] == event_id
    assert len(set(sent_as)) == (3 if as_new else 1)
    await assert_adds_up(store, reader)


async def test_what_a_replay_is_sent_as_is_the_same_on_every_attempt(
    harness: Harness, store: Store
):
    event_id = await accepted(store)
    replay = await store.create_replay({}, NOW)
    await store.add_replayed(replay, [(event_id, "crm", NOW)], as_new=True, now=NOW)

    [first] = (await claim(store)).claims
    await record(store, first, AGAIN)
    [second] = (await claim(await harness.crash(), now=AGAIN.due_at)).claims

    assert first.delivery.sent_as == second.delivery.sent_as != event_id
    assert first.delivery.sent_as.startswith("evt_")


async def test_a_replay_is_in_the_ledger_and_not_in_the_events_own_count(
    store: Store, reader: Reader
):
    event_id = await accepted(store, "crm")
    replay = await store.create_replay({}, NOW)

    for _ in range(3):
        wanted = [(event_id, "crm", NOW)] * 2
        await store.add_replayed(replay, wanted, as_new=False, now=NOW)

    [tally] = await reader.ledger()
    assert (tally.decided, tally.difference) == (7, 0)
    assert (await reader.totals()).routed_deliveries == 1
    await assert_adds_up(store, reader)


async def test_replaying_an_unknown_event_is_not_found_and_adds_nothing(
    store: Store, reader: Reader
):
    event_id = await accepted(store, "crm")
    replay = await store.create_replay({}, NOW)
    wanted = [(event_id, "crm", NOW), ("evt_0000000000000001", "crm", NOW)]

    with pytest.raises(NotFound):
        await store.add_replayed(replay, wanted, as_new=False, now=NOW)

    assert len(await deliveries(reader)) == 1
    assert await store.add_replayed(replay, [], as_new=False, now=NOW) == 0
    await assert_adds_up(store, reader)


async def test_old_replays_that_have_ended_are_forgotten_and_stay_in_the_ledger(
    harness: Harness, store: Store, reader: Reader
):
    event_id = await accepted(store, "crm")
    running = await store.create_replay({}, NOW, running=True)
    old = [await store.create_replay({"n": n}, NOW) for n in range(3)]
    for replay in old:
        wanted = [(event_id, "crm", NOW), (event_id, "ops", NOW)]
        await store.add_replayed(replay, wanted, as_new=False, now=NOW)
    young = await store.create_replay({}, NOW + seconds(60))

    pruned = [await store.prune_replays(NOW + seconds(1), n) for n in (2, 10, 10)]

    assert pruned == [1, 2, 0]
    assert [one.id for one in await reader.replays(limit=10)] == [young, running]
    assert len(await deliveries(reader)) == 7
    await assert_adds_up(store, reader)
    harness.lose("replayed delivery")
    assert await difference(reader) == 6


async def test_old_entries_of_the_audit_are_forgotten_a_few_at_a_time(
    store: Store, reader: Reader
):
    entries = [
        await store.begin_audit("me", "x", {}, NOW + seconds(n)) for n in range(5)
    ]

    pruned = [await store.prune_audit(NOW + seconds(3), 2) for _ in range(3)]

    assert pruned == [2, 1, 0]
    found = [one.id for one in await reader.audit(limit=10)]
    assert found == [entries[4], entries[3]]


# -- moving


async def test_what_is_moved_ends_here_and_waits_there_and_is_moved_once(
    harness: Harness, store: Store, reader: Reader
):
    dead = await one_claim(store)
    await record(store, dead, DEAD)
    pending = [await accepted(store, "crm") for _ in range(2)]
    there = [one.id for one in await deliveries(reader)]

    replay, moved = await store.move(there, "ops", NOW)
    again = await store.move(there, "ops", NOW, replay_id=replay)
    back = await store.move(there, "crm", NOW)

    assert (moved, again, back[1]) == (3, (replay, 0), 0)
    after = await harness.crash()
    found = await deliveries(after)
    assert [one.status for one in found] == [Status.CANCELLED] * 3 + [
        Status.PENDING
    ] * 3
    assert [(one.destination, one.event_id, one.replay_id) for one in found[3:]] == [
        ("ops", event_id, replay) for event_id in [dead.event.id, *pending]
    ]
    made = await after.replay(replay)
    assert (made.asked, made.deliveries) == ({"move": 3, "to": "ops"}, 3)
    await assert_adds_up(after)


async def test_moving_leaves_what_is_settled_or_there_already_as_it_is(
    store: Store, reader: Reader
):
    delivered = await one_claim(store)
    await record(store, delivered)
    await accepted(store, "ops")
    there = [one.id for one in await deliveries(reader)]

    _, moved = await store.move(there, "ops", NOW)

    assert moved == 0
    assert [one.id for one in await deliveries(reader)] == there
    await assert_adds_up(store, reader)


async def test_moving_one_that_there_is_not_moves_none(store: Store, reader: Reader):
    await accepted(store, "crm")
    [there] = await deliveries(reader)

    with pytest.raises(NotFound):
        await store.move([there.id, UNKNOWN], "ops", NOW)

    assert [*await deliveries(reader)] == [there]
    assert await reader.replays(limit=10) == []


# -- pauses


async def test_pausing_and_resuming_is_noted_once_each(
    harness: Harness, store: Store, reader: Reader
):
    answers = [
        await store.resume("crm", NOW),
        await store.pause("crm", "it is broken", NOW),
        await store.pause("crm", "again", NOW + seconds(1)),
        await store.pause("ops", "too", NOW + seconds(2)),
        await store.resume("crm", NOW + seconds(3)),
        await store.resume("crm", NOW + seconds(4)),
        await store.pause("crm", "once more", NOW + seconds(5)),
    ]

    assert answers == [False, True, False, True, True, False, True]
    expected = [
        ("crm", NOW, NOW + seconds(3), "it is broken"),
        ("ops", NOW + seconds(2), None, "too"),
        ("crm", NOW + seconds(5), None, "once more"),
    ]
    for looking in (store, reader):
        assert [*await looking.pauses()] == [Pause(*one) for one in expected]
    again = await harness.crash()
    assert [*await again.pauses()] == [Pause(*one) for one in expected]


async def test_pausing_many_times_at_once_pauses_once(store: Store):
    answers = await asyncio.gather(
        *(store.pause("crm", f"{i}", NOW) for i in range(50))
    )

    assert sum(answers) == 1
    assert len(await store.pauses()) == 1
