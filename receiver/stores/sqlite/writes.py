"""
What the writer does inside its transactions: many items of one kind at a time.

Each function is an `Operation` of the group commit.  They are given numbers, not
names, and only ever run on the one writing connection, so what they read first
cannot change before they write.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from receiver import ids
from receiver.stores import Added
from receiver.stores.sqlite import confirmations, lines
from receiver.stores.sqlite.bodies import PRUNED
from receiver.stores.sqlite.retention import bodies_gone

T = TypeVar("T")

KEPT_REJECTIONS = (
    (300, 4 * 1024 * 1024),
    (1_000, 64 * 1024 * 1024),
    (1_000, 64 * 1024 * 1024),
)
"""How many of each kind, and how many bytes: unsigned rubbish cannot push out others."""

KEPT_VARIANTS = 10

_INSERT_DELIVERY = (
    "INSERT INTO deliveries VALUES (?1, ?2, ?3, 0, 0, ?4, 0, NULL, 0, NULL, NULL, NULL,"
    f" NULL, ?5, {lines.ITS_TURN.format(destination=3, line=5)})"
)
_ALONE = "?, ?, ?, 0, 0, ?, 0, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL"
"""A delivery that stands in no line, as (id, event, destination, due)."""


class NewEvent(NamedTuple):
    """
    An event about to be added: its row, its key, and its deliveries as (id, event,
    destination, due, line).
    """

    id: int
    key_hash: bytes
    body_hash: bytes
    row: tuple[Any, ...]
    deliveries: Sequence[tuple[int, int, int, int, int | None]]
    held_until: int | None = None


class Standing(NamedTuple):
    """A delivery as it was before it is changed."""

    id: int
    destination: int
    status: int
    manual: int
    line: int | None


@dataclass(frozen=True, slots=True)
class Changed:
    """Deliveries that were changed, as they were before; or those there are not."""

    rows: Sequence[Standing]
    missing: Sequence[int]


def add_events(
    connection: sqlite3.Connection, items: Sequence[NewEvent]
) -> Sequence[Added]:
    known = _known_keys(connection, [item.key_hash for item in items])
    created: list[NewEvent] = []
    results: list[Added] = []
    for item in items:
        first = known.get(item.key_hash)
        if first is None:
            known[item.key_hash] = (item.id, item.body_hash)
            created.append(item)
            results.append(Added(ids.public("evt", item.id), created=True))
        else:
            same = first[1] == item.body_hash
            results.append(Added(ids.public("evt", first[0]), False, same_body=same))
    if created:
        _insert_events(connection, created)
    return results


def _known_keys(
    connection: sqlite3.Connection, hashes: list[bytes]
) -> dict[bytes, tuple[int, bytes]]:
    found: dict[bytes, tuple[int, bytes]] = {}
    for start in range(0, len(hashes), 256):
        chunk = _padded(hashes[start : start + 256])
        sql = f"SELECT hash, event_id, body_hash FROM event_keys WHERE hash IN ({_marks(len(chunk))})"
        for key_hash, event, body_hash in connection.execute(sql, chunk):
            found[key_hash] = (event, body_hash)
    return found


def _insert_events(connection: sqlite3.Connection, created: Sequence[NewEvent]) -> None:
    _insert(connection, "events", _marks(19), [item.row for item in created])
    keys = [(item.key_hash, item.id, item.body_hash) for item in created]
    _insert(connection, "event_keys", _marks(3), keys)
    deliveries = [row for item in created for row in item.deliveries]
    alone = [row[:4] for row in deliveries if row[4] is None]
    in_line = [row for row in deliveries if row[4] is not None]
    _insert(connection, "deliveries", _ALONE, alone)
    connection.executemany(_INSERT_DELIVERY, in_line)
    held = [(item.id, item.held_until) for item in created if item.held_until]
    if held:
        confirmations.hold(connection, held)


def _insert(
    connection: sqlite3.Connection,
    table: str,
    values: str,
    rows: Sequence[tuple[Any, ...]],
) -> None:
    """
    Many rows in a statement: after each the thread has to get the interpreter back,
    which may be a while when the event loop is busy.
    """
    done = 0
    while done < len(rows):
        size = next(n for n in (64, 16, 4, 1) if n <= len(rows) - done)
        sql = f"INSERT INTO {table} VALUES {', '.join([f'({values})'] * size)}"
        chunk = rows[done : done + size]
        connection.execute(sql, [value for row in chunk for value in row])
        done += size


def add_variants(
    connection: sqlite3.Connection, items: Sequence[tuple[Any, ...]]
) -> Sequence[None]:
    connection.executemany(
        "INSERT INTO variants SELECT ?1, ?2, ?3, ?4, ?5"
        f" WHERE (SELECT count(*) FROM variants WHERE event_id = ?1) < {KEPT_VARIANTS}"
        f" AND EXISTS (SELECT 1 FROM events WHERE id = ?1 AND codec <> {PRUNED})"
        " ON CONFLICT DO NOTHING",
        items,
    )
    return [None] * len(items)


def add_rejections(
    connection: sqlite3.Connection, items: Sequence[Sequence[tuple[Any, ...]]]
) -> Sequence[None]:
    rows = [row for item in items for row in item]
    connection.executemany(
        "INSERT INTO rejections (id, source, code, message, received_at, query, headers,"
        f" body_bytes, body, kind, client) VALUES ({_marks(11)})",
        rows,
    )
    for kind in {row[9] for row in rows}:  # each makes room for its own kind only
        connection.execute(
            "DELETE FROM rejections WHERE id IN (SELECT id FROM ("
            "  SELECT id, row_number() OVER newest AS place,"
            "  sum(length(body) + length(headers) + length(query)) OVER newest AS bytes"
            "  FROM rejections WHERE kind = ?"
            "  WINDOW newest AS (ORDER BY id DESC)) WHERE place > ? OR bytes > ?)",
            (kind, *KEPT_REJECTIONS[kind]),
        )
    return [None] * len(items)


def rejections_accepted(
    connection: sqlite3.Connection, items: Sequence[tuple[int, int]]
) -> Sequence[None]:
    """Note which event a rejection became: (event, rejection) each."""
    connection.executemany("UPDATE rejections SET event_id = ? WHERE id = ?", items)
    return [None] * len(items)


def _standing(
    connection: sqlite3.Connection, deliveries: Sequence[int]
) -> list[Standing]:
    """The deliveries as they are; those that do not exist are left out."""
    found: list[Standing] = []
    for start in range(0, len(deliveries), 256):
        chunk = _padded(list(deliveries[start : start + 256]))
        rows = connection.execute(
            "SELECT id, destination_id, status, manual, line FROM deliveries"
            f" WHERE id IN ({_marks(len(chunk))})",
            chunk,
        )
        found += [Standing(*row) for row in rows]
    return found


def _lines(rows: Iterable[Standing]) -> list[lines.Line]:
    """Where those of the deliveries stand that stand in a line."""
    return [(row.destination, row.line) for row in rows if row.line is not None]


def retry(
    connection: sqlite3.Connection, items: Sequence[tuple[Sequence[int], int]]
) -> Sequence[Changed]:
    """Items are (deliveries, now), each delivery once."""
    results: list[Changed] = []
    for deliveries, now in items:
        changed, missing = changeable(connection, deliveries)
        lost = bodies_gone(connection, [row.id for row in changed if row.status == 2])
        changed = [row for row in changed if row.id not in lost]
        connection.executemany(
            "UPDATE deliveries SET status = 0, due_at = ?, manual = manual + 1,"
            " round_attempts = 0, round_started = ?, settled_at = NULL WHERE id = ?",
            [(now, now, row.id) for row in changed],
        )
        dead = [row for row in changed if row.status == 2]
        lines.come_back(
            connection,
            _lines(dead),
            [row.id for row in dead if row.line is None],
        )
        results.append(Changed(changed, missing))
    return results


def cancel(
    connection: sqlite3.Connection, items: Sequence[tuple[Sequence[int], int]]
) -> Sequence[Changed]:
    """Items are (deliveries, now), each delivery once."""
    results: list[Changed] = []
    for deliveries, now in items:
        changed, missing = changeable(connection, deliveries)
        connection.executemany(
            "UPDATE deliveries SET status = 3, settled_at = ?, manual = 0,"
            " line = NULL, turn = NULL WHERE id = ?",
            [(now, row.id) for row in changed],
        )
        lines.pass_on(connection, _lines(changed))
        results.append(Changed(changed, missing))
    return results


def changeable(
    connection: sqlite3.Connection, deliveries: Sequence[int]
) -> tuple[list[Standing], list[int]]:
    """Those pending or dead, and those that do not exist: then none may change."""
    found = _standing(connection, deliveries)
    there = {row.id for row in found}
    missing = [delivery for delivery in deliveries if delivery not in there]
    if missing:
        return [], missing
    return [row for row in found if row.status in (0, 2)], []


def pause(
    connection: sqlite3.Connection, items: Sequence[tuple[int, int, str]]
) -> Sequence[bool]:
    """Items are (destination, now, reason)."""
    return [
        _changed(
            connection,
            "INSERT INTO pauses (destination_id, started_at, reason) SELECT ?1, ?2, ?3"
            " WHERE NOT EXISTS (SELECT 1 FROM pauses"
            " WHERE destination_id = ?1 AND ended_at IS NULL)",
            item,
        )
        for item in items
    ]


def resume(
    connection: sqlite3.Connection, items: Sequence[tuple[int, int]]
) -> Sequence[bool]:
    """Items are (destination, now)."""
    return [
        _changed(
            connection,
            "UPDATE pauses SET ended_at = ?2"
            " WHERE destination_id = ?1 AND ended_at IS NULL",
            item,
        )
        for item in items
    ]


def remember(
    connection: sqlite3.Connection, items: Sequence[tuple[str, str, int]]
) -> Sequence[None]:
    """Items are (name, text, now)."""
    connection.executemany(
        "INSERT INTO remembered VALUES (?1, ?2, ?3)"
        " ON CONFLICT DO UPDATE SET text = ?2, at = ?3",
        items,
    )
    return [None] * len(items)


def beat(connection: sqlite3.Connection, items: Sequence[int]) -> Sequence[None]:
    connection.execute(
        "INSERT INTO heartbeat VALUES (1, ?1) ON CONFLICT DO UPDATE SET at = ?1",
        (max(items),),
    )
    return [None] * len(items)


def _changed(connection: sqlite3.Connection, sql: str, values: Iterable[Any]) -> bool:
    cursor = connection.execute(sql, tuple(values))
    return cursor.rowcount > 0


def _padded(values: list[T]) -> list[T]:
    """Repeat the first until the length is one of few, so that statements stay prepared."""
    size = next(n for n in (1, 4, 16, 64, 256) if n >= len(values))
    return values + values[:1] * (size - len(values))


def _marks(count: int) -> str:
    return ", ".join("?" * count)
