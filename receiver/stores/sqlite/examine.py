"""Looking at a store's file of which nothing is known, without changing it."""

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from receiver.errors import StoreError
from receiver.stores.sqlite.backup import open_in_use
from receiver.stores.sqlite.errors import code_of, naming
from receiver.stores.sqlite.migrate import check

MOST_WRONG = 5
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@dataclass(frozen=True, slots=True)
class Examined:
    """The schema, 0 where it is empty or unknown; why it is, and what a check found."""

    schema: int
    error: StoreError | None
    damaged: bool
    wrong: tuple[str, ...]


def examine(path: Path, *, full: bool) -> Examined:
    """
    Read all of it; whoever writes is not held up.

    `full` compares the indexes with their tables, too, which takes several times longer.
    """
    schema = 0
    try:
        with naming(path), closing(open_in_use(path)) as connection:
            schema = check(connection)
            how = "integrity_check" if full else "quick_check"
            rows = connection.execute(f"PRAGMA {how}({MOST_WRONG})").fetchall()
    except StoreError as error:
        damaged = code_of(error.__cause__ or error) in _DAMAGE
        return Examined(schema, error, damaged, ())
    wrong = tuple(str(row[0]) for row in rows if row[0] != "ok")
    return Examined(schema, None, bool(wrong), wrong)
