"""What is old goes by itself, a little at a time, and never more than it may."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from receiver import clock, retention
from receiver.app import App
from receiver.errors import NotFound
from receiver.metrics import Metrics
from receiver.models import Decision
from receiver.retention import Retention, cutoffs, rest_s, to_give_back
from receiver.settings import Server, Settings, StoreSettings
from receiver.settings.fields import ByteSize, byte_size
from receiver.stores import DeliveryFilter, EventFilter, Store, open_store
from receiver.stores.joining import JoinChange, Joined, JoinState
from receiver.stores.pruning import Cutoffs, Extent, Pruned
from receiver.web.api import control_app
from tests.stores.making import event

NOW = datetime(2026, 1, 24, 10, tzinfo=UTC)
DAY = timedelta(days=1)
MB = 1_000_000
NOWHERE = Decision((), ())


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    yield opened
    await opened.close()


async def aged(store: Store, *days: float, bytes_: int = 2_000) -> list[str]:
    """The ids of settled events that were accepted so many days ago, oldest first."""
    now = clock.now()
    found: list[str] = []
    for age in days:
        given = event(body=b"x" * bytes_, at=now - age * DAY)
        found.append((await store.add(given, NOWHERE, {})).event_id)
    return found


async def there(store: Store) -> dict[str, bool]:
    """The events there are, and whether with their bodies."""
    found = await store.events(EventFilter(), limit=10_000, newest_first=False)
    return {one.event.id: one.body_pruned_at is None for one in found}


# -- what is decided


def test_what_is_old_follows_from_the_settings():
    settings = StoreSettings(
        keep_bodies_for=7 * DAY, keep_events_for=10 * DAY, keep_rejections_for=DAY
    )

    assert cutoffs(settings, NOW) == Cutoffs(NOW - 7 * DAY, NOW - 10 * DAY, NOW - DAY)


def test_events_are_kept_three_times_as_long_as_bodies_if_nothing_is_said():
    assert cutoffs(StoreSettings(), NOW) == Cutoffs(
        NOW - 30 * DAY, NOW - 90 * DAY, NOW - 30 * DAY
    )


def test_others_have_most_of_the_time_while_they_write():
    step = Pruned(changed=100, others=200)

    assert rest_s(step, 0.001, 0.1) == pytest.approx(0.05)  # as much as they do
    assert rest_s(step, 0.02, 0.1) == pytest.approx(0.08)  # a fifth of the time
    assert rest_s(step, 0.0, 0.0) == pytest.approx(0.01)
    assert rest_s(Pruned(changed=100, others=1), 0.001, 1.0) == pytest.approx(0.5)
    assert rest_s(Pruned(changed=100), 0.1, 1.0) == 0  # nobody is there


@pytest.mark.parametrize(
    ("file_mb", "free_mb", "given_mb"),
    [(100, 60, 0), (1_000, 250, 0), (1_000, 251, 151), (1_000, 900, 800)],
)
def test_space_is_given_back_only_when_it_is_much(
    file_mb: int, free_mb: int, given_mb: int
):
    extent = Extent(file_mb * MB, free_mb * MB, None, None, None, 0)

    assert to_give_back(extent) == given_mb * MB


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MB", 500 * MB),
        ("10 GB", 10_000 * MB),
        ("1.5kB", 1_500),
        ("8GiB", 8 * 1024**3),
        ("1TB", 10**12),
        ("12B", 12),
        ("12iB", None),
        ("12", None),
        ("GB", None),
        ("1gb", None),
    ],
)
def test_sizes_are_read_as_they_are_written(text: str, size: int | None):
    assert byte_size(text) == size


def test_what_two_steps_did_adds_up():
    both = Pruned(1, 2, 3, 4, 5, 6, 7, NOW, False).and_then(Pruned(1, done=True))

    assert both == Pruned(2, 2, 3, 4, 5, 6, 7, NOW, True)


# -- what is done


async def test_by_the_settings_first_the_body_goes_and_later_the_event(store: Store):
    gone, empty, whole = await aged(store, 91, 31, 29)
    metrics = Metrics()

    with capture_logs() as logs:
        await Retention(StoreSettings(), store, metrics).keep_to_settings()

    assert await there(store) == {empty: False, whole: True}
    [line] = [log for log in logs if log["event"] == "store.pruned"]
    assert (line["events"], line["bodies"]) == (1, 1)
    assert metrics.pruned.labels("events")._value.get() == 1
    assert metrics.pruned_bytes._value.get() > 4_000
    with pytest.raises(NotFound, match="only keys are kept"):
        await store.event(gone)


async def test_nothing_is_written_or_logged_where_nothing_is_old(store: Store):
    await aged(store, 29, 1)
    found = Retention(StoreSettings(), store, Metrics())
    before = await store.extent()

    with capture_logs() as logs:
        await found.keep_to_settings()

    assert logs == []
    assert await store.extent() == before


async def test_the_oldest_events_go_while_the_store_is_too_large(store: Store):
    events = await aged(store, *(20 - i / 10 for i in range(150)), bytes_=20_000)
    settings = StoreSettings(max_bytes=ByteSize(1_500_000))

    await Retention(settings, store, Metrics()).keep_to_settings()

    left = await there(store)
    assert list(left) == events[-len(left) :]
    assert 20 < len(left) < 100
    assert (await store.extent()).used_bytes <= 1_500_000


async def test_it_is_told_when_nothing_is_left_to_prune_and_it_is_not_enough(
    store: Store,
):
    to = Decision((), ("crm",))
    for number in range(60):
        at = clock.now() - DAY * (10 - number / 10)
        await store.add(event(body=b"x" * 30_000, at=at), to, {})
    settings = StoreSettings(max_bytes=ByteSize(1_000_000))
    found = Retention(settings, store, Metrics())

    with capture_logs() as logs:
        await found.keep_to_settings()
        await found.keep_to_settings()

    assert len(await there(store)) == 60
    [line] = [log for log in logs if log["event"] == "store.too_large"]
    assert "wait for a destination" in line["advice"]


async def test_what_waited_is_looked_at_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(retention, "HELD_EVERY_S", 0.0)
    to = Decision((), ("crm",))
    added = await store.add(event(at=clock.now() - 100 * DAY), to, {})
    found = Retention(StoreSettings(), store, Metrics())
    await found.keep_to_settings()
    before = await there(store)
    [delivery] = await store.deliveries(DeliveryFilter(), limit=2)
    await store.cancel([delivery.id], clock.now())

    await found.keep_to_settings()

    assert before == {added.event_id: True}
    assert await there(store) == {}


async def test_it_begins_by_itself_and_ends_when_it_is_told_to(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(retention, "TICK_S", 0.01)
    [empty] = await aged(store, 40)
    found = Retention(StoreSettings(), store, Metrics())

    found.start()
    async with asyncio.timeout(60):
        while (await there(store))[empty]:
            pass
    await found.stop()

    assert await there(store) == {empty: False}


async def test_a_subject_goes_when_nothing_was_heard_of_it_for_as_long(store: Store):
    now = clock.now()
    await store.register_subjects("sora2", "sora2", ["old"], now - 100 * DAY)
    await aged(store, 91)
    await store.register_subjects("sora2", "sora2", ["young"], now - DAY)

    found = await Retention(StoreSettings(), store, Metrics()).keep_to_settings()

    assert (found.subjects, found.events) == (1, 1)


async def test_a_join_that_ended_goes_when_it_began_as_long_ago(store: Store):
    now = clock.now()
    for key, days in (("old", 91), ("young", 89)):
        begun = now - days * DAY
        ended = Joined("film", key, begun, begun, JoinState.COMPLETED, None, ())
        await store.advance("f", None, [JoinChange(ended, ())])
    await aged(store, 91)

    await Retention(StoreSettings(), store, Metrics()).keep_to_settings()

    found = await store.joins([("film", "old"), ("film", "young")])
    assert list(found) == [("film", "young")]


async def test_replays_go_with_the_events_and_notes_of_changes_after_a_year(
    store: Store, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(retention, "HELD_EVERY_S", 0.0)
    now = clock.now()
    for days in (366, 91, 89):
        await store.create_replay({"days": days}, now - days * DAY)
        entry = await store.begin_audit("me", "x", {}, now - days * DAY)
        await store.end_audit(entry, {"days": days})
    await aged(store, 91)

    await Retention(StoreSettings(), store, Metrics()).keep_to_settings()

    assert [one.asked["days"] for one in await store.replays(limit=9)] == [89]
    assert [one.details["days"] for one in await store.audit(limit=9)] == [89, 91]


async def test_new_settings_are_used_at_once(store: Store):
    [one] = await aged(store, 10)
    found = Retention(StoreSettings(), store, Metrics())
    await found.keep_to_settings()
    before = await there(store)

    found.reload(StoreSettings(keep_bodies_for=9 * DAY))
    await found.keep_to_settings()

    assert (before, await there(store)) == ({one: True}, {one: False})


async def test_a_part_is_done_and_more_is_left_when_the_time_is_over(store: Store):
    await aged(store, *(40 + i for i in range(120)))
    found = Retention(StoreSettings(), store, Metrics())
    everything = Cutoffs(events=clock.now())

    part = await found.prune(everything, seconds=0)
    rest = await found.prune(everything)

    assert (part.events, part.done) == (retention.STEP, False)
    assert (rest.events, rest.done) == (120 - retention.STEP, True)


# -- through the API


async def test_the_api_prunes_and_says_how_far_it_is(tmp_path: Path):
    settings = StoreSettings(url=f"sqlite:///{tmp_path}/receiver.db", min_free_bytes=0)
    app = await App.open(Settings("t", Server(), settings, {}, {}, ()))
    await aged(app.store, 50, 40, 30)
    transport = httpx.ASGITransport(control_app(app.parts))
    before = (clock.now() - 35 * DAY).isoformat()
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        done = await client.post("/api/v1/prune", json={"events": before})
        wrong = await client.post("/api/v1/prune", json={"events": "in May"})
    left = await there(app.store)
    await app.close()

    found = done.json()
    assert (found["events"], found["done"], len(left)) == (2, True, 1)
    assert found["used_bytes"] > 0
    assert found["reached"].endswith("Z")
    assert wrong.status_code == 400
