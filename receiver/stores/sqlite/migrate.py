"""
Bringing a SQLite file to the schema this version knows.

Migrations are numbered .sql files; each runs in one transaction together with the
record that it ran (`user_version`), so whatever ends the process leaves the schema
before a step or the one after it.  A file that is newer than we are is refused.
"""

import sqlite3
from collections.abc import Sequence
from importlib import resources
from typing import NamedTuple

from receiver import __version__, clock
from receiver.errors import StoreUnusable

APPLICATION_ID = 0x72637672
"""`rcvr`: tells our files from other SQLite databases."""

WRITTEN_BY = "receiver.version"
"""Under this name the file remembers which version gave it its schema."""


class Migration(NamedTuple):
    """One step: its number is the schema that it leads to."""

    number: int
    sql: str
    name: str


def migrations() -> list[Migration]:
    """All of them, in order."""
    folder = resources.files("receiver") / "stores" / "migrations" / "sqlite"
    found: list[Migration] = []
    for file in folder.iterdir():
        if file.name.endswith(".sql"):
            number, _, name = file.name.removesuffix(".sql").partition("_")
            found.append(Migration(int(number), file.read_text(), name))
    return sorted(found)


def newest() -> int:
    """The schema that this version knows."""
    return migrations()[-1].number


def outstanding(schema: int) -> Sequence[Migration]:
    """The steps that a file of this schema has before it."""
    return [step for step in migrations() if step.number > schema]


def migrate(connection: sqlite3.Connection) -> Sequence[Migration]:
    """
    Run what has not run yet; returns the steps that were taken.

    Raises:
        StoreUnusable: the file belongs to another program or a newer version.
    """
    schema = check(connection)
    if schema == 0:  # auto_vacuum only takes before the first table
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    steps = outstanding(schema)
    for step in steps:
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{step.sql}\nPRAGMA user_version = {step.number};\nCOMMIT;"
        )
    if schema == 0:  # begin with no more than there is: a step may have dropped things
        connection.execute("PRAGMA incremental_vacuum").fetchall()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if steps:
        connection.execute(
            "INSERT OR REPLACE INTO remembered (name, text, at) VALUES (?, ?, ?)",
            (WRITTEN_BY, __version__, clock.to_ms(clock.now())),
        )
    return steps


def check(connection: sqlite3.Connection) -> int:
    """
    The file's schema number, 0 when it is empty.

    Raises:
        StoreUnusable: the file belongs to another program or a newer version.
    """
    schema = _number(connection, "PRAGMA user_version")
    owner = _number(connection, "PRAGMA application_id")
    tables = _number(connection, "SELECT count(*) FROM sqlite_schema")
    if owner not in (0, APPLICATION_ID) or (tables and owner != APPLICATION_ID):
        raise StoreUnusable("the file belongs to another program; choose another path")
    if schema > newest():
        raise StoreUnusable(
            f"the store has schema {schema}, given to it by {_writer(connection)}; this "
            f"is receiver {__version__}, which knows schema {newest()}: run that version "
            "or a newer one, or go back to a backup from before the upgrade: "
            "receiver restore FILE"
        )
    return schema


def _writer(connection: sqlite3.Connection) -> str:
    """The version that a newer file says it is of, as far as that can be read."""
    try:
        rows = connection.execute(
            "SELECT text FROM remembered WHERE name = ?", (WRITTEN_BY,)
        ).fetchall()
    except sqlite3.Error:
        rows = []
    return f"receiver {rows[0][0]}" if rows else "a newer version"


def _number(connection: sqlite3.Connection, sql: str) -> int:
    [[number]] = connection.execute(sql)
    return int(number)
