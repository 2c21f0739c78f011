"""A store, a dispatcher on it, and HTTP destinations: for tests of delivering."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from aiohttp import web

from receiver import clock
from receiver.alerts import Alerts
from receiver.destinations import TYPES, Destination, Parcel
from receiver.destinations.http import HttpSettings
from receiver.dispatcher import Dispatcher
from receiver.metrics import Metrics
from receiver.models import (
    Decision,
    Delivery,
    Event,
    Outcome,
    Result,
    Secret,
    State,
    Status,
)
from receiver.providers.senders import Senders
from receiver.settings import (
    DestinationSettings,
    RetryPolicy,
    Server,
    Settings,
    StoreSettings,
)
from receiver.stores import DeliveryFilter, Store, open_store
from tests.sinks import Seen, Sink

SOON = timedelta(milliseconds=20)
QUICK = RetryPolicy(max_attempts=3, waits=(SOON,))


class Bench:
    """A store, and a dispatcher on it."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        settings = Settings("t", Server(), StoreSettings(), {}, {}, ())
        self.alerts = Alerts(settings, store, lambda _: None)
        self.dispatcher = Dispatcher(
            store, Metrics(), self.make, Senders(()).read, self.alerts
        )
        self.made: list[Destination] = []
        self._count = 0

    def make(self, settings: DestinationSettings) -> Destination:
        known = settings.type in TYPES
        self.made.append(TYPES[settings.type].make(settings) if known else Faulty())
        return self.made[-1]

    async def start(self, *destinations: DestinationSettings) -> None:
        await self.dispatcher.start({d.name: d for d in destinations})

    async def accept(self, *to: str, body: bytes = b"{}", subject: str = "") -> str:
        """Keep one event for these destinations; its id."""
        self._count += 1
        now = clock.now()
        event = Event(
            id="",
            source="sora2",
            provider="sora2",
            key=f"k{self._count}",
            type="batch.completed",
            subject=subject or f"bat_{self._count}",
            state=State.PARTIAL,
            final=True,
            occurred_at=now,
            received_at=now,
            origin="webhook",
            headers={},
            query={},
            body=body,
        )
        added = await self.store.add(event, Decision((("all", "matched"),), to), {})
        return added.event_id

    async def deliveries(self, destination: str) -> Sequence[Delivery]:
        where = DeliveryFilter(destination=destination)
        return await self.store.deliveries(where, limit=10_000, newest_first=False)

    async def at_rest(self, destination: str) -> None:
        """Wait until nothing is held for it any more: what ran is done, and recorded."""
        lane = self.dispatcher._lanes[destination]
        async with asyncio.timeout(60):
            while lane.claimed or lane._handed is not None:  # noqa: ASYNC110 (it tells nobody)
                await asyncio.sleep(0.01)

    async def settled_one(self, destination: str) -> None:
        """Wait until one of the destination's deliveries is delivered."""
        async with asyncio.timeout(60):
            while True:
                found = await self.deliveries(destination)
                if any(delivery.status is Status.DELIVERED for delivery in found):
                    return
                await asyncio.sleep(0.01)

    async def settled(self, destination: str, status: Status) -> Sequence[Delivery]:
        """The destination's deliveries, once all have this status."""
        async with asyncio.timeout(60):
            while True:
                found = await self.deliveries(destination)
                if {delivery.status for delivery in found} == {status}:
                    return found
                await asyncio.sleep(0.01)


class Faulty:
    """A destination with a fault of its own."""

    needs_reading: ClassVar[bool] = True

    async def send(self, parcel: Parcel) -> Outcome:
        raise RuntimeError(f"cannot cope with {parcel.event.id}")

    async def close(self) -> None: ...


@asynccontextmanager
async def benching(folder: Path) -> AsyncIterator[Bench]:
    """A bench with its store in this folder."""
    store = await open_store(f"sqlite:///{folder}/receiver.db")
    found = Bench(store, folder)
    try:
        yield found
    finally:
        await found.dispatcher.stop(0.1)
        await store.close()


def to(target: Sink | str, name: str = "app", **changes: Any) -> HttpSettings:
    url = target if isinstance(target, str) else target.url
    given = {"retry": QUICK, "timeout": timedelta(seconds=10), **changes}
    return HttpSettings(name, type="http", url=Secret(url), **given)


def answer(
    *statuses: int, **headers: str
) -> Callable[[Seen], Awaitable[web.StreamResponse]]:
    """These statuses one after the other; the last one for ever."""
    left = list(statuses)

    async def respond(_: Seen) -> web.StreamResponse:
        status = left.pop(0) if len(left) > 1 else left[0]
        return web.Response(status=status, headers=headers)

    return respond


def gate() -> tuple[asyncio.Event, Callable[[Seen], Awaitable[web.StreamResponse]]]:
    """An endpoint that answers nothing before the event is set."""
    opened = asyncio.Event()

    async def respond(_: Seen) -> web.StreamResponse:
        await opened.wait()
        return web.Response(text="ok")

    return opened, respond


async def attempts(bench: Bench, delivery: Delivery) -> list[tuple[Result, int | None]]:
    made = await bench.store.attempts(delivery.id)
    return [(a.outcome.result, a.outcome.status_code) for a in made]
