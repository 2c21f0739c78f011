"""
Lines: whose turn it is where a destination gets each subject in order.

A delivery to such a destination stands in a line until it is settled, and one of each
line has the turn.  Only who has the turn is ever claimed, so those behind it cost
nothing, however many they are.  A subject has two lines: what was accepted, and beside
it what somebody asked for by hand: replays, and dead deliveries that are tried again.
Where a dead delivery blocks it stays in the first line and nobody gets the turn.

All of this is in the file and changes in the transaction that settles or adds a
delivery.  Like the other operations these run on the one writing connection only.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from receiver.models import OnDead

Line = tuple[int, int]
"""A destination, and a line of its."""

BY_HAND = 1

ITS_TURN = (
    "CASE WHEN ?{line} IS NOT NULL AND NOT EXISTS (SELECT 1 FROM deliveries"
    " INDEXED BY deliveries_line WHERE destination_id = ?{destination} AND line = ?{line}) THEN 1 END"
)
"""Whether a delivery about to be inserted has the turn: its line is empty."""

_WHERE = "SELECT destination_id, line FROM deliveries WHERE id = ? AND line IS NOT NULL"
_NEXT = (
    "UPDATE deliveries SET turn = 1 WHERE status = 0 AND id = (SELECT min(id)"
    " FROM deliveries INDEXED BY deliveries_line"
    " WHERE destination_id = ?1 AND line = ?2 AND turn IS NULL)"
    " AND NOT EXISTS (SELECT 1 FROM deliveries INDEXED BY deliveries_line"
    " WHERE destination_id = ?1 AND line = ?2 AND turn = 1)"
)
LEAVES = (
    "turn = CASE WHEN ?{status} = 0 THEN turn END, line = CASE WHEN ?{status} = 0"
    " OR (?{status} = 2 AND line & 1 = 0 AND destination_id IN"
    " (SELECT destination_id FROM ordered WHERE block)) THEN line END"
)
"""What an update to a status sets, too: who is settled leaves, unless it blocks."""

_JOIN = (
    "UPDATE deliveries SET line = (SELECT line_of(e.source_id, e.subject) | 1"
    " FROM events e WHERE e.id = event_id) WHERE id = ?"
    " AND destination_id IN (SELECT destination_id FROM ordered)"
)
_LINE_UP = (
    "UPDATE deliveries SET turn = NULL, line = (SELECT line_of(e.source_id, e.subject)"
    " | (replay_id IS NOT NULL) FROM events e WHERE e.id = event_id)"
    " WHERE destination_id = ? AND status = 0"
)
_FIRST_OF_EACH = (
    "UPDATE deliveries SET turn = 1 WHERE id IN (SELECT min(id) FROM deliveries"
    " WHERE destination_id = ? AND line IS NOT NULL GROUP BY line)"
)
_DISPERSE = (
    "UPDATE deliveries SET line = NULL, turn = NULL"
    " WHERE destination_id = ? AND line IS NOT NULL"
)
_BLOCKED = (
    "SELECT DISTINCT destination_id, line FROM deliveries INDEXED BY"
    " deliveries_blocking WHERE destination_id = ? AND line IS NOT NULL AND status = 2"
)
_UNBLOCK = (
    "UPDATE deliveries INDEXED BY deliveries_blocking SET line = NULL"
    " WHERE destination_id = ? AND line IS NOT NULL AND status = 2"
)


def line_of(source: int, subject: str) -> int:
    """
    The line of what was accepted for a subject; the one beside it is this | BY_HAND.

    Two subjects in one line, should that ever be, only wait for each other.
    """
    text = f"{source}\0{subject}".encode(errors="surrogatepass")
    digest = blake2b(text, digest_size=8).digest()
    return int.from_bytes(digest, signed=True) & ~BY_HAND


def teach(connection: sqlite3.Connection) -> None:
    """Make `line_of` known to the connection that writes."""
    connection.create_function("line_of", 2, line_of, deterministic=True)


def of(connection: sqlite3.Connection, deliveries: Sequence[int]) -> list[Line]:
    """Where those of the deliveries stand that stand in a line."""
    found: list[Line] = []
    for delivery in deliveries:
        found += connection.execute(_WHERE, (delivery,)).fetchall()
    return found


def pass_on(connection: sqlite3.Connection, lines: Iterable[Line]) -> None:
    """Where nobody has the turn the next in line has it."""
    behind = list(dict.fromkeys(lines))
    if behind:
        connection.executemany(_NEXT, behind)


def come_back(
    connection: sqlite3.Connection,
    blocking: Iterable[Line],
    dead: Sequence[int],
) -> None:
    """
    Dead deliveries are tried again: those that block stand in their lines already,
    the others now stand beside them.
    """
    lines = set(blocking)
    if dead:
        connection.executemany(_JOIN, [(delivery,) for delivery in dead])
        marks = ", ".join("?" * len(dead))
        rows = connection.execute(
            "SELECT DISTINCT destination_id, line FROM deliveries"
            f" WHERE id IN ({marks}) AND line IS NOT NULL",
            dead,
        )
        lines |= {(row[0], row[1]) for row in rows}
    pass_on(connection, lines)


def keep_order(
    connection: sqlite3.Connection, items: Sequence[Mapping[int, OnDead | None]]
) -> Sequence[None]:
    """Items say which destinations are ordered from now on, and which are not."""
    for item in items:
        before = ordered(connection)
        for destination, on_dead in item.items():
            if on_dead == before.get(destination):
                continue
            if on_dead is None:
                _end(connection, destination)
            else:
                _begin(connection, destination, on_dead, before.get(destination))
    return [None] * len(items)


def ordered(connection: sqlite3.Connection) -> dict[int, OnDead]:
    """The destinations whose deliveries stand in lines."""
    rows = connection.execute("SELECT destination_id, block FROM ordered")
    return {row[0]: "block" if row[1] else "skip" for row in rows}


def _begin(
    connection: sqlite3.Connection,
    destination: int,
    on_dead: OnDead,
    before: OnDead | None,
) -> None:
    connection.execute(
        "INSERT INTO ordered VALUES (?1, ?2) ON CONFLICT DO UPDATE SET block = ?2",
        (destination, on_dead == "block"),
    )
    if before is None:
        connection.execute(_DISPERSE, (destination,))  # settled since, still in line
        connection.execute(_LINE_UP, (destination,))
        connection.execute(_FIRST_OF_EACH, (destination,))
    elif on_dead == "skip":
        rows = connection.execute(_BLOCKED, (destination,)).fetchall()
        connection.execute(_UNBLOCK, (destination,))
        pass_on(connection, [(row[0], row[1]) for row in rows])


def _end(connection: sqlite3.Connection, destination: int) -> None:
    connection.execute("DELETE FROM ordered WHERE destination_id = ?", (destination,))
    connection.execute(_DISPERSE, (destination,))
