"""A store that cannot be written to for a while."""

import sqlite3

from tests.dispatching import Bench


class Locked:
    """While this lasts nobody else can write to the store."""

    def __init__(self, bench: Bench) -> None:
        self._path = bench.folder / "receiver.db"

    def __enter__(self) -> None:
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        self._connection.execute("BEGIN EXCLUSIVE")

    def __exit__(self, *_: object) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()
