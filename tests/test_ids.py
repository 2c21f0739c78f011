"""Ids: unique, in order, whatever the clock does; and hostile texts are not found."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import ids
from receiver.errors import NotFound
from receiver.ids import IdSource, Kind

NOW = datetime(2026, 1, 24, 10, 0, 0, tzinfo=UTC)
KINDS: tuple[Kind, ...] = ("evt", "dlv", "rpl", "rej")
LARGEST = 2**63 - 1
moments = st.datetimes(timezones=st.just(UTC))
believable = st.datetimes(
    datetime(2025, 1, 1),  # noqa: DTZ001 (bounds are naive, see timezones)
    datetime(2160, 1, 1),  # noqa: DTZ001 (ditto)
    timezones=st.just(UTC),
)
numbers = st.integers(0, LARGEST)


@given(st.lists(st.tuples(moments, st.integers(1, 5_000)), max_size=30))
def test_ids_grow_and_never_repeat_whatever_the_clock_does(
    takes: list[tuple[datetime, int]],
):
    source = IdSource()

    ranges = [(source.take(now, count), count) for now, count in takes]

    last = -1
    for first, count in ranges:
        assert first > last
        last = first + count - 1
    assert last <= LARGEST


@given(st.lists(believable, min_size=1, max_size=20))
def test_ids_sort_by_time(times: list[datetime]):
    source = IdSource()

    made = [(now, source.take(now)) for now in sorted(times)]

    assert [number for _, number in made] == sorted(number for _, number in made)
    for now, number in made:
        assert ids.floor(now) <= number
        assert abs(ids.made_at(number) - now) <= timedelta(milliseconds=1)


@given(believable, numbers)
def test_nothing_used_before_is_made_again_after_a_restart(now: datetime, used: int):
    source = IdSource()
    source.advance(used)
    source.advance(0)

    assert source.take(now) > used or used == LARGEST


def test_a_clock_beyond_what_an_id_can_hold_is_not_believed():
    source = IdSource()
    before = source.take(NOW)

    far = source.take(datetime(9999, 12, 31, tzinfo=UTC), 100)

    assert far == before + 1
    assert source.take(NOW) < ids.floor(NOW + timedelta(seconds=1))


def test_threads_never_get_the_same_id():
    source = IdSource()
    taken: list[int] = []

    def take() -> None:
        taken.extend([source.take(NOW) for _ in range(2_000)])

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(taken)) == 8_000


@given(st.sampled_from(KINDS), numbers)
def test_a_public_id_is_the_number_again(kind: Kind, number: int):
    text = ids.public(kind, number)

    assert ids.number(kind, text) == number
    assert text.startswith(f"{kind}_")
    assert len(text) == 20


@given(st.sampled_from(KINDS), numbers, numbers)
def test_public_ids_sort_like_their_numbers(kind: Kind, one: int, other: int):
    assert (one < other) == (ids.public(kind, one) < ids.public(kind, other))


@given(st.sampled_from(KINDS), st.text() | st.from_regex(r"[a-z]{3}_[0-9a-f]{10,20}"))
def test_any_text_is_a_number_that_fits_or_not_found(kind: Kind, text: str):
    try:
        number = ids.number(kind, text)
    except NotFound:
        return

    assert 0 <= number <= LARGEST
    assert text.startswith(f"{kind}_")
    assert len(text) == 20


@pytest.mark.parametrize(
    "text",
    [
        "",
        "evt",
        "evt_",
        "evt_1",
        "dlv_019a4c3f2b7d0001",
        "evt_019A4C3F2B7D0001",
        "evt_019a4c3f2b7d0001 ",
        "evt_019a4c3f2b7d0001\n",
        " evt_019a4c3f2b7d0001",
        "evt_-19a4c3f2b7d0001",
        "evt_+19a4c3f2b7d0001",
        "evt_0x9a4c3f2b7d0001",
        "evt_019a_4c3f2b7d001",
        "evt_٠١٢٣٤٥٦٧٨٩٠١٢٣٤٥",
        "evt_019a4c3f2b7d00011",
        "evt_019a4c3f2b7d0001\0",
        "evt_../../etc/passwd",
        "evt_\ud800" + "0" * 15,
        "0" * 1_000_000,
    ],
)
def test_what_is_not_an_id_is_not_found(text: str):
    with pytest.raises(NotFound):
        ids.number("evt", text)


@given(moments)
def test_the_floor_of_any_moment_fits(moment: datetime):
    assert 0 <= ids.floor(moment) <= LARGEST


@given(numbers)
def test_every_number_has_a_time(number: int):
    assert ids.floor(ids.made_at(number)) <= number
