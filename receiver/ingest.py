"""
From request bytes to a committed event.

    token -> verify -> parse -> read -> route -> store -> answer

What is stored is answered 200 only when it is on the disk.  Bodies too large to be
understood within a few milliseconds are understood in another process, so that they
hold nobody up.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import timedelta
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any, Literal, NamedTuple

from receiver import clock, logs
from receiver.alerts import Alerts
from receiver.errors import Conflict, NotFound, Rejected, StoreError
from receiver.expressions import context, event_fields
from receiver.metrics import Metrics
from receiver.models import (
    Decision,
    Event,
    Reading,
    Rejection,
    Request,
    Variant,
    event_of,
)
from receiver.offload import LARGE_BYTES, beside
from receiver.providers import Provider, provider_of
from receiver.providers.body import check_names, parse
from receiver.providers.kept import kept_headers, kept_query
from receiver.providers.keys import PublicKeys
from receiver.providers.senders import Senders
from receiver.providers.status import Made
from receiver.providers.status.reading import request_of
from receiver.providers.verification import check_conditions, verify
from receiver.refusals import Refusals
from receiver.repeats import compare, news
from receiver.routing import Opinion, Router, decide
from receiver.settings import Route, Settings, Source
from receiver.stores import Added, Store
from receiver.stores.confirming import Held, Hold
from receiver.tellable import tellable

WEBHOOK, AGAIN, ASKED = "webhook", "reverified", "reconciled"
"""Where an event came from: a request, one that was refused first, or an answer of the
sender's API."""

NOBODY_DECIDES = timedelta(days=7)
"""How late deliveries fall due by themselves that are cancelled unless confirmed."""

HELPER_S = 10.0
"""For one large body in the helper process, its turn included; then 503."""

Word = Literal["accepted", "duplicate", "test"]


class Answer(NamedTuple):
    """What a sender is told: a word, and the event's id where there is one."""

    word: Word
    id: str | None = None


class Understood(NamedTuple):
    """What a verified body means, and what the routes say of it."""

    reading: Reading
    opinions: tuple[Opinion, ...]


class Intake:
    """Accepts requests of the senders there are; `wake` is told who has new work."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        metrics: Metrics,
        wake: Callable[[tuple[str, ...]], None],
        senders: Senders,
        keys: PublicKeys,
        alerts: Alerts,
        expect: Callable[[Held], None],
    ) -> None:
        self._alerts = alerts
        self._expect = expect
        self._store = store
        self._senders = senders
        self._keys = keys
        self._metrics = metrics
        self._wake = wake
        self._log = logs.get()
        self._pool: ProcessPoolExecutor | None = None
        self._refusals = Refusals(store, metrics, alerts)
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Use new settings for the events to come."""
        self._routes = settings.routes
        self._router = Router(settings.routes)
        if self._pool is not None:  # what waits in it goes by the old routes
            self._pool.shutdown(wait=False)
            self._pool = None

    async def close(self) -> None:
        """Keep the rejections that wait, and end the helper process."""
        if self._pool is not None:
            self._end_pool(self._pool)
        await self._refusals.close()

    def check_beginning(self, provider: Provider, request: Request) -> None:
        """
        Look at a long request before all of it is there; `request.body` is the part
        that is.  It is not worth its memory if it cannot become authentic.

        Raises:
            Rejected: it cannot; it is kept as a rejection.
        """
        try:
            check_conditions(provider.source, request)
            _check_signature_is_there(provider, request)
        except Rejected as rejected:
            self._metrics.taking(provider.source.name).received.inc()
            raise self._refuse(provider, request, rejected) from None

    async def accept(self, provider: Provider, request: Request) -> Answer:
        """
        Verify a request and store it as an event, once.

        A request that repeats an earlier event's key is answered with that event's
        id, and makes no new deliveries.

        Raises:
            Rejected: the request is refused; it is kept as a rejection.
            StoreError: nothing was kept; the sender should try again.
        """
        source = provider.source
        self._metrics.taking(source.name).received.inc()
        started = clock.monotonic()
        try:
            check_conditions(source, request)
            if provider.is_test_ping(request):
                self._log.info("event.test", source=source.name)
                return Answer("test")
            await self._verify(provider, request)
        except Rejected as rejected:
            raise self._refuse(provider, request, rejected) from None
        try:
            understood = await self._understand(provider, request)
        except Rejected as rejected:
            await self._refusals.keep(provider, request, rejected)
            raise
        self._alerts.heard_at[source.name] = request.received_at
        return await self._keep(provider, request, understood, started)

    async def _verify(self, provider: Provider, request: Request) -> None:
        """
        Check the signature; one that no public key fits again, if there are new ones.

        Raises:
            Rejected: as `verify` does.
        """
        known = provider.published
        try:
            await beside(len(request.body), verify, provider, request)
        except Rejected as rejected:
            unfit = rejected.code in ("signature_mismatch", "keys_unavailable")
            if not (unfit and await self._keys.renewed(provider.keys_url, known)):
                raise
            await beside(len(request.body), verify, provider, request)

    async def _understand(
        self, provider: Provider, request: Request, origin: str = WEBHOOK
    ) -> Understood:
        if len(request.body) <= LARGE_BYTES:
            return understand(provider, request, self._router, origin)
        pool = self._pool
        if pool is None:
            pool = self._pool = ProcessPoolExecutor(
                1, get_context("spawn"), _start_helper, (self._routes,)
            )
        try:
            job = pool.submit(_understand_in_helper, provider.source, request, origin)
            try:
                async with asyncio.timeout(HELPER_S):
                    return await asyncio.wrap_future(job)
            except TimeoutError as error:
                if job.running():  # it did not only wait for its turn
                    self._end_pool(pool)
                raise StoreError("large bodies take too long now") from error
        except BrokenProcessPool as error:
            self._end_pool(pool)
            raise StoreError("the process for large bodies ended; try again") from error

    async def _keep(
        self,
        provider: Provider,
        request: Request,
        understood: Understood,
        started: float,
        origin: str = WEBHOOK,
    ) -> Answer:
        source = provider.source
        reading, decision = understood.reading, decide(understood.opinions)
        event = _event(source, request, reading, origin)
        source = provider.source
        waits = origin != ASKED and reading.final and provider.confirms
        hold = _hold(source) if waits else None
        added = await self._store.add(event, decision, reading.facts, hold)
        taking = self._metrics.taking(source.name)
        if added.created:
            taking.accepted.inc()
            self._wake(decision.destinations)
            if hold is not None:
                self._expect(Held(added.event_id, source.name, hold.until))
            self._count_failures(understood.opinions, added)
        else:
            taking.duplicates.inc()
            if not added.same_body:
                await self._keep_variant(added.event_id, request, reading)
        self._log_event(event, decision, added, started)
        return Answer("accepted" if added.created else "duplicate", added.event_id)

    async def _keep_variant(
        self, event_id: str, request: Request, reading: Reading
    ) -> None:
        try:
            original = await self._store.event(event_id)
        except NotFound:  # pruned: there is nothing left to compare with
            return
        first = await self._senders.read(original.event)
        kind = compare(original.facts, reading, first.result_urls)
        if kind == "conflict":  # told before it is answered: nobody sends it again then
            await self._alerts.event_conflict(first, original.facts, reading.facts)
        elif kind == "supplement":
            await self._alerts.event_supplemented(
                first, *news(original.facts, reading, first.result_urls)
            )
        variant = Variant(event_id, kind, request.received_at, request.body)
        await self._store.add_variant(variant)

    def _count_failures(self, opinions: tuple[Opinion, ...], added: Added) -> None:
        for opinion in opinions:
            if opinion.verdict == "failed":
                name = opinion.route.name
                self._metrics.route_failures.labels(name).inc()
                self._alerts.route_failing(name, added.event_id, opinion.detail)
                self._log.warning(
                    "route.failed", route=name, id=added.event_id, error=opinion.detail
                )

    def _log_event(
        self, event: Event, decision: Decision, added: Added, started: float
    ) -> None:
        if not self._log.is_enabled_for(logging.INFO):
            return
        self._log.info(
            "event.received",
            id=added.event_id,
            source=event.source,
            type=event.type,
            subject=event.subject,
            state=event.state,
            status="accepted" if added.created else "duplicate",
            to=decision.destinations if added.created else (),
            bytes=len(event.body),
            ms=round((clock.monotonic() - started) * 1000, 2),
        )

    # -- verifying again

    async def accept_again(self, rejection: Rejection, *, dry_run: bool) -> Answer:
        """
        Verify a refused request by today's configuration, as of its arrival.

        If it is right now, it is stored as the event it should have become.

        Raises:
            Rejected: it is still refused; nothing changes.
            Conflict: it cannot be judged any more; the message says why.
            StoreError: nothing was kept.
        """
        provider = self._senders.of(rejection.source)
        if provider is None:
            raise Conflict(f"there is no source {rejection.source!r} any more")
        if len(rejection.body) < rejection.body_bytes:
            raise Conflict("only the beginning of its body was kept")
        request = Request(
            rejection.headers,
            rejection.query,
            rejection.body,
            rejection.received_at,
            rejection.client,
        )
        check_conditions(provider.source, request, digested=True)
        await self._verify(provider, request)
        understood = await self._understand(provider, request, AGAIN)
        if dry_run:
            return await self._would(provider, understood)
        started = clock.monotonic()
        answer = await self._keep(provider, request, understood, started, AGAIN)
        if answer.id is not None:
            await self._store.rejection_accepted(rejection.id, answer.id)
        return answer

    # -- asked for

    async def accept_asked(
        self, provider: Provider, webhook: Made, *, dry_run: bool = False
    ) -> Answer:
        """
        Store a webhook that was made of what the sender's API says, as if it had come.

        Raises:
            Rejected: the provider does not take it.
            StoreError: nothing was kept.
        """
        request = request_of(webhook, clock.now())
        started = clock.monotonic()
        understood = await self._understand(provider, request, ASKED)
        if dry_run:
            return await self._would(provider, understood)
        return await self._keep(provider, request, understood, started, ASKED)

    async def _would(self, provider: Provider, understood: Understood) -> Answer:
        """What keeping it would be answered."""
        source, key = provider.source.name, understood.reading.key
        known = await self._store.event_of(source, key)
        return Answer("accepted" if known is None else "duplicate", known)

    # -- refusing

    def _refuse(self, provider: Provider, request: Request, why: Rejected) -> Rejected:
        """Returns the refusal with the status its sender understands."""
        self._refusals.keep_soon(provider, request, why)
        if why.status not in (401, 403) or provider.refused_status == 401:
            return why
        return Rejected(provider.refused_status, why.code, why.message)

    def _end_pool(self, pool: ProcessPoolExecutor) -> None:
        """Kill its process, which may be busy; the interpreter would wait for it."""
        helpers: dict[int, BaseProcess] = getattr(pool, "_processes", None) or {}
        for helper in list(helpers.values()):
            helper.kill()
        pool.shutdown(wait=False)
        if self._pool is pool:
            self._pool = None


def understand(
    provider: Provider, request: Request, router: Router, origin: str = WEBHOOK
) -> Understood:
    """
    Parse a verified body, read it, and ask the routes (pure).

    Raises:
        Rejected: `malformed_body`, or what the provider says is missing.
    """
    source = provider.source.name
    data = parse(request.body)
    reading = provider.read(request, data)
    check_names(reading)

    def build(names: frozenset[str]) -> Any:
        told = tellable(data, request.body)
        if all(name.startswith("data") for name in names):  # as of most conditions
            return context({}, told, {}, names)
        fields = event_fields(
            reading,
            id="",
            source=source,
            provider=provider.name,
            received_at=request.received_at,
            origin=origin,
        )
        visible = {"headers": dict(request.headers), "query": dict(request.query)}
        return context(fields, told, visible, names)

    return Understood(reading, tuple(router.opinions(source, reading.type, build)))


def _check_signature_is_there(provider: Provider, request: Request) -> None:
    names = provider.signature_headers
    wanted = provider.source.secrets or not provider.needs_secret
    if wanted and names and names.isdisjoint(request.headers):
        message = f"none of {', '.join(sorted(names))} is there"
        raise Rejected(401, "signature_missing", message)


def _hold(source: Source) -> Hold:
    until = clock.now() + source.confirm_within
    late = until + NOBODY_DECIDES
    return Hold(until, until if source.on_unconfirmed == "deliver" else late)


def _event(source: Source, request: Request, reading: Reading, origin: str) -> Event:
    headers = kept_headers(source, request.headers)
    query = kept_query(request.query)
    if headers is not request.headers or query is not request.query:
        request = replace(request, headers=headers, query=query)
    return event_of(source.name, source.provider, request, reading, origin=origin)


# In the helper process: the router is made once, from routes that can be pickled.

_helper_router: list[Router] = []


def _start_helper(routes: tuple[Route, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is our parent's to handle
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    _helper_router.append(Router(routes))


def _end_with_parent() -> None:
    """A parent that is killed cannot tell us, and its queue never ends: we hold it too."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _understand_in_helper(source: Source, request: Request, origin: str) -> Understood:
    signal.setitimer(signal.ITIMER_REAL, HELPER_S)  # nobody may be there to kill us
    try:
        return understand(provider_of(source), request, _helper_router[0], origin)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
