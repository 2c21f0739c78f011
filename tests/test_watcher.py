"""Silence, and links that end before they are delivered, are told of."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from receiver import clock
from receiver.alerts import Alerts
from receiver.models import Decision, Event
from receiver.settings import (
    DestinationSettings,
    Route,
    Server,
    Settings,
    Source,
    StoreSettings,
)
from receiver.stores import EventFilter, Store, open_store
from receiver.watcher import Watcher
from tests import making
from tests.making import sample, signed
from tests.serving import SECRET, command, config, serving
from tests.sinks import sink

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
LIMIT = timedelta(hours=6)
PRECISION = timedelta(milliseconds=2)
SETTINGS = Settings(
    "t",
    Server(),
    StoreSettings(),
    {
        "sora2": Source("sora2", provider="sora2", quiet_after=LIMIT),
        "other": Source("other", provider="sora2"),
    },
    {name: DestinationSettings(name, type="http") for name in ("crm", "app")},
    (Route(name="alerts", source="receiver", to=("ops",)),),
)


class Watch:
    """A watcher on a real store."""

    def __init__(self, store: Store, settings: Settings = SETTINGS) -> None:
        self.store = store
        self.expires_at: datetime | None = None
        self.alerts = Alerts(settings, store, lambda _: None)
        self.watcher = Watcher(settings, store, self.alerts, self.read)

    async def read(self, event: Event) -> Event:
        return replace(event, expires_at=self.expires_at)

    async def told(self) -> list[dict[str, Any]]:
        """The bodies of all alerts so far."""
        await self.alerts.close()
        where = EventFilter(source="receiver")
        found = await self.store.events(where, limit=100, newest_first=False)
        return [json.loads(stored.event.body) for stored in found]


@pytest.fixture
async def store(tmp_path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    yield opened
    await opened.close()


async def test_a_source_is_told_of_once_it_has_been_silent_for_too_long(store):
    watch = Watch(store)
    watch.alerts.heard_at["sora2"] = NOW

    watch.watcher.tell_silence(NOW + LIMIT - timedelta(seconds=1))
    before = await watch.told()
    for _ in range(3):
        watch.watcher.tell_silence(NOW + LIMIT)

    assert before == []
    [body] = await watch.told()
    assert (body["type"], body["source"]) == ("source.quiet", "sora2")
    assert body["since"] == clock.iso(NOW)


async def test_a_source_that_was_heard_of_again_can_be_silent_again(store):
    watch = Watch(store)
    for heard in (NOW, NOW + timedelta(days=1)):
        watch.alerts.heard_at["sora2"] = heard
        watch.watcher.tell_silence(heard + LIMIT)

    assert len(await watch.told()) == 2


async def test_silence_counts_over_a_restart(store):
    first = Watch(store)
    await first.watcher.start()
    first.alerts.heard_at["sora2"] = NOW
    await first.watcher.stop()

    second = Watch(store)
    await second.watcher.start()
    await second.watcher.stop()
    second.watcher.tell_silence(NOW + LIMIT)

    [body] = await second.told()
    assert body["since"] == clock.iso(NOW)


async def test_links_that_end_before_they_are_delivered_are_told_of(store):
    watch = Watch(store)
    decision = Decision((("all", "matched"),), ("crm", "app"))
    added = await store.add(making.event(), decision, {})
    watch.expires_at = NOW + timedelta(hours=2)

    await watch.watcher.tell_links(NOW)
    before = await watch.told()
    await watch.watcher.tell_links(NOW + timedelta(minutes=61))
    await watch.watcher.tell_links(NOW + timedelta(minutes=66))

    assert before == []
    bodies = await watch.told()
    assert {(b["event_id"], b["destination"]) for b in bodies} == {
        (added.event_id, "crm"),
        (added.event_id, "app"),
    }
    assert len(bodies) == 2


async def test_links_that_never_end_are_nobodys_business(store):
    watch = Watch(store)
    await store.add(making.event(), Decision((), ("crm",)), {})

    await watch.watcher.tell_links(NOW)

    assert await watch.told() == []


async def test_an_event_that_is_gone_ends_neither_the_watch_nor_a_stop(
    store, tmp_path, monkeypatch
):
    watch = Watch(store, replace(SETTINGS, sources={}))
    monkeypatch.setattr("receiver.watcher.TICK_S", 0.01)
    monkeypatch.setattr("receiver.watcher.LINKS_EVERY_S", 0.0)
    event = making.event()
    await store.add(event, Decision((("all", "matched"),), ("crm",)), {})
    with closing(sqlite3.connect(tmp_path / "receiver.db")) as connection:
        connection.execute("DELETE FROM events")
        connection.commit()

    with capture_logs() as log:
        await watch.watcher.start()
        async with asyncio.timeout(60):
            while len(log) < 2:  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(0.01)
        await watch.watcher.stop()

    assert {line["event"] for line in log} == {"watcher.failed"}


async def test_a_silent_source_is_told_of_by_a_real_server(tmp_path: Path):
    routes = '[[routes]]\nsource = "receiver"\ntypes = ["source.quiet"]\nto = ["ops"]'
    async with sink() as there:
        toml = config(
            destinations={"ops": f'type = "http"\nurl = "{there.url}"'},
            routes=routes,
            source='quiet_after = "1s"',
        )
        async with serving(tmp_path, toml) as running:
            body = sample("batch.running")
            async with httpx.AsyncClient() as client:
                await client.post(
                    f"{running.url}/webhook/sora2",
                    content=body,
                    headers=signed(body, SECRET),
                )
            _, out, _ = await command(
                tmp_path, "events", "list", "--source", "sora2", "--json"
            )
            received = datetime.fromisoformat(json.loads(out)[0]["received_at"])
            told = json.loads((await there.wait_for(1))[0].body)
            if since(told) < received - PRECISION:  # it took long to begin: since then
                told = json.loads((await there.wait_for(2))[1].body)

    assert (told["type"], told["source"]) == ("source.quiet", "sora2")
    assert abs(since(told) - received) < PRECISION


def since(told: Mapping[str, str]) -> datetime:
    return datetime.fromisoformat(told["since"])
