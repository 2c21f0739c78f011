"""Looking into a SQLite store: one connection that cannot write."""

import asyncio
import os
import sqlite3
import sys
import threading
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosqlite

from receiver import __version__
from receiver.errors import StoreUnusable
from receiver.models import (
    Attempt,
    AuditEntry,
    Delivery,
    Pause,
    Rejection,
    Replay,
    Variant,
)
from receiver.stores import (
    DeliveryFilter,
    EventFilter,
    Page,
    Queue,
    StoredEvent,
    Tally,
    Totals,
)
from receiver.stores.asking import Waiting
from receiver.stores.confirming import Confirmation, Held
from receiver.stores.following import Followed, Known, Name, Stretch
from receiver.stores.joining import Joined, JoinName, JoinState, ListedJoin, Part
from receiver.stores.pruning import Cutoffs, Extent, Pruned
from receiver.stores.searching import Surroundings
from receiver.stores.sqlite import (
    asking,
    audit,
    confirmations,
    extent,
    following,
    joins,
    reads,
    replays,
    searching,
    subject_pages,
    subjects,
    surroundings,
)
from receiver.stores.sqlite.errors import translated
from receiver.stores.sqlite.migrate import check, newest
from receiver.stores.sqlite.names import Names
from receiver.subjects import (
    CreditsBy,
    CreditsLine,
    Subject,
    SubjectFilter,
    SubjectStep,
)

BUSY_TIMEOUT_S = 2.0
YIELDS = 19
"""
As `nice`: behind others, yet never without a share of the processor.  It holds Python's
lock now and then, and would hold up everybody if it could not go on.
"""


async def connect(path: Path, *, yielding: bool = False) -> aiosqlite.Connection:
    """Open a file that is only looked into; see `open_reader` for `yielding`."""
    # What cannot be opened fails here, and not in the driver's thread, which would
    # then report to an event loop that may be gone.
    open_file(path, "ro").close()
    arguments = _arguments(path, "ro")
    if not yielding:
        return await aiosqlite.connect(**arguments)
    return await aiosqlite.connect(**arguments, factory=_Yielding)


class _Yielding(sqlite3.Connection):
    """Made in the one thread that uses it, which it puts behind all others."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if sys.platform == "linux":  # where threads have priorities of their own
            with suppress(OSError):  # some sandboxes allow none
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), YIELDS)
        super().__init__(*arguments, **named)


def open_file(path: Path, mode: str) -> sqlite3.Connection:
    """
    Open a file with `mode` ro, rw or rwc; transactions begin only when we say so.

    The connection may be handed to another thread.
    """
    connection: sqlite3.Connection = sqlite3.connect(
        **_arguments(path, mode), check_same_thread=False
    )
    return connection


def _arguments(path: Path, mode: str) -> dict[str, Any]:
    return {
        "database": f"{path.absolute().as_uri()}?mode={mode}",
        "uri": True,
        "isolation_level": None,
        "timeout": BUSY_TIMEOUT_S,
    }


def _schema(path: Path) -> int:
    with closing(open_file(path, "ro")) as connection:
        return check(connection)


async def _connected(path: Path, *, yielding: bool) -> aiosqlite.Connection:
    if not path.exists():
        raise StoreUnusable(
            f"there is no store at {path}; start one with: receiver serve"
        )
    async with translated():
        version = await asyncio.to_thread(_schema, path)
        if version == 0:
            raise StoreUnusable(f"{path} is empty; start with: receiver serve")
        if version < newest():
            raise StoreUnusable(
                f"{path} was written by an earlier version: it has schema {version}, "
                f"receiver {__version__} needs {newest()}; stop the server if it is "
                "the earlier version, then: receiver migrate"
            )
        return await connect(path, yielding=yielding)


class SqliteReader:
    """Implements `receiver.stores.Reader`; make it with `SqliteReader.open`."""

    def __init__(self, reader: aiosqlite.Connection) -> None:
        self._reader = reader
        self._names = Names()

    @classmethod
    async def open(cls, path: Path) -> "SqliteReader":
        """See `receiver.stores.open_reader`."""
        return cls(await _connected(path, yielding=False))

    @classmethod
    async def open_yielding(cls, path: Path) -> "SqliteReader":
        """See `receiver.stores.open_reader`."""
        return cls(await _connected(path, yielding=True))

    async def close(self) -> None:
        await self._reader.close()

    async def event(self, event_id: str) -> StoredEvent:
        async with translated():
            return await reads.event(self._reader, self._known, event_id)

    async def events(
        self,
        where: EventFilter,
        *,
        limit: int,
        after: str | None = None,
        newest_first: bool = True,
    ) -> Sequence[StoredEvent]:
        async with translated():
            return await searching.in_order(
                self._reader, self._known, where, limit, after, newest_first
            )

    async def count_events(self, where: EventFilter) -> int:
        async with translated():
            return await reads.count_events(self._reader, where)

    async def search_events(
        self, where: EventFilter, *, limit: int, after: str | None, longest_s: float
    ) -> Page[StoredEvent]:
        async with translated():
            return await searching.events(
                self._reader, self._known, where, limit, after, longest_s
            )

    async def search_deliveries(
        self, where: DeliveryFilter, *, limit: int, after: str | None, longest_s: float
    ) -> Page[Delivery]:
        async with translated():
            return await searching.deliveries(
                self._reader, self._known, where, limit, after, longest_s
            )

    async def search_subjects(
        self, where: SubjectFilter, *, limit: int, after: str | None, longest_s: float
    ) -> Page[Subject]:
        async with translated():
            return await subject_pages.search(
                self._reader, self._known, where, limit, after, longest_s
            )

    async def count_subjects(self, where: SubjectFilter, *, most: int) -> int:
        async with translated():
            return await subject_pages.count(self._reader, where, most)

    async def event_of(self, source: str, key: str) -> str | None:
        async with translated():
            return await searching.event_of(self._reader, source, key)

    async def variants(self, event_id: str) -> Sequence[Variant]:
        async with translated():
            return await reads.variants(self._reader, event_id)

    async def delivery(self, delivery_id: str) -> Delivery:
        async with translated():
            return await reads.delivery(self._reader, self._known, delivery_id)

    async def deliveries(
        self,
        where: DeliveryFilter,
        *,
        limit: int,
        after: str | None = None,
        newest_first: bool = True,
    ) -> Sequence[Delivery]:
        async with translated():
            return await reads.deliveries(
                self._reader, self._known, where, limit, after, newest_first
            )

    async def surroundings(
        self, deliveries: Sequence[Delivery]
    ) -> Mapping[str, Surroundings]:
        async with translated():
            return await surroundings.surroundings(
                self._reader, self._known, deliveries
            )

    async def attempts(self, delivery_id: str) -> Sequence[Attempt]:
        async with translated():
            return await reads.attempts(self._reader, delivery_id)

    async def rejections(
        self,
        *,
        source: str | None,
        code: str | None = None,
        limit: int,
        after: str | None = None,
    ) -> Sequence[Rejection]:
        async with translated():
            return await reads.rejections(self._reader, source, code, limit, after)

    async def rejection(self, rejection_id: str) -> Rejection:
        async with translated():
            return await reads.rejection(self._reader, rejection_id)

    async def replays(
        self, *, limit: int, after: str | None = None, running: bool = False
    ) -> Sequence[Replay]:
        async with translated():
            return await replays.replays(self._reader, limit, after, running=running)

    async def replay(self, replay_id: str) -> Replay:
        async with translated():
            return await replays.replay(self._reader, replay_id)

    async def audit(
        self, *, limit: int, after: int | None = None
    ) -> Sequence[AuditEntry]:
        async with translated():
            return await audit.entries(self._reader, limit, after)

    async def joins(self, names: Sequence[JoinName]) -> Mapping[JoinName, Joined]:
        async with translated():
            sources = (await self._known()).names
            return await joins.joins(self._reader, sources, names)

    async def list_joins(
        self, states: Collection[JoinState], *, limit: int, after: str | None = None
    ) -> Sequence[ListedJoin]:
        async with translated():
            return await joins.listed(self._reader, states, limit, after)

    async def find_joins(self, names: Collection[JoinName]) -> Sequence[ListedJoin]:
        async with translated():
            return await joins.found(self._reader, names)

    async def join_parts(self, join_id: str) -> tuple[ListedJoin, Sequence[Part]]:
        async with translated():
            sources = (await self._known()).names
            return await joins.parts(self._reader, sources, join_id)

    async def overdue_joins(self, now: datetime, limit: int) -> Sequence[Joined]:
        async with translated():
            sources = (await self._known()).names
            return await joins.overdue(self._reader, sources, now, limit)

    async def to_ask(
        self, source: str, *, silent_since: datetime, now: datetime, limit: int
    ) -> Sequence[Waiting]:
        async with translated():
            return await asking.to_ask(
                self._reader, self._known, source, silent_since, now, limit
            )

    async def confirmation(self, event_id: str) -> Confirmation | None:
        async with translated():
            return await confirmations.confirmation(self._reader, event_id)

    async def held(self) -> Sequence[Held]:
        async with translated():
            return await confirmations.held(self._reader, self._known)

    async def pauses(self) -> Sequence[Pause]:
        async with translated():
            return await reads.pauses(self._reader, self._known)

    async def queues(self) -> Sequence[Queue]:
        async with translated():
            waiting = await reads.pending(self._reader)
            return await reads.queues(self._reader, self._known, waiting)

    async def ledger(self) -> Sequence[Tally]:
        async with translated():
            return await reads.ledger(self._reader, self._known)

    async def totals(self) -> Totals:
        async with translated():
            return await reads.totals(self._reader)

    async def extent(self) -> Extent:
        async with translated():
            return await extent.extent(self._reader)

    async def old(self, cutoffs: Cutoffs) -> bool:
        async with translated():
            return await extent.old(self._reader, cutoffs)

    async def would_go(self, cutoffs: Cutoffs, after: int = 0) -> tuple[Pruned, int]:
        async with translated():
            return await extent.would_go(self._reader, cutoffs, after)

    async def remembered(self, name: str) -> tuple[str, datetime] | None:
        async with translated():
            return await reads.remembered(self._reader, name)

    # -- following

    async def cursor(self, name: str) -> str | None:
        async with translated():
            return await following.cursor(self._reader, name)

    async def follow(self, after: str | None, limit: int) -> Stretch:
        async with translated():
            return await following.follow(self._reader, self._names, after, limit)

    async def decided(self, upto: str, limit: int) -> Sequence[Followed]:
        async with translated():
            return await following.decided(self._reader, self._names, upto, limit)

    async def known_subjects(self, names: Sequence[Name]) -> Mapping[Name, Known]:
        async with translated():
            return await subjects.known_subjects(self._reader, self._names, names)

    async def silent_subjects(
        self, source: str, before: datetime, limit: int
    ) -> Sequence[Name]:
        async with translated():
            return await subjects.silent_subjects(
                self._reader, self._known, source, before, limit
            )

    async def unchecked_subjects(self, now: datetime, limit: int) -> Sequence[Name]:
        async with translated():
            return await subjects.unchecked_subjects(
                self._reader, self._known, now, limit
            )

    # -- subjects

    async def subjects(
        self, where: SubjectFilter, *, limit: int, after: str | None = None
    ) -> Sequence[Subject]:
        async with translated():
            return await subjects.subjects(
                self._reader, self._known, where, limit, after
            )

    async def subject(self, subject_id: str) -> Subject:
        async with translated():
            return await subjects.subject(self._reader, self._known, subject_id)

    async def subject_steps(self, subject_id: str) -> Sequence[SubjectStep]:
        async with translated():
            return await subjects.subject_steps(self._reader, self._known, subject_id)

    async def credits(
        self,
        since: datetime | None,
        until: datetime | None,
        *,
        by: frozenset[CreditsBy],
        source: str | None = None,
    ) -> Sequence[CreditsLine]:
        async with translated():
            return await subjects.credits_(
                self._reader, self._known, since, until, by, source
            )

    async def _known(self) -> Names:
        """The names, with those that were added since we last looked."""
        async with translated():
            await self._names.load(self._reader)
        return self._names
