"""What every store promises: what is old goes, and the ledger still adds up."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from receiver.errors import NotFound
from receiver.models import Status, Variant
from receiver.stores import Reader, Store
from receiver.stores.pruning import Cutoffs, Pruned
from tests.stores.conftest import Harness
from tests.stores.making import (
    ALL_EVENTS,
    DEAD,
    DELIVERED,
    NOW,
    accepted,
    assert_adds_up,
    claim,
    decision,
    deliveries,
    difference,
    event,
    record,
    rejection,
    seconds,
)

DAY = timedelta(days=1)
LATER = NOW + DAY
OLD_BODIES = Cutoffs(bodies=LATER)
OLD_EVENTS = Cutoffs(bodies=LATER, events=LATER)


async def delivered(
    store: Store, *destinations: str, key: str | None = None, at: datetime = NOW
) -> str:
    """The id of an event that was accepted and has reached these destinations."""
    event_id = await accepted(store, *destinations, key=key, at=at)
    await settle(store, *destinations)
    return event_id


async def settle(store: Store, *destinations: str) -> None:
    for name in destinations:
        for one in (await claim(store, name, now=LATER)).claims:
            assert await record(store, one, DELIVERED)


async def pruned(
    store: Store, cutoffs: Cutoffs, *, limit: int = 100, now: datetime = LATER
) -> Pruned:
    """What all the steps together remove."""
    found = await store.prune(cutoffs, limit=limit, now=now)
    while not found.done:
        found = found.and_then(await store.prune(cutoffs, limit=limit, now=now))
    return found


async def foreseen(reader: Reader, cutoffs: Cutoffs) -> Pruned:
    """What would go, says the store."""
    found, after = await reader.would_go(cutoffs)
    while not found.done:
        more, after = await reader.would_go(cutoffs, after)
        found = found.and_then(more)
    return found


def counts(of: Pruned) -> tuple[int, ...]:
    return of.events, of.bodies, of.deliveries, of.rejections, of.bytes, of.held


# -- bodies


async def test_an_old_body_goes_and_what_is_known_of_the_event_stays(
    store: Store, reader: Reader
):
    event_id = await delivered(store, "crm")
    before = await reader.event(event_id)

    found = await pruned(store, OLD_BODIES)

    after = await reader.event(event_id)
    assert (found.bodies, found.events) == (1, 0)
    assert after.body_pruned_at == LATER
    assert (after.event.body, after.event.headers, after.event.query) == (b"", {}, {})
    assert (after.event.key, after.event.subject, after.event.state) == (
        before.event.key,
        before.event.subject,
        before.event.state,
    )
    assert (after.decision, after.fan_out) == (before.decision, 1)
    [delivery] = await deliveries(reader)
    assert delivery.status is Status.DELIVERED
    [attempt] = await reader.attempts(delivery.id)
    assert attempt.outcome.detail == "said so"
    await assert_adds_up(store, reader)


async def test_a_body_goes_once_and_keeps_the_day_it_went(store: Store):
    event_id = await delivered(store, "crm")
    await pruned(store, OLD_BODIES)

    again = await pruned(store, OLD_BODIES, now=LATER + DAY)

    assert not again.anything
    assert (await store.event(event_id)).body_pruned_at == LATER


async def test_what_is_not_old_stays(store: Store):
    old = await delivered(store, "crm", at=NOW)
    young = await delivered(store, "crm", at=NOW + seconds(2))

    found = await pruned(store, Cutoffs(bodies=NOW + seconds(1)))

    assert found.bodies == 1
    assert (await store.event(old)).body_pruned_at is not None
    assert (await store.event(young)).event.body == b'{"id": "batch_1"}'


async def test_other_bodies_of_the_same_key_go_along(store: Store):
    event_id = await delivered(store, "crm")
    await store.add_variant(Variant(event_id, "conflict", NOW, b"{}"))

    await pruned(store, OLD_BODIES)

    assert await store.variants(event_id) == []


async def test_another_body_is_not_kept_beside_one_that_was_pruned(store: Store):
    event_id = await delivered(store, "crm")
    await pruned(store, OLD_BODIES)

    await store.add_variant(Variant(event_id, "conflict", LATER, b"{}"))

    assert await store.variants(event_id) == []


# -- events


async def test_of_an_old_event_only_its_key_is_left(store: Store, reader: Reader):
    event_id = await delivered(store, "crm", "ops", key="k")
    [first, _] = await deliveries(reader)

    found = await pruned(store, OLD_EVENTS)

    assert (found.events, found.deliveries) == (1, 2)
    with pytest.raises(NotFound, match="until 2026-01-24 10:00 UTC only keys are"):
        await reader.event(event_id)
    with pytest.raises(NotFound, match="only keys are kept"):
        await reader.delivery(first.id)
    assert await deliveries(reader) == []
    assert await reader.attempts(first.id) == []
    assert await reader.count_events(ALL_EVENTS) == 0
    await assert_adds_up(store, reader)


@pytest.mark.parametrize("cutoffs", [OLD_BODIES, OLD_EVENTS], ids=["body", "event"])
async def test_a_repeat_of_what_was_pruned_is_still_a_duplicate(
    harness: Harness, store: Store, cutoffs: Cutoffs
):
    event_id = await delivered(store, "crm", key="k")
    await pruned(store, cutoffs)

    known = [await store.event_of("sora2", key) for key in ("k", "other")]
    same = await store.add(event("k", at=LATER), decision("crm"), {})
    other = await store.add(event("k", body=b"{}", at=LATER), decision("crm"), {})
    store = await harness.crash()
    again = await store.add(event("k", at=LATER), decision("crm"), {})

    assert known == [event_id, None]
    assert (same.event_id, same.created, same.same_body) == (event_id, False, True)
    assert (other.event_id, other.created, other.same_body) == (event_id, False, False)
    assert again == same
    await assert_adds_up(store)


async def test_the_ledger_says_the_same_before_and_after(store: Store, reader: Reader):
    for number in range(30):
        await accepted(store, "crm", "ops", at=NOW + seconds(number))
    await accepted(store, at=NOW)
    claims = (await claim(store, "crm", now=LATER, limit=30)).claims
    for number, one in enumerate(claims):
        await record(store, one, DEAD if number % 3 else DELIVERED)
    await store.cancel([d.id for d in (await deliveries(reader))[1:20:2]], LATER)
    before = {(t.source, t.destination): t for t in await reader.ledger()}

    await pruned(store, Cutoffs(LATER, NOW + seconds(15)))

    assert {(t.source, t.destination): t for t in await reader.ledger()} == before
    totals = await reader.totals()
    assert (totals.events, totals.keys) == (31, 31)
    await assert_adds_up(store, reader)


async def test_replays_of_what_goes_are_carried_over_too(store: Store, reader: Reader):
    event_id = await delivered(store, "crm")
    replay = await store.create_replay({}, NOW)
    wanted = [(event_id, "crm", NOW), (event_id, "ops", NOW)]
    await store.add_replayed(replay, wanted, as_new=False, now=NOW)
    await settle(store, "crm", "ops")
    before = list(await reader.ledger())

    found = await pruned(store, OLD_EVENTS)

    assert (found.events, found.deliveries) == (1, 3)
    assert list(await reader.ledger()) == before
    assert await deliveries(reader) == []
    await assert_adds_up(store, reader)


async def test_what_was_lost_before_is_still_missed_afterwards(
    harness: Harness, store: Store
):
    await delivered(store, "crm", "ops")
    await delivered(store, "crm")
    await store.close()
    harness.lose("delivery")
    store = await harness.owner()

    assert await difference(store) > 0
    before = await difference(store)
    await pruned(store, OLD_EVENTS)

    assert await difference(store) == before


# -- what waits


@pytest.mark.parametrize("cutoffs", [OLD_BODIES, OLD_EVENTS], ids=["body", "event"])
async def test_nothing_goes_of_an_event_that_waits_for_a_destination(
    store: Store, reader: Reader, cutoffs: Cutoffs
):
    waiting = await accepted(store, "crm", "ops")
    await settle(store, "ops")
    done = await delivered(store, "ops", at=NOW + seconds(1))

    found = await pruned(store, cutoffs)

    assert found.held == 1
    assert (await reader.event(waiting)).body_pruned_at is None
    [one] = (await claim(store, "crm", now=LATER)).claims
    assert one.event.body == b'{"id": "batch_1"}'
    gone = await reader.events(ALL_EVENTS, limit=10)
    assert done not in [s.event.id for s in gone if s.body_pruned_at is None]
    await assert_adds_up(store, reader)


@pytest.mark.parametrize("cutoffs", [OLD_BODIES, OLD_EVENTS], ids=["body", "event"])
async def test_what_waited_goes_when_it_is_looked_at_again(
    store: Store, reader: Reader, cutoffs: Cutoffs
):
    waiting = await accepted(store, "crm")
    await pruned(store, cutoffs)
    early = await store.prune_held(limit=10, now=LATER)
    await settle(store, "crm")

    found = await store.prune_held(limit=10, now=LATER)

    assert not early.anything
    assert (found.events, found.bodies) == ((0, 1) if cutoffs == OLD_BODIES else (1, 0))
    assert (await pruned(store, OLD_EVENTS)).anything == (cutoffs == OLD_BODIES)
    with pytest.raises(NotFound):
        await reader.event(waiting)
    await assert_adds_up(store, reader)


async def test_all_that_waits_is_looked_at_in_turns(store: Store):
    for _ in range(5):
        await accepted(store, "crm")
    await pruned(store, OLD_BODIES)
    claims = (await claim(store, now=LATER)).claims
    await record(store, claims[4])

    found = [await store.prune_held(limit=2, now=LATER) for _ in range(3)]

    assert [one.bodies for one in found] == [0, 0, 1]


async def test_a_replay_keeps_its_event_while_it_waits(store: Store, reader: Reader):
    event_id = await delivered(store, "crm")
    replay = await store.create_replay({}, NOW)
    wanted = [(event_id, "ops", NOW)]
    await store.add_replayed(replay, wanted, as_new=False, now=NOW)

    found = await pruned(store, OLD_EVENTS)

    assert (found.events, found.held) == (0, 1)
    assert (await reader.event(event_id)).body_pruned_at is None
    await assert_adds_up(store, reader)


async def test_a_dead_delivery_that_holds_back_its_subject_keeps_its_event(
    store: Store,
):
    await store.keep_order({"crm": "block"})
    dead = await accepted(store, "crm")
    [one] = (await claim(store, now=LATER)).claims
    await record(store, one, DEAD)

    held = await pruned(store, OLD_EVENTS)
    await store.cancel([one.delivery.id], LATER)
    freed = await store.prune_held(limit=10, now=LATER)

    assert (held.events, held.held) == (0, 1)
    assert freed.events == 1
    with pytest.raises(NotFound):
        await store.event(dead)
    await assert_adds_up(store)


async def test_what_nobody_has_followed_yet_is_not_old(store: Store, reader: Reader):
    seen = await delivered(store, "crm", at=NOW)
    unseen = await delivered(store, "crm", at=NOW + seconds(1))
    await store.advance("events", seen, [])

    ahead = await foreseen(reader, OLD_EVENTS)
    found = await pruned(store, OLD_EVENTS)
    await store.advance("events", unseen, [])
    rest = await pruned(store, OLD_EVENTS)

    assert (ahead.events, found.events, rest.events) == (1, 1, 1)


# -- what cannot be done any more


async def test_a_dead_delivery_without_a_body_cannot_be_retried_but_cancelled(
    store: Store, reader: Reader
):
    await accepted(store, "crm")
    [one] = (await claim(store, now=LATER)).claims
    await record(store, one, DEAD)
    await pruned(store, OLD_BODIES)

    retried = await store.retry([one.delivery.id], LATER)

    assert retried == 0
    assert (await reader.delivery(one.delivery.id)).status is Status.DEAD
    assert await store.cancel([one.delivery.id], LATER) == 1
    await assert_adds_up(store, reader)


async def test_what_was_pruned_is_left_out_of_a_replay(store: Store):
    gone = await delivered(store, "crm", at=NOW)
    there = await delivered(store, "crm", at=LATER + DAY)
    await pruned(store, OLD_BODIES)
    replay = await store.create_replay({}, LATER)
    wanted = [(there, "ops", LATER), (gone, "mail", LATER)]

    added = await store.add_replayed(replay, wanted, as_new=False, now=LATER)

    waiting = {q.destination: q.pending for q in await store.queues()}
    assert (added, waiting["ops"], waiting.get("mail", 0)) == (1, 1, 0)
    await assert_adds_up(store)


async def test_nothing_can_be_replayed_of_which_only_the_key_is_left(store: Store):
    gone = await delivered(store, "crm", at=NOW)
    await pruned(store, OLD_EVENTS)
    replay = await store.create_replay({}, LATER)

    with pytest.raises(NotFound):
        await store.add_replayed(
            replay, [(gone, "crm", LATER)], as_new=False, now=LATER
        )

    await assert_adds_up(store)


async def test_pruning_and_replays_at_once_lose_nothing(store: Store):
    events = [await delivered(store, "crm") for _ in range(40)]

    async def replay(event_id: str) -> int:
        number = await store.create_replay({}, LATER)
        try:
            wanted = [(event_id, "ops", LATER)]
            return await store.add_replayed(number, wanted, as_new=False, now=LATER)
        except NotFound:
            return 0

    async def prune() -> int:
        return (await pruned(store, OLD_EVENTS, limit=1)).events

    gone, *made = await asyncio.gather(prune(), *map(replay, events))

    assert gone + sum(made) == 40
    assert len((await claim(store, "ops", now=LATER)).claims) == sum(made)
    await assert_adds_up(store)


async def test_an_attempt_that_ends_after_its_delivery_was_pruned_is_no_trouble(
    store: Store,
):
    await accepted(store, "crm")
    [one] = (await claim(store, now=LATER)).claims
    await store.cancel([one.delivery.id], LATER)
    assert (await pruned(store, OLD_EVENTS)).events == 1

    recorded = await record(store, one)

    assert recorded
    assert await store.attempts(one.delivery.id) == []
    await assert_adds_up(store)


# -- steps


async def test_a_step_removes_no_more_than_it_is_told_and_goes_on_from_there(
    store: Store,
):
    for number in range(7):
        await delivered(store, "crm", at=NOW + seconds(number))

    steps: list[Pruned] = []
    while not steps or not steps[-1].done:
        steps.append(await store.prune(OLD_EVENTS, limit=3, now=LATER))

    assert [step.events for step in steps] == [3, 3, 1, 0]
    assert [step.reached for step in steps[:3]] == [
        NOW + seconds(number) for number in (2, 5, 6)
    ]
    await assert_adds_up(store)


async def test_pruning_goes_on_after_a_crash_where_it_was(
    harness: Harness, store: Store
):
    events = [await delivered(store, "crm", at=NOW + seconds(n)) for n in range(9)]
    await store.prune(OLD_EVENTS, limit=4, now=LATER)

    store = await harness.crash()
    rest = await pruned(store, OLD_EVENTS)

    assert rest.events == 5
    assert await store.count_events(ALL_EVENTS) == 0
    assert len(events) == (await store.totals()).events
    await assert_adds_up(store)


async def test_no_id_is_given_again_though_all_that_had_them_is_gone(
    harness: Harness, store: Store
):
    ahead = await delivered(store, "crm", at=NOW + seconds(60))
    await pruned(store, OLD_EVENTS)

    store = await harness.crash()

    assert await accepted(store, "crm", at=NOW) > ahead


async def test_large_bodies_go_a_few_at_a_time(store: Store):
    for number in range(4):
        body = bytes([number]) * 4_000_000
        given = event(body=body, at=NOW + seconds(number))
        await store.add(given, decision(), {})

    first = await store.prune(OLD_BODIES, limit=100, now=LATER)

    assert not first.done
    assert 1 <= first.bodies <= 4
    assert (await pruned(store, OLD_BODIES)).bodies == 4 - first.bodies


async def test_a_step_says_how_much_others_have_written_since_the_last(
    store: Store,
):
    for _ in range(4):
        await delivered(store, "crm")
    await store.prune(OLD_EVENTS, limit=1, now=LATER)

    alone = await store.prune(OLD_EVENTS, limit=1, now=LATER)
    await store.ping()
    beside = await store.prune(OLD_EVENTS, limit=1, now=LATER)

    assert (alone.others, beside.others) == (0, 1)
    assert alone.changed > 3  # the event, its delivery, its attempt, where we are


# -- looking ahead


@pytest.mark.parametrize(
    "cutoffs",
    [
        OLD_BODIES,
        OLD_EVENTS,
        Cutoffs(),
        Cutoffs(LATER, NOW + seconds(6), NOW + seconds(2)),
    ],
    ids=["bodies", "events", "nothing", "both"],
)
async def test_what_would_go_is_what_goes(
    store: Store, reader: Reader, cutoffs: Cutoffs
):
    for number in range(12):
        at = NOW + seconds(number)
        await (accepted if number % 4 == 3 else delivered)(store, "crm", at=at)
        await store.add_rejections([rejection(at=at)])

    ahead = await foreseen(reader, cutoffs)
    assert await store.old(cutoffs) == (ahead.anything or ahead.held > 0)
    found = await pruned(store, cutoffs)

    assert counts(ahead) == counts(found)
    assert not await store.old(cutoffs)
    assert not (await foreseen(reader, cutoffs)).anything


async def test_the_extent_tells_how_far_back_the_store_goes(
    store: Store, reader: Reader
):
    empty = await reader.extent()
    await delivered(store, "crm", at=NOW)
    waiting = NOW + seconds(5)
    await accepted(store, "ops", at=waiting)
    await delivered(store, "crm", at=NOW + seconds(9))

    full = await reader.extent()
    await pruned(store, OLD_EVENTS)
    after = await reader.extent()

    assert (empty.oldest_body_at, empty.pruned_events_to) == (None, None)
    assert full.oldest_body_at == NOW
    assert (full.used_bytes, full.pruned_events) == (full.file_bytes, 0)
    assert after.oldest_body_at == waiting
    assert after.pruned_events_to == NOW + seconds(9)
    assert after.pruned_events == 2


# -- rejections


async def test_old_rejections_go(store: Store, reader: Reader):
    for number in range(5):
        await store.add_rejections([rejection(at=NOW + seconds(number))])

    found = await pruned(store, Cutoffs(rejections=NOW + seconds(3)), limit=2)

    assert found.rejections == 3
    assert len(await reader.rejections(source=None, limit=10)) == 2


# -- space


async def test_space_is_used_again_so_the_file_stops_growing(store: Store):
    """A month in a minute: what is older than a week goes each day."""
    sizes: list[int] = []
    for day in range(30):
        now = NOW + DAY * day
        await _a_day(store, now, 150)
        week = now - 7 * DAY
        await pruned(store, Cutoffs(bodies=week, events=week), now=now)
        sizes.append((await store.extent()).file_bytes)

    assert sizes[6] > 4 * sizes[0]
    assert sizes[29] <= sizes[8] * 1.06
    kept = await store.events(ALL_EVENTS, limit=10_000)
    assert Counter(s.body_pruned_at for s in kept) == {None: 8 * 150}
    totals = await store.totals()
    assert (totals.events, totals.keys) == (4_500, 4_500)
    await assert_adds_up(store)


async def _a_day(store: Store, now: datetime, count: int) -> None:
    body = b'{"id": "batch_1", "note": "' + b"x" * 3_000 + b'"}'
    given: Sequence[datetime] = [now + seconds(number) for number in range(count)]
    to = decision("crm")
    await asyncio.gather(*(store.add(event(body=body, at=at), to, {}) for at in given))
    due = now + seconds(count)
    claims = (await claim(store, now=due, limit=count)).claims
    await asyncio.gather(*(record(store, one) for one in claims))


async def test_space_that_is_not_needed_is_given_back(store: Store):
    await _a_day(store, NOW, 400)
    await pruned(store, OLD_EVENTS)
    before = await store.extent()

    while await store.give_back(16):
        pass

    after = await store.extent()
    assert before.free_bytes > before.file_bytes / 2
    assert after.free_bytes == 0
    assert after.file_bytes < before.file_bytes / 2
    assert after.used_bytes <= before.used_bytes
    await assert_adds_up(store)
