"""What every store promises: all events of a subject are found, whoever follows them."""

import random
from collections.abc import Sequence
from datetime import timedelta

import pytest

from receiver.models import Status
from receiver.stores import DeliveryFilter, EventFilter, Reader, Store
from receiver.stores.pruning import Cutoffs
from receiver.subjects import SubjectFilter, SubjectStep, Trouble
from tests.stores.making import DEAD, NOW, claim, decision, event, record, seconds
from tests.stores.subjects import change, step

LATER = NOW + timedelta(days=1)


async def added(
    store: Store, subject: str, source: str = "sora2", body: bytes = b"{}"
) -> str:
    given = event(subject=subject, source=source, body=body)
    return (await store.add(given, decision(), {})).event_id


async def followed(
    store: Store, event_id: str, subject: str, steps: Sequence[SubjectStep]
) -> None:
    await store.advance("f", event_id, [change(subject, event_id, steps=steps)])


async def found(reader: Reader, where: EventFilter, limit: int = 3) -> list[str]:
    """The newest first; however it is asked for, it is the same."""
    one_by_one: list[str] = []
    after, more = None, True
    while more:
        page = await reader.search_events(
            where, limit=limit, after=after, longest_s=60.0
        )
        one_by_one += [stored.event.id for stored in page.items]
        after, more = page.next, page.next is not None
    for newest_first in (True, False):
        ids: list[str] = []
        after = None
        while some := await reader.events(
            where, limit=limit, after=after, newest_first=newest_first
        ):
            ids += [stored.event.id for stored in some]
            after = ids[-1]
        assert ids == (one_by_one if newest_first else one_by_one[::-1])
    assert where.text or await reader.count_events(where) == len(one_by_one)
    return one_by_one


async def test_an_event_is_found_by_its_subject_at_once_and_after_it_was_followed(
    store: Store, reader: Reader
):
    one = await added(store, "bat_1")
    two = await added(store, "bat_2")
    where = EventFilter(subject="bat_1")
    assert await found(reader, where) == [one]

    await followed(store, one, "bat_1", [step(one)])
    assert await found(reader, where) == [one]

    await followed(store, two, "bat_2", [step(two)])
    three = await added(store, "bat_1")
    assert await found(reader, where) == [three, one]
    assert await found(reader, EventFilter(subject="bat_3")) == []


async def test_events_that_are_no_steps_are_found_by_their_subject(
    store: Store, reader: Reader
):
    one, two = await added(store, "bat_1"), await added(store, "bat_1")
    alert = await added(store, "bat_1", "receiver")
    last = await added(store, "bat_2")

    await followed(store, last, "bat_1", [step(one)])

    assert await found(reader, EventFilter(subject="bat_1")) == [alert, two, one]
    from_sora2 = EventFilter(subject="bat_1", source="sora2")
    assert await found(reader, from_sora2) == [two, one]
    assert await found(reader, EventFilter(subject="bat_2")) == [last]


async def test_events_with_no_subject_are_found_as_such(store: Store, reader: Reader):
    one, two = await added(store, ""), await added(store, "bat_1")
    await followed(store, two, "bat_1", [step(two)])
    three = await added(store, "")

    assert await found(reader, EventFilter(subject="")) == [three, one]


async def test_events_outlive_a_subject_that_was_forgotten(
    store: Store, reader: Reader
):
    one, two = await added(store, "bat_1"), await added(store, "bat_1")
    await followed(store, two, "bat_1", [step(one), step(two)])

    assert await store.prune_subjects(NOW + seconds(1), 10) == 1

    assert await found(reader, EventFilter(subject="bat_1")) == [two, one]


async def test_what_was_pruned_is_not_found_by_its_subject(
    store: Store, reader: Reader
):
    one, two = await added(store, "bat_1"), await added(store, "bat_1")
    await followed(store, two, "bat_1", [step(one)])
    await store.prune(Cutoffs(bodies=LATER, events=LATER), limit=9, now=LATER)
    new = await added(store, "bat_1")

    assert await found(reader, EventFilter(subject="bat_1")) == [new]


async def test_a_subject_is_found_with_other_conditions(store: Store, reader: Reader):
    ids = [
        await added(store, "bat_1", source, b'{"n": "%d"}' % n)
        for n in range(8)
        for source in ("sora2", "kie")
    ]
    await followed(store, ids[9], "bat_1", [step(one) for one in ids[:8:2]])

    where = EventFilter(subject="bat_1", source="kie")
    assert await found(reader, where) == ids[1::2][::-1]
    where = EventFilter(subject="bat_1", text='"N": "3"')
    assert await found(reader, where) == ids[6:8][::-1]
    where = EventFilter(subject="bat_1", until=NOW)
    assert await found(reader, where) == []
    where = EventFilter(subject="bat_1", since=NOW)
    assert await found(reader, where) == ids[::-1]


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_happens_events_are_found_by_their_subject(
    store: Store, reader: Reader, seed: int
):
    chance = random.Random(seed)
    there: dict[str, tuple[str, str]] = {}
    new: list[str] = []
    for turn in range(60):
        drawn = chance.random()
        if drawn < 0.7:
            about = (chance.choice(("sora2", "kie")), chance.choice("abc"))
            one = await added(store, about[1], about[0])
            there[one] = about
            new.append(one)
        elif drawn < 0.9 and new:
            some = new[: chance.randint(1, len(new))]
            del new[: len(some)]
            steps = [one for one in some if chance.random() < 0.6]
            changes = [
                change(subject, one, source=source, steps=[step(one)])
                for one in steps
                for source, subject in [there[one]]
            ]
            await store.advance("f", some[-1], changes)
        elif drawn < 0.95:
            await store.prune_subjects(NOW + seconds(1), chance.randint(1, 3))
        elif turn > 30:
            await store.prune(Cutoffs(bodies=LATER, events=LATER), limit=3, now=LATER)
            left = {s.event.id for s in await reader.events(EventFilter(), limit=99)}
            there = {one: about for one, about in there.items() if one in left}

    for subject in "abc":
        of_it = sorted(one for one, about in there.items() if about[1] == subject)
        assert await found(reader, EventFilter(subject=subject)) == of_it[::-1]
        from_kie = [one for one in of_it[::-1] if there[one][0] == "kie"]
        where = EventFilter(subject=subject, source="kie")
        assert await found(reader, where) == from_kie


# -- pages of other things


async def test_dead_deliveries_are_found_page_by_page_by_destination_and_time(
    store: Store, reader: Reader
):
    for i in range(9):
        given = event(f"k{i}", at=NOW + seconds(i))
        await store.add(given, decision("crm", "ops"), {})
    dead: list[str] = []
    for name in ("crm", "ops"):
        for one in (await claim(store, name, now=LATER)).claims[::2]:
            await record(store, one, DEAD)
            dead.append(one.delivery.id)
    dead.sort(reverse=True)

    async def pages(where: DeliveryFilter) -> list[str]:
        ids: list[str] = []
        after, more = None, True
        while more:
            page = await reader.search_deliveries(
                where, limit=2, after=after, longest_s=60.0
            )
            ids += [one.id for one in page.items]
            after, more = page.next, page.next is not None
        return ids

    assert await pages(DeliveryFilter(Status.DEAD)) == dead
    [crm, nobody] = [
        await pages(DeliveryFilter(Status.DEAD, name)) for name in ("crm", "nobody")
    ]
    assert set(crm) < set(dead)
    assert (len(crm), crm, nobody) == (5, sorted(crm, reverse=True), [])
    newer = DeliveryFilter(Status.DEAD, since=NOW + seconds(4))
    older = DeliveryFilter(Status.DEAD, until=NOW + seconds(4))
    assert await pages(newer) + await pages(older) == dead


async def test_subjects_are_found_page_by_page(store: Store, reader: Reader):
    await added(store, "bat_0")
    for i in range(1, 10):
        troubles = (Trouble.LEDGER,) if i % 3 == 0 else (Trouble.LATE,) * (i % 2)
        one = change(f"bat_{i}", f"evt_{i:016x}", final=i % 2 == 0, troubles=troubles)
        await store.advance("f", None, [one])

    async def pages(where: SubjectFilter) -> str:
        names, after, more = "", None, True
        while more:
            page = await reader.search_subjects(
                where, limit=2, after=after, longest_s=60.0
            )
            names += "".join(one.subject[-1] for one in page.items)
            after, more = page.next, page.next is not None
        assert await reader.count_subjects(where, most=99) == len(names)
        return names

    assert await pages(SubjectFilter()) == "987654321"
    assert await pages(SubjectFilter(final=False)) == "97531"
    assert await pages(SubjectFilter(trouble=Trouble.LEDGER)) == "963"
    assert await pages(SubjectFilter(trouble=Trouble.LATE)) == "751"
    assert await pages(SubjectFilter(trouble=Trouble.LEDGER, final=True)) == "6"
    assert await pages(SubjectFilter(subject="bat_4")) == "4"
    assert await pages(SubjectFilter(source="sora2", subject="nobody")) == ""
    assert await reader.count_subjects(SubjectFilter(), most=4) == 4


async def test_a_search_for_subjects_that_takes_too_long_says_how_far_it_looked(
    store: Store, reader: Reader
):
    await added(store, "bat_0")
    changes = [change(f"bat_{i}", f"evt_{i:016x}") for i in range(1, 5_100)]
    await store.advance("f", None, changes)
    where = SubjectFilter(source="nobody")

    first = await reader.search_subjects(where, limit=5, after=None, longest_s=0.0)
    rest = await reader.search_subjects(
        where, limit=5, after=first.next, longest_s=60.0
    )

    assert (first.items, first.searched_to is not None) == ([], True)
    assert (rest.items, rest.next, rest.searched_to) == ([], None, None)
