"""What every store promises: claims, recording, and mending by hand."""

import asyncio
import random
from collections import Counter
from datetime import timedelta

import pytest

from receiver.errors import NotFound
from receiver.models import (
    Attempt,
    Claim,
    Outcome,
    Pause,
    Result,
    Status,
    Step,
    Trigger,
)
from receiver.stores import DeliveryFilter, Reader, Store
from tests.stores.conftest import Harness
from tests.stores.making import (
    AGAIN,
    DEAD,
    NOW,
    accepted,
    assert_adds_up,
    attempt,
    claim,
    decision,
    deliveries,
    event,
    ids,
    record,
    seconds,
)

EXPIRED = 0.0
UNKNOWN = "dlv_0000000000000001"


async def one_claim(store: Store, lease_s: float = 3_600) -> Claim:
    """The claim on the only delivery of a new event."""
    await accepted(store, "crm")
    [found] = (await claim(store, lease_s=lease_s)).claims
    return found


# -- claiming


async def test_nobody_else_is_given_what_is_claimed(harness: Harness, store: Store):
    second = await harness.second_owner()
    await accepted(store, "crm")

    first = await claim(store, owner="one")
    others = [await claim(by, owner="two") for by in (store, second)]

    assert len(first.claims) == 1
    assert [other.claims for other in others] == [[], []]


async def test_owners_that_claim_at_once_never_get_the_same_delivery(
    harness: Harness, store: Store
):
    second = await harness.second_owner()
    for _ in range(200):
        await accepted(store, "crm")

    claimed = await asyncio.gather(
        *(
            claim([store, second][i % 2], owner=f"owner-{i % 2}", limit=7)
            for i in range(60)
        )
    )

    taken = Counter(one for found in claimed for one in ids(found.claims))
    assert set(taken.values()) == {1}
    assert len(taken) == 200


async def test_claims_and_records_at_once_deliver_everything_exactly_once(
    harness: Harness, store: Store, reader: Reader
):
    second = await harness.second_owner()
    seen: Counter[str] = Counter()

    async def deliver(by: Store, owner: str) -> None:
        while sum(seen.values()) < 150:
            await asyncio.sleep(0)
            found = await claim(by, owner=owner, limit=random.randint(1, 5))
            for one in found.claims:
                seen[one.delivery.id] += 1
                assert await record(by, one)

    async def add() -> None:
        for _ in range(15):
            await asyncio.gather(*(accepted(store, "crm") for _ in range(10)))

    owners = [deliver([store, second][i % 2], f"owner-{i % 2}") for i in range(4)]
    await asyncio.gather(add(), *owners)

    assert set(seen.values()) == {1}
    assert len(seen) == 150
    where = DeliveryFilter(status=Status.DELIVERED)
    assert len(await deliveries(reader, where)) == 150
    await assert_adds_up(store, reader)


async def test_the_oldest_due_is_given_first(store: Store):
    await asyncio.gather(*(accepted(store, "crm") for _ in range(5)))
    claims = list((await claim(store)).claims)
    waits = [40, 10, 30, 20, 50]
    for one, wait in zip(claims, waits, strict=True):
        step = AGAIN.__class__(Status.PENDING, NOW + seconds(wait))
        await store.record(one, attempt(one, Result.TIMEOUT), step)

    found = await claim(store, now=NOW + seconds(45))

    assert [one.delivery.due_at - NOW for one in found.claims] == [
        seconds(wait) for wait in (10, 20, 30, 40)
    ]
    assert found.next_due_at == NOW + seconds(50)


async def test_what_is_not_due_is_not_given(store: Store):
    await accepted(store, "crm", at=NOW + seconds(10))

    early = await claim(store, now=NOW)
    on_time = await claim(store, now=NOW + seconds(10))

    assert (list(early.claims), early.next_due_at) == ([], NOW + seconds(10))
    assert (len(on_time.claims), on_time.next_due_at) == (1, None)


async def test_no_more_than_the_limit_is_given_and_the_rest_is_due_at_once(
    store: Store,
):
    for _ in range(5):
        await accepted(store, "crm")

    first = await claim(store, limit=3)
    second = await claim(store, limit=2)

    assert (len(first.claims), first.next_due_at) == (3, NOW)
    assert (len(second.claims), second.next_due_at) == (2, None)
    assert not set(ids(first.claims)) & set(ids(second.claims))


async def test_after_the_first_only_bodies_that_fit_are_given(store: Store):
    for size in (1_000, 400, 400, 400):
        body = bytes(size)
        await store.add(event(body=body), decision("crm"), {})

    first = await claim(store, max_bytes=10)
    second = await claim(store, max_bytes=850)
    third = await claim(store, max_bytes=850)

    sizes = [[len(c.event.body) for c in f.claims] for f in (first, second, third)]
    assert sizes == [[1_000], [400, 400], [400]]
    assert [first.next_due_at, second.next_due_at, third.next_due_at] == [
        NOW, NOW, None,
    ]  # fmt: skip


async def test_a_destination_nobody_ever_named_has_nothing(store: Store):
    found = await claim(store, "nobody")

    assert (list(found.claims), found.next_due_at) == ([], None)


async def test_destinations_are_claimed_apart(store: Store):
    await accepted(store, "crm", "ops")

    crm, ops = await claim(store, "crm"), await claim(store, "ops")

    assert [c.delivery.destination for c in (*crm.claims, *ops.claims)] == [
        "crm",
        "ops",
    ]


async def test_a_claim_ends_with_its_lease(store: Store):
    first = await one_claim(store, lease_s=0.005)

    async with asyncio.timeout(10):
        while not (again := (await claim(store, owner="two")).claims):
            pass

    assert ids(again) == [first.delivery.id]
    assert again[0].token != first.token


async def test_only_the_holder_of_the_token_can_record(store: Store, reader: Reader):
    first = await one_claim(store, lease_s=EXPIRED)
    [second] = (await claim(store, owner="two")).claims

    late = await record(store, first, DEAD)
    before = await reader.delivery(first.delivery.id)
    held = await record(store, second)
    twice = await record(store, second, DEAD)

    assert (late, held, twice) == (False, True, False)
    assert (before.status, before.attempts) == (Status.PENDING, 0)
    after = await reader.delivery(first.delivery.id)
    assert (after.status, after.attempts) == (Status.DELIVERED, 1)
    assert len(await reader.attempts(first.delivery.id)) == 1
    await assert_adds_up(store, reader)


async def test_what_is_being_recorded_is_not_given_out_whatever_its_lease(
    store: Store, reader: Reader
):
    for _ in range(20):
        first = await one_claim(store, lease_s=EXPIRED)

        recorded, claimed = await asyncio.gather(
            record(store, first), claim(store, owner="two")
        )

        assert recorded != bool(claimed.claims)
        for one in claimed.claims:
            assert await record(store, one)
    await assert_adds_up(store, reader)


async def test_a_released_claim_can_be_taken_at_once(store: Store, reader: Reader):
    first = await one_claim(store)

    await store.release([first])
    [second] = (await claim(store, owner="two")).claims

    assert second.delivery == first.delivery
    assert not await record(store, first)
    assert await record(store, second)


async def test_releasing_an_old_claim_does_not_end_the_new_one(store: Store):
    first = await one_claim(store, lease_s=EXPIRED)
    [second] = (await claim(store, owner="two")).claims

    await store.release([first])

    assert (await claim(store, owner="three")).claims == []
    assert await record(store, second)


async def test_forgetting_frees_only_what_that_owner_claimed(store: Store):
    await accepted(store, "crm", "ops")
    mine = (await claim(store, "crm", owner="one")).claims
    await claim(store, "ops", owner="two")

    await store.forget_claims("one")

    assert ids((await claim(store, "crm", owner="three")).claims) == ids(mine)
    assert (await claim(store, "ops", owner="three")).claims == []


async def test_after_a_crash_what_was_claimed_can_be_claimed(
    harness: Harness, store: Store
):
    first = await one_claim(store)

    again = await harness.crash()
    await again.forget_claims("one")  # which a restarted owner does
    [second] = (await claim(again, owner="one")).claims

    assert second.delivery == first.delivery
    assert second.event == first.event
    await assert_adds_up(again)


# -- recording


async def test_an_attempt_and_what_follows_are_written_down(
    harness: Harness, store: Store, reader: Reader
):
    one = await one_claim(store)
    made = attempt(one, Result.HTTP_STATUS, at=NOW + seconds(1), progress='["a"]')

    assert await store.record(one, made, AGAIN)

    later = await reader.delivery(one.delivery.id)
    assert (later.status, later.attempts, later.round_attempts) == (
        Status.PENDING, 1, 1,
    )  # fmt: skip
    assert (later.due_at, later.settled_at) == (AGAIN.due_at, None)
    assert later.progress == '["a"]'
    [kept] = await reader.attempts(one.delivery.id)
    assert (kept.number, kept.trigger, kept.started_at) == (
        1, Trigger.SCHEDULED, NOW + seconds(1),
    )  # fmt: skip
    assert kept.duration_ms == 12.5
    assert (kept.outcome.result, kept.outcome.status_code, kept.outcome.detail) == (
        Result.HTTP_STATUS, 200, "said so",
    )  # fmt: skip
    again = await harness.crash()
    assert await again.delivery(one.delivery.id) == later


async def test_progress_is_kept_when_a_later_attempt_says_nothing(
    store: Store, reader: Reader
):
    one = await one_claim(store)
    await store.record(one, attempt(one, Result.TIMEOUT, progress="half"), AGAIN)
    [two] = (await claim(store, now=AGAIN.due_at)).claims

    await record(store, two, DEAD)

    assert two.delivery.progress == "half"
    assert (await reader.delivery(one.delivery.id)).progress == "half"


@pytest.mark.parametrize("status", [Status.DELIVERED, Status.DEAD])
async def test_a_settled_delivery_is_not_given_again(
    store: Store, reader: Reader, status: Status
):
    one = await one_claim(store)
    step = DEAD.__class__(status, NOW + seconds(3))

    await store.record(one, attempt(one), step)

    settled = await reader.delivery(one.delivery.id)
    assert (settled.status, settled.settled_at) == (status, NOW + seconds(3))
    found = await claim(store, now=NOW + timedelta(days=999))
    assert (list(found.claims), found.next_due_at) == ([], None)
    await assert_adds_up(store, reader)


async def test_many_outcomes_recorded_at_once_are_each_their_own(
    store: Store, reader: Reader
):
    await asyncio.gather(*(accepted(store, "crm") for _ in range(300)))
    claims = (await claim(store, limit=1_000)).claims
    steps = [[DEAD, AGAIN, None][i % 3] for i in range(len(claims))]

    results = await asyncio.gather(
        *(
            record(store, one, step) if step else record(store, one)
            for one, step in zip(claims, steps, strict=True)
        )
    )

    assert results == [True] * 300
    for one, step in zip(claims, steps, strict=True):
        found = await reader.delivery(one.delivery.id)
        assert found.status is (step.status if step else Status.DELIVERED)
    await assert_adds_up(store, reader)


async def test_a_record_nobody_waits_for_any_more_ends_the_claim_all_the_same(
    store: Store, reader: Reader
):
    for pauses in range(10):
        one = await one_claim(store)
        task = asyncio.create_task(record(store, one, DEAD))
        for _ in range(pauses):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await accepted(store, "other")  # whatever was begun is committed by now
        await store.forget_claims("one")
        for left in (await claim(store)).claims:
            await record(store, left)

    await assert_adds_up(store, reader)


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
        with pytest.raises(NotFound):
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


# -- clocks


async def test_owners_whose_clocks_differ_share_the_work(
    harness: Harness, store: Store, reader: Reader
):
    second = await harness.second_owner()
    hour = timedelta(hours=1)
    await accepted(store, "crm", at=NOW)
    await accepted(second, "crm", at=NOW + hour)
    await accepted(store, "crm", at=NOW - hour)

    behind = await claim(store, owner="behind", now=NOW)
    ahead = await claim(second, owner="ahead", now=NOW + hour)

    assert [len(behind.claims), len(ahead.claims)] == [2, 1]
    assert behind.next_due_at == NOW + hour
    for one in (*behind.claims, *ahead.claims):
        assert await record(store, one)
    await assert_adds_up(store, reader)


async def test_a_lease_does_not_depend_on_the_wall_clock(store: Store):
    await one_claim(store)

    for days in (-9_000, 9_000):
        now = NOW + timedelta(days=days)
        assert (await claim(store, owner="two", now=now)).claims == []


# -- a clock that was ahead


WAITS = (seconds(10), seconds(3_600))


async def failed(store: Store, due_s: float, status_code: int = 500) -> str:
    """A delivery that failed once and is due again so many seconds from now."""
    of = await one_claim(store)
    outcome = Outcome(Result.HTTP_STATUS, "said so", status_code=status_code)
    made = Attempt(1, of.delivery.trigger, NOW, 12.5, outcome)
    await store.record(of, made, Step(Status.PENDING, NOW + seconds(due_s)))
    return of.delivery.id


async def test_what_is_due_later_than_it_can_be_is_due_now(store: Store):
    late = [await failed(store, due_s) for due_s in (100, 3_000)]
    in_time = await failed(store, 10)

    count = await store.bring_forward("crm", WAITS, NOW)

    assert count == 2
    assert ids((await claim(store)).claims) == late
    assert (await store.delivery(in_time)).due_at == NOW + seconds(10)


async def test_what_may_have_asked_for_a_longer_wait_is_not_late(store: Store):
    await failed(store, 80_000, status_code=429)
    late = await failed(store, 100_000, status_code=503)

    await store.bring_forward("crm", WAITS, NOW)

    assert ids((await claim(store)).claims) == [late]


async def test_what_was_accepted_or_asked_for_in_the_future_is_due_now(store: Store):
    await accepted(store, "crm", at=NOW + seconds(3_600))
    await store.retry([await failed(store, 5)], NOW + seconds(3_600))

    count = await store.bring_forward("crm", WAITS, NOW)

    assert count == 2


async def test_a_replay_with_a_rate_is_not_brought_forward(store: Store):
    event_id = await accepted(store, "other")
    replay = await store.create_replay({}, NOW)
    later = NOW + seconds(3_600)
    wanted = [(event_id, "crm", later)]
    await store.add_replayed(replay, wanted, as_new=False, now=NOW)

    count = await store.bring_forward("crm", WAITS, NOW)

    assert count == 0
    assert (await claim(store)).next_due_at == later
