"""
The composition root: settings -> store, dispatcher, intake, web.

`App` puts the parts together and can be used alone (the commands do, when no server
runs); `receiver.process` runs it.
"""

import asyncio
from contextlib import AsyncExitStack

from starlette.types import ASGIApp

from receiver.alerts import Alerts
from receiver.batches import Batches
from receiver.confirmer import Confirmer
from receiver.destinations import make
from receiver.dispatcher import Dispatcher
from receiver.follower import Follower
from receiver.ingest import Intake
from receiver.joins import Joins
from receiver.ledger import orphan_advice, standings
from receiver.metrics import Metrics
from receiver.providers.keys import PublicKeys
from receiver.providers.senders import Senders
from receiver.providers.status.askers import Askers
from receiver.reconciler import Reconciler
from receiver.replayer import Replayer
from receiver.retention import Retention
from receiver.settings import Settings
from receiver.stores import Reader, Store, open_reader, open_store
from receiver.watcher import Watcher
from receiver.web import begin, create_app
from receiver.web.api.parts import Parts
from receiver.web.health import Health
from receiver.web.hooks import Hooks


class App:
    """All parts, wired."""

    def __init__(self, settings: Settings, store: Store, reader: Reader) -> None:
        self.settings = settings
        self.store = store
        self._life = AsyncExitStack()
        self.changing = asyncio.Lock()
        """Held by a start, a reload or a stop: one after the other, the last one wins."""

        self.metrics = Metrics()
        self.senders = Senders(settings.sources.values())
        self.keys = PublicKeys(store)
        self.alerts = Alerts(settings, store, self._wake)
        self.dispatcher = Dispatcher(
            store, self.metrics, make, self.senders.read, self.alerts
        )
        self.batches = Batches(settings, store, self.senders)
        self.joins = Joins(settings, store, self.senders)
        folders = (self.batches, self.joins)
        self.follower = Follower("events", store, folders, self.alerts.tell)
        self.askers = Askers(self.senders)
        self.confirmer = Confirmer(
            store, self.senders, self.askers, self.alerts, self.follower.wake
        )
        self.intake = Intake(
            settings,
            store,
            self.metrics,
            self._wake,
            self.senders,
            self.keys,
            self.alerts,
            self.confirmer.expect,
        )
        self.reconciler = Reconciler(
            settings, store, self.askers, self.intake.accept_asked
        )
        self.watcher = Watcher(settings, store, self.alerts, self.senders.read)
        self.retention = Retention(settings.store, store, self.metrics)
        self.hooks = Hooks(settings, self.intake, self.senders)
        self.health = Health(store, self.metrics, self.dispatcher)
        self.replayer = Replayer(
            settings, store, self.senders.read, self.dispatcher.wake
        )
        self.parts = Parts(
            settings,
            store,
            reader,
            self.dispatcher,
            self.senders,
            self.intake.accept_again,
            self.alerts,
            self.replayer,
            self.retention,
            self.reconciler,
            self.metrics,
        )
        self.web: ASGIApp = create_app(self.hooks, self.health, self.parts)

    def _wake(self, _destinations: tuple[str, ...]) -> None:
        self.follower.wake()  # the store tells the lanes

    @classmethod
    async def open(cls, settings: Settings) -> "App":
        """Open the store and put everything on it; nothing is delivered yet."""
        url = settings.store.url
        async with AsyncExitStack() as life:
            store = await open_store(url, min_free_bytes=settings.store.min_free_bytes)
            life.push_async_callback(store.close)
            reader = await open_reader(url)
            life.push_async_callback(reader.close)
            app = cls(settings, store, reader)
            life.push_async_callback(app.replayer.stop)
            for part in (app.alerts, app.askers, app.intake, app.keys):
                life.push_async_callback(part.close)
            await app.keys.use(app.senders)
            app._life = life.pop_all()
        return app

    async def start(self) -> None:
        """Deliver what waits, and what comes."""
        async with self.changing:
            await self.confirmer.start()
            await self.dispatcher.start(self.settings.destinations)
            await self.watcher.start()
            await self.follower.start()
            await self.replayer.start()
            self.retention.start()
            await self.reconciler.start()
            begin(self.parts)

    async def reload(self, settings: Settings) -> None:
        """Use new settings for what comes; store and server stay as they are."""
        await self.dispatcher.reload(settings.destinations)  # it alone can fail
        self.settings = settings
        self.senders.reload(settings.sources.values())
        self.alerts.reload(settings)
        self.watcher.reload(settings)
        self.batches.reload(settings)
        self.retention.reload(settings.store)
        self.joins.reload(settings)
        self.intake.reload(settings)
        self.hooks.reload(settings)
        self.replayer.reload(settings)
        self.parts.reload(settings)
        await self.keys.use(self.senders)
        await self.askers.reload(self.senders)
        await self.reconciler.reload(settings)

    async def orphans(self) -> list[str]:
        """A sentence for every destination that is gone but still has deliveries."""
        found = standings(await self.store.queues(), (), self.settings.destinations)
        return [orphan_advice(standing) for standing in found if standing.orphaned]

    async def stop(self) -> None:
        """Take no more, and finish what was taken."""
        self.hooks.stopping = self.health.stopping = True
        self.parts.stopping.set()
        async with self.changing:
            await self.watcher.stop()
            await self.follower.stop()
            await self.replayer.stop()
            await self.retention.stop()
            await self.reconciler.stop()
            await self.confirmer.stop()
            await self.dispatcher.stop(self.settings.server.grace.total_seconds())

    async def close(self) -> None:
        """
        Let go of the store, whatever of the rest fails: its threads would keep the
        process.  `stop` comes first if it was started.
        """
        await self._life.aclose()
