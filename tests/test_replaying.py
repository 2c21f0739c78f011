"""Replays that run by themselves, when not all is well."""

import asyncio
from pathlib import Path

import pytest

from receiver import clock, replayer
from receiver.models import Event, ReplayState
from receiver.replayer import Replayer
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
        await asyncio.wait_for(again.wait(), 5)
        await running.cancel(made.id)
        ended = await asyncio.wait_for(running.ended(made.id), 5)
    finally:
        await running.stop()
        await store.close()

    assert ended.state is ReplayState.CANCELLED
