"""
Held events in SQLite: which ones wait, and deciding about them.

The deliveries of an event have the numbers after its own; replays have others, and are
not held.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import get_args

import aiosqlite

from receiver import ids
from receiver.clock import from_ms
from receiver.stores.confirming import Confirmation, Held, Verdict
from receiver.stores.sqlite import lines, reads
from receiver.stores.sqlite.rows import STANDINGS, key_hash, moment
from receiver.subjects import Standing

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""By position, as they are on disk: only append."""

_WAITS = (
    "status = 0 AND attempts = 0 AND manual = 0 AND replay_id IS NULL"
    " AND id > ?1 AND id <= ?1 + (SELECT fan_out FROM events WHERE id = ?1)"
)


@dataclass(frozen=True, slots=True)
class Decided:
    """What to write about an event."""

    event: int
    verdict: int
    note: str
    deliver: bool
    now: int


def hold(connection: sqlite3.Connection, rows: Sequence[tuple[int, int]]) -> None:
    """Note that these events wait: (event, until) each; in the caller's transaction."""
    connection.executemany(
        "INSERT INTO confirmations (event_id, until, note) VALUES (?, ?, '')", rows
    )
    connection.executemany(
        "INSERT INTO unconfirmed_events (event_id) VALUES (?)",
        [(event,) for event, _ in rows],
    )


def decide(
    connection: sqlite3.Connection, items: Sequence[Decided]
) -> Sequence[Sequence[int]]:
    """For each, the destinations of the deliveries that were changed."""
    return [_decide(connection, item) for item in items]


def _decide(connection: sqlite3.Connection, item: Decided) -> list[int]:
    open_ = connection.execute(
        "UPDATE confirmations SET verdict = ?, note = ?, decided_at = ?"
        " WHERE event_id = ? AND verdict IS NULL",
        (item.verdict, item.note, item.now, item.event),
    )
    if not open_.rowcount:
        return []
    connection.execute(
        "UPDATE unconfirmed_events SET standing = ?, decided_at = ? WHERE event_id = ?",
        (STANDINGS.index(_standing(item)), item.now, item.event),
    )
    waiting = connection.execute(
        f"SELECT id, destination_id, line FROM deliveries WHERE {_WAITS}", (item.event,)
    ).fetchall()
    change = (
        "due_at = min(due_at, ?1)"
        if item.deliver
        else "status = 3, settled_at = ?1, line = NULL, turn = NULL"
    )
    connection.executemany(
        f"UPDATE deliveries SET {change} WHERE id = ?2",
        [(item.now, row[0]) for row in waiting],
    )
    if not item.deliver:
        stood = [(row[1], row[2]) for row in waiting if row[2] is not None]
        lines.pass_on(connection, stood)
        _free_key(connection, item.event)
    return [row[1] for row in waiting]


def _standing(item: Decided) -> Standing:
    verdict = VERDICTS[item.verdict]
    if verdict == "unconfirmed" and not item.deliver:
        return Standing.CANCELLED
    return Standing(verdict)


def _free_key(connection: sqlite3.Connection, event: int) -> None:
    """What does not count is in the way of nothing: the true one may have its key."""
    found = connection.execute(
        "SELECT n.name, e.key FROM events e JOIN names n ON n.id = e.source_id"
        " WHERE e.id = ?",
        (event,),
    ).fetchone()
    if found is not None:
        taken = key_hash(*found)
        own = blake2b(taken + event.to_bytes(8, "big"), digest_size=16).digest()
        sql = "UPDATE event_keys SET hash = ? WHERE hash = ? AND event_id = ?"
        connection.execute(sql, (own, taken, event))


async def confirmation(db: aiosqlite.Connection, event_id: str) -> Confirmation | None:
    rows = await db.execute_fetchall(
        "SELECT until, verdict, note, decided_at FROM confirmations WHERE event_id = ?",
        (ids.number("evt", event_id),),
    )
    for until, verdict, note, decided_at in rows:
        word = None if verdict is None else VERDICTS[verdict]
        at = moment(decided_at)
        return Confirmation(event_id, from_ms(until), word, note, at)
    return None


async def held(db: aiosqlite.Connection, known: reads.Known) -> list[Held]:
    rows = await db.execute_fetchall(
        "SELECT c.event_id, e.source_id, c.until FROM confirmations c"
        " JOIN events e ON e.id = c.event_id"
        " WHERE c.verdict IS NULL ORDER BY c.until"
    )
    names = (await known()).names
    return [
        Held(ids.public("evt", event), names[source], from_ms(until))
        for event, source, until in rows
    ]
