"""Writing down what came of attempts, inside the writer's transactions."""

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from receiver.clock import to_ms
from receiver.models import Attempt, Status, Step, Trigger
from receiver.stores.sqlite import lines
from receiver.stores.sqlite.rows import RESULT_NUMBERS, STATUS_NUMBERS

_INSERT = "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

_CONCLUDE = (
    "UPDATE deliveries SET attempts = ?1, progress = coalesce(?2, progress),"
    " status = ?3, due_at = ?4, settled_at = ?5, round_attempts = round_attempts + 1,"
    " manual = 0{leaves}"
    " WHERE id = ?6 AND status = 0 AND (?3 = 1 OR manual <= ?7)"
)
"""
The step follows, unless something else happened since the claim that wins.

A cancelled delivery stays cancelled; a new round that was asked for by hand begins,
unless the delivery succeeded.
"""

_CONCLUDE_PLAIN = _CONCLUDE.format(leaves="")
_CONCLUDE_IN_LINE = _CONCLUDE.format(leaves=f", {lines.LEAVES.format(status=3)}")

_OVERTAKEN = (
    "UPDATE deliveries SET attempts = ?1, progress = coalesce(?2, progress)"
    " WHERE id = ?3 AND attempts < ?1"
)


class NewRecord(NamedTuple):
    """
    An attempt about to be recorded.

    `manual` is how often the delivery had been asked for by hand when it was claimed;
    `in_line` whether its destination keeps order.
    """

    delivery: int
    manual: int
    attempt: Attempt
    step: Step
    in_line: bool


def record_attempts(
    connection: sqlite3.Connection, items: Sequence[Sequence[NewRecord]]
) -> Sequence[Sequence[bool]]:
    """For each, whether its step follows, or something else wins."""
    records = [record for item in items for record in item]
    connection.executemany(_INSERT, [_attempt_row(record) for record in records])
    plain = [record for record in records if not record.in_line]
    in_line = [record for record in records if record.in_line]
    overtaken = _conclude(connection, _CONCLUDE_PLAIN, plain)
    if in_line:
        left = lines.of(connection, [one.delivery for one in in_line if _settles(one)])
        overtaken |= _conclude(connection, _CONCLUDE_IN_LINE, in_line)
        lines.pass_on(connection, left)
    return [[record.delivery not in overtaken for record in item] for item in items]


def _conclude(
    connection: sqlite3.Connection, sql: str, records: Sequence[NewRecord]
) -> set[int]:
    """Returns the deliveries for which something else wins; they are attempted, too."""
    if not records:
        return set()
    rows = [_outcome_row(record) for record in records]
    if connection.executemany(sql, rows).rowcount == len(records):
        return set()
    overtaken: set[int] = set()
    for attempts, progress, _, _, _, delivery, _ in rows:
        values = (attempts, progress, delivery)
        overtaking = connection.execute(_OVERTAKEN, values).rowcount > 0
        if overtaking or _pruned(connection, delivery):
            overtaken.add(delivery)
    return overtaken


def _pruned(connection: sqlite3.Connection, delivery: int) -> bool:
    """Whether it was cancelled while it ran, then pruned; its attempt goes along."""
    sql = "SELECT EXISTS (SELECT 1 FROM deliveries WHERE id = ?)"
    [[there]] = connection.execute(sql, (delivery,))
    if not there:
        sql = "DELETE FROM attempts WHERE delivery_id = ?"
        connection.execute(sql, (delivery,))
    return not there


def _settles(record: NewRecord) -> bool:
    return record.step.status is not Status.PENDING


def _attempt_row(record: NewRecord) -> tuple[Any, ...]:
    attempt, outcome = record.attempt, record.attempt.outcome
    return (
        record.delivery,
        attempt.number,
        attempt.trigger is Trigger.MANUAL,
        to_ms(attempt.started_at),
        round(attempt.duration_ms * 1000),
        RESULT_NUMBERS[outcome.result],
        outcome.status_code,
        outcome.detail or None,
        outcome.response or None,
    )


def _outcome_row(record: NewRecord) -> tuple[Any, ...]:
    due_at = to_ms(record.step.due_at)
    return (
        record.attempt.number,
        record.attempt.outcome.progress or None,
        STATUS_NUMBERS[record.step.status],
        due_at,
        due_at if _settles(record) else None,
        record.delivery,
        record.manual,
    )
