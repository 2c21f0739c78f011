"""What every store promises to say of a page's deliveries beside themselves."""

import pytest

from receiver.models import OnDead, Result
from receiver.stores import Reader, Store
from receiver.stores.confirming import Hold
from receiver.stores.searching import LastAttempt
from tests.stores.conftest import Harness
from tests.stores.making import (
    AGAIN,
    DEAD,
    NOW,
    accepted,
    claim,
    decision,
    deliveries,
    event,
    record,
    seconds,
)


async def test_of_each_delivery_the_event_and_the_last_attempt_are_said(
    store: Store, reader: Reader
):
    await accepted(store, "crm")
    again = (await claim(store)).claims[0]
    await record(store, again, AGAIN)
    [last] = (await claim(store, now=AGAIN.due_at)).claims
    await record(store, last, DEAD)
    await store.add(event(type="other", subject="b"), decision("ops"), {})

    for looking in (store, reader):
        dead, fresh = await deliveries(looking)
        found = await looking.surroundings([dead, fresh])

        assert found[dead.id].last == LastAttempt(Result.TIMEOUT, 200, "said so")
        assert (found[dead.id].type, found[dead.id].subject) == (
            "batch.completed",
            "batch_1",
        )
        assert (found[fresh.id].type, found[fresh.id].last) == ("other", None)
        assert found[dead.id].behind is None
        assert found[fresh.id].held_until is None


@pytest.mark.parametrize("on_dead", ["skip", "block"])
async def test_who_is_behind_another_is_said_to_be(
    store: Store, reader: Reader, on_dead: OnDead
):
    await store.keep_order({"crm": on_dead})
    for _ in range(3):
        await accepted(store, "crm")
    first, second, third = await deliveries(store)
    waiting = await reader.surroundings([first, second, third])
    [taken] = (await claim(store)).claims
    await record(store, taken, DEAD)
    after = await reader.surroundings([first, second, third])

    assert [waiting[one.id].behind for one in (first, second, third)] == [
        None,
        first.id,
        first.id,
    ]
    blocks = on_dead == "block"
    assert after[first.id].behind is None
    assert after[second.id].behind == (first.id if blocks else None)
    assert after[third.id].behind == (first.id if blocks else second.id)


async def test_what_is_held_is_said_to_be_until_it_is_decided(
    store: Store, reader: Reader
):
    until = NOW + seconds(60)
    added = await store.add(event(), decision("crm"), {}, Hold(until, until))
    [one] = await deliveries(store)
    held = await reader.surroundings([one])
    await store.decide(added.event_id, "confirmed", "", deliver=True, now=NOW)

    decided = await reader.surroundings([one])

    assert held[one.id].held_until == until
    assert decided[one.id].held_until is None


async def test_of_deliveries_that_have_gone_nothing_is_said(
    harness: Harness, store: Store, reader: Reader
):
    for _ in range(2):
        await accepted(store, "crm")
    found = await deliveries(store)
    harness.forget_events()

    assert await reader.surroundings(found) == {}
    assert await reader.surroundings([]) == {}


async def test_many_are_looked_up_at_once(store: Store, reader: Reader):
    for _ in range(501):
        await accepted(store, "crm", "ops")

    found = await reader.surroundings(await deliveries(reader))

    assert {one.subject for one in found.values()} == {"batch_1"}
    assert len(found) == 1002
