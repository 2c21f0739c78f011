"""Who changed what by hand, and when: the newest entries are kept."""

import json
import sqlite3
from collections.abc import Sequence

import aiosqlite

from receiver.clock import from_ms
from receiver.models import AuditEntry

KEPT = 100_000


def add(
    connection: sqlite3.Connection, items: Sequence[tuple[int, str, str, str]]
) -> Sequence[None]:
    """Items are (now, who, what, details as JSON)."""
    connection.executemany(
        "INSERT INTO audit (at, who, what, details) VALUES (?, ?, ?, ?)", items
    )
    connection.execute(
        "DELETE FROM audit WHERE id <= (SELECT max(id) FROM audit) - ?", (KEPT,)
    )
    return [None] * len(items)


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
