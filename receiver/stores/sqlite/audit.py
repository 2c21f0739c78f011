"""Who changed what by hand, and when: the newest entries are kept, for a while."""

import json
import sqlite3
from collections.abc import Sequence

import aiosqlite

from receiver.clock import from_ms
from receiver.models import AuditEntry

KEPT = 100_000


def begin(
    connection: sqlite3.Connection, items: Sequence[tuple[int, str, str, str]]
) -> Sequence[int]:
    """Items are (now, who, what, details as JSON); the numbers of the entries."""
    sql = "INSERT INTO audit (at, who, what, details) VALUES (?, ?, ?, ?) RETURNING id"
    entries = [connection.execute(sql, item).fetchall()[0][0] for item in items]
    connection.execute(
        "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?", (KEPT,)
    )
    return entries


def end(
    connection: sqlite3.Connection, items: Sequence[tuple[int, str | None]]
) -> Sequence[None]:
    """Items are (entry, details as JSON; None: it goes)."""
    for entry, details in items:
        if details is None:
            connection.execute("DELETE FROM audit WHERE id = ?", (entry,))
        else:
            sql = "UPDATE audit SET details = ? WHERE id = ?"
            connection.execute(sql, (details, entry))
    return [None] * len(items)


def prune(
    connection: sqlite3.Connection, items: Sequence[tuple[int, int]]
) -> Sequence[int]:
    """Items are (how many to look at, noted before); how many went."""
    sql = (
        "DELETE FROM audit WHERE id IN (SELECT id FROM"
        " (SELECT id, at FROM audit ORDER BY id LIMIT ?) WHERE at < ?)"
    )
    return [connection.execute(sql, item).rowcount for item in items]


async def entries(
    db: aiosqlite.Connection, limit: int, after: int | None
) -> list[AuditEntry]:
    """The newest first; `after` is the number of the last one of the page before."""
    rows = await db.execute_fetchall(
        "SELECT id, at, who, what, details FROM audit WHERE ? IS NULL OR id < ?"
        " ORDER BY id DESC LIMIT ?",
        (after, after, limit),
    )
    return [
        AuditEntry(number, from_ms(at), who, what, json.loads(details))
        for number, at, who, what, details in rows
    ]
