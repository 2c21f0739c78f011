"""
A lane: everything due for one destination, claimed, attempted and recorded.

    claim -> wait for a slot -> attempt -> decide what follows -> record

An attempt can be cut off, and is then given back; an outcome, once there is one, is
written down for as long as that takes.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from receiver import clock, delivery, logs
from receiver.delivery import ReadEvent
from receiver.destinations import Destination
from receiver.errors import StoreError, Unwritable
from receiver.metrics import Metrics
from receiver.models import Attempt, Claim, Pause, Status, Step
from receiver.retry import next_step
from receiver.settings import DestinationSettings
from receiver.stores import Store

AHEAD = 2
"""How many times its concurrency a lane claims, so that it never waits for a read;
it claims again when no more than its concurrency is left."""

MAX_CLAIMED_BYTES = 16 * 1024 * 1024
LONGEST_SLEEP_S = 60.0
STORE_TROUBLE_S = 0.5
LEASE_MARGIN_S = 60.0
RECORD_GRACE_S = 5.0
"""How long a stop waits for outcomes that the store does not take."""


class Recorder:
    """
    Writes outcomes down, for as long as it takes; shared by all lanes.

    While one cannot be written nothing new may be claimed (`clear` is not set): what
    was done and not noted would be done again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stuck = 0
        self.clear = asyncio.Event()
        self.clear.set()

    async def record(self, claim: Claim, attempt: Attempt, step: Step) -> bool:
        """False if the claim was not ours any more, or the outcome can never be kept."""
        try:
            return await self._for_as_long_as_it_takes(
                lambda: self._store.record(claim, attempt, step)
            )
        except Unwritable as error:  # the claim runs out, and it is tried again
            logs.get().error("outcome.lost", id=claim.delivery.id, error=str(error))
            return False

    async def pause(self, destination: str, reason: str, now: datetime) -> None:
        """Note that a destination is paused."""
        await self._for_as_long_as_it_takes(
            lambda: self._store.pause(destination, reason, now)
        )

    async def _for_as_long_as_it_takes(
        self, write: Callable[[], Awaitable[bool]]
    ) -> bool:
        stuck = False
        try:
            while True:
                try:
                    return await write()
                except Unwritable:
                    raise
                except StoreError as error:
                    if not stuck:
                        stuck = True
                        self._stuck += 1
                        self.clear.clear()
                        logs.get().error("outcome.not_recorded", error=str(error))
                    await asyncio.sleep(STORE_TROUBLE_S)
        finally:
            if stuck:
                self._stuck -= 1
                if not self._stuck:
                    self.clear.set()


class Lane:
    """
    Runs one destination until it is stopped.

    `pauses` is shared with whoever else must know; a lane adds to it when the
    destination says that it can never be right.
    """

    def __init__(
        self,
        settings: DestinationSettings,
        destination: Destination,
        store: Store,
        metrics: Metrics,
        recorder: Recorder,
        *,
        owner: str,
        pauses: list[Pause],
        read: ReadEvent,
    ) -> None:
        self.settings = settings
        self.destination = destination
        self.pauses = pauses
        self._store = store
        self._metrics = metrics
        self._recorder = recorder
        self._owner = owner
        self._read = read
        self._log = logs.get()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._window = settings.concurrency * AHEAD
        self._running: dict[asyncio.Task[None], Claim] = {}
        self._attempting: set[asyncio.Task[None]] = set()
        self._recording: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    @property
    def paused(self) -> bool:
        return any(pause.ended_at is None for pause in self.pauses)

    @property
    def running(self) -> int:
        """How many attempts are being made or recorded."""
        return len(self._attempting) + len(self._recording)

    def start(self) -> None:
        name = f"lane-{self.settings.name}"
        self._loop = asyncio.create_task(self._run(), name=name)

    def wake(self) -> None:
        self._wake.set()

    async def stop(self, grace_s: float) -> None:
        """Begin nothing more; what does not end in time is given back."""
        self._stopping = True
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
        self._cut_off(self._running.keys() - self._attempting - self._recording)
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        self._cut_off(self._attempting)
        if self._running:
            await asyncio.wait(self._running, timeout=RECORD_GRACE_S)
        await self.destination.close()

    @staticmethod
    def _cut_off(tasks: "set[asyncio.Task[None]]") -> None:
        for task in list(tasks):
            task.cancel()

    # -- claiming

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
            except StoreError as error:
                self._log.error(
                    "claim.failed", destination=self.settings.name, error=str(error)
                )
                await asyncio.sleep(STORE_TROUBLE_S)
            except Exception:  # noqa: BLE001 (a lane must not end silently)
                self._log.exception("lane.fault", destination=self.settings.name)
                await asyncio.sleep(STORE_TROUBLE_S)

    async def _turn(self) -> None:
        """Claim once, if there is room; then sleep until there may be more to do."""
        await self._recorder.clear.wait()
        self._wake.clear()
        room = self._window - len(self._running)
        full = room < self.settings.concurrency or self._bytes >= MAX_CLAIMED_BYTES
        if self.paused or full:
            await self._wake.wait()
            return
        await self._sleep_until(await self._claim(room))

    async def _claim(self, room: int) -> datetime | None:
        """Take what is due and start on it; returns when more will be."""
        claimed = await self._store.claim(
            self.settings.name,
            owner=self._owner,
            now=clock.now(),
            limit=room,
            max_bytes=MAX_CLAIMED_BYTES - self._bytes,
            lease_s=self.settings.timeout.total_seconds() * (AHEAD + 1)
            + LEASE_MARGIN_S,
        )
        for claim in claimed.claims:
            task = asyncio.create_task(self._deliver(claim))
            self._running[task] = claim
            self._bytes += len(claim.event.body)
            task.add_done_callback(self._finished)
        if len(claimed.claims) == room:
            return None  # woken when one of them ends
        return claimed.next_due_at

    def _finished(self, task: asyncio.Task[None]) -> None:
        claim = self._running.pop(task)
        self._attempting.discard(task)
        self._recording.discard(task)
        self._bytes -= len(claim.event.body)
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            error = str(task.exception())
            self._log.error("lane.fault", id=claim.delivery.id, error=error)

    async def _sleep_until(self, due_at: datetime | None) -> None:
        """Until woken or due; never long, for the wall clock may be set."""
        seconds = LONGEST_SLEEP_S
        if due_at is not None:
            seconds = min(seconds, (due_at - clock.now()).total_seconds())
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()

    # -- delivering

    async def _deliver(self, claim: Claim) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (for the type checker)
        try:
            async with self._slots:
                if self._stopping or self.paused or not self._recorder.clear.is_set():
                    await self._store.release([claim])
                    return
                self._attempting.add(task)
                attempt = await delivery.attempt(
                    self.destination, self.settings, claim, self._read
                )
        except asyncio.CancelledError:
            await self._store.release([claim])
            raise
        self._attempting.discard(task)
        self._recording.add(task)
        await self._conclude(claim, attempt, clock.now())

    async def _conclude(self, claim: Claim, attempt: Attempt, now: datetime) -> None:
        step = next_step(
            self.settings.retry,
            claim.delivery,
            attempt.outcome,
            now=now,
            paused=paused_for(self.pauses, claim.delivery.round_started_at, now),
            jitter=random.random(),  # noqa: S311 (spreads retries, guards nothing)
        )
        # Only the lane in charge may pause: an ended one speaks of another address.
        pauses = bool(attempt.outcome.pause) and not (self.paused or self._stopping)
        if pauses:
            self.pauses.append(Pause(self.settings.name, now, None, step.reason))
        await self._recorder.record(claim, attempt, step)
        self._note(claim, attempt, step, now)
        if pauses:
            self._log.error(
                "destination.paused", destination=self.settings.name, reason=step.reason
            )
            await self._recorder.pause(self.settings.name, step.reason, now)

    def _note(self, claim: Claim, attempt: Attempt, step: Step, now: datetime) -> None:
        name, outcome = self.settings.name, attempt.outcome
        self._metrics.attempts.labels(name, outcome.result).inc()
        if step.status is Status.DELIVERED:
            waited = (now - claim.delivery.created_at).total_seconds()
            self._metrics.delivered_after.labels(name).observe(max(0.0, waited))
        log = self._log.info if outcome.ok else self._log.warning
        log(
            "delivery.attempted",
            id=claim.delivery.id,
            event_id=claim.event.id,
            type=claim.event.type,
            subject=claim.event.subject,
            destination=name,
            attempt=attempt.number,
            trigger=attempt.trigger,
            result=outcome.result,
            code=outcome.status_code,
            detail=outcome.detail,
            status=step.status,
            reason=step.reason,
            next_at=clock.iso(step.due_at) if step.status is Status.PENDING else None,
            ms=round(attempt.duration_ms, 1),
        )


def paused_for(pauses: Sequence[Pause], since: datetime, now: datetime) -> timedelta:
    """How long of the time since then the destination was paused."""
    total = timedelta()
    for pause in pauses:
        overlap = (pause.ended_at or now) - max(pause.started_at, since)
        total += max(timedelta(), overlap)
    return total
