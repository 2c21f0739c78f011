"""
Taking what is due for a destination, so that nobody else does.

Where a destination gets its subjects in order only what has its turn is looked at
(`lines`), and nothing of a subject of which another delivery is being attempted.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

import aiosqlite

from receiver import clock
from receiver.clock import to_ms
from receiver.models import Claim, Event, OnDead
from receiver.stores import Claimed
from receiver.stores.sqlite import reads
from receiver.stores.sqlite.claims import About, Claims, RecentEvents, fitting
from receiver.stores.sqlite.names import Names
from receiver.stores.sqlite.rows import DELIVERY_COLUMNS, Row, delivery_from_row


@dataclass(frozen=True, slots=True)
class _Look:
    """Where to look: an index of what waits for a destination, and its condition."""

    destination: int
    index: str
    condition: str

    @classmethod
    def at(cls, destination: int, *, ordered: bool, by_hand: bool) -> "_Look":
        condition = "d.turn = 1" if ordered else "d.status = 0"
        if by_hand:
            condition += " AND d.status = 0 AND d.manual > 0"
            return cls(destination, "deliveries_by_hand", condition)
        index = "deliveries_turn" if ordered else "deliveries_due"
        return cls(destination, index, condition)


class DueNow:
    """Looks for what is due, on a connection of its own, and claims it."""

    def __init__(
        self,
        connection: aiosqlite.Connection,
        recent: RecentEvents,
        names: Names,
        known: reads.Known,
    ) -> None:
        self._connection = connection
        self._recent = recent
        self._names = names
        self._known = known
        self._looking: dict[int, asyncio.Lock] = {}
        self.claims = Claims()
        self.ordered: set[int] = set()
        """Destinations whose deliveries are given a line when they are added."""

    async def claim(
        self,
        destination: int,
        *,
        owner: str,
        now: datetime,
        limit: int,
        max_bytes: int,
        lease_s: float,
        by_hand: bool,
    ) -> Claimed:
        """See `receiver.stores.Store.claim`."""
        # One look at a time: what is recorded while we look must not be taken again.
        async with self._lock(destination):
            held = self.claims.held(destination)
            ordered = destination in self.ordered
            look = _Look.at(destination, ordered=ordered, by_hand=by_hand)
            most = limit + len(held) + 1
            with self.claims.noting(destination) as taken:
                rows = await self._rows(look, now, most)
                free = _free(rows, held, taken, ordered=ordered)
                if len(rows) == most and len(free) <= limit:  # both lines of a subject
                    rows = await self._rows(look, now, (most + len(taken)) * 2)
                    free = _free(rows, held, taken, ordered=ordered)
            chosen = fitting(free[:limit], max_bytes)
            tokens = [
                self.claims.take(
                    destination,
                    row[0],
                    owner,
                    lease_s,
                    manual=row[8],
                    about=_about(row),
                )
                for row in chosen
            ]
            try:
                events = await self._events_of(chosen)
                more = len(chosen) < len(free)  # more is due than fits
                next_due = now if more else await self._next(look, now)
            except BaseException:
                for token in tokens:
                    self.claims.end(token)
                raise
        return Claimed(
            [
                Claim(token, delivery_from_row(row, self._names.names), events[row[1]])
                for token, row in zip(tokens, chosen, strict=True)
                if row[1] in events  # one that cannot be read must not hold up the rest
            ],
            next_due,
        )

    @asynccontextmanager
    async def reordered(
        self, wanted: Mapping[int, OnDead | None]
    ) -> AsyncGenerator[None, None]:
        """
        While the block changes how these are ordered nobody claims; if it fails they
        stay as they were.

        What is added while it runs stands in a line, should it be needed: a line where
        there is no order does no harm, a delivery without one would never be taken.
        """
        before = self.ordered.copy()
        async with AsyncExitStack() as stack:
            for destination in sorted(wanted):
                await stack.enter_async_context(self._lock(destination))
            self.ordered |= {to for to, on_dead in wanted.items() if on_dead}
            try:
                yield
            except BaseException:
                self.ordered &= before
                raise
            self.ordered -= {to for to, on_dead in wanted.items() if not on_dead}

    def _lock(self, destination: int) -> asyncio.Lock:
        return self._looking.setdefault(destination, asyncio.Lock())

    async def _rows(self, look: _Look, now: datetime, limit: int) -> list[Row]:
        rows = await self._connection.execute_fetchall(
            f"SELECT {DELIVERY_COLUMNS}, e.source_id, e.subject, e.bytes"
            f" FROM deliveries d INDEXED BY {look.index}"
            " JOIN events e ON e.id = d.event_id"
            f" WHERE {look.condition} AND d.destination_id = ? AND d.due_at <= ?"
            " ORDER BY d.due_at, d.id LIMIT ?",
            (look.destination, to_ms(now), limit),
        )
        return list(rows)

    async def _next(self, look: _Look, after: datetime) -> datetime | None:
        rows = await self._connection.execute_fetchall(
            f"SELECT min(d.due_at) FROM deliveries d INDEXED BY {look.index}"
            f" WHERE {look.condition} AND d.destination_id = ? AND d.due_at > ?",
            (look.destination, to_ms(after)),
        )
        due_at = next(iter(rows))[0]
        return None if due_at is None else clock.from_ms(due_at)

    async def _events_of(self, rows: Sequence[Row]) -> dict[int, Event]:
        found = {row[1]: self._recent.get(row[1]) for row in rows}
        missing = [number for number, event in found.items() if event is None]
        if missing:
            read = await reads.events_by_number(self._connection, self._known, missing)
            for number, stored in read.items():
                self._recent.put(number, stored.event)
                found[number] = stored.event
        return {number: event for number, event in found.items() if event}


def _about(row: Row) -> About:
    return row[-3], row[-2]


def _free(
    rows: Sequence[Row], held: Mapping[int, About], taken: set[int], *, ordered: bool
) -> list[Row]:
    """What may be taken: where order is kept, one of a subject at a time."""
    free = [row for row in rows if row[0] not in held and row[0] not in taken]
    if not ordered:
        return free
    first: dict[About, Row] = {}
    for row in free:
        first.setdefault(_about(row), row)
    busy = set(held.values())
    return [row for about, row in first.items() if about not in busy]
