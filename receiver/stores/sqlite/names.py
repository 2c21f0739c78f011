"""
Names and decisions, kept once and known by number.

Sources, destinations, providers, event types and routing decisions repeat in every
row, so rows carry their numbers.  There are few of them; all are held in memory, and
only committed ones are.
"""

import sqlite3
from collections.abc import Iterable, Sequence

import aiosqlite

from receiver.models import Decision
from receiver.stores.sqlite.rows import decision_from_text, decision_to_text


class Names:
    """Both directions of the two small tables."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.decisions: dict[int, Decision] = {}
        self.numbers: dict[str, int] = {}
        self.decision_numbers: dict[Decision, int] = {}

    async def know(self, connection: aiosqlite.Connection, used: Iterable[int]) -> None:
        """Learn these numbers' names, if one of them is new to us."""
        if not self.names.keys() >= set(used):
            await self.load(connection)

    async def load(self, connection: aiosqlite.Connection) -> None:
        """Learn what the tables have that we do not know yet."""
        for number, name in await connection.execute_fetchall(
            "SELECT id, name FROM names WHERE id > ?", (max(self.names, default=0),)
        ):
            self.names[number] = name
            self.numbers[name] = number
        for number, text in await connection.execute_fetchall(
            "SELECT id, text FROM decisions WHERE id > ?",
            (max(self.decisions, default=0),),
        ):
            decision = decision_from_text(text)
            self.decisions[number] = decision
            self.decision_numbers[decision] = number


def add_names(connection: sqlite3.Connection, names: Sequence[str]) -> Sequence[None]:
    """Give each name that has none a number."""
    connection.executemany(
        "INSERT INTO names (name) VALUES (?) ON CONFLICT DO NOTHING",
        [(name,) for name in names],
    )
    return [None] * len(names)


def add_decisions(
    connection: sqlite3.Connection, decisions: Sequence[Decision]
) -> Sequence[None]:
    """Give each decision that has none a number."""
    connection.executemany(
        "INSERT INTO decisions (text) VALUES (?) ON CONFLICT DO NOTHING",
        [(decision_to_text(decision),) for decision in decisions],
    )
    return [None] * len(decisions)
