"""
A lane: everything due for one destination, claimed, attempted and recorded.

    claim -> wait until it may begin -> attempt -> decide what follows -> record

An attempt can be cut off, and is then given back; an outcome, once there is one, is
written down for as long as that takes.  What is claimed and may not begin soon, for
the destination is paused or does not answer, is given back as well.

While all that is due is claimed the store hands over what is accepted, and there is
nothing to look for.  So nothing overtakes what waits unclaimed.
"""

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from receiver import clock, delivery, logs
from receiver.alerts import Alerts
from receiver.delivery import ReadEvent
from receiver.destinations import Destination
from receiver.errors import StoreError
from receiver.gate import Gate
from receiver.inbox import AHEAD, HORIZON_S, MAX_CLAIMED_BYTES, Inbox
from receiver.metrics import Metrics
from receiver.models import Attempt, Claim, HeldBack, Outcome, Pause, Status
from receiver.recorder import STORE_TROUBLE_S, Recorder
from receiver.retry import longest_waits, next_step, paused_for
from receiver.settings import DestinationSettings
from receiver.stores import Claimed, Store
from receiver.telling import Teller

LONGEST_SLEEP_S = 5.0
SET_BACK_S = 1.0
"""A clock that goes back by more at once was set."""
SETTLED_S = 2.0
"""So long after that what was decided before it is in the store."""

LEASE_MARGIN_S = 60.0
RECORD_GRACE_S = 5.0
"""How long a stop waits for outcomes that the store does not take."""


class Lane:
    """
    Runs one destination until it is stopped; a `receiver.stores.Taker`.

    `pauses` is shared with whoever else must know, who wakes the lane after a change; a
    lane adds to it when the destination says that it can never be right.
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
        self.owner = owner
        self.lease_s = settings.timeout.total_seconds() * (AHEAD + 1) + LEASE_MARGIN_S
        self._store = store
        self._recorder = recorder
        self._read = read
        self._log = logs.get()
        self._tell = Teller(settings.name, metrics, alerts)
        self._gate = Gate(settings)
        self._inbox = Inbox(settings, self._gate)
        self._handed: list[Claim] | None = None  # over while we look
        self._taking = False  # all that is due is claimed, so more may be handed over
        self._behind = True  # something may be due and unclaimed
        self._looked_at = float("-inf")
        self._ahead_s = float("inf")  # how far the wall clock is ahead of the other
        self._settled_at = float("inf")  # when to see what a set clock left behind
        self._due_at: datetime | None = None  # when to look again, as far as is known
        self._attempting: dict[asyncio.Task[None], Sequence[Claim]] = {}
        self._idle = asyncio.Event()
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
        """How many deliveries are being attempted or recorded."""
        return self._inbox.held - self._inbox.waiting

    @property
    def claimed(self) -> int:
        """How many deliveries are held: those that run, and those about to."""
        return self._inbox.held

    def held_back(self) -> HeldBack | None:
        """Why next to nothing is attempted now, if that is so."""
        return self._gate.held_back(clock.monotonic(), clock.now())

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run(), name=f"lane-{self.settings.name}")

    def wake(self, *, by_hand: bool = False) -> None:
        """Look how things are; `by_hand`: for what somebody asked for just now."""
        self._asked_by_hand |= by_hand
        self._fall_behind()
        self._wake.set()

    async def stop(self, grace_s: float) -> None:
        """Begin nothing more; what does not end in time is given back."""
        self._stopping, self._taking = True, False
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop
        await self._give_back()
        await self._all_ended(grace_s)
        await self.cut_off()
        await self.destination.close()

    async def cut_off(self) -> None:
        """Attempts that run end now and are given back; outcomes are still recorded."""
        claims = [one for several in self._attempting.values() for one in several]
        for task in list(self._attempting):
            task.cancel()
        await self._all_ended(RECORD_GRACE_S)
        await self._store.release(claims)

    async def _all_ended(self, seconds: float) -> None:
        """Wait until nothing runs, but no longer than this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.running:
                    self._idle.clear()
                    await self._idle.wait()

    # -- being handed over what is accepted

    def has_room(self, size: int) -> bool:
        """See `receiver.stores.Taker`."""
        if not self._taking or not self._recorder.clear.is_set():
            return False
        others = self._handed or ()
        size += sum([len(claim.event.body) for claim in others])
        return self._inbox.takes(clock.monotonic(), size, len(others))

    def take(self, claim: Claim) -> None:
        """See `receiver.stores.Taker`."""
        if self._handed is not None:
            self._handed.append(claim)  # after what the look brings
        else:
            self._inbox.put([claim])
            self._go_on()

    def look(self) -> None:
        """See `receiver.stores.Taker`."""
        if not self._behind:
            self._fall_behind()
            self._wake.set()

    def _fall_behind(self) -> None:
        """Something is due that is not claimed; what comes must not overtake it."""
        self._behind, self._taking = True, False

    # -- claiming

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
            except StoreError as error:
                name = self.settings.name
                self._log.error("claim.failed", destination=name, error=str(error))
                await asyncio.sleep(STORE_TROUBLE_S)
            except Exception:  # noqa: BLE001 (a lane must not end silently)
                self._log.exception("lane.fault", destination=self.settings.name)
                await asyncio.sleep(STORE_TROUBLE_S)

    async def _turn(self) -> None:
        """Look once, if there is need and room; then sleep until there may be more to do."""
        if not self._recorder.clear.is_set():
            await self._give_back()
            await self._recorder.clear.wait()
        self._wake.clear()
        woken_at = clock.monotonic()
        if self.paused:
            await self._give_back()
            await self._wake.wait()
            return
        if not self._gate.probing:
            self._asked_by_hand = False  # it goes out like all the others
        if self._inbox.too_many(woken_at):
            await self._give_back()
            await self._probe_if_asked()
        self._begin()
        await self._notice_the_clock()
        if self._must_look() and (room := self._room()):
            await self._look(room)
        await self._sleep(woken_at)

    async def _notice_the_clock(self) -> None:
        """
        What was decided by a clock that was ahead would have to wait until it is that
        time again; whether it was is not known at first.  Some of it is only being
        written when the clock is set back, so that is seen to once more.
        """
        now, at = clock.now(), clock.monotonic()
        ahead_s = now.timestamp() - at
        was_set_back = ahead_s < self._ahead_s - SET_BACK_S
        if was_set_back or self._settled_at <= at:
            waits = longest_waits(self.settings.retry)
            count = await self._store.bring_forward(self.settings.name, waits, now)
            if count:
                self._tell.brought_forward(count)
            self._fall_behind()
            self._settled_at = at + SETTLED_S if was_set_back else float("inf")
        self._ahead_s = ahead_s

    def _must_look(self) -> bool:
        """Whether something may be due that is not claimed."""
        is_due = self._due_at is not None and self._due_at <= clock.now()
        if is_due or clock.monotonic() - self._looked_at >= LONGEST_SLEEP_S:
            self._fall_behind()
        return self._behind

    def _room(self) -> int:
        """How many to claim now."""
        now = clock.monotonic()
        return 0 if now < self._collecting_until else self._inbox.room(now)

    async def _probe_if_asked(self) -> None:
        """What somebody asks for goes out although the breaker is open: one attempt."""
        soon = self._gate.soon(clock.monotonic(), HORIZON_S, 1)
        if self._asked_by_hand and self._gate.probing and soon:
            self._asked_by_hand = False
            claimed = await self._claim(1, clock.now(), by_hand=True)
            if claimed.claims:
                self._inbox.put(claimed.claims)
                self._gate.probe_now(clock.monotonic())
                self._begin()

    async def _look(self, room: int) -> None:
        """Claim what is due, and start on it."""
        now, handed = clock.now(), list[Claim]()
        self._looked_at, self._due_at = clock.monotonic(), None
        self._handed, self._behind = handed, False
        self._taking = not (self.settings.window or self._stopping)
        try:
            claimed = await self._claim(room, now)
        except BaseException:
            self._fall_behind()
            self._inbox.put(handed)
            raise
        finally:
            self._handed = None
        if self._collects(claimed.claims, room):
            self._fall_behind()
            await self._store.release(claimed.claims)
            return
        self._inbox.put(claimed.claims)
        if claimed.next_due_at is not None and claimed.next_due_at <= now:
            self._fall_behind()
            await self._store.release(handed)  # they would overtake what is left
            if not claimed.claims:
                self._wake.set()
        else:
            self._due_again(claimed.next_due_at)
            self._inbox.put(handed)
        self._begin()

    async def _claim(
        self, room: int, now: datetime, *, by_hand: bool = False
    ) -> Claimed:
        return await self._store.claim(
            self.settings.name,
            owner=self.owner,
            now=now,
            limit=room,
            max_bytes=MAX_CLAIMED_BYTES - self._inbox.bytes,
            lease_s=self.lease_s,
            by_hand=by_hand,
        )

    def _due_again(self, due_at: datetime | None) -> None:
        """Something waits that will be due then."""
        if due_at is not None and (self._due_at is None or due_at < self._due_at):
            self._due_at = due_at
            self._wake.set()

    def _collects(self, claims: Sequence[Claim], room: int) -> bool:
        """Whether to wait for more to tell of in the same attempt."""
        if not self.settings.window or not 0 < len(claims) < room:
            return False
        until = claims[0].delivery.due_at + self.settings.window
        left_s = (until - clock.now()).total_seconds()
        if left_s <= 0:
            return False
        self._collecting_until = clock.monotonic() + left_s
        return True

    async def _give_back(self) -> None:
        """Others may take what has not begun."""
        self._fall_behind()
        await self._store.release(self._inbox.empty())

    async def _sleep(self, woken_at: float) -> None:
        """Until woken, or more is due or may begin since this turn began at `woken_at`."""
        seconds = LONGEST_SLEEP_S
        if self._due_at is not None and not self._behind:
            seconds = min(seconds, (self._due_at - clock.now()).total_seconds())
        now = clock.monotonic()
        may_begin = self._gate.ready_at
        if self._gate.limit(now) and not self._inbox.waiting:
            may_begin -= HORIZON_S
        for moment in (may_begin, self._collecting_until, self._settled_at):
            if moment > woken_at:
                seconds = min(seconds, moment - now)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()

    # -- delivering

    def _begin(self) -> None:
        """Start on what is claimed, as far as it may begin now."""
        while claims := self._next():
            task = asyncio.create_task(self._deliver(claims))
            self._attempting[task] = claims

    def _go_on(self) -> None:
        """Start on what may begin now; what the rate holds up has a time of its own."""
        self._begin()
        if self.settings.max_rate and self._inbox.waiting:
            self._wake.set()

    def _next(self) -> Sequence[Claim]:
        """What is attempted next, one or what was collected, if that may begin now."""
        if not self._inbox.waiting or self._stopping or self.paused:
            return ()
        now = clock.monotonic()
        may_begin = self._gate.may_begin(now, len(self._attempting))
        if not may_begin or not self._recorder.clear.is_set():
            return ()
        self._gate.began(now)
        together = self.settings.window
        return self._inbox.next_together() if together else (self._inbox.next(),)

    async def _deliver(self, claims: Sequence[Claim]) -> None:
        """Attempt these, and go on with what waits for its turn."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (for the type checker)
        while claims:
            try:
                await self._attempt(task, claims)
            except BaseException as error:
                self._attempting.pop(task, None)
                self._ended(claims)
                if isinstance(error, Exception):
                    self._tell.fault(error, claims)
                    return
                raise
            claims = self._next()
            if claims:
                self._attempting[task] = claims
            self._go_on()  # an outcome can make room for several

    async def _attempt(self, task: asyncio.Task[None], claims: Sequence[Claim]) -> None:
        begun_at = clock.monotonic()
        attempts = await delivery.attempt_together(
            self.destination, self.settings, claims, self._read
        )
        del self._attempting[task]
        outcome, now = attempts[0].outcome, clock.now()
        self._judge(outcome, begun_at)
        # Only the lane in charge may pause: an ended one speaks of another address.
        if outcome.pause and not (self.paused or self._stopping):
            self.pauses.append(Pause(self.settings.name, now, None, outcome.pause))
            await self._pause(outcome.pause, now, claims)
        jitter = random.random()  # noqa: S311 (spreads retries, guards nothing)
        for claim, attempt in zip(claims, attempts, strict=True):
            self._conclude(claim, attempt, now, jitter)

    async def _pause(self, reason: str, now: datetime, claims: Sequence[Claim]) -> None:
        self._fall_behind()
        self._wake.set()
        await self._recorder.pause(self.settings.name, reason, now)
        self._tell.paused(reason, claims)

    def _conclude(
        self, claim: Claim, attempt: Attempt, now: datetime, jitter: float
    ) -> None:
        """Decide what follows, and have it written down."""
        step = next_step(
            self.settings.retry,
            claim.delivery,
            attempt.outcome,
            now=now,
            paused=paused_for(self.pauses, claim.delivery.round_started_at, now),
            jitter=jitter,
        )

        def recorded() -> None:
            self._tell.attempted(claim, attempt, step, now)
            if step.status is Status.PENDING:
                self._due_again(step.due_at)
            self._ended((claim,))

        self._recorder.record(claim, attempt, step, recorded)

    def _ended(self, claims: Sequence[Claim]) -> None:
        """These are done with, one way or another."""
        self._inbox.done(claims)
        if self.settings.ordering == "subject":
            self._behind = True  # others may have the turn
        few = self._behind and self._inbox.held <= self._inbox.few
        stuck = self._inbox.waiting and not self._attempting
        if few or stuck:
            self._wake.set()
        if not self.running:
            self._idle.set()

    def _judge(self, outcome: Outcome, begun_at: float) -> None:
        """What an outcome says of the destination."""
        change = self._gate.ended(
            outcome,
            clock.monotonic(),
            begun_at=begun_at,
            jitter=random.random(),  # noqa: S311 (spreads probes, guards nothing)
        )
        if change == "closed":
            self._tell.breaker_closed()
        elif change == "opened":
            self._tell.breaker_opened(self.held_back())
        if change:
            self._fall_behind()
            self._wake.set()
