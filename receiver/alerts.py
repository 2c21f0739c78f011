"""
Alerts: what receiver has to say about itself, as events of the source `receiver`.

They are stored and routed like any other event, so alerts are routes.  One that no
route wants is only logged.  What can happen often is told at once, and then at most
once in a while, with a count.  Nothing that happens to an internal event is told:
alerts never loop.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import blake2b
from itertools import count

from receiver import clock, internal, logs
from receiver.errors import StoreError
from receiver.expressions import context_of
from receiver.models import Event, Request, Scalar, event_of
from receiver.routing import Router, decide
from receiver.settings import Settings
from receiver.stores import Store

DEAD_EVERY_S = 300.0
FAILING_EVERY_S = 3600.0
REJECTING_EVERY_S = 3600.0
UNCONFIRMED_EVERY_S = 3600.0
REJECTING_FROM = 5
"""So many signed requests have to be refused within an hour to be told of: a few may be
anybody's."""

ORIGIN = "internal"
HEADERS = {"content-type": "application/json"}

Make = Callable[[int], internal.Body]


@dataclass(slots=True)
class _Window:
    """A while in which something is told once: how often it happened since."""

    timer: asyncio.TimerHandle
    make: Make
    told: bool = False
    count: int = 0


class Alerts:
    """
    Raises internal events; its methods return at once and never raise, but those that
    are awaited.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        wake: Callable[[tuple[str, ...]], None],
    ) -> None:
        self._store = store
        self._wake = wake
        self.heard_at: dict[str, datetime] = {}
        """When each source last sent something authentic."""

        self._windows: dict[tuple[str, str], _Window] = {}
        self._numbers = count()
        self._tasks: set[asyncio.Task[None]] = set()
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Route what comes by these settings."""
        self._router = Router(settings.routes)

    async def close(self) -> None:
        """Tell what was held back, and wait until all is kept."""
        for window in self._windows.values():
            window.timer.cancel()
            if window.told and window.count:
                self._raise(window.make(window.count))
        self._windows.clear()
        await asyncio.gather(*self._tasks)

    # -- what is told

    def delivery_dead(self, event: Event, destination: str, outcome: str) -> None:
        """A delivery was given up: told at most once in 5 minutes for a destination."""

        def make(count: int) -> internal.Body:
            return internal.delivery_dead(
                destination,
                count=count,
                event_id=event.id,
                event_type=event.type,
                event_subject=event.subject,
                outcome=outcome,
            )

        if event.source != internal.SOURCE or event.type in internal.JOINS:
            self._seldom(("delivery.dead", destination), DEAD_EVERY_S, make)

    def destination_paused(self, destination: str, reason: str) -> None:
        self._raise(internal.destination_paused(destination, reason=reason))

    def destination_resumed(self, destination: str, since: datetime | None) -> None:
        self._raise(internal.destination_resumed(destination, paused_at=since))

    async def event_conflict(
        self,
        event: Event,
        first: Mapping[str, Scalar],
        later: Mapping[str, Scalar],
    ) -> None:
        """
        A repeat has other facts: told once for every set of them, and kept then.

        Raises:
            StoreError: it was not kept; the repeat must come again.
        """
        differences = [
            (name, first[name], later[name])
            for name in sorted(first.keys() & later.keys())
            if first[name] != later[name]
        ]
        body = internal.event_conflict(
            event.id,
            event_source=event.source,
            event_type=event.type,
            event_subject=event.subject,
            differences=differences,
        )
        said = ",".join(f"{name}={value}" for name, _, value in differences)
        facts = said.encode("utf-8", "replace").decode()  # may hold half a character
        await self.tell(body, f"event.conflict:{event.id}:{facts}"[:400])

    async def event_supplemented(
        self, event: Event, facts: Mapping[str, Scalar], urls: Sequence[str]
    ) -> None:
        """
        A repeat has these facts and links more: told once for every set of them, and
        kept then.

        Raises:
            StoreError: it was not kept; the repeat must come again.
        """
        body = internal.event_supplemented(
            event.id,
            event_source=event.source,
            event_type=event.type,
            event_subject=event.subject,
            facts=sorted(facts),
            result_urls=urls,
        )
        said = internal.encoded({"facts": dict(sorted(facts.items())), "urls": urls})
        news = blake2b(said, digest_size=16).hexdigest()
        await self.tell(body, f"event.supplemented:{event.id}:{news}")

    def route_failing(self, route: str, event_id: str, error: str) -> None:
        """A condition failed: told at most once an hour for a route."""

        def make(count: int) -> internal.Body:
            return internal.route_failing(
                route, error=error, count=count, event_id=event_id
            )

        self._seldom(("route.failing", route), FAILING_EVERY_S, make)

    def source_rejecting(self, source: str, code: str, reason: str) -> None:
        """A signed request was refused: told when it is several, then once an hour."""

        def make(count: int) -> internal.Body:
            return internal.source_rejecting(
                source, code=code, reason=reason, count=count
            )

        key = ("source.rejecting", source)
        self._seldom(key, REJECTING_EVERY_S, make, least=REJECTING_FROM)

    def source_quiet(self, source: str, since: datetime, after: timedelta) -> None:
        """Nothing came for too long: told once for every silence."""
        body = internal.source_quiet(source, since=since, after=after)
        self._raise(body, key=f"source.quiet:{source}:{clock.to_ms(since)}")

    def event_unconfirmed(
        self, event: Event, reason: str, *, contradicted: bool, delivered: bool
    ) -> None:
        """
        An API did not say what an event says: told of each that is contradicted, and
        at most once an hour for a source if nothing was said.
        """

        def make(count: int) -> internal.Body:
            return internal.event_unconfirmed(
                event.id,
                event_source=event.source,
                event_type=event.type,
                event_subject=event.subject,
                reason=reason,
                count=count,
                delivered=delivered,
            )

        if contradicted:
            name = f"{event.source}:{event.key}"  # what is repeated is told once
            self._raise(make(1), key=f"event.unconfirmed:{name}"[:400])
        else:
            self._seldom(("event.unconfirmed", event.source), UNCONFIRMED_EVERY_S, make)

    def links_expiring(self, event: Event, destination: str, at: datetime) -> None:
        """Links are about to end before somebody has them: told once for each."""
        body = internal.links_expiring(
            event.id,
            event_type=event.type,
            event_subject=event.subject,
            destination=destination,
            expires_at=at,
        )
        self._raise(body, key=f"links.expiring:{event.id}:{destination}")

    async def tell(self, body: internal.Body, key: str) -> None:
        """
        Raise an event once for its key, and wait until it is kept.

        Raises:
            StoreError: it was not kept; if it is told again, it is told once.
        """
        await self._store_it(body, key)

    # -- how it is told

    def _seldom(
        self, key: tuple[str, str], every_s: float, make: Make, least: int = 1
    ) -> None:
        """Tell when it has happened `least` times, then at most once in `every_s`."""
        window = self._windows.get(key)
        if window is None:
            window = self._open(key, every_s, make)
        window.make = make
        window.count += 1
        if not window.told and window.count >= least:
            window.told = True
            self._raise(make(window.count))
            window.count = 0

    def _open(self, key: tuple[str, str], every_s: float, make: Make) -> _Window:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(every_s, self._over, key, every_s)
        window = self._windows[key] = _Window(timer, make)
        return window

    def _over(self, key: tuple[str, str], every_s: float) -> None:
        window = self._windows.pop(key)
        if window.told and window.count:
            self._raise(window.make(window.count))
            self._open(key, every_s, window.make).told = True

    def _raise(self, body: internal.Body, key: str | None = None) -> None:
        task = asyncio.create_task(self._keep(body, key))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self, body: internal.Body, key: str | None) -> None:
        try:
            await self._store_it(body, key)
        except StoreError as error:
            log = logs.get().bind(type=body["type"], subject=body["subject"])
            log.error("alert.not_kept", error=str(error))

    async def _store_it(self, body: internal.Body, key: str | None) -> None:
        now = clock.now()
        reading = internal.reading(body, now)
        # Two of a kind may be told within one millisecond.
        reading = reading._replace(key=key or f"{reading.key}:{next(self._numbers)}")
        request = Request(HEADERS, {}, internal.encoded(body), now)
        source = internal.SOURCE
        event = event_of(source, source, request, reading, origin=ORIGIN)
        decision = decide(
            self._router.opinions(source, event.type, partial(context_of, event))
        )
        log = logs.get().bind(type=reading.type, subject=reading.subject)
        if not decision.destinations and reading.type not in internal.JOINS:
            log.info("alert.unrouted")
            return
        added = await self._store.add(event, decision, {})
        if added.created:
            self._wake(decision.destinations)
            said = log.info if reading.type in internal.JOINS else log.warning
            said("alert.raised", id=added.event_id, to=decision.destinations)
