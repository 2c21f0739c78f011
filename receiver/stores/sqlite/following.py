"""
Following in SQLite: events after a cursor, and what is kept together with it.

Event ids grow in the order of commits: they are taken where an event joins the queue of
the writer, which commits the queue in its order, and a start goes on after every id in
use, cursors included.  So what is beyond the cursor is exactly what was not seen.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiosqlite

from receiver import ids
from receiver.clock import from_ms
from receiver.stores.following import Change, Followed, Stretch
from receiver.stores.joining import JoinChange
from receiver.stores.sqlite import by_subject, joins, subjects
from receiver.stores.sqlite.names import Names
from receiver.stores.sqlite.reads import UNREADABLE
from receiver.stores.sqlite.rows import STANDINGS, STATES, Row, moment
from receiver.subjects import Standing, SubjectChange

Keep = Callable[[sqlite3.Connection, Sequence[Any]], None]
"""Writes changes of one kind inside the open transaction."""

Prepare = Callable[[Any, Mapping[str, int]], Any]
"""Makes of a change what its `Keep` writes, with the numbers of names."""

_KINDS: Mapping[type, tuple[Keep, Prepare]] = {
    SubjectChange: (subjects.keep, subjects.prepared),
    JoinChange: (joins.keep, joins.prepared),
}
"""How each kind of change is written."""

_COLUMNS = (
    "e.id, source_id, provider_id, type_id, key, subject, state, final,"
    " occurred_at, received_at, origin, facts"
)
_WAITING = STANDINGS.index(Standing.WAITING)


@dataclass(frozen=True, slots=True)
class Advance:
    """A follower's changes, and how far it has come with them (None: no further)."""

    name: str
    upto: int | None
    changes: Sequence[tuple[Keep, Sequence[Any]]]
    decided: Sequence[int]


def prepared(
    name: str,
    upto: str | None,
    changes: Sequence[Change],
    decided: Sequence[str],
    numbers: Mapping[str, int],
) -> Advance:
    """What `advance` writes."""
    by_kind: dict[type, list[Change]] = {}
    for change in changes:
        by_kind.setdefault(type(change), []).append(change)
    rows: list[tuple[Keep, Sequence[Any]]] = []
    for kind, several in by_kind.items():
        keep, prepare = _KINDS[kind]
        rows.append((keep, [prepare(change, numbers) for change in several]))
    done = [ids.number("evt", event) for event in decided]
    return Advance(name, None if upto is None else ids.number("evt", upto), rows, done)


def advance(connection: sqlite3.Connection, items: Sequence[Advance]) -> Sequence[None]:
    for item in items:
        for keep, rows in item.changes:
            keep(connection, rows)
        if item.upto is not None:
            _put_aside(connection, item, item.upto)
            connection.execute(
                "INSERT INTO cursors VALUES (?1, ?2)"
                " ON CONFLICT DO UPDATE SET event_id = ?2",
                (item.name, item.upto),
            )
        if item.decided:
            connection.executemany(
                "DELETE FROM unconfirmed_events WHERE event_id = ?",
                [(event,) for event in item.decided],
            )
    return [None] * len(items)


def _put_aside(connection: sqlite3.Connection, item: Advance, upto: int) -> None:
    """Whatever was made of the events that are passed now, they are found again."""
    row = connection.execute(
        "SELECT event_id FROM cursors WHERE name = ?", (item.name,)
    ).fetchone()
    steps = {
        (event, source, subject)
        for keep, rows in item.changes
        if keep is subjects.keep
        for change in rows
        for source, subject, event, *_ in change.steps
    }
    by_subject.put_aside(connection, row[0] if row else 0, upto, steps)


async def cursor(db: aiosqlite.Connection, name: str) -> str | None:
    rows = await db.execute_fetchall(
        "SELECT event_id FROM cursors WHERE name = ?", (name,)
    )
    return next((ids.public("evt", row[0]) for row in rows), None)


async def furthest(db: aiosqlite.Connection) -> int:
    """The last event any follower has come to; 0 if there is none."""
    rows = await db.execute_fetchall("SELECT max(event_id) FROM cursors")
    return next(iter(rows))[0] or 0


async def follow(
    db: aiosqlite.Connection, names: Names, after: str | None, limit: int
) -> Stretch:
    rows = list(
        await db.execute_fetchall(
            f"SELECT {_COLUMNS}, CASE WHEN u.event_id IS NULL THEN 0 ELSE {_WAITING} END"
            " FROM events e LEFT JOIN unconfirmed_events u ON u.event_id = e.id"
            " WHERE e.id > ? ORDER BY e.id LIMIT ?",
            (-1 if after is None else ids.number("evt", after), limit),
        )
    )
    if not rows:
        return Stretch((), None)
    return Stretch(await _read(db, names, rows), ids.public("evt", rows[-1][0]))


async def decided(
    db: aiosqlite.Connection, names: Names, upto: str, limit: int
) -> list[Followed]:
    rows = await db.execute_fetchall(
        f"SELECT {_COLUMNS}, u.standing FROM unconfirmed_events u"
        " INDEXED BY unconfirmed_decided JOIN events e ON e.id = u.event_id"
        " WHERE u.decided_at IS NOT NULL AND u.event_id <= ?"
        " ORDER BY u.decided_at, u.event_id LIMIT ?",
        (ids.number("evt", upto), limit),
    )
    return await _read(db, names, list(rows))


async def _read(
    db: aiosqlite.Connection, names: Names, rows: Sequence[Row]
) -> list[Followed]:
    """Those of the rows that can be read."""
    await names.know(db, {number for row in rows for number in row[1:4]})
    found: list[Followed] = []
    for row in rows:
        with suppress(*UNREADABLE):
            found.append(_followed(row, names.names))
    return found


def _followed(row: Row, names: Mapping[int, str]) -> Followed:
    return Followed(
        id=ids.public("evt", row[0]),
        source=names[row[1]],
        provider=names[row[2]],
        type=names[row[3]],
        key=row[4],
        subject=row[5],
        state=STATES[row[6]],
        final=bool(row[7]),
        occurred_at=moment(row[8]),
        received_at=from_ms(row[9]),
        origin=row[10],
        facts=json.loads(row[11]),
        standing=STANDINGS[row[12]],
    )
