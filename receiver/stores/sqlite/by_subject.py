"""
Finding the events of a subject without an index of all events.

Up to where events are followed each is a step of its subject, or in `subject_events`:
one of many, one that nothing is folded from, one whose subject was forgotten before it.
What came later is looked through; a server that runs leaves little of it.
"""

import sqlite3
from collections.abc import Collection

import aiosqlite

A_LOOK = 1_000
"""Events of a subject that are looked at together."""

FOLLOWED_TO = "(SELECT coalesce(max(event_id), 0) FROM cursors)"

_STEPS = (
    "SELECT t.event_id FROM subjects s CROSS JOIN subject_steps t ON t.subject_id = s.id"
    " WHERE s.source_id IN (SELECT id FROM names) AND s.subject = ?1"
)  # by the index, for any source
_OTHERS = "SELECT event_id FROM subject_events WHERE subject = ?1"
_PAGE = "AND event_id < ?2 ORDER BY event_id DESC LIMIT ?3"

Stepped = tuple[int, int, str]
"""An event, its source and its subject."""


def conditions(subject: str | None) -> list[tuple[str, tuple[str, ...]]]:
    """What holds of events `e` of this subject, and leads to them; nothing if it is empty."""
    if not subject:
        return []
    new = f"SELECT id FROM events WHERE id > {FOLLOWED_TO} AND subject = ?1"
    sql = f"e.id IN ({_STEPS} UNION {_OTHERS} UNION {new})".replace("?1", "?")
    return [(sql, (subject,) * 3)]


async def followed_to(db: aiosqlite.Connection) -> int:
    """The last event that is found without looking through all."""
    [[number]] = await db.execute_fetchall(f"SELECT {FOLLOWED_TO}")
    return int(number)


async def followed(db: aiosqlite.Connection, subject: str, below: int) -> list[int]:
    """Its newest events below an id, of those that are followed; A_LOOK at most."""
    rows = await db.execute_fetchall(
        f"SELECT * FROM ({_STEPS} {_PAGE}) UNION SELECT * FROM ({_OTHERS} {_PAGE})"
        " ORDER BY 1 DESC LIMIT ?3",
        (subject, below, A_LOOK),
    )
    return [row[0] for row in rows]


def put_aside(
    connection: sqlite3.Connection, after: int, upto: int, steps: Collection[Stepped]
) -> None:
    """Keep which of these events are no steps."""
    rows = connection.execute(
        "SELECT id, source_id, subject FROM events"
        " WHERE id > ? AND id <= ? AND subject <> ''",
        (after, upto),
    )
    others = [(row[2], row[0]) for row in rows if row not in steps]
    connection.executemany("INSERT OR IGNORE INTO subject_events VALUES (?, ?)", others)


def outlive(connection: sqlite3.Connection, subjects: list[tuple[int]]) -> None:
    """Put aside the events that are still there of subjects that are forgotten."""
    connection.executemany(
        "INSERT OR IGNORE INTO subject_events SELECT e.subject, e.id"
        " FROM subject_steps t JOIN events e ON e.id = t.event_id"
        " WHERE t.subject_id = ?",
        subjects,
    )


def forget(connection: sqlite3.Connection, events: list[int]) -> None:
    """These are about to be deleted."""
    marks = ", ".join("?" * len(events))
    connection.execute(
        "DELETE FROM subject_events WHERE (subject, event_id) IN"
        f" (SELECT subject, id FROM events WHERE id IN ({marks}))",
        events,
    )
