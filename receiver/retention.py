"""
How long things are kept: what is old goes, a little at a time, beside everything else.

    every half minute: what the settings call old, if there is any
    while the store is larger than `max_bytes`: the oldest events, whatever their age
    every ten minutes: what was old before, but had to wait for a destination, and old
        notes of who changed something
    after much has gone: free pages are given back to the file system

One step is fifty events in one transaction.  Where others write, too, no more is removed
than they write, and most of the time is theirs; where nobody does there is no pause.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from receiver import clock, logs
from receiver.errors import StoreError
from receiver.metrics import Metrics
from receiver.settings import StoreSettings
from receiver.stores import Store
from receiver.stores.pruning import Cutoffs, Extent, Pruned

KINDS = ("events", "bodies", "deliveries", "rejections", "subjects")
TICK_S = 30.0
STEP = 50
HELD_EVERY_S = 600.0
HELD_STEPS = 10
"""Looks at a step's events each, at one time."""

REST = 4.0
"""How many times as long as a step took others have the store to themselves."""
LEAST_REST_S = 0.01
LONGEST_REST_S = 0.5

GIVE_BACK_OVER = 0.25
GIVE_BACK_TO = 0.10
"""Parts of the file that are free: above the first it is shortened, down to the second.
What remains is used again by what comes."""
GIVE_BACK_LEAST = 64 * 1024 * 1024
PAGES = 64
WARN_EVERY_S = 3600.0

Forget = Callable[[datetime, int], Awaitable[int]]
"""Forgets a few of what is older; returns how many it was."""


def cutoffs(settings: StoreSettings, now: datetime) -> Cutoffs:
    """What the settings call old."""
    events_for = settings.keep_events_for or 3 * settings.keep_bodies_for
    return Cutoffs(
        bodies=now - settings.keep_bodies_for,
        events=now - events_for,
        rejections=now - settings.keep_rejections_for,
    )


def rest_s(step: Pruned, took_s: float, since_s: float) -> float:
    """
    How long to wait after a step that took so long, where the one before ended so long
    ago: until others have changed as much as it did, at the pace they had.
    """
    if step.others <= 0:
        return 0.0
    fair = step.changed * since_s / step.others
    return min(max(fair, took_s * REST, LEAST_REST_S), LONGEST_REST_S)


def to_give_back(extent: Extent) -> int:
    """How many bytes of the file should be given back: none, until it is many."""
    over = max(GIVE_BACK_LEAST, extent.file_bytes * GIVE_BACK_OVER)
    if extent.free_bytes <= over:
        return 0
    return round(extent.free_bytes - extent.file_bytes * GIVE_BACK_TO)


class Retention:
    """Prunes; `start` begins to do it regularly and `stop` ends that."""

    def __init__(self, settings: StoreSettings, store: Store, metrics: Metrics) -> None:
        self._settings = settings
        self._store = store
        self._metrics = metrics
        self._held_at = self._stepped_at = clock.monotonic()
        self._warned_at = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def reload(self, settings: StoreSettings) -> None:
        """Keep things for so long from now on."""
        self._settings = settings

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="retention")

    async def stop(self) -> None:
        """End, after the step that runs."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def prune(
        self,
        wanted: Cutoffs,
        *,
        to_bytes: int | None = None,
        seconds: float = float("inf"),
    ) -> Pruned:
        """
        Remove what is old, and with `to_bytes` the oldest until no more is used.

        Returns after about so many seconds with `done` False if there is more.

        Raises:
            StoreError: what was removed by then stays removed.
        """
        until, found = clock.monotonic() + seconds, Pruned()
        while wanted != Cutoffs():
            found = found.and_then(await self._step(wanted))
            if found.done:
                break
            if clock.monotonic() > until:
                return found
        if wanted.events is not None:
            found = found.and_then(await self._forget_subjects(wanted.events))
            await self._forget(self._store.prune_joins, wanted.events)
            await self._forget(self._store.prune_replays, wanted.events)
        while to_bytes is not None:
            if (await self._store.extent()).used_bytes <= to_bytes:
                return replace(found, done=True)
            found = found.and_then(await self._step(Cutoffs(events=clock.now())))
            if found.done or clock.monotonic() > until:
                break
        return found

    async def give_back(
        self, wanted_bytes: float = float("inf"), *, seconds: float = float("inf")
    ) -> bool:
        """Shorten the file by so much, or all that is free; whether that is done."""
        until = clock.monotonic() + seconds
        extent = await self._store.extent()
        least = max(0.0, extent.free_bytes - wanted_bytes)
        free, left = extent.free_bytes, -1
        while free > least and left != 0:
            if clock.monotonic() > until:
                return False
            before = clock.monotonic()
            left = await self._store.give_back(PAGES)
            await asyncio.sleep((clock.monotonic() - before) * REST)
            free = (await self._store.extent()).free_bytes
        return True

    async def keep_to_settings(self) -> Pruned:
        """
        What is done each time, once; logged if it removed anything.

        Raises:
            StoreError: what was removed by then stays removed.
        """
        settings, started = self._settings, clock.monotonic()
        wanted, found = cutoffs(settings, clock.now()), Pruned()
        if await self._store.old(wanted):
            found = await self.prune(wanted)
        if started - self._held_at >= HELD_EVERY_S:
            self._held_at = started
            found = found.and_then(await self._look_at_held())
            audit_before = clock.now() - settings.keep_audit_for
            await self._forget(self._store.prune_audit, audit_before)
        if settings.max_bytes is not None:
            shrunk = await self.prune(Cutoffs(), to_bytes=settings.max_bytes)
            found = found.and_then(shrunk)
            await self._warn_if_larger(settings.max_bytes)
        if found.anything:
            told(found, s=round(clock.monotonic() - started, 1))
        too_much = to_give_back(await self._store.extent())
        if too_much:
            await self.give_back(too_much)
        return found

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)  # first: what follows events has begun by then
            try:
                await self.keep_to_settings()
            except StoreError as error:
                logs.get().warning("retention.failed", error=str(error))
            except Exception:  # noqa: BLE001 (it must not end silently, nor spoil a stop)
                logs.get().exception("retention.fault")

    async def _step(self, wanted: Cutoffs) -> Pruned:
        began = clock.monotonic()
        found = await self._store.prune(wanted, limit=STEP, now=clock.now())
        self._count(found)
        ended = clock.monotonic()
        if not found.done:
            since_s, self._stepped_at = began - self._stepped_at, ended
            await asyncio.sleep(rest_s(found, ended - began, since_s))
        return found

    async def _forget_subjects(self, before: datetime) -> Pruned:
        """What was made of events goes when nothing was heard of it for as long."""
        found, went = Pruned(), STEP
        while went == STEP:
            started = clock.monotonic()
            went = await self._store.prune_subjects(before, STEP)
            step = Pruned(subjects=went)
            self._count(step)
            found = found.and_then(step)
            if went == STEP:
                await asyncio.sleep((clock.monotonic() - started) * REST)
        return found

    async def _forget(self, forget: Forget, before: datetime) -> None:
        """And what else began, or ended, as long ago."""
        went = STEP
        while went == STEP:
            started = clock.monotonic()
            went = await forget(before, STEP)
            await asyncio.sleep((clock.monotonic() - started) * REST)

    async def _look_at_held(self) -> Pruned:
        found = Pruned()
        for _ in range(HELD_STEPS):
            step = await self._store.prune_held(limit=STEP, now=clock.now())
            self._count(step)
            found = found.and_then(step)
            await asyncio.sleep(LEAST_REST_S)
        return found

    def _count(self, found: Pruned) -> None:
        for kind in KINDS:
            self._metrics.pruned.labels(kind).inc(getattr(found, kind))
        self._metrics.pruned_bytes.inc(found.bytes)

    async def _warn_if_larger(self, most: int) -> None:
        """Nothing is left to prune, and it is not enough."""
        used, now = (await self._store.extent()).used_bytes, clock.monotonic()
        if used > most and now - self._warned_at >= WARN_EVERY_S:
            self._warned_at = now
            advice = "what is left are keys, and events that wait for a destination"
            logs.get().warning("store.too_large", bytes=used, most=most, advice=advice)


def told(found: Pruned, **fields: object) -> None:
    """Log what went, in a line."""
    logs.get().info(
        "store.pruned",
        **{kind: getattr(found, kind) for kind in KINDS},
        bytes=found.bytes,
        **fields,
    )
