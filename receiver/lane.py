"""
A lane: everything due for one destination, claimed, attempted and recorded.

    claim -> wait until it may begin -> attempt -> decide what follows -> record

An attempt can be cut off, and is then given back; an outcome, once there is one, is
written down for as long as that takes.  What is claimed and may not begin soon, for
the destination is paused or does not answer, is given back as well.
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from receiver import clock, delivery, internal, logs
from receiver.alerts import Alerts
from receiver.delivery import ReadEvent
from receiver.destinations import Destination
from receiver.errors import StoreError
from receiver.gate import Gate
from receiver.metrics import Metrics
from receiver.models import Attempt, Claim, HeldBack, Outcome, Pause, Status, Step
from receiver.recorder import STORE_TROUBLE_S, Recorder
from receiver.retry import next_step
from receiver.settings import DestinationSettings
from receiver.stores import Store

AHEAD = 2
"""How many times what may run at a time a lane claims, so that it never waits for a
read; it claims again when no more than what may run at a time is left."""

HORIZON_S = 2.0
"""What may not begin within this time is not claimed yet."""

MOST_TOGETHER = 100
"""Deliveries in one attempt, where a destination collects them."""

MAX_CLAIMED_BYTES = 16 * 1024 * 1024
LONGEST_SLEEP_S = 60.0
LEASE_MARGIN_S = 60.0
RECORD_GRACE_S = 5.0
"""How long a stop waits for outcomes that the store does not take."""


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
        alerts: Alerts,
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
        self._alerts = alerts
        self._owner = owner
        self._read = read
        self._log = logs.get()
        self._gate = Gate(settings)
        self._ready: deque[Claim] = deque()
        self._running: dict[asyncio.Task[None], Sequence[Claim]] = {}
        self._attempting: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._asked_by_hand = False
        self._collecting_until = float("-inf")
        self._stopping = False
        self._loop: asyncio.Task[None] | None = None

    @property
    def paused(self) -> bool:
        return any(pause.ended_at is None for pause in self.pauses)

    @property
    def running(self) -> int:
        """How many attempts are being made or recorded."""
        return len(self._running)

    @property
    def claimed(self) -> int:
        """How many deliveries are held: those that run, and those about to."""
        return len(self._ready) + sum(map(len, self._running.values()))

    def held_back(self) -> HeldBack | None:
        """Why next to nothing is attempted now, if that is so."""
        return self._gate.held_back(clock.monotonic(), clock.now())

    def start(self) -> None:
        name = f"lane-{self.settings.name}"
        self._loop = asyncio.create_task(self._run(), name=name)

    def wake(self, *, by_hand: bool = False) -> None:
        """There may be work; `by_hand`: some that somebody asked for just now."""
        self._asked_by_hand |= by_hand
        self._wake.set()

    async def stop(self, grace_s: float) -> None:
        """Begin nothing more; what does not end in time is given back."""
        self._stopping = True
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
        await self._give_back()
        if self._running:
            await asyncio.wait(self._running, timeout=grace_s)
        await self.cut_off()
        await self.destination.close()

    async def cut_off(self) -> None:
        """Attempts that run end now and are given back; outcomes are still recorded."""
        claims = [one for task in self._attempting for one in self._running[task]]
        for task in list(self._attempting):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=RECORD_GRACE_S)
        await self._store.release(claims)

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
        if not self._recorder.clear.is_set():
            await self._give_back()
            await self._recorder.clear.wait()
        self._wake.clear()
        looked_at = clock.monotonic()
        if self.paused:
            await self._give_back()
            await self._wake.wait()
            return
        if not self._gate.probing:
            self._asked_by_hand = False  # it goes out like all the others
        if self._too_far_ahead():
            await self._give_back()
            await self._probe_if_asked()
        self._begin()
        room = self._room()
        due_at = await self._claim(room) if room else None
        await self._sleep_until(due_at, looked_at)

    def _too_far_ahead(self) -> bool:
        """Whether what is claimed could wait for longer than its claim lasts."""
        now = clock.monotonic()
        at_a_time = self._gate.limit(now)
        if not at_a_time or not self._gate.soon(now, HORIZON_S, 1):
            return True
        return not self.settings.window and len(self._ready) > at_a_time * AHEAD

    def _room(self) -> int:
        """How many to claim now; few at a time are not worth a look."""
        now = clock.monotonic()
        at_a_time = self._gate.limit(now)
        if self.settings.window:
            waits = self.claimed or now < self._collecting_until
            soon = at_a_time and self._gate.soon(now, HORIZON_S, 1)
            return MOST_TOGETHER if soon and not waits else 0
        most = at_a_time if self._gate.probing else at_a_time * AHEAD
        room = most - self.claimed
        if room < at_a_time or self._bytes >= MAX_CLAIMED_BYTES:
            return 0
        soon = self._gate.soon(now, HORIZON_S, most)
        if len(self._ready) * 2 > soon:
            return 0
        return min(room, soon - len(self._ready))

    async def _probe_if_asked(self) -> None:
        """What somebody asks for goes out although the breaker is open: one attempt."""
        soon = self._gate.soon(clock.monotonic(), HORIZON_S, 1)
        if self._asked_by_hand and self._gate.probing and soon:
            self._asked_by_hand = False
            await self._claim(1, by_hand=True)
            if self._ready:
                self._gate.probe_now(clock.monotonic())
                self._begin()

    async def _claim(self, room: int, *, by_hand: bool = False) -> datetime | None:
        """Take what is due and start on it; returns when more will be."""
        claimed = await self._store.claim(
            self.settings.name,
            owner=self._owner,
            now=clock.now(),
            limit=room,
            max_bytes=MAX_CLAIMED_BYTES - self._bytes,
            lease_s=self.settings.timeout.total_seconds() * (AHEAD + 1)
            + LEASE_MARGIN_S,
            by_hand=by_hand,
        )
        if not by_hand and (until := self._collecting(claimed.claims, room)):
            await self._store.release(claimed.claims)
            return until
        self._ready += claimed.claims
        self._bytes += sum(len(claim.event.body) for claim in claimed.claims)
        self._begin()
        if len(claimed.claims) == room:
            return None  # woken when one of them ends
        return claimed.next_due_at

    def _collecting(self, claims: Sequence[Claim], room: int) -> datetime | None:
        """Until when to wait for more to tell of in the same attempt, if that is so."""
        if not self.settings.window or not 0 < len(claims) < room:
            return None
        until = claims[0].delivery.due_at + self.settings.window
        left_s = (until - clock.now()).total_seconds()
        if left_s <= 0:
            return None
        self._collecting_until = clock.monotonic() + left_s
        return until

    async def _give_back(self) -> None:
        """Others may take what has not begun."""
        claims = list(self._ready)
        self._ready.clear()
        self._bytes -= sum(len(claim.event.body) for claim in claims)
        await self._store.release(claims)

    async def _sleep_until(self, due_at: datetime | None, looked_at: float) -> None:
        """
        Until woken, or more is due or may begin; the wall clock may be set.

        What has come about since `looked_at`, when this turn began, is no sleep at all.
        """
        seconds = LONGEST_SLEEP_S
        if due_at is not None:
            seconds = min(seconds, (due_at - clock.now()).total_seconds())
        now = clock.monotonic()
        may_begin = self._gate.ready_at
        if self._gate.limit(now) and not self._ready:
            may_begin -= HORIZON_S
        for moment in (may_begin, self._collecting_until):
            if moment > looked_at:
                seconds = min(seconds, moment - now)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()

    # -- delivering

    def _begin(self) -> None:
        """Start on what is claimed, as far as it may begin now."""
        now = clock.monotonic()
        while self._ready and self._may_begin(now):
            claims = self._next()
            task = asyncio.create_task(self._deliver(claims))
            self._running[task] = claims
            self._attempting.add(task)
            task.add_done_callback(self._finished)
            self._gate.began(now)

    def _next(self) -> Sequence[Claim]:
        """What is attempted together: one, or what was collected and is as far."""
        first = self._ready.popleft()
        if not self.settings.window:
            return [first]
        as_far = first.delivery.progress
        together = [one for one in self._ready if one.delivery.progress == as_far]
        others = [one for one in self._ready if one.delivery.progress != as_far]
        self._ready = deque(others)
        return [first, *together]

    def _may_begin(self, now: float) -> bool:
        if self._stopping or self.paused or not self._recorder.clear.is_set():
            return False
        return self._gate.may_begin(now, len(self._attempting))

    async def _deliver(self, claims: Sequence[Claim]) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (for the type checker)
        begun_at = clock.monotonic()
        attempts = await delivery.attempt_together(
            self.destination, self.settings, claims, self._read
        )
        self._attempting.discard(task)
        outcome, now = attempts[0].outcome, clock.now()
        self._judge(outcome, begun_at)
        # Only the lane in charge may pause: an ended one speaks of another address.
        pauses = bool(outcome.pause) and not (self.paused or self._stopping)
        if pauses:
            self.pauses.append(Pause(self.settings.name, now, None, outcome.pause))
        self._begin()  # its place is free, now that all is known that speaks against it
        jitter = random.random()  # noqa: S311 (spreads retries, guards nothing)
        concluding = [
            self._conclude(claim, attempt, now, jitter)
            for claim, attempt in zip(claims, attempts, strict=True)
        ]
        if len(concluding) == 1:  # nearly always: a task less for each delivery
            await concluding[0]
        else:
            await asyncio.gather(*concluding)
        if pauses:
            self._log.error(
                "destination.paused",
                destination=self.settings.name,
                reason=outcome.pause,
            )
            await self._recorder.pause(self.settings.name, outcome.pause, now)
            if any(claim.event.source != internal.SOURCE for claim in claims):
                self._alerts.destination_paused(self.settings.name, outcome.pause)

    async def _conclude(
        self, claim: Claim, attempt: Attempt, now: datetime, jitter: float
    ) -> None:
        step = next_step(
            self.settings.retry,
            claim.delivery,
            attempt.outcome,
            now=now,
            paused=paused_for(self.pauses, claim.delivery.round_started_at, now),
            jitter=jitter,
        )
        await self._recorder.record(claim, attempt, step)
        self._note(claim, attempt, step, now)

    def _finished(self, task: asyncio.Task[None]) -> None:
        claims = self._running.pop(task)
        self._attempting.discard(task)
        self._bytes -= sum(len(claim.event.body) for claim in claims)
        self._wake.set()
        if not task.cancelled() and task.exception() is not None:
            error, ids = str(task.exception()), [one.delivery.id for one in claims]
            self._log.error("lane.fault", id=ids[0], error=error, count=len(ids))

    def _judge(self, outcome: Outcome, begun_at: float) -> None:
        """What an outcome says of the destination."""
        name = self.settings.name
        jitter = random.random()  # noqa: S311 (spreads probes, guards nothing)
        change = self._gate.ended(
            outcome, clock.monotonic(), begun_at=begun_at, jitter=jitter
        )
        if change == "closed":
            self._log.info("breaker.closed", destination=name)
        elif change == "opened":
            held = self.held_back()
            self._log.warning(
                "breaker.opened",
                destination=name,
                reason=held.why if held else "",
                next_at=clock.iso(held.until) if held else None,
            )
        if change:
            self._wake.set()

    def _note(self, claim: Claim, attempt: Attempt, step: Step, now: datetime) -> None:
        name, outcome = self.settings.name, attempt.outcome
        self._metrics.attempts.labels(name, outcome.result).inc()
        if step.status is Status.DELIVERED:
            waited = (now - claim.delivery.created_at).total_seconds()
            self._metrics.delivered_after.labels(name).observe(max(0.0, waited))
        elif step.status is Status.DEAD:
            said = outcome.detail or outcome.result
            self._alerts.delivery_dead(claim.event, name, said)
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
