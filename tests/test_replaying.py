"""Replays that run by themselves, when not all is well."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from receiver import clock, replay, replayer
from receiver.models import Event, Replay, ReplayState
from receiver.replayer import STEP, Replayer
from receiver.settings import Route, Server, Settings, StoreSettings
from receiver.stores import open_store
from tests.stores.making import accepted

ROUTES = (Route(name="all", source="sora2", to=("crm",)),)
SETTINGS = Settings("t", Server(), StoreSettings(), {}, {}, ROUTES)


async def test_a_replay_that_meets_a_fault_goes_on_and_can_be_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(replayer, "TROUBLE_S", 0.01)
    store = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    tries, again = 0, asyncio.Event()

    async def broken(event: Event) -> Event:
        nonlocal tries
        tries += 1
        if tries > 1:
            again.set()
        raise RuntimeError(event.id)

    event_id = await accepted(store, "crm", at=clock.now())
    running = Replayer(SETTINGS, store, broken, lambda names: None)
    made = await running.create({"events": [event_id]})
    try:
        await asyncio.wait_for(again.wait(), 60)
        await running.cancel(made.id)
        ended = await asyncio.wait_for(running.ended(made.id), 60)
    finally:
        await running.stop()
        await store.close()

    assert ended.state is ReplayState.CANCELLED


async def as_it_is(event: Event) -> Event:
    return event


async def test_a_rate_is_kept_to_by_who_stays_and_a_cancel_is_obeyed_at_once(
    tmp_path: Path,
):
    store = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    for _ in range(STEP + 10):
        await accepted(store, "crm", at=clock.now())
    asked = {"where": {}, "per_second": 0.01}
    alone = Replayer(SETTINGS, store, as_it_is, lambda names: None)
    stepped = asyncio.Event()
    staying = Replayer(SETTINGS, store, as_it_is, lambda names: stepped.set())
    try:
        at_once = await alone.create(asked)
        made = await asyncio.wait_for(alone.ended(at_once.id), 60)
        await staying.start()
        slow = await staying.create(asked)
        await asyncio.wait_for(stepped.wait(), 60)
        await staying.cancel(slow.id)
        left = await asyncio.wait_for(staying.ended(slow.id), 60)
    finally:
        await alone.stop()
        await staying.stop()
        await store.close()

    assert (made.state, made.deliveries) == (ReplayState.DONE, STEP + 10)
    assert (left.state, left.deliveries) == (ReplayState.CANCELLED, 1)


async def test_a_replay_that_waits_with_its_next_step_is_shown_as_running(
    tmp_path: Path,
):
    store = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    for _ in range(60):
        await accepted(store, "crm", at=clock.now())
    steps: asyncio.Queue[Iterable[str]] = asyncio.Queue()
    staying = Replayer(SETTINGS, store, as_it_is, steps.put_nowait)
    try:
        await staying.start()
        slow = await staying.create({"where": {}, "per_second": 10})
        for _ in range(2):  # the first two have only just to be made
            await asyncio.wait_for(steps.get(), 60)
        halfway = await store.replay(slow.id)
        done = await asyncio.wait_for(staying.ended(slow.id), 60)
    finally:
        await staying.stop()
        await store.close()

    assert (halfway.state, halfway.deliveries) == (ReplayState.RUNNING, 40)
    assert (done.state, done.deliveries) == (ReplayState.DONE, 60)


async def after_a_step_each(folder: Path, lives: int) -> list[Replay]:
    """
    How far each of so many processes brings a slow replay of all there is: a burst of
    long ago, and one event of today.
    """
    store = await open_store(f"sqlite:///{folder}/receiver.db")
    for _ in range(99):
        await accepted(store, "crm", at=clock.now() - timedelta(days=20))
    await accepted(store, "crm", at=clock.now())
    found: list[Replay] = []
    try:
        for life in range(lives):
            steps: asyncio.Queue[Iterable[str]] = asyncio.Queue()
            staying = Replayer(SETTINGS, store, as_it_is, steps.put_nowait)
            await staying.start()
            if not life:
                made = await staying.create({"where": {}, "per_second": 10})
            await asyncio.wait_for(steps.get(), 60)
            await staying.stop()
            found.append(await store.replay(made.id))
    finally:
        await store.close()
    return found


async def test_how_far_a_replay_is_is_told_by_its_events_also_after_a_restart(
    tmp_path: Path,
):
    found = await after_a_step_each(tmp_path, 2)

    assert 20 <= found[0].events < found[1].events < 100
    assert [one.progress for one in found] == [one.events / 100 for one in found]


async def test_how_far_a_replay_is_is_told_by_time_where_its_events_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(replay, "COUNTED", 50)

    [found] = await after_a_step_each(tmp_path, 1)

    assert found.events >= 20
    assert found.progress < 0.01
