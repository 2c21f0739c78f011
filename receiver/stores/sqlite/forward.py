"""
Bringing forward what is due later than it can be, for the clock was ahead when that was
decided.

The index of what waits is gone through in small steps, from now on: others read in
between, and however much waits for a good reason is in nobody's way.
"""

import sqlite3
from collections.abc import Sequence
from datetime import timedelta

import aiosqlite

from receiver.retry import LONGEST_WAIT

STEP = 5_000
SLACK_MS = 1_000
"""A clock that is corrected by so little changes nothing."""

_END_OF_STEP = (
    "SELECT max(due_at) FROM (SELECT due_at FROM deliveries INDEXED BY deliveries_due"
    " WHERE status = 0 AND destination_id = ?1 AND due_at > ?2"
    f" ORDER BY due_at LIMIT {STEP})"
)
# A destination may have asked for a longer wait, unless it was asked in the future.
_LATE = (
    "SELECT d.id FROM deliveries d INDEXED BY deliveries_due"
    " WHERE d.status = 0 AND d.destination_id = ?1 AND d.due_at > ?2"
    " AND d.due_at <= ?3 AND CASE"
    " WHEN d.round_attempts > 0 THEN d.due_at > ?4 + {wait}"
    " WHEN d.manual > 0 THEN 1"
    " ELSE d.due_at = (SELECT received_at FROM events e WHERE e.id = d.event_id) END"
    " AND NOT (d.due_at <= ?4 + {longest} AND EXISTS (SELECT 1 FROM attempts a"
    " WHERE a.delivery_id = d.id AND a.number = d.attempts"
    " AND a.status_code IN (429, 503) AND a.started_at <= ?4))"
)


async def late(
    db: aiosqlite.Connection, destination: int, waits: Sequence[timedelta], now: int
) -> list[int]:
    """The deliveries that are due later than they can be; see `Store.bring_forward`."""
    sql = _LATE.format(wait=_wait(waits), longest=_ms(LONGEST_WAIT))
    found: list[int] = []
    begin = now + SLACK_MS
    while True:
        [(end,)] = await db.execute_fetchall(_END_OF_STEP, (destination, begin))
        if end is None:
            return found
        rows = await db.execute_fetchall(sql, (destination, begin, end, now))
        found += [row[0] for row in rows]
        begin = end


def bring(
    connection: sqlite3.Connection, items: Sequence[tuple[Sequence[int], int]]
) -> Sequence[None]:
    """Items are (deliveries, now)."""
    for deliveries, now in items:
        connection.executemany(
            "UPDATE deliveries SET due_at = ?1 WHERE id = ?2 AND status = 0"
            " AND due_at > ?1",
            [(now, delivery) for delivery in deliveries],
        )
    return [None] * len(items)


def _wait(waits: Sequence[timedelta]) -> str:
    """The longest wait, with its slack, by the number of attempts that were made."""
    *earlier, last = [_ms(wait) + SLACK_MS for wait in waits]
    cases = "".join(f" WHEN {n} THEN {ms}" for n, ms in enumerate(earlier, start=1))
    return f"CASE d.round_attempts WHEN 0 THEN 0{cases} ELSE {last} END"


def _ms(wait: timedelta) -> int:
    return round(wait.total_seconds() * 1000)
