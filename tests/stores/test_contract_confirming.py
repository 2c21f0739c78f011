"""What every store promises of deliveries that wait until somebody decides."""

from datetime import timedelta

import pytest

from receiver.models import Status
from receiver.stores import DeliveryFilter
from receiver.stores.confirming import Hold
from receiver.stores.pruning import Cutoffs
from receiver.subjects import Standing
from tests.stores.making import (
    MUCH,
    NOW,
    accepted,
    decision,
    event,
    seconds,
)
from tests.takers import Listening

UNTIL = NOW + seconds(60)
LATE = NOW + timedelta(days=7)
HOLD = Hold(UNTIL, UNTIL)
LONG = Hold(UNTIL, LATE)


async def held(store, *to: str, hold: Hold = HOLD, **about) -> str:
    added = await store.add(event(**about), decision(*to), {}, hold)
    assert added.created
    return str(added.event_id)


async def claimed(store, to: str = "app", at=NOW, limit: int = 10) -> list[str]:
    """The events whose deliveries are given now; the claims are given back."""
    found = await store.claim(
        to, owner="o", now=at, limit=limit, max_bytes=MUCH, lease_s=60
    )
    await store.release(found.claims)
    return [claim.event.id for claim in found.claims]


async def statuses(store, event_id: str) -> list[Status]:
    where = DeliveryFilter(event_id=event_id)
    return [d.status for d in await store.deliveries(where, limit=10)]


async def test_what_is_held_is_not_given_before_its_time(store):
    event_id = await held(store, "app")

    found = await store.claim(
        "app", owner="o", now=NOW, limit=1, max_bytes=MUCH, lease_s=60
    )

    assert found.claims == []
    assert found.next_due_at == UNTIL
    assert await claimed(store, at=UNTIL) == [event_id]


async def test_what_is_confirmed_is_given_at_once(store):
    event_id = await held(store, "app", "crm", hold=LONG)

    woken = await store.decide(event_id, "confirmed", "", deliver=True, now=NOW)

    assert sorted(woken) == ["app", "crm"]
    assert await claimed(store) == await claimed(store, "crm") == [event_id]


async def test_what_is_contradicted_is_cancelled_and_counted_so(store):
    event_id = await held(store, "app")

    await store.decide(event_id, "contradicted", "why", deliver=False, now=NOW)

    assert await statuses(store, event_id) == [Status.CANCELLED]
    assert await claimed(store, at=LATE) == []
    assert [q.pending for q in await store.queues() if q.pending] == []
    assert all(not tally.difference for tally in await store.ledger())


async def test_who_looks_sees_what_was_decided_and_why(store, reader):
    event_id = await held(store, "app")
    waiting = await reader.confirmation(event_id)

    await store.decide(event_id, "contradicted", "another link", deliver=False, now=NOW)

    decided = await reader.confirmation(event_id)
    assert (waiting.verdict, waiting.until) == (None, UNTIL)
    assert (decided.verdict, decided.note) == ("contradicted", "another link")
    assert decided.decided_at == NOW
    assert await reader.confirmation(await accepted(store, "app")) is None


async def test_it_is_decided_once(store):
    event_id = await held(store, "app")
    await store.decide(event_id, "confirmed", "", deliver=True, now=NOW)

    again = await store.decide(event_id, "contradicted", "", deliver=False, now=NOW)

    assert list(again) == []
    assert await statuses(store, event_id) == [Status.PENDING]
    assert (await store.confirmation(event_id)).verdict == "confirmed"


async def test_what_is_held_is_known_after_a_crash(harness, store):
    first = await held(store, "app", hold=Hold(UNTIL + seconds(1), LATE))
    second = await held(store, "app")
    done = await held(store, "app")
    await store.decide(done, "confirmed", "", deliver=True, now=NOW)

    anew = await harness.crash()

    found = await anew.held()
    assert [(one.event_id, one.source) for one in found] == [
        (second, "sora2"),
        (first, "sora2"),
    ]
    assert await claimed(anew, at=NOW) == [done]


async def test_a_retry_by_hand_releases_and_is_not_taken_back(store):
    event_id = await held(store, "app", hold=LONG)
    [delivery] = await store.deliveries(DeliveryFilter(event_id=event_id), limit=1)

    await store.retry([delivery.id], NOW)
    at_once = await claimed(store)
    woken = await store.decide(event_id, "contradicted", "", deliver=False, now=NOW)

    assert at_once == [event_id]
    assert list(woken) == []
    assert await statuses(store, event_id) == [Status.PENDING]


async def test_a_replay_is_not_held(store):
    event_id = await held(store, "app", hold=LONG)
    replay = await store.create_replay({}, NOW)
    await store.add_replayed(replay, [(event_id, "app", NOW)], as_new=False, now=NOW)

    await store.decide(event_id, "contradicted", "", deliver=False, now=NOW)

    assert await claimed(store) == [event_id]
    assert sorted(await statuses(store, event_id)) == [
        Status.CANCELLED,
        Status.PENDING,
    ]


@pytest.mark.parametrize("deliver", [True, False])
async def test_a_subject_stays_in_order_behind_what_is_held(store, deliver):
    await store.keep_order({"app": "skip"})
    first = await held(store, "app", hold=LONG, subject="a")
    second = await accepted_about(store, "a")

    before = await claimed(store)
    await store.decide(first, "confirmed", "", deliver=deliver, now=NOW)

    assert before == []
    assert await claimed(store) == [first if deliver else second]


async def accepted_about(store, subject: str) -> str:
    added = await store.add(event(subject=subject), decision("app"), {})
    return str(added.event_id)


async def test_a_repeat_of_what_is_held_is_not_held_anew(store):
    event_id = await held(store, "app", key="k")

    again = await store.add(event("k"), decision("app"), {}, LONG)

    assert (again.event_id, again.created) == (event_id, False)
    assert len(await store.held()) == 1


async def test_what_is_held_is_handed_to_nobody_who_is_told_when_it_is_decided(store):
    taker = Listening(room=10)
    store.hand_to("app", taker)

    event_id = await held(store, "app")
    await taker.told.get()
    await store.decide(event_id, "confirmed", "", deliver=True, now=NOW)
    await taker.told.get()

    assert taker.taken == []
    assert await claimed(store) == [event_id]


# -- following


async def test_what_is_held_is_followed_in_its_place_and_again_when_it_is_decided(
    store, reader
):
    before, event_id = await accepted(store), await held(store)
    beyond = await held(store)
    [first, second, _] = (await reader.follow(None, 10)).events

    nothing = await reader.decided(beyond, 10)
    await store.decide(beyond, "confirmed", "", deliver=True, now=NOW)
    await store.decide(event_id, "unconfirmed", "", deliver=False, now=NOW)

    assert (first.id, first.standing) == (before, None)
    assert (second.id, second.standing) == (event_id, Standing.WAITING)
    assert nothing == []
    assert [(one.id, one.standing) for one in await reader.decided(event_id, 10)] == [
        (event_id, Standing.CANCELLED)
    ]
    assert len((await reader.follow(None, 10)).events) == 3


async def test_a_decision_is_followed_until_what_it_led_to_is_kept(harness, store):
    ids = [await held(store) for _ in range(3)]
    for i, event_id in enumerate(reversed(ids)):
        at = NOW + seconds(i)
        await store.decide(event_id, "confirmed", "", deliver=True, now=at)

    anew = await harness.crash()
    found = await anew.decided(ids[-1], 10)
    await anew.advance("f", None, [], ids[:2])

    assert [one.id for one in found] == ids[::-1]
    assert [one.id for one in await anew.decided(ids[-1], 10)] == ids[2:]


async def test_what_was_not_followed_since_it_was_decided_is_not_pruned(store):
    event_id = await held(store)
    old = Cutoffs(events=LATE)

    first = await store.prune(old, limit=10, now=NOW)
    await store.decide(event_id, "confirmed", "", deliver=True, now=NOW)
    await store.advance("f", event_id, [])
    second = await store.prune_held(limit=10, now=NOW)
    await store.advance("f", None, [], [event_id])
    third = await store.prune_held(limit=10, now=NOW)

    assert [found.events for found in (first, second, third)] == [0, 0, 1]


@pytest.mark.parametrize("verdict", ["contradicted", "unconfirmed", "confirmed"])
async def test_what_does_not_count_leaves_its_key_to_the_true_one(store, verdict):
    counts = verdict == "confirmed"
    event_id = await held(store, "app", key="k")
    await store.decide(event_id, verdict, "", deliver=counts, now=NOW)

    again = await store.add(event("k"), decision("app"), {})

    assert again.created is not counts
    assert (await store.add(event("k"), decision("app"), {})).created is False
    assert (await store.totals()).keys == (await store.totals()).events
