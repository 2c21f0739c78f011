"""
Moving: what waits for one destination becomes a replay to another, in one transaction.

Whether a delivery can be moved is looked at in the transaction that moves it: what is
asked for twice is moved once, and whatever happens it is in one place.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from receiver.stores.sqlite import replays, writes
from receiver.stores.sqlite.bodies import PRUNED

_MOVABLE = (
    "SELECT d.id, d.event_id, e.source_id, CASE WHEN ?2 IN (SELECT destination_id"
    " FROM ordered) THEN line_of(e.source_id, e.subject) | 1 END"
    " FROM deliveries d JOIN events e ON e.id = d.event_id"
    f" WHERE d.id = ?1 AND d.destination_id <> ?2 AND e.codec <> {PRUNED}"
)


class Asked(NamedTuple):
    """
    These deliveries, each once, to a destination.

    The first of the new ones has the number `first`.  `asked` is what the replay was
    asked for, as JSON, if that is new, too.
    """

    deliveries: Sequence[int]
    to: int
    now: int
    replay: int
    first: int
    asked: str | None


@dataclass(frozen=True, slots=True)
class Moved:
    """The deliveries as they were before they were cancelled; or those there are not."""

    rows: Sequence[writes.Standing]
    missing: Sequence[int]


def move(connection: sqlite3.Connection, items: Sequence[Asked]) -> Sequence[Moved]:
    return [_move(connection, item) for item in items]


def _move(connection: sqlite3.Connection, item: Asked) -> Moved:
    open_, missing = writes.changeable(connection, item.deliveries)
    if missing:
        return Moved([], missing)
    chosen: list[int] = []
    rows: list[replays.Replayed] = []
    for standing in sorted(open_):  # as they were accepted: order is kept by subject
        found = connection.execute(_MOVABLE, (standing.id, item.to))
        for delivery, event, source, line in found:
            number = item.first + len(rows)
            chosen.append(delivery)
            rows.append(
                replays.Replayed(number, event, item.to, source, item.now, line)
            )
    if item.asked is not None:
        replays.add_replays(connection, [(item.replay, item.now, item.asked, False)])
    replays.add_replayed(
        connection, [replays.NewReplayed(item.replay, False, rows, None)]
    )
    [cancelled] = writes.cancel(connection, [(chosen, item.now)])
    return Moved(cancelled.rows, [])
