"""
Pruning, as the writer does it: one small step in a transaction.

Ids are made from the time, so what is old are the first rows of a table, and two
remembered ids tell where the next step begins: nothing is ever searched for.  What is
old but still waits is put down in `held_events` and looked at again from there.

    events  the event, its deliveries, attempts and variants are deleted, and counted;
            its key stays
    bodies  body, headers and query are emptied; variants, and what destinations
            answered, go along

Either happens only when no delivery of the event is pending or holds back its subject.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from receiver import ids
from receiver.stores.pruning import Pruned
from receiver.stores.sqlite import by_subject
from receiver.stores.sqlite.bodies import PRUNED, pruned_mark

MOST_BYTES = 1024 * 1024
"""Bodies that one step removes: a large one is many pages."""

CHUNK = 1_000
"""Values in one statement."""

_WAITS = "(d.status = 0 OR d.line IS NOT NULL)"  # or holds back those behind it
WAITING = (
    "(EXISTS (SELECT 1 FROM deliveries d WHERE d.id > e.id AND d.id <= e.id + e.fan_out"
    f" AND {_WAITS}) OR EXISTS (SELECT 1 FROM deliveries d INDEXED BY deliveries_replayed"
    f" WHERE d.event_id = e.id AND d.replay_id IS NOT NULL AND {_WAITS})"
    " OR EXISTS (SELECT 1 FROM unconfirmed_events u WHERE u.event_id = e.id))"
)
"""Whether event `e` is to be confirmed, or a delivery of it not settled for good."""

FOLLOWED_TO = "SELECT min(event_id) FROM cursors"
"""Up to where all who follow events have come; NULL where nobody does."""

KEPT_BYTES = "length(e.body) + length(e.headers) + length(e.query)"

_COLUMNS = (
    "e.id, e.source_id, e.decision_id, e.fan_out, e.codec,"
    f" {KEPT_BYTES}, {WAITING} FROM events e"
)
_DELIVERIES = (
    "SELECT d.id, e.source_id, d.destination_id, d.status, d.replay_id IS NULL"
    " FROM events e JOIN deliveries d ON d.id > e.id AND d.id <= e.id + e.fan_out"
    " WHERE e.id IN ({0}) AND d.event_id = e.id AND d.replay_id IS NULL"
    " UNION ALL"
    " SELECT d.id, e.source_id, d.destination_id, d.status, 0"
    " FROM events e JOIN deliveries d INDEXED BY deliveries_replayed"
    " ON d.event_id = e.id AND d.replay_id IS NOT NULL WHERE e.id IN ({0})"
)
_COUNT_EVENTS = (
    "INSERT INTO pruned_events VALUES (?1, ?2, ?3, ?4)"
    " ON CONFLICT DO UPDATE SET events = events + ?3, fan_out = fan_out + ?4"
)
_COUNT_DELIVERIES = (
    "INSERT INTO pruned_deliveries VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT"
    " DO UPDATE SET deliveries = deliveries + ?4, routed = routed + ?5"
)


_EMPTY = {"codec": str(PRUNED), "body": "NULL", "headers": "''", "query": "'{}'"}
"""What takes the place of these columns when a body goes."""


class Wanted(NamedTuple):
    """A step: ids before which bodies, events and rejections are old; how many; now."""

    bodies: int
    events: int
    rejections: int
    limit: int
    now: int


class Found(NamedTuple):
    """An event that is old enough."""

    id: int
    source: int
    decision: int
    fan_out: int
    codec: int
    bytes: int
    waits: int


class Step(NamedTuple):
    """What a step did, and how many changes the connection had made before and after."""

    pruned: Pruned
    before: int
    after: int


def prune(connection: sqlite3.Connection, items: Sequence[Wanted]) -> Sequence[Step]:
    """Each item is a step."""
    return [_step(connection, item) for item in items]


def look_at_held(
    connection: sqlite3.Connection, items: Sequence[tuple[int, int, int]]
) -> Sequence[tuple[Pruned, int]]:
    """
    Items are (after which event, how many, now); what went, and after which to go on.

    What waits no longer goes as far as the others of its age have gone.
    """
    results: list[tuple[Pruned, int]] = []
    for after, limit, now in items:
        _, events_to = _reached(connection)
        found = _found(
            connection,
            f"{_COLUMNS} JOIN held_events h ON h.event_id = e.id"
            " WHERE h.event_id > ? ORDER BY h.event_id LIMIT ?",
            (after, limit),
        )
        free = [event for event in found if not event.waits]
        gone = _remove(connection, [event for event in free if event.id <= events_to])
        emptied = _empty(connection, [e for e in free if e.id > events_to], now)
        _forget_held(connection, free)
        last = found[-1].id if len(found) == limit else 0
        results.append((gone.and_then(emptied), last))
    return results


def give_back(connection: sqlite3.Connection, items: Sequence[int]) -> Sequence[int]:
    """Shorten the file by so many free pages each; how many are left."""
    left: list[int] = []
    for pages in items:
        connection.execute(f"PRAGMA incremental_vacuum({pages:d})").fetchall()
        [[free]] = connection.execute("PRAGMA freelist_count")
        left.append(free)
    return left


def whole(connection: sqlite3.Connection, events: Sequence[int]) -> set[int]:
    """Those of the events that are there with their bodies."""
    return _several(
        connection,
        f"SELECT id FROM events WHERE id IN ({{}}) AND codec <> {PRUNED}",
        events,
    )


def bodies_gone(connection: sqlite3.Connection, deliveries: Sequence[int]) -> set[int]:
    """Those of the deliveries whose event's body was pruned: nothing is left to send."""
    return _several(
        connection,
        "SELECT d.id FROM deliveries d JOIN events e ON e.id = d.event_id"
        f" WHERE d.id IN ({{}}) AND e.codec = {PRUNED}",
        deliveries,
    )


def _several(
    connection: sqlite3.Connection, sql: str, values: Sequence[int]
) -> set[int]:
    found: set[int] = set()
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        rows = connection.execute(sql.format(_marks(chunk)), chunk)
        found.update(row[0] for row in rows)
    return found


def _step(connection: sqlite3.Connection, wanted: Wanted) -> Step:
    before = connection.total_changes
    wanted = _followed(connection, wanted)
    bodies_to, events_to = _reached(connection)
    old = _next(connection, events_to, wanted.events, wanted.limit)
    done = len(old) == 0
    events_to = old[-1].id if old else events_to
    pruned = _remove(connection, [event for event in old if not event.waits])
    bodies_to = max(bodies_to, events_to)
    bodies: list[Found] = []
    if done:
        bodies = _next(connection, bodies_to, wanted.bodies, wanted.limit)
        bodies_to = bodies[-1].id if bodies else bodies_to
        free = [event for event in bodies if not event.waits]
        pruned = _empty(connection, free, wanted.now)
        done = not bodies
    if old or bodies:
        held = [(event.id,) for event in (*old, *bodies) if event.waits]
        sql = "INSERT INTO held_events VALUES (?) ON CONFLICT DO NOTHING"
        connection.executemany(sql, held)
        sql = "UPDATE pruning SET bodies_to = ?, events_to = ?"
        connection.execute(sql, (bodies_to, events_to))
        reached = ids.made_at((old or bodies)[-1].id)
        pruned = pruned.and_then(Pruned(held=len(held), reached=reached))
    rejections = _forget_rejections(connection, wanted)
    result = pruned.and_then(
        Pruned(rejections=rejections, done=done and rejections < wanted.limit)
    )
    return Step(result, before, connection.total_changes)


def _followed(connection: sqlite3.Connection, wanted: Wanted) -> Wanted:
    """What nobody has made anything of yet is not old."""
    [[cursor]] = connection.execute(FOLLOWED_TO)
    if cursor is None:
        return wanted
    return wanted._replace(
        bodies=min(wanted.bodies, cursor + 1), events=min(wanted.events, cursor + 1)
    )


def _reached(connection: sqlite3.Connection) -> tuple[int, int]:
    [row] = connection.execute("SELECT bodies_to, events_to FROM pruning")
    return row[0], row[1]


def _next(
    connection: sqlite3.Connection, after: int, before: int, limit: int
) -> list[Found]:
    """The next that are old, as many as a step may remove."""
    found = _found(
        connection,
        f"{_COLUMNS} WHERE e.id > ? AND e.id < ? ORDER BY e.id LIMIT ?",
        (after, before, limit),
    )
    room, chosen = MOST_BYTES, 0
    for event in found:
        room -= event.bytes
        if chosen and room < 0:
            break
        chosen += 1
    return found[:chosen]


def _found(
    connection: sqlite3.Connection, sql: str, values: tuple[int, ...]
) -> list[Found]:
    return [Found(*row) for row in connection.execute(f"SELECT {sql}", values)]


def _remove(connection: sqlite3.Connection, events: Sequence[Found]) -> Pruned:
    """Delete the events with all that is theirs but their keys, and count it."""
    if not events:
        return Pruned()
    numbers = [event.id for event in events]
    marks = _marks(numbers)
    rows = connection.execute(_DELIVERIES.format(marks), numbers * 2).fetchall()
    deliveries = [row[0] for row in rows]
    _delete(connection, "attempts", "delivery_id", deliveries)
    _delete(connection, "deliveries", "id", deliveries)
    _delete(connection, "variants", "event_id", numbers)
    _delete(connection, "confirmations", "event_id", numbers)
    by_subject.forget(connection, numbers)
    _delete(connection, "events", "id", numbers)
    _forget_held(connection, events)
    _count(connection, events, rows)
    return Pruned(
        events=len(events),
        deliveries=len(deliveries),
        bytes=sum(event.bytes for event in events if event.codec != PRUNED),
    )


def _count(
    connection: sqlite3.Connection,
    events: Sequence[Found],
    deliveries: Sequence[Sequence[Any]],
) -> None:
    """Carry over what goes: what was decided, and apart from it what there was."""
    decided: Counter[tuple[int, int]] = Counter()
    fan_out: Counter[tuple[int, int]] = Counter()
    for event in events:
        decided[event.source, event.decision] += 1
        fan_out[event.source, event.decision] += event.fan_out
    there: Counter[tuple[int, int, int]] = Counter()
    routed: Counter[tuple[int, int, int]] = Counter()
    for _, source, destination, status, by_route in deliveries:
        there[source, destination, status] += 1
        routed[source, destination, status] += by_route
    connection.executemany(
        _COUNT_EVENTS, [(*key, count, fan_out[key]) for key, count in decided.items()]
    )
    connection.executemany(
        _COUNT_DELIVERIES, [(*key, count, routed[key]) for key, count in there.items()]
    )


def _empty(connection: sqlite3.Connection, events: Sequence[Found], now: int) -> Pruned:
    """Take from the events what their senders wrote, and what was answered to it."""
    events = [event for event in events if event.codec != PRUNED]
    if not events:
        return Pruned()
    numbers = [event.id for event in events]
    _without_bodies(connection, numbers, now)
    rows = connection.execute(_DELIVERIES.format(_marks(numbers)), numbers * 2)
    deliveries = [row[0] for row in rows]
    for start in range(0, len(deliveries), CHUNK):
        chunk = deliveries[start : start + CHUNK]
        connection.execute(
            "UPDATE attempts SET response = NULL"
            f" WHERE delivery_id IN ({_marks(chunk)}) AND response IS NOT NULL",
            chunk,
        )
    _delete(connection, "variants", "event_id", numbers)
    return Pruned(bodies=len(events), bytes=sum(event.bytes for event in events))


def _without_bodies(
    connection: sqlite3.Connection, events: Sequence[int], now: int
) -> None:
    """
    Write the rows anew.  An update would leave them where they are, most of each page
    empty; a page that rows are deleted from is joined with those beside it.
    """
    described = connection.execute("PRAGMA table_info(events)")
    columns: list[str] = [row[1] for row in described]
    chosen = ", ".join(_EMPTY.get(column, column) for column in columns)
    rows = connection.execute(
        f"SELECT {chosen} FROM events WHERE id IN ({_marks(events)}) ORDER BY id",
        events,
    ).fetchall()
    mark, place = pruned_mark(now), columns.index("body")
    _delete(connection, "events", "id", events)
    connection.executemany(
        f"INSERT INTO events VALUES ({_marks(columns)})",
        [(*row[:place], mark, *row[place + 1 :]) for row in rows],
    )


def _forget_held(connection: sqlite3.Connection, events: Sequence[Found]) -> None:
    _delete(connection, "held_events", "event_id", [event.id for event in events])


def _forget_rejections(connection: sqlite3.Connection, wanted: Wanted) -> int:
    return connection.execute(
        "DELETE FROM rejections WHERE id IN"
        " (SELECT id FROM rejections WHERE id < ? ORDER BY id LIMIT ?)",
        (wanted.rejections, wanted.limit),
    ).rowcount


def _delete(
    connection: sqlite3.Connection, table: str, column: str, values: Sequence[int]
) -> None:
    for start in range(0, len(values), CHUNK):
        chunk = values[start : start + CHUNK]
        connection.execute(
            f"DELETE FROM {table} WHERE {column} IN ({_marks(chunk)})", chunk
        )


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
