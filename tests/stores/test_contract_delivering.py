"""What every store promises: claims, recording, and what clocks do to them."""

import asyncio
import random
from collections import Counter
from datetime import timedelta

import pytest

from receiver.models import Attempt, Outcome, Result, Status, Step, Trigger
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
    one_claim,
    record,
    seconds,
)

EXPIRED = 0.0

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

    async with asyncio.timeout(60):
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
