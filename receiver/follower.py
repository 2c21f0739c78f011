"""
The follower: reads committed events in their order, and lets folders make something of
them.

    committed -> woken -> a stretch of events -> folders -> alerts, then all they keep
                                                            and the cursor, in one commit

An event about which its sender's API is asked is followed in its place, where it only
waits, and once more after it was decided; the decision and the note that it has to be
followed are one commit, what folders make of it and the end of that note another.

It is out of the way of answers.  A folder is a pure function of what it kept before and
of an event; whatever it asks to be kept is committed together with how far it has come,
so a crash neither repeats nor skips anything.  Alerts are raised before that commit and
have keys of their own: one that is raised again is a duplicate.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from receiver import clock, internal, logs
from receiver.errors import StoreError, Unwritable
from receiver.stores import Store
from receiver.stores.following import Change, Followed, Stretch

STRETCH = 100
"""Events folded at a time: so few that nobody notices."""

COLLECT_S = 0.1
"""Events that come within this time are folded together, which is less work."""

LOOK_S = 5.0
"""How often folders are asked what time alone has brought, and the store is looked at
though nobody was woken."""

LONGEST_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Raise:
    """An internal event to raise, once for its key, for ever."""

    body: internal.Body
    key: str


@dataclass(frozen=True, slots=True)
class Folded:
    """What folders made of events: what is to be kept, and what to raise."""

    changes: Sequence[Change] = ()
    raises: Sequence[Raise] = ()


class Folder(Protocol):
    """Makes something of events in the order in which they were committed."""

    async def fold(self, events: Sequence[Followed], now: datetime) -> Folded:
        """
        What to keep after these events; asked again with the same if that fails.

        It may read the store, where all it kept before is committed.
        """
        ...

    async def look(self, now: datetime) -> Folded:
        """What time alone has brought; asked only when all events were folded."""
        ...


class TellAlert(Protocol):
    """`Alerts.tell`."""

    async def __call__(self, body: internal.Body, key: str) -> None: ...


class Follower:
    """Follows the store's events; `start` begins and `stop` ends it."""

    def __init__(
        self, name: str, store: Store, folders: Sequence[Folder], tell: TellAlert
    ) -> None:
        self._name = name
        self._store = store
        self._folders = folders
        self._tell = tell
        self._news = asyncio.Event()
        self._cursor: str | None = None
        self._looked = -LOOK_S
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something was committed; costs nothing."""
        self._news.set()

    async def start(self) -> None:
        """
        Go on after the last event whose results were kept.

        Raises:
            StoreError: that cannot be read.
        """
        self._cursor = await self._store.cursor(self._name)
        self._news.set()
        self._task = asyncio.create_task(self._run(), name=f"follower-{self._name}")

    async def stop(self) -> None:
        """End; what is not folded yet is folded after the next start."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        wait = 1.0
        while True:
            try:
                await self._follow()
                await self._follow_decisions()
                await self._look()
                wait = 1.0
            except StoreError as error:
                logs.get().warning("follower.failed", error=str(error), again_s=wait)
                await asyncio.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT_S)
                continue
            except Exception:  # noqa: BLE001 (it must not end silently)
                logs.get().exception("follower.fault")
                await asyncio.sleep(LONGEST_WAIT_S)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
                await asyncio.sleep(COLLECT_S)

    async def _look(self) -> None:
        if clock.monotonic() - self._looked < LOOK_S:
            return
        now = clock.now()
        for folder in self._folders:
            try:
                await self._keep([await folder.look(now)], None)
            except StoreError:
                raise
            except Exception:  # noqa: BLE001 (events go on being folded)
                logs.get().exception("follower.fault")
        self._looked = clock.monotonic()

    # -- events

    async def _follow(self) -> None:
        """Fold all there is."""
        done = 0
        while True:
            self._news.clear()
            began = clock.monotonic()
            stretch = await self._store.follow(self._cursor, STRETCH)
            if stretch.upto is None:
                break
            await self._take(stretch)
            # Half of the time is for others: who waits for an answer comes first.
            await asyncio.sleep(clock.monotonic() - began)
            done += len(stretch.events)
            if done == STRETCH * 10:
                logs.get().info("follower.catching_up", after=self._cursor)
        if done >= STRETCH * 10:
            logs.get().info("follower.caught_up", events=done)

    async def _follow_decisions(self) -> None:
        """Fold once more what counts only since it was confirmed, or does not."""
        while self._cursor is not None:
            events = await self._store.decided(self._cursor, STRETCH)
            if not events:
                break
            await self._take(Stretch(events, None))

    async def _take(self, stretch: Stretch) -> None:
        """With `upto` None these are decisions."""
        try:
            await self._fold(stretch.events, stretch.upto)
        except StoreError as error:
            if not isinstance(error, Unwritable):
                raise
            await self._take_apart(stretch)
        except Exception:  # noqa: BLE001 (a fault in a folder: find the event)
            await self._take_apart(stretch)
        self._cursor = stretch.upto or self._cursor

    async def _take_apart(self, stretch: Stretch) -> None:
        """One by one, without those that cannot be folded: they must not stop all."""
        decided = stretch.upto is None
        for event in stretch.events:
            try:
                await self._fold([event], None if decided else event.id)
            except Exception as error:
                if isinstance(error, StoreError) and not isinstance(error, Unwritable):
                    raise
                logs.get().exception("follower.skipped", id=event.id)
                if decided:
                    await self._keep([], None, [event.id])
            if not decided:
                self._cursor = event.id
        await self._keep([], stretch.upto)

    async def _fold(self, events: Sequence[Followed], upto: str | None) -> None:
        now = clock.now()
        folded = [await folder.fold(events, now) for folder in self._folders]
        await self._keep(folded, upto, [e.id for e in events] if upto is None else ())

    async def _keep(
        self, folded: Sequence[Folded], upto: str | None, decided: Sequence[str] = ()
    ) -> None:
        for one in folded:
            for alert in one.raises:
                await self._tell(alert.body, alert.key)
        changes = [change for one in folded for change in one.changes]
        if changes or decided or upto is not None:
            await self._store.advance(self._name, upto, changes, decided)
