"""Alerts are events: told seldom, routed like any other, and never about themselves."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from receiver import alerts, internal
from receiver.alerts import REJECTING_FROM, Alerts
from receiver.internal import MOST_LINKS
from receiver.settings import Route, Server, Settings, StoreSettings
from receiver.stores import EventFilter, Store, open_store
from tests import making

SINCE = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
ROUTES = (
    Route(name="alerts", source="receiver", to=("ops",)),
    Route(name="everything", source="*", to=("crm",)),
)


class Bell:
    """Alerts on a real store, and whom they woke."""

    def __init__(self, store: Store, *routes: Route) -> None:
        self.store = store
        self.woken: asyncio.Queue[tuple[str, ...]] = asyncio.Queue()
        settings = Settings("t", Server(), StoreSettings(), {}, {}, routes)
        self.alerts = Alerts(settings, store, self.woken.put_nowait)

    async def told(self, count: int) -> list[dict[str, Any]]:
        """The bodies of the next so many alerts."""
        for _ in range(count):
            assert await asyncio.wait_for(self.woken.get(), 60) == ("ops",)
        return (await self.all())[-count:]

    async def all(self) -> list[dict[str, Any]]:
        found = await self.store.events(EventFilter(), limit=100, newest_first=False)
        return [json.loads(stored.event.body) for stored in found]


@pytest.fixture
async def store(tmp_path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    yield opened
    await opened.close()


@pytest.fixture
async def bell(store) -> AsyncIterator[Bell]:
    made = Bell(store, *ROUTES)
    yield made
    await made.alerts.close()


async def test_an_alert_is_an_event_of_our_own_source_that_only_its_routes_get(bell):
    bell.alerts.destination_paused("crm", "answered 410")

    [body] = await bell.told(1)

    [stored] = await bell.store.events(EventFilter(), limit=10)
    assert (stored.event.source, stored.event.origin) == ("receiver", "internal")
    assert stored.event.type == body["type"] == "destination.paused"
    assert stored.decision.destinations == ("ops",)
    assert body["reason"] == "answered 410"


async def test_an_alert_that_no_route_wants_is_not_stored(store):
    bell = Bell(store, replace(ROUTES[0], types=("delivery.*",)), ROUTES[1])

    bell.alerts.destination_resumed("crm", SINCE)
    await bell.alerts.close()

    assert await bell.all() == []


async def test_the_dead_are_told_of_at_once_and_then_together(bell, monkeypatch):
    monkeypatch.setattr(alerts, "DEAD_EVERY_S", 0.3)

    for n in range(5):
        bell.alerts.delivery_dead(making.event(subject=f"bat_{n}"), "crm", "500")
    bell.alerts.delivery_dead(making.event(), "app", "timeout")
    first, other, rest = await bell.told(3)

    assert (first["count"], first["event_subject"]) == (1, "bat_0")
    assert (other["destination"], other["count"]) == ("app", 1)
    assert (rest["count"], rest["event_subject"]) == (4, "bat_4")


async def test_after_a_quiet_while_the_next_is_told_at_once_again(bell, monkeypatch):
    monkeypatch.setattr(alerts, "DEAD_EVERY_S", 0.05)
    bell.alerts.delivery_dead(making.event(), "crm", "500")
    await bell.told(1)
    while bell.alerts._windows:  # noqa: ASYNC110 (a timer of its own ends it)
        await asyncio.sleep(0.01)

    bell.alerts.delivery_dead(making.event(subject="later"), "crm", "500")
    [body] = await bell.told(1)

    assert (body["count"], body["event_subject"]) == (1, "later")


async def test_what_was_held_back_is_told_when_we_stop(bell):
    for _ in range(3):
        bell.alerts.delivery_dead(making.event(), "crm", "500")

    await bell.alerts.close()

    assert [body["count"] for body in await bell.all()] == [1, 2]


async def test_what_happens_to_alerts_is_not_told(bell):
    bell.alerts.delivery_dead(making.event(source=internal.SOURCE), "crm", "500")
    await bell.alerts.close()

    assert await bell.all() == []


async def test_a_few_refused_requests_are_no_alarm(bell):
    for _ in range(REJECTING_FROM - 1):
        bell.alerts.source_rejecting("sora2", "signature_mismatch", "no secret fits")
    await bell.alerts.close()

    assert await bell.all() == []


async def test_many_refused_requests_are_told_of_once(bell):
    for _ in range(REJECTING_FROM + 10):
        bell.alerts.source_rejecting("sora2", "signature_mismatch", "no secret fits")
    [body] = await bell.told(1)
    await bell.alerts.close()

    assert (body["type"], body["count"]) == ("source.rejecting", REJECTING_FROM)
    assert [b["count"] for b in await bell.all()] == [REJECTING_FROM, 10]


async def test_a_conflict_is_told_once_for_each_set_of_differences(bell):
    event = making.event()
    for settled in (80, 80, 70):
        facts = {"settled": settled, "total": 10, "new": 1}
        await bell.alerts.event_conflict(event, {"settled": 90, "total": 10}, facts)

    bodies = await bell.told(2)
    await bell.alerts.close()

    assert len(await bell.all()) == 2
    assert [body["differences"] for body in bodies] == [
        [{"name": "settled", "first": 90, "later": 80}],
        [{"name": "settled", "first": 90, "later": 70}],
    ]


async def test_what_a_repeat_says_more_is_told_once_for_each_set_of_it(bell):
    event = making.event()
    link = "https://cdn.test/1.mp4?signature=secret#part"
    for facts, urls in (
        ({"settled": 90, "total": 10}, []),
        ({"total": 10, "settled": 90}, []),
        ({"total": 10}, [link]),
        ({"total": 10}, [link]),
    ):
        await bell.alerts.event_supplemented(event, facts, urls)
    bodies = await bell.told(2)
    await bell.alerts.close()

    assert len(await bell.all()) == 2
    assert [(body["facts"], body["links"]) for body in bodies] == [
        (["settled", "total"], 0),
        (["total"], 1),
    ]
    assert bodies[1]["result_urls"] == ["https://cdn.test/1.mp4?***"]
    assert "secret" not in str(bodies)


async def test_of_many_new_links_the_first_are_named_and_all_are_counted(bell):
    urls = [f"https://cdn.test/{n}.mp4" for n in range(MOST_LINKS + 5)]
    await bell.alerts.event_supplemented(making.event(), {}, urls)
    [body] = await bell.told(1)
    await bell.alerts.close()

    assert (body["links"], body["result_urls"]) == (len(urls), urls[:MOST_LINKS])


async def test_a_silence_is_told_once_also_after_a_restart(store):
    for _ in range(2):
        bell = Bell(store, *ROUTES)
        bell.alerts.source_quiet("sora2", SINCE, timedelta(hours=6))
        await bell.alerts.close()

    [body] = await bell.all()
    assert (body["type"], body["after_s"]) == ("source.quiet", 21_600)


async def test_links_that_end_are_told_of_once_for_each_destination(bell):
    for name in ("crm", "crm", "app"):
        bell.alerts.links_expiring(making.event(), name, SINCE)

    bodies = await bell.told(2)
    await bell.alerts.close()

    assert [body["destination"] for body in bodies] == ["crm", "app"]
    assert len(await bell.all()) == 2


async def test_a_store_that_cannot_keep_an_alert_breaks_nothing(store, bell):
    await store.close()

    bell.alerts.destination_paused("crm", "answered 410")
    await bell.alerts.close()

    assert bell.woken.empty()
