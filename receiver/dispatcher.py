"""
From what is due to what is recorded: a lane for every destination.

    claim -> attempt, several at a time -> decide what follows -> record

Lanes share nothing but the store, so a slow or dead destination holds up no other.
A lane holds at most twice its concurrency in memory, whatever waits; it sleeps until
it is woken by new work, or until the next delivery is due.
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from receiver import clock, delivery, logs
from receiver.destinations import Destination
from receiver.errors import StoreError
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

Make = Callable[[DestinationSettings], Destination]


class Dispatcher:
    """Runs the lanes.  `make` turns a destination's settings into the destination."""

    def __init__(self, store: Store, metrics: Metrics, make: Make) -> None:
        self._store = store
        self._metrics = metrics
        self._make = make
        self._lanes: dict[str, _Lane] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._owner = f"{os.getpid()}-{random.getrandbits(32):08x}"
        self.recorder = _Recorder(store)

    async def start(self, destinations: Mapping[str, DestinationSettings]) -> None:
        """
        Begin delivering.

        Raises:
            StoreError: the pauses cannot be read.
        """
        await self.reload(destinations)

    async def reload(self, destinations: Mapping[str, DestinationSettings]) -> None:
        """Start, replace and end lanes; those whose settings are the same go on."""
        pauses = await self._store.pauses()
        for name, lane in list(self._lanes.items()):
            if destinations.get(name) != lane.settings:
                del self._lanes[name]
                self._end(lane)
        for name, settings in destinations.items():
            if name not in self._lanes:
                mine = [pause for pause in pauses if pause.destination == name]
                destination = self._make(settings)
                lane = _Lane(
                    settings, destination, self._store, self._metrics, self.recorder,
                    owner=self._owner, pauses=mine,
                )  # fmt: skip
                self._lanes[name] = lane
                lane.start()

    def wake(self, destinations: Iterable[str]) -> None:
        """There is new work for these."""
        for name in destinations:
            lane = self._lanes.get(name)
            if lane is not None:
                lane.wake()

    async def pauses_changed(self) -> None:
        """Somebody paused or resumed a destination."""
        pauses = await self._store.pauses()
        for name, lane in self._lanes.items():
            lane.pauses = [pause for pause in pauses if pause.destination == name]
            lane.wake()

    def paused(self) -> Mapping[str, bool]:
        """Which destinations are given nothing now."""
        return {name: lane.paused for name, lane in self._lanes.items()}

    @property
    def running(self) -> int:
        """How many attempts are being made."""
        return sum(lane.running for lane in self._lanes.values())

    async def stop(self, grace_s: float) -> None:
        """Claim nothing more; finish what runs within `grace_s`, release the rest."""
        lanes = list(self._lanes.values())
        self._lanes.clear()
        await asyncio.gather(*(lane.stop(grace_s) for lane in lanes), *self._ending)

    def _end(self, lane: "_Lane") -> None:
        task = asyncio.create_task(lane.stop(lane.settings.timeout.total_seconds()))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class _Recorder:
    """
    Writes outcomes down, for as long as it takes.

    While one cannot be written nothing new may be claimed (`clear` is not set): what
    was done and not noted would be done again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stuck = 0
        self.clear = asyncio.Event()
        self.clear.set()

    async def record(self, claim: Claim, attempt: Attempt, step: Step) -> bool:
        """False if the claim was not ours any more."""
        stuck = False
        try:
            while True:
                try:
                    return await self._store.record(claim, attempt, step)
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


class _Lane:
    """Everything due for one destination, claimed and attempted."""

    def __init__(
        self,
        settings: DestinationSettings,
        destination: Destination,
        store: Store,
        metrics: Metrics,
        recorder: _Recorder,
        *,
        owner: str,
        pauses: Sequence[Pause],
    ) -> None:
        self.settings = settings
        self.destination = destination
        self.pauses = list(pauses)
        self._store = store
        self._metrics = metrics
        self._recorder = recorder
        self._owner = owner
        self._log = logs.get()
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._window = settings.concurrency * AHEAD
        self._running: dict[asyncio.Task[None], Claim] = {}
        self._bytes = 0
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    @property
    def paused(self) -> bool:
        return any(pause.ended_at is None for pause in self.pauses)

    @property
    def running(self) -> int:
        return len(self._running)

    def start(self) -> None:
        name = f"lane-{self.settings.name}"
        self._loop = asyncio.create_task(self._run(), name=name)

    def wake(self) -> None:
        self._wake.set()

    async def stop(self, grace_s: float) -> None:
        """End the lane; deliveries that do not finish in time are released."""
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        unfinished = dict(self._running)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        await self._store.release(list(unfinished.values()))
        await self.destination.close()

    async def _run(self) -> None:
        while True:
            await self._recorder.clear.wait()
            self._wake.clear()
            room = self._window - len(self._running)
            if (
                self.paused
                or room < self.settings.concurrency
                or self._bytes >= MAX_CLAIMED_BYTES
            ):
                await self._wake.wait()
                continue
            try:
                next_due_at = await self._claim(room)
            except StoreError as error:
                self._log.error(
                    "claim.failed", destination=self.settings.name, error=str(error)
                )
                await asyncio.sleep(STORE_TROUBLE_S)
            else:
                await self._sleep_until(next_due_at)

    async def _claim(self, room: int) -> datetime | None:
        """Take what is due and start on it; returns when more will be."""
        now = clock.now()
        claimed = await self._store.claim(
            self.settings.name,
            owner=self._owner,
            now=now,
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
        self._bytes -= len(self._running.pop(task).event.body)
        self._wake.set()

    async def _sleep_until(self, due_at: datetime | None) -> None:
        """Until woken or due; never long, for the wall clock may be set."""
        seconds = LONGEST_SLEEP_S
        if due_at is not None:
            seconds = min(seconds, (due_at - clock.now()).total_seconds())
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()

    async def _deliver(self, claim: Claim) -> None:
        async with self._slots:
            if self.paused or not self._recorder.clear.is_set():
                await self._store.release([claim])
                return
            attempt = await delivery.attempt(self.destination, self.settings, claim)
        now = clock.now()
        step = next_step(
            self.settings.retry,
            claim.delivery,
            attempt.outcome,
            now=now,
            paused=self._paused_since(claim.delivery.round_started_at, now),
            jitter=random.random(),  # noqa: S311 (spreads retries, guards nothing)
        )
        pauses = bool(attempt.outcome.pause) and not self.paused
        if pauses:  # at once, in memory; kept when the outcome is
            self.pauses.append(Pause(self.settings.name, now, None, step.reason))
        await asyncio.shield(self._recorder.record(claim, attempt, step))
        if pauses:
            await self._keep_pause(step.reason, now)
        self._note(claim, attempt, step, now)

    async def _keep_pause(self, reason: str, now: datetime) -> None:
        """This destination is given nothing more, until somebody resumes it."""
        self._log.error(
            "destination.paused", destination=self.settings.name, reason=reason
        )
        try:
            await self._store.pause(self.settings.name, reason, now)
        except StoreError as error:  # paused in memory all the same
            self._log.error("pause.not_kept", error=str(error))

    def _paused_since(self, since: datetime, now: datetime) -> timedelta:
        total = timedelta()
        for pause in self.pauses:
            overlap = (pause.ended_at or now) - max(pause.started_at, since)
            total += max(timedelta(), overlap)
        return total

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
