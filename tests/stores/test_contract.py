"""What every store promises: accepting, once, whole, and counted."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import NotFound, StoreError
from receiver.models import Scalar, Variant
from receiver.stores import DeliveryFilter, EventFilter, Reader, Store
from tests.stores.conftest import Harness, Loss
from tests.stores.making import (
    ALL_EVENTS,
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

EVERY_BYTE = bytes(range(256))
FACTS: Mapping[str, Scalar] = {
    "total": 100,
    "credits": 12.5,
    "state": "partial",
    "none": None,
    "ok": True,
}


# -- what is kept


async def test_an_event_is_kept_as_it_came(store: Store, reader: Reader):
    given_event = event(
        occurred_at=NOW - seconds(5), headers={"a": "1", "b": "x: y"}, query={"q": "ü"}
    )

    added = await store.add(given_event, decision("crm", "ops"), FACTS)

    for looking in (store, reader):
        stored = await looking.event(added.event_id)
        assert stored.event == replace(given_event, id=added.event_id)
        assert stored.decision == decision("crm", "ops")
        assert stored.fan_out == 2
        assert stored.facts == FACTS


async def test_what_is_written_is_counted_in_commits(store: Store):
    before = store.commits

    await store.add(event(), decision("crm"), FACTS)
    between = store.commits
    await store.ping()

    assert before < between < store.commits


@pytest.mark.parametrize(
    "body",
    [b"", b"\0", EVERY_BYTE, b"\xff\xfe" * 1_000, EVERY_BYTE * 16_384],
    ids=["empty", "nul", "every byte", "not text", "4 MiB"],
)
async def test_a_body_is_kept_byte_for_byte(
    harness: Harness, store: Store, body: bytes
):
    added = await store.add(event(body=body), decision("crm"), {})

    claimed = await claim(store)
    await store.close()
    again = await harness.owner()

    assert claimed.claims[0].event.body == body
    assert (await again.event(added.event_id)).event.body == body


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
LINE = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60)


@given(
    key=TEXT,
    subject=TEXT,
    type_=TEXT,
    headers=st.dictionaries(st.from_regex(r"[a-z-]{1,20}", fullmatch=True), LINE),
    query=st.dictionaries(TEXT, TEXT, max_size=3),
    body=st.binary(max_size=300),
)
async def test_any_text_and_any_bytes_come_back_unchanged(
    store: Store,
    key: str,
    subject: str,
    type_: str,
    headers: dict[str, str],
    query: dict[str, str],
    body: bytes,
):
    given_event = event(
        key, type=type_, subject=subject, headers=headers, query=query, body=body
    )

    added = await store.add(given_event, decision("crm"), {})

    if added.created:
        stored = await store.event(added.event_id)
        assert stored.event == replace(given_event, id=added.event_id)


async def test_a_subject_with_nul_or_a_million_characters_is_kept(store: Store):
    subjects = ["before\0after", "x" * 1_000_000, "\0", "", "😀\u202e\u0301"]

    added = [
        await store.add(event(subject=subject), decision("crm"), {})
        for subject in subjects
    ]

    found = [(await store.event(one.event_id)).event.subject for one in added]
    assert found == subjects


async def test_a_claim_shows_the_event_as_a_later_reading_does(
    harness: Harness, store: Store
):
    at = NOW + timedelta(microseconds=123_456)
    await store.add(event(at=at, occurred_at=at), decision("crm"), {})

    first = (await claim(store, now=at)).claims[0].event
    later = (await claim(await harness.crash(), now=at)).claims[0].event

    assert first == later


async def test_what_was_never_kept_is_not_found(store: Store, reader: Reader):
    for looking in (store, reader):
        with pytest.raises(NotFound):
            await looking.event("evt_0000000000000001")
        with pytest.raises(NotFound):
            await looking.delivery("dlv_0000000000000001")
        with pytest.raises(NotFound):
            await looking.rejection("rej_0000000000000001")
        with pytest.raises(NotFound):
            await looking.event("dlv_0000000000000001")
        assert await looking.attempts("dlv_0000000000000001") == []
        assert await looking.variants("evt_0000000000000001") == []


# -- once


async def test_hundreds_of_concurrent_duplicates_make_one_event(
    store: Store, reader: Reader
):
    adding = [store.add(event("same"), decision("crm", "ops"), {}) for _ in range(500)]

    added = await asyncio.gather(*adding)

    assert Counter(one.created for one in added) == {True: 1, False: 499}
    assert len({one.event_id for one in added}) == 1
    assert all(one.same_body for one in added)
    assert len(await deliveries(reader)) == 2
    await assert_adds_up(store, reader)


async def test_concurrent_owners_make_one_event_of_one_key(
    harness: Harness, store: Store
):
    second = await harness.second_owner()
    owners = [store, second] * 100

    added = await asyncio.gather(
        *(owner.add(event("same"), decision("crm"), {}) for owner in owners)
    )

    assert sum(one.created for one in added) == 1
    assert len({one.event_id for one in added}) == 1


@pytest.mark.parametrize("crash", [False, True])
async def test_a_key_is_known_after_opening_again(
    harness: Harness, store: Store, crash: bool
):
    first = await store.add(event("same"), decision("crm"), {})

    if crash:
        again = await harness.crash()
    else:
        await store.close()
        again = await harness.owner()
    second = await again.add(event("same"), decision("crm"), {})

    assert (second.created, second.event_id) == (False, first.event_id)
    assert len(await deliveries(again)) == 1
    await assert_adds_up(again)


async def test_the_same_key_with_another_body_says_so(store: Store):
    first = await store.add(event("same", body=b"1"), decision("crm"), {})

    same = await store.add(event("same", body=b"1"), decision("crm"), {})
    other = await store.add(event("same", body=b"2"), decision("crm"), {})

    assert (same.created, same.same_body) == (False, True)
    assert (other.created, other.same_body) == (False, False)
    assert other.event_id == first.event_id
    assert (await store.event(first.event_id)).event.body == b"1"


async def test_keys_belong_to_their_source(store: Store):
    added = [
        await store.add(event(key, source=source), decision("crm"), {})
        for source, key in [("a", "k"), ("b", "k"), ("a", "bk"), ("ab", "k"), ("a", "")]
    ]

    assert all(one.created for one in added)
    assert len({one.event_id for one in added}) == 5


async def test_ids_are_new_and_grow_even_when_the_clock_is_set_back(
    harness: Harness, store: Store
):
    times = [NOW, NOW + timedelta(days=300), NOW, datetime(1999, 1, 1, tzinfo=UTC), NOW]
    before = [await accepted(store, "crm", at=at) for at in times]

    again = await harness.crash()
    after = [await accepted(again, "crm", at=at) for at in times]

    assert [*before, *after] == sorted({*before, *after})
    made = [delivery.id for delivery in await deliveries(again)]
    assert len(set(made)) == len(made) == 10
    await assert_adds_up(again)


# -- together, and alone


async def test_a_reader_sees_an_event_with_all_its_deliveries_or_not_at_all(
    store: Store, reader: Reader
):
    async def add() -> None:
        for _ in range(20):
            await asyncio.gather(*(accepted(store, "a", "b", "c") for _ in range(10)))

    adding = asyncio.create_task(add())
    looks = 0
    while not adding.done():
        for stored in await reader.events(ALL_EVENTS, limit=3):
            where = DeliveryFilter(event_id=stored.event.id)
            assert len(await deliveries(reader, where)) == stored.fan_out == 3
            looks += 1
    await adding

    assert looks > 0


async def test_one_event_that_cannot_be_written_fails_alone(
    store: Store, reader: Reader
):
    subjects = ["\ud800" if i % 20 == 7 else f"batch_{i}" for i in range(100)]
    adding = [store.add(event(subject=s), decision("crm"), {}) for s in subjects]

    results = await asyncio.gather(*adding, return_exceptions=True)

    failed = [i for i, result in enumerate(results) if isinstance(result, Exception)]
    assert failed == [7, 27, 47, 67, 87]
    assert all(isinstance(results[i], StoreError) for i in failed)
    assert await reader.count_events(ALL_EVENTS) == 95
    await assert_adds_up(store, reader)


@pytest.mark.parametrize(
    "bad",
    [
        event("\ud800"),
        event(source="\ud800"),
        event(type="\udfff"),
        event(headers={"a": "\ud800"}),
        event(query={"\ud800": "a"}),
    ],
    ids=["key", "source", "type", "headers", "query"],
)
async def test_what_cannot_be_written_is_a_store_error_and_leaves_nothing(
    store: Store, bad: Any
):
    with pytest.raises(StoreError):
        await store.add(bad, decision("crm"), {})

    await accepted(store, "crm")
    assert await store.count_events(ALL_EVENTS) == 1
    await assert_adds_up(store)


async def test_an_add_nobody_waits_for_any_more_is_counted_all_the_same(
    store: Store, reader: Reader
):
    adding = [
        asyncio.create_task(store.add(event(), decision("crm"), {})) for _ in range(20)
    ]
    await accepted(store, "crm")  # lets the others get as far as they can
    for task in adding[::2]:
        task.cancel()

    await asyncio.gather(*adding, return_exceptions=True)

    await accepted(store, "crm")
    await assert_adds_up(store, reader)


async def test_cancelling_while_the_commit_runs_counts_what_was_committed(
    store: Store, reader: Reader
):
    await accepted(store, "crm")
    for pauses in range(12):
        task = asyncio.create_task(store.add(event(), decision("crm"), {}))
        for _ in range(pauses):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await accepted(store, "crm")

    await assert_adds_up(store, reader)


async def test_an_event_for_nobody_is_kept_and_counted(store: Store, reader: Reader):
    await accepted(store)

    totals = await reader.totals()

    assert (totals.events, totals.fan_out, totals.routed_deliveries) == (1, 0, 0)
    await assert_adds_up(store, reader)


# -- repeats and refusals


async def test_variants_are_kept_once_each_and_only_a_few(store: Store, reader: Reader):
    event_id = await accepted(store)
    bodies = [b"%d" % (i % 30) for i in range(60)]

    for i, body in enumerate(bodies):
        at = NOW + seconds(i)
        await store.add_variant(Variant(event_id, "conflict", at, body))

    kept = await reader.variants(event_id)
    assert [variant.body for variant in kept] == bodies[: len(kept)]
    assert 2 <= len(kept) < 30
    assert (await reader.totals()).variants == len(kept)
    assert kept[0] == Variant(event_id, "conflict", NOW, b"0")


async def test_the_oldest_rejections_make_room_by_number(store: Store, reader: Reader):
    for start in range(0, 1_500, 100):
        await store.add_rejections(
            [rejection(b"%d" % i) for i in range(start, start + 100)]
        )

    kept = await reader.rejections(source=None, limit=10_000)
    bodies = [int(one.body) for one in kept]
    assert bodies == list(range(1_499, 1_499 - len(kept), -1))
    assert 100 <= len(kept) < 1_500
    assert (await reader.totals()).rejections == len(kept)


async def test_the_oldest_rejections_make_room_by_size(store: Store, reader: Reader):
    body = bytes(8 * 1024 * 1024)

    for _ in range(10):
        await store.add_rejections([rejection(body)])

    assert 1 <= (await reader.totals()).rejections < 10


async def test_rubbish_without_a_signature_does_not_push_out_what_is_signed(
    store: Store, reader: Reader
):
    for carried in ("verified", "signed"):
        await store.add_rejections([rejection(b"mine", carried=carried)])

    for _ in range(30):
        rubbish = [rejection(b"rubbish", carried="unsigned") for _ in range(50)]
        await store.add_rejections(rubbish)

    kept = await reader.rejections(source=None, limit=10_000)
    mine = [one.carried for one in kept if one.body == b"mine"]
    assert mine == ["signed", "verified"]
    assert 50 <= len(kept) < 1_500


async def test_a_rejection_remembers_which_event_it_became(
    store: Store, reader: Reader
):
    await store.add_rejections([rejection(b"1"), rejection(b"2")])
    second, first = await reader.rejections(source=None, limit=10)
    added = await store.add(event(), decision(), {})

    await store.rejection_accepted(first.id, added.event_id)

    assert (await reader.rejection(first.id)).event_id == added.event_id
    assert (await reader.rejection(second.id)).event_id is None


async def test_rejections_are_found_by_their_code(store: Store, reader: Reader):
    await store.add_rejections([rejection(b"1")])

    assert await reader.rejections(source=None, code="other", limit=10) == []
    [found] = await reader.rejections(source=None, code="signature_mismatch", limit=10)
    assert found.body == b"1"


async def test_a_rejection_is_kept_as_it_came(store: Store, reader: Reader):
    given_rejection = rejection(EVERY_BYTE, source="kie")

    await store.add_rejections([given_rejection])

    [listed] = await reader.rejections(source="kie", limit=10)
    assert listed == replace(given_rejection, id=listed.id)
    assert await reader.rejection(listed.id) == listed


# -- the ledger


async def test_the_ledger_adds_up_at_every_moment_of_a_busy_time(
    store: Store, reader: Reader
):
    async def work() -> None:
        for i in range(30):
            await asyncio.gather(
                *(accepted(store, f"to-{i % 3}", f"new-{i}") for _ in range(5))
            )
            for one in (await claim(store, f"to-{i % 3}", limit=2)).claims:
                await record(store, one)

    working = asyncio.create_task(work())
    looks = 0
    while not working.done():
        tallies = await reader.ledger()
        assert all(tally.difference == 0 for tally in tallies)
        totals = await reader.totals()
        assert totals.fan_out == totals.routed_deliveries
        looks += 1
    await working

    assert looks > 0
    await assert_adds_up(store, reader)


@pytest.mark.parametrize("what", get_args(Loss))
async def test_the_ledger_shows_what_was_removed_behind_our_back(
    harness: Harness, store: Store, reader: Reader, what: Loss
):
    first = await accepted(store, "crm", "ops")
    await accepted(store, "crm", "ops")
    replay = await store.create_replay({}, NOW)
    await store.add_replayed(replay, [(first, "crm", NOW)], as_new=False, now=NOW)
    assert await difference(reader) == 0

    harness.lose(what)

    assert await difference(reader) != 0


async def test_the_ledger_tells_sources_and_destinations_apart(store: Store):
    await store.add(event(source="a"), decision("crm", "ops"), {})
    await store.add(event(source="b"), decision("crm"), {})

    found = {(t.source, t.destination): t.decided for t in await store.ledger()}

    assert found == {("a", "crm"): 1, ("a", "ops"): 1, ("b", "crm"): 1}


# -- life


async def test_closing_twice_does_no_harm(store: Store, reader: Reader):
    for opened in (store, reader):
        await opened.close()
        await opened.close()


async def test_a_closed_store_keeps_nothing_and_says_so(store: Store):
    await store.close()

    with pytest.raises(StoreError):
        await store.add(event(), decision("crm"), {})
    with pytest.raises(StoreError):
        await store.ping()


async def test_looking_into_a_closed_store_is_a_store_error(
    store: Store, reader: Reader
):
    await store.close()
    await reader.close()

    for looking in (store, reader):
        with pytest.raises(StoreError):
            await looking.totals()


async def test_looking_for_what_is_not_text_is_a_store_error(reader: Reader):
    with pytest.raises(StoreError):
        await reader.events(EventFilter(subject="\ud800"), limit=5)


async def test_what_waits_is_committed_by_closing(harness: Harness, store: Store):
    await accepted(store, "crm")
    adding = [
        asyncio.create_task(store.add(event(), decision("crm"), {})) for _ in range(50)
    ]
    await asyncio.sleep(0)

    await store.close()

    results = await asyncio.gather(*adding, return_exceptions=True)
    kept = sum(not isinstance(result, BaseException) for result in results)
    again = await harness.owner()
    assert await again.count_events(ALL_EVENTS) == 1 + kept
    await assert_adds_up(again)


async def test_ping_commits(store: Store):
    await store.ping()
    await store.ping()
