"""What every store promises: pages, filters, queues."""

from datetime import UTC, datetime, timedelta

import pytest

from receiver.models import Status, Step
from receiver.stores import (
    DeliveryFilter,
    EventFilter,
    Reader,
    Store,
)
from tests.stores.conftest import Harness
from tests.stores.making import (
    ALL_DELIVERIES,
    ALL_EVENTS,
    DEAD,
    NOW,
    accepted,
    claim,
    decision,
    deliveries,
    event,
    record,
    rejection,
    seconds,
)


async def filled(store: Store, count: int = 25) -> list[str]:
    return [
        await accepted(store, "crm", at=NOW + seconds(number))
        for number in range(count)
    ]


@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_of_events_have_each_event_once_in_order(
    store: Store, reader: Reader, newest_first: bool
):
    expected = await filled(store)

    found: list[str] = []
    after: str | None = None
    while page := await reader.events(
        ALL_EVENTS, limit=4, after=after, newest_first=newest_first
    ):
        assert len(page) <= 4
        found += [stored.event.id for stored in page]
        after = found[-1]

    assert found == (expected[::-1] if newest_first else expected)


@pytest.mark.parametrize("newest_first", [False, True])
async def test_pages_of_deliveries_have_each_delivery_once_in_order(
    store: Store, reader: Reader, newest_first: bool
):
    await filled(store)
    expected = [delivery.id for delivery in await deliveries(reader)]

    found: list[str] = []
    after: str | None = None
    while page := await reader.deliveries(
        ALL_DELIVERIES, limit=4, after=after, newest_first=newest_first
    ):
        assert len(page) <= 4
        found += [delivery.id for delivery in page]
        after = found[-1]

    assert expected == sorted(expected)
    assert found == (expected[::-1] if newest_first else expected)


async def test_a_page_begun_newest_first_is_not_moved_by_what_arrives_meanwhile(
    store: Store, reader: Reader
):
    expected = await filled(store, 10)
    first = await reader.events(ALL_EVENTS, limit=5)

    await filled(store, 5)
    rest = await reader.events(ALL_EVENTS, limit=50, after=first[-1].event.id)

    found = [stored.event.id for stored in (*first, *rest)]
    assert found == expected[::-1]


async def test_a_reading_oldest_first_that_goes_on_sees_what_arrived_meanwhile(
    store: Store, reader: Reader
):
    expected = await filled(store, 10)
    after = expected[-1]

    late = await accepted(store, "crm", at=NOW - timedelta(days=1))
    [found] = await reader.events(ALL_EVENTS, limit=5, after=after, newest_first=False)

    assert found.event.id == late


async def test_pages_of_rejections_are_newest_first_and_by_source(
    store: Store, reader: Reader
):
    for number in range(10):
        source = ("a", "b")[number % 2]
        await store.add_rejections([rejection(b"%d" % number, source=source)])

    first = await reader.rejections(source="a", limit=3)
    rest = await reader.rejections(source="a", limit=30, after=first[-1].id)

    assert [one.body for one in (*first, *rest)] == [b"8", b"6", b"4", b"2", b"0"]
    assert await reader.rejections(source="none", limit=3) == []


async def test_events_are_found_by_source_type_and_subject(
    store: Store, reader: Reader
):
    made = {
        name: (
            await store.add(
                event(source=source, type=type_, subject=subject), decision(), {}
            )
        ).event_id
        for name, source, type_, subject in [
            ("a", "sora2", "batch.completed", "one"),
            ("b", "sora2", "batch.failed", "two"),
            ("c", "kie", "batch.failed", "one"),
            ("d", "kie", "Batch.failed", "three"),
            ("e", "kie", "task", "100%"),
        ]
    }
    names = {number: name for name, number in made.items()}

    async def found(where: EventFilter) -> str:
        page = await reader.events(where, limit=99, newest_first=False)
        assert await reader.count_events(where) == len(page)
        return "".join(names[stored.event.id] for stored in page)

    assert await found(EventFilter()) == "abcde"
    assert await found(EventFilter(source="kie")) == "cde"
    assert await found(EventFilter(type="batch.*")) == "abc"
    assert await found(EventFilter(type="*.failed")) == "bcd"
    assert await found(EventFilter(type="batch.failed")) == "bc"
    assert await found(EventFilter(type="?atch.failed")) == "bcd"
    assert await found(EventFilter(type="batch")) == ""
    assert await found(EventFilter(type="batch_failed")) == ""
    assert await found(EventFilter(subject="one")) == "ac"
    assert await found(EventFilter(subject="one", source="kie")) == "c"
    assert await found(EventFilter(subject="100%")) == "e"
    assert await found(EventFilter(subject="100_")) == ""
    assert await found(EventFilter(source="crm")) == ""


async def test_events_and_deliveries_are_found_by_time(store: Store, reader: Reader):
    made = await filled(store, 10)

    for since, until, expected in [
        (None, None, made),
        (NOW + seconds(3), None, made[3:]),
        (None, NOW + seconds(3), made[:3]),
        (NOW + seconds(3), NOW + seconds(5), made[3:5]),
        (NOW + seconds(2.5), NOW + seconds(2.9), []),
        (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC), made),
        (datetime(9999, 1, 1, tzinfo=UTC), None, []),
    ]:
        events = await reader.events(
            EventFilter(since=since, until=until), limit=99, newest_first=False
        )
        assert [stored.event.id for stored in events] == expected
        found = await deliveries(reader, DeliveryFilter(since=since, until=until))
        assert [delivery.event_id for delivery in found] == expected


async def test_deliveries_are_found_by_status_destination_and_event(
    store: Store, reader: Reader
):
    first = await accepted(store, "crm", "ops")
    second = await accepted(store, "crm")
    for one in (await claim(store, "ops")).claims:
        await record(store, one, DEAD)
    [one] = (await claim(store, "crm", limit=1)).claims
    await record(store, one)

    async def found(where: DeliveryFilter) -> list[tuple[str, str]]:
        return [(d.event_id, d.destination) for d in await deliveries(reader, where)]

    assert await found(DeliveryFilter(status=Status.DEAD)) == [(first, "ops")]
    assert await found(DeliveryFilter(status=Status.PENDING)) == [(second, "crm")]
    assert await found(DeliveryFilter(status=Status.CANCELLED)) == []
    assert await found(DeliveryFilter(destination="crm")) == [
        (first, "crm"),
        (second, "crm"),
    ]
    assert await found(DeliveryFilter(event_id=first)) == [
        (first, "crm"),
        (first, "ops"),
    ]
    assert await found(DeliveryFilter(event_id=first, status=Status.DELIVERED)) == [
        (first, "crm")
    ]
    assert await found(DeliveryFilter(destination="nobody")) == []
    assert await found(DeliveryFilter(event_id="evt_0000000000000001")) == []


async def test_a_reader_learns_names_that_came_after_it(store: Store, reader: Reader):
    assert await reader.events(ALL_EVENTS, limit=9) == []

    added = await store.add(
        event(source="new", type="new.type"), decision("new destination"), {}
    )

    stored = await reader.event(added.event_id)
    assert (stored.event.source, stored.event.type) == ("new", "new.type")
    assert [q.destination for q in await reader.queues()] == ["new destination"]


async def test_the_queues_say_since_when_the_oldest_waits(
    harness: Harness, store: Store, reader: Reader
):
    await filled(store, 3)
    [first, second] = (await claim(store, now=NOW + seconds(1))).claims
    await record(store, first)

    for looking in (store, reader):
        [queue] = await looking.queues()
        assert (queue.destination, queue.pending) == ("crm", 2)
        assert queue.oldest_at == second.delivery.created_at

    await record(store, second, DEAD)
    [queue] = await (await harness.crash()).queues()
    assert (queue.pending, queue.oldest_at) == (1, NOW + seconds(2))


async def test_the_queues_name_the_oldest_delivery_that_failed_before(
    harness: Harness, store: Store, reader: Reader
):
    await filled(store, 3)
    first, second, _ = (await claim(store, now=NOW + seconds(3))).claims
    later = Step(Status.PENDING, NOW + seconds(60))

    await record(store, second, later)
    await record(store, first, later)

    found = [*await store.queues(), *await reader.queues()]
    found += await (await harness.crash()).queues()

    assert [queue.pending for queue in found] == [3] * 3
    assert {queue.failing for queue in found} == {first.delivery.id}


async def test_an_emptied_queue_has_nothing_waiting(store: Store, reader: Reader):
    await accepted(store, "crm")
    for one in (await claim(store)).claims:
        await record(store, one)

    for looking in (store, reader):
        assert [q for q in await looking.queues() if q.pending or q.oldest_at] == []


# -- remembered


async def test_what_is_remembered_is_there_for_all_and_after_a_crash(
    harness: Harness, store: Store, reader: Reader
):
    await store.remember("keys of a", "first ü", NOW)
    await store.remember("keys of b", "second", NOW + seconds(1))

    async def found(looking: Reader) -> list[object]:
        return [await looking.remembered(f"keys of {name}") for name in "abc"]

    expected = [("first ü", NOW), ("second", NOW + seconds(1)), None]
    assert await found(store) == await found(reader) == expected
    assert await found(await harness.crash()) == expected


async def test_what_is_remembered_later_takes_the_place_of_the_earlier(store: Store):
    await store.remember("keys", "first", NOW + seconds(5))

    await store.remember("keys", "second", NOW)

    assert await store.remembered("keys") == ("second", NOW)


async def test_a_text_is_looked_for_in_large_bodies_as_in_small_ones(
    store: Store, reader: Reader
):
    bodies = [f"{word}{filler}" for filler in ("", " " * 100_000) for word in "ab"]
    bodies += ["c" * 100_000] * 5 + ["NÄHE", "b" * 100_000]
    added = [
        (await store.add(event(body=body.encode()), decision(), {})).event_id
        for body in bodies
    ]
    where = EventFilter(text="B")

    found: list[str] = []
    while page := await reader.events(
        where, limit=2, after=found[-1] if found else None, newest_first=False
    ):
        found += [stored.event.id for stored in page]
    capital = await reader.search_events(
        EventFilter(text="NÄH"), limit=10, after=None, longest_s=9
    )

    assert found == [added[1], added[3], added[-1]]
    assert [stored.event.id for stored in capital.items] == [added[-2]]


async def test_a_page_that_is_not_full_and_not_the_last_says_how_far_back_it_looked(
    store: Store, reader: Reader
):
    for body in (b"this", b"a" * 100_000, b"b" * 100_000):
        await store.add(event(body=body), decision(), {})
    where = EventFilter(text="this")

    first = await reader.search_events(where, limit=2, after=None, longest_s=9)
    second = await reader.search_events(where, limit=2, after=first.next, longest_s=9)

    assert (len(first.items), first.searched_to) == (0, NOW)
    assert [stored.event.body for stored in second.items] == [b"this"]
    assert (second.next, second.searched_to) == (None, None)
