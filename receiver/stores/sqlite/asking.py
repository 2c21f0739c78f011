"""Subjects to ask for in SQLite; the columns are only written here."""

import sqlite3
from collections.abc import Sequence
from datetime import datetime

import aiosqlite

from receiver.clock import from_ms, to_ms
from receiver.stores.asking import Waiting
from receiver.stores.sqlite import reads

Asked = tuple[int, int | None, str, int, str]
"""How much more often it was asked for, when next, the note; source and subject."""


async def to_ask(
    db: aiosqlite.Connection,
    known: reads.Known,
    source: str,
    silent_since: datetime,
    now: datetime,
    limit: int,
) -> list[Waiting]:
    number = (await known()).numbers.get(source, -1)
    rows = await db.execute_fetchall(
        "SELECT * FROM (SELECT subject, heard_at, asked FROM subjects"
        " INDEXED BY subjects_unasked WHERE source_id = ?1 AND final = 0"
        " AND next_ask_at IS NULL AND asked = 0 AND heard_at <= ?2"
        " ORDER BY heard_at LIMIT ?4)"
        " UNION ALL SELECT * FROM (SELECT subject, heard_at, asked FROM subjects"
        " INDEXED BY subjects_ask_again WHERE source_id = ?1 AND final = 0"
        " AND next_ask_at IS NOT NULL AND next_ask_at <= ?3"
        " ORDER BY next_ask_at LIMIT ?4) ORDER BY heard_at LIMIT ?4",
        (number, to_ms(silent_since), to_ms(now), limit),
    )
    return [Waiting(row[0], from_ms(row[1]), row[2]) for row in rows]


def asked(connection: sqlite3.Connection, items: Sequence[Asked]) -> Sequence[None]:
    connection.executemany(
        "UPDATE subjects SET asked = asked + ?, next_ask_at = ?, ask_note = ?"
        " WHERE source_id = ? AND subject = ?",
        items,
    )
    return [None] * len(items)


def ask_anew(
    connection: sqlite3.Connection, items: Sequence[Sequence[tuple[int, str]]]
) -> Sequence[None]:
    connection.executemany(
        "UPDATE subjects SET asked = 0, next_ask_at = NULL, ask_note = NULL"
        " WHERE source_id = ? AND subject = ? AND final = 0",
        [row for item in items for row in item],
    )
    return [None] * len(items)
