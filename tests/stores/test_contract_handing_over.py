"""What every store promises of what it hands over: it is claimed, once, and in order."""

import asyncio
from collections import Counter
from dataclasses import replace

from receiver.models import Claim, Status
from receiver.stores import Store
from tests.stores.conftest import Harness
from tests.stores.making import (
    AGAIN,
    DELIVERED,
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
)
from tests.takers import Listening


async def test_what_is_handed_over_is_what_a_claim_would_have_given(store: Store):
    taker = Listening(room=1)
    store.hand_to("crm", taker)
    await accepted(store, "crm")
    [handed] = taker.taken
    await store.release([handed])

    [claimed] = (await claim(store)).claims

    assert replace(handed, token=claimed.token) == claimed


async def test_what_is_handed_over_is_claimed_until_it_is_recorded_or_given_back(
    store: Store,
):
    taker = Listening(room=2)
    store.hand_to("crm", taker)
    for _ in range(2):
        await accepted(store, "crm")
    while_held = await claim(store)

    await record(store, taker.taken[0])
    await store.release(taker.taken[1:])

    assert not while_held.claims
    assert ids((await claim(store)).claims) == ids(taker.taken[1:])


async def test_a_taker_without_room_is_told_that_there_is_something_to_claim(
    store: Store,
):
    taker = Listening(room=1)
    store.hand_to("crm", taker)

    for _ in range(3):
        await accepted(store, "crm", "other")

    assert len(taker.taken) == 1
    assert taker.told.qsize() == 2
    assert len((await claim(store)).claims) == 2


async def test_who_takes_no_more_is_not_told(store: Store):
    taker = Listening(room=9)
    store.hand_to("crm", taker)
    store.hand_to("crm", None)

    await accepted(store, "crm")

    assert not taker.taken
    assert taker.told.empty()


async def test_a_repeat_is_not_handed_over(store: Store):
    taker = Listening(room=9)
    store.hand_to("crm", taker)

    await asyncio.gather(
        *(store.add(event("same"), decision("crm"), {}) for _ in range(20))
    )

    assert len(taker.taken) == 1


async def test_where_order_is_kept_it_must_be_claimed(store: Store):
    await store.keep_order({"crm": "skip"})
    taker = Listening(room=9)
    store.hand_to("crm", taker)

    for _ in range(3):
        await accepted(store, "crm")

    assert not taker.taken
    assert taker.told.qsize() == 3
    assert len((await claim(store)).claims) == 1


async def test_after_a_crash_what_was_handed_over_is_due(
    harness: Harness, store: Store
):
    taker = Listening(room=2)
    store.hand_to("crm", taker)
    for _ in range(2):
        await accepted(store, "crm")
    await record(store, taker.taken[0])

    again = await harness.crash()

    assert ids((await claim(again)).claims) == ids(taker.taken[1:])
    await assert_adds_up(again)


async def test_a_retry_asked_for_during_an_attempt_is_told_when_that_is_recorded(
    store: Store,
):
    taker = Listening(room=1)
    store.hand_to("crm", taker)
    await accepted(store, "crm")
    await store.retry(ids(taker.taken), NOW)

    await record(store, taker.taken[0], AGAIN)

    assert taker.told.qsize() == 1
    assert ids((await claim(store)).claims) == ids(taker.taken)


class Eager(Listening):
    """Records whatever it is handed, at once."""

    def __init__(self, store: Store) -> None:
        super().__init__(room=10_000)
        self.store = store
        self.recording: list[asyncio.Task[bool]] = []

    def take(self, claim: Claim) -> None:
        super().take(claim)
        self.recording.append(asyncio.create_task(record(self.store, claim)))


async def test_handed_over_and_claimed_at_once_each_is_attempted_exactly_once(
    store: Store,
):
    taker = Eager(store)
    store.hand_to("crm", taker)
    claimed: list[Claim] = []
    adding = asyncio.gather(*(accepted(store, "crm") for _ in range(300)))

    while not adding.done() or len(claimed) + len(taker.taken) < 300:
        found = (await claim(store, limit=5)).claims
        claimed += found
        await asyncio.gather(*(record(store, one) for one in found))
        await asyncio.sleep(0)
    await asyncio.gather(adding, *taker.recording)

    assert set(Counter(ids([*claimed, *taker.taken])).values()) == {1}
    assert {d.status for d in await deliveries(store)} == {Status.DELIVERED}


async def test_outcomes_recorded_together_have_each_their_own_result(store: Store):
    taker = Listening(room=3)
    store.hand_to("crm", taker)
    for _ in range(3):
        await accepted(store, "crm")
    first, second, third = taker.taken
    await store.release([second])

    recorded = await store.record_all(
        [
            (first, attempt(first), DELIVERED),
            (second, attempt(second), DELIVERED),
            (third, attempt(third), AGAIN),
        ]
    )

    assert recorded == [True, False, True]
    statuses = [found.status for found in await deliveries(store)]
    assert statuses == [Status.DELIVERED, Status.PENDING, Status.PENDING]
