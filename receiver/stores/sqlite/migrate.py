"""
Bringing a SQLite file to the schema this version knows.

Migrations are numbered .sql files; each runs in one transaction together with the
record that it ran (`user_version`).  A file that is newer than we are is refused.
"""

import sqlite3
from importlib import resources

from receiver.errors import StoreUnusable

APPLICATION_ID = 0x72637672
"""`rcvr`: tells our files from other SQLite databases."""


def migrations() -> list[tuple[int, str]]:
    """(number, SQL) of every migration, in order."""
    folder = resources.files("receiver") / "stores" / "migrations" / "sqlite"
    files = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    return sorted((int(f.name.split("_")[0]), f.read_text()) for f in files)


def migrate(connection: sqlite3.Connection) -> None:
    """
    Run what has not run yet.

    Raises:
        StoreUnusable: the file belongs to another program or a newer version.
    """
    version = check(connection)
    if version == 0:  # auto_vacuum only takes before the first table
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    for number, sql in migrations():
        if number > version:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;"
            )


def check(connection: sqlite3.Connection) -> int:
    """
    The file's schema number, 0 when it is empty.

    Raises:
        StoreUnusable: the file belongs to another program or a newer version.
    """
    version = _number(connection, "PRAGMA user_version")
    owner = _number(connection, "PRAGMA application_id")
    tables = _number(connection, "SELECT count(*) FROM sqlite_schema")
    newest = migrations()[-1][0]
    if owner not in (0, APPLICATION_ID) or (tables and owner != APPLICATION_ID):
        raise StoreUnusable("the file belongs to another program; choose another path")
    if version > newest:
        raise StoreUnusable(
            f"the store has schema {version}, this version knows {newest}: "
            "run the version that wrote it, or a newer one"
        )
    return version


def _number(connection: sqlite3.Connection, sql: str) -> int:
    [[number]] = connection.execute(sql)
    return int(number)
