"""
Replays that go on by themselves: a step, its deliveries and how far it came, again.

Each running replay has a task.  A step is small, so that webhooks and deliveries get
their turn between two; after a restart every replay goes on where it was.  One with a
rate makes its deliveries a moment before they are due: what was not made yet need not be
cancelled.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from receiver import clock, ids, logs
from receiver.delivery import ReadEvent
from receiver.errors import Conflict, NotFound, ReceiverError, StoreError
from receiver.models import Replay, ReplayState, ReplayStep, State
from receiver.replay import left, targets
from receiver.routing import Router
from receiver.settings import Settings
from receiver.stores import EventFilter, Store, StoredEvent

STEP = 50
"""Events a step goes through."""

AHEAD_S = 2.0
"""How long before they are due the deliveries of a replay with a rate are made."""

TROUBLE_S = 5.0
"""How long a replay waits when the store cannot be written."""

Wake = Callable[[Iterable[str]], None]


class Replayer:
    """Runs the replays there are; `wake` is told who has new work."""

    def __init__(
        self, settings: Settings, store: Store, read: ReadEvent, wake: Wake
    ) -> None:
        self._store = store
        self._read = read
        self._wake = wake
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancelled: dict[str, asyncio.Event] = {}
        self._stays = False
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Steps to come go by these routes."""
        self._router = Router(settings.routes)

    async def start(self) -> None:
        """
        Go on with what was running when the process ended, and be there for as long as a
        replay takes; without a start it makes all of its deliveries at once.
        """
        self._stays = True
        for replay in await self._store.replays(limit=1_000, running=True):
            self._run(replay)

    async def stop(self) -> None:
        """Between two steps; what is left goes on after the next start."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def create(self, asked: Mapping[str, Any]) -> Replay:
        """
        Begin a replay: `events` (ids) or `where` (fields of a filter), `to`, `as_new`,
        `per_second`.

        Raises:
            NotFound: there is no event of an id.
            Conflict: the body of one was pruned.
        """
        for event_id in asked.get("events") or ():
            (await self._store.event(event_id)).whole()
        first = await self._store.events(
            EventFilter(), limit=1, after=None, newest_first=False
        )
        if first:
            asked = {**asked, "first_at": clock.iso(first[0].event.received_at)}
        now = clock.from_ms(clock.to_ms(clock.now()))
        replay_id = await self._store.create_replay(asked, now, running=True)
        replay = Replay(  # not looked up: nothing may fail any more
            id=replay_id,
            created_at=now,
            asked=asked,
            state=ReplayState.RUNNING,
            reached=None,
            progress=0.0,
            events=0,
            deliveries=0,
            due_at=None,
            ended_at=None,
        )
        self._run(replay)
        return replay

    async def ended(self, replay_id: str) -> Replay:
        """The replay once it has come to its end."""
        task = self._tasks.get(replay_id)
        if task is not None:
            await asyncio.wait([task])
        return await self._store.replay(replay_id)

    async def cancel(self, replay_id: str) -> Replay:
        """
        Make no more deliveries; those that were made stay.

        Raises:
            Conflict: it is not running.
        """
        replay, now = await self._store.replay(replay_id), clock.now()
        if not await self._store.cancel_replay(replay_id, now):
            state = (await self._store.replay(replay_id)).state
            raise Conflict(f"{replay_id} is {state} already")
        if replay_id in self._cancelled:
            self._cancelled[replay_id].set()
        return replace(replay, state=ReplayState.CANCELLED, ended_at=now)

    def _run(self, replay: Replay) -> None:
        task = asyncio.create_task(self._steps(replay), name=f"replay-{replay.id}")
        self._tasks[replay.id] = task
        self._cancelled[replay.id] = asyncio.Event()
        task.add_done_callback(lambda _: self._forget(replay.id))

    def _forget(self, replay_id: str) -> None:
        self._tasks.pop(replay_id, None)
        self._cancelled.pop(replay_id, None)

    async def _steps(self, replay: Replay) -> None:
        log = logs.get()
        due_at = max(replay.due_at or clock.now(), clock.now())
        after, going = replay.reached, True
        total = await self._total(replay)
        while going:
            try:
                replay = await self._store.replay(replay.id)
                if replay.state != ReplayState.RUNNING:
                    break
                began = clock.monotonic()
                step, wanted, more = await self._step(replay, total, after, due_at)
                added = await self._store.add_replayed(
                    replay.id,
                    wanted,
                    as_new=replay.asked.get("as_new") is True,
                    now=clock.now(),
                    step=step,
                )
            except NotFound:  # pruned since it was found
                continue
            except Exception as error:
                if isinstance(error, ReceiverError):
                    log.warning("replay.waiting", replay=replay.id, error=str(error))
                else:
                    log.exception("replay.fault", replay=replay.id)
                await asyncio.sleep(TROUBLE_S)
                continue
            if added < 0:
                break
            after, due_at, going = step.reached, step.due_at, not step.done
            self._wake({name for _, name, _ in wanted})
            worked_s = clock.monotonic() - began
            await self._rest(replay, worked_s, due_at if more else clock.now())
        ended = await self._store.replay(replay.id)
        log.info(
            "replay.ended",
            replay=replay.id,
            state=ended.state,
            events=ended.events,
            count=ended.deliveries,
        )

    async def _rest(self, replay: Replay, worked_s: float, due_at: datetime) -> None:
        """Half of the time is others'; and nothing is made long before it is due."""
        early_s = (due_at - clock.now()).total_seconds() - AHEAD_S
        with suppress(TimeoutError):
            async with asyncio.timeout(max(worked_s, early_s if self._stays else 0)):
                await self._cancelled[replay.id].wait()

    async def _total(self, replay: Replay) -> int | None:
        """The events it goes through from beginning to end, if they are soon counted."""
        if replay.asked.get("events") is not None:
            return None
        where = filter_of(replay.asked.get("where") or {}, until=replay.created_at)
        with suppress(StoreError):
            ahead = await left(self._store, where, replay.reached)
            return None if ahead is None else replay.events + ahead
        return None

    async def _step(
        self, replay: Replay, total: int | None, after: str | None, due_at: datetime
    ) -> tuple[ReplayStep, list[tuple[str, str, datetime]], bool]:
        """The next step, the deliveries it makes, and whether there may be more."""
        size = self._size(replay)
        ahead = await self._next(replay, after, size + 1)
        found = ahead[:size]
        there = [one for one in found if one.body_pruned_at is None]
        wanted, next_due = await self._wanted(replay, there, due_at)
        step = ReplayStep(
            found[-1].event.id if found else after or ids.public("evt", 0),
            len(there),
            _progress(replay, found, total, len(there)),
            next_due,
            not found,
        )
        return step, wanted, len(ahead) > size

    def _size(self, replay: Replay) -> int:
        """How many events are a step: not more than the rate allows soon."""
        rate = replay.asked.get("per_second")
        if not (rate and self._stays):
            return STEP
        return max(1, min(STEP, int(rate * AHEAD_S)))

    async def _next(
        self, replay: Replay, after: str | None, limit: int
    ) -> Sequence[StoredEvent]:
        """The next events, in the order in which they came."""
        named = replay.asked.get("events")
        if named is not None:
            left = sorted(one for one in set(named) if after is None or one > after)
            found: list[StoredEvent] = []
            for event_id in left:
                with suppress(NotFound):  # it was pruned meanwhile
                    found.append(await self._store.event(event_id))
                if len(found) == limit:
                    break
            return found
        where = filter_of(replay.asked.get("where") or {}, until=replay.created_at)
        return await self._store.events(
            where, limit=limit, after=after, newest_first=False
        )

    async def _wanted(
        self, replay: Replay, found: Sequence[StoredEvent], due_at: datetime
    ) -> tuple[list[tuple[str, str, datetime]], datetime]:
        rate = replay.asked.get("per_second")
        gap = timedelta(seconds=1 / rate) if rate else timedelta()
        named = tuple(dict.fromkeys(replay.asked.get("to") or ()))
        wanted: list[tuple[str, str, datetime]] = []
        for stored in found:
            for name in named or await targets(self._router, self._read, stored):
                wanted.append((stored.event.id, name, due_at))
                due_at += gap
        return wanted, due_at


def filter_of(asked: Mapping[str, Any], *, until: datetime) -> EventFilter:
    """The filter as it was kept; what came after `until` is left out."""
    times = {
        name: datetime.fromisoformat(asked[name]) if asked.get(name) else None
        for name in ("since", "until")
    }
    return EventFilter(
        source=asked.get("source"),
        type=asked.get("type"),
        subject=asked.get("subject"),
        since=times["since"],
        until=min(times["until"] or until, until),
        key=asked.get("key"),
        state=State(asked["state"]) if asked.get("state") else None,
        text=asked.get("text"),
    )


def _progress(
    replay: Replay, found: Sequence[StoredEvent], total: int | None, there: int
) -> float:
    """How much of the events, or else of their time, has been gone through then."""
    if not found:
        return 1.0
    if total:
        return min((replay.events + there) / total, 1.0)
    named = replay.asked.get("events")
    if named:
        last = found[-1].event.id
        before = [one for one in named if one <= last]
        return len(before) / len(named)
    where = replay.asked.get("where") or {}
    end = replay.created_at.timestamp()
    if where.get("until"):
        end = min(end, datetime.fromisoformat(where["until"]).timestamp())
    first = where.get("since") or replay.asked.get("first_at")
    begin = datetime.fromisoformat(first).timestamp() if first else end
    at = found[-1].event.received_at.timestamp()
    return min(max((at - begin) / (end - begin), 0.0), 1.0) if end > begin else 0.0
