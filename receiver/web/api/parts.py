"""What the API's operations work with."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from receiver import clock
from receiver.alerts import Alerts
from receiver.dispatcher import Dispatcher
from receiver.errors import NotFound
from receiver.ingest import Answer
from receiver.ledger import Ledger
from receiver.metrics import Metrics
from receiver.models import Rejection
from receiver.providers.senders import Senders
from receiver.reconciler import Reconciler
from receiver.replayer import Replayer
from receiver.retention import Retention
from receiver.routing import Router
from receiver.settings import Settings
from receiver.stores import Reader, Store, open_reader
from receiver.web.attempts import Attempts
from receiver.web.audience import Audience
from receiver.web.trends import Trends


class AcceptAgain(Protocol):
    """`Intake.accept_again`."""

    async def __call__(self, rejection: Rejection, *, dry_run: bool) -> Answer: ...


@dataclass(frozen=True, slots=True)
class AddedUp:
    """The ledger, and when it was added up."""

    at: datetime
    ledger: Ledger


@dataclass(frozen=True, slots=True)
class Reread:
    """
    How the configuration was read anew, the last time: why it was refused, if it was,
    and whether some of it needs a restart.  `times` counts the tries since the start.
    """

    times: int = 0
    problems: Sequence[str] = ()
    needs_restart: bool = False


class Parts:
    """
    The parts of a running receiver.

    `reader` is a look into the store of our own, so that a long search holds up nobody
    else's.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        reader: Reader,
        dispatcher: Dispatcher,
        senders: Senders,
        accept_again: AcceptAgain,
        alerts: Alerts,
        replayer: Replayer,
        retention: Retention,
        reconciler: Reconciler,
        metrics: Metrics,
    ) -> None:
        self.store = store
        self.reader = reader
        self.dispatcher = dispatcher
        self.senders = senders
        self.accept_again = accept_again
        self.alerts = alerts
        self.replayer = replayer
        self.trends = Trends(metrics)
        self.started_at = clock.now()
        self.retention = retention
        self.reconciler = reconciler
        self.audience = Audience()
        self.sign_ins = Attempts()
        self.calls = Attempts(from_one=100, in_all=1_000)
        """Wrong tokens: what calls the API with an old one goes on and on, and must not
        shut out who has a right one; people who type try a few."""
        self.reread = Reread()
        self.added_up: AddedUp | None = None
        """The last time that somebody asked for it, since the start."""

        self._adding_up = asyncio.Semaphore(1)
        self.stopping = asyncio.Event()
        self.reload(settings)

    async def pause_or_stop(self, seconds: float) -> None:
        """Wait so long, or until we stop."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.stopping.wait(), seconds)

    def reload(self, settings: Settings) -> None:
        """Use new settings from now on."""
        self.settings = settings
        self.router = Router(settings.routes)

    async def add_up(self) -> Ledger:
        """
        The ledger as it is now; it reads everything, so one at a time, and nothing else
        waits for it.
        """
        async with self._adding_up:
            reader = await open_reader(self.settings.store.url, yielding=True)
            try:
                found = Ledger(await reader.ledger(), await reader.totals())
            finally:
                await reader.close()
            self.added_up = AddedUp(clock.now(), found)
        return found

    def destination(self, name: str) -> str:
        """
        The name, if a destination has it.

        Raises:
            NotFound: none has.
        """
        if name not in self.settings.destinations:
            known = ", ".join(self.settings.destinations) or "none"
            raise NotFound(f"there is no destination {name!r}; configured: {known}")
        return name
