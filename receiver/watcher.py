"""
What no event tells: that none came, and that time runs out for links to results.

    every minute: how long each source has been silent
    every five:   whose links end before they are delivered
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta

from receiver import clock, internal, logs
from receiver.alerts import Alerts
from receiver.delivery import ReadEvent
from receiver.errors import ReceiverError, StoreError
from receiver.models import Status
from receiver.settings import Settings
from receiver.stores import DeliveryFilter, Store

TICK_S = 60.0
LINKS_EVERY_S = 300.0

ENDING = timedelta(hours=1)
"""Links that end within this time, and are not delivered yet, are told of."""

LOOKED_AT = 200
"""Deliveries of one destination that are looked at, the oldest first: their links end
first."""

_HEARD = "heard:"


class Watcher:
    """Looks regularly, and tells `alerts`; `start` begins and `stop` ends it."""

    def __init__(
        self, settings: Settings, store: Store, alerts: Alerts, read: ReadEvent
    ) -> None:
        self._store = store
        self._alerts = alerts
        self._read = read
        self._kept: dict[str, datetime] = {}
        self._task: asyncio.Task[None] | None = None
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Watch these sources from now on."""
        self._limits = {
            source.name: source.quiet_after
            for source in settings.sources.values()
            if source.quiet_after is not None
        }
        self._destinations = tuple(settings.destinations)
        self._links = any(
            route.source == internal.SOURCE for route in settings.routes
        )  # nobody to tell: nothing to look for
        self._since = clock.now()

    async def start(self) -> None:
        """
        Begin to watch; silence counts from the last event, also before a restart.

        Raises:
            StoreError: what was kept of that cannot be read.
        """
        for source in self._limits:
            found = await self._store.remembered(_HEARD + source)
            if found is not None:
                moment = datetime.fromisoformat(found[0])
                self._kept[source] = moment
                self._alerts.heard_at.setdefault(source, moment)
        self._task = asyncio.create_task(self._run(), name="watcher")

    async def stop(self) -> None:
        """End; keep when each source was last heard of."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            with suppress(StoreError):
                await self._keep()

    async def _run(self) -> None:
        looked = clock.monotonic()
        while True:
            await asyncio.sleep(self._tick())
            try:
                self.tell_silence(clock.now())
                await self._keep()
                if clock.monotonic() - looked >= LINKS_EVERY_S:
                    looked = clock.monotonic()
                    await self.tell_links(clock.now())
            except ReceiverError as error:
                logs.get().warning("watcher.failed", error=str(error))
            except Exception:  # noqa: BLE001 (it must not end silently, nor spoil a stop)
                logs.get().exception("watcher.fault")

    def _tick(self) -> float:
        shortest = min(self._limits.values(), default=timedelta(minutes=10))
        return min(TICK_S, shortest.total_seconds() / 10)

    def tell_silence(self, now: datetime) -> None:
        """Tell of every source that has been silent for longer than it may be."""
        for source, limit in self._limits.items():
            since = self._alerts.heard_at.get(source, self._since)
            if now - since >= limit:
                self._alerts.source_quiet(source, since, limit)

    async def tell_links(self, now: datetime) -> None:
        """Tell of links that end soon, and whom they have not reached."""
        if not self._links:
            return
        for name in self._destinations:
            where = DeliveryFilter(status=Status.PENDING, destination=name)
            waiting = await self._store.deliveries(
                where, limit=LOOKED_AT, newest_first=False
            )
            await self._tell_links(name, (d.event_id for d in waiting), now)

    async def _tell_links(
        self, destination: str, events: Iterable[str], now: datetime
    ) -> None:
        for event_id in events:
            event = await self._read((await self._store.event(event_id)).event)
            if event.expires_at is not None and event.expires_at - now < ENDING:
                self._alerts.links_expiring(event, destination, event.expires_at)

    async def _keep(self) -> None:
        """Remember when each was heard of, where that is news."""
        for source in self._limits:
            heard = self._alerts.heard_at.get(source)
            if heard is not None and self._kept.get(source) != heard:
                await self._store.remember(
                    _HEARD + source, heard.isoformat(), clock.now()
                )
                self._kept[source] = heard
