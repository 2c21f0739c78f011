"""
Checkpoints beside the writer: what is in the log goes into the file a little at a time.

SQLite would do it now and then in the middle of a commit, and everybody in that commit
would wait for it.  The writer still does so when the log is long all the same: that is
how a log ends that never comes to rest, and by then there is little left to do.
"""

import sqlite3
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

from receiver.stores.sqlite.reader import open_file

EVERY_S = 0.2
AFTER_BYTES = 1024 * 1024
"""Bodies committed since the last one; each page is written once for all that is in it,
so waiting for more writes less."""


class Checkpoints:
    """A thread with a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._connection = open_file(path, "rw")
        self._bytes = 0
        self._wanted = Event()
        self._closing = Event()
        self._thread = Thread(target=self._run, name="store-checkpoints", daemon=True)
        self._thread.start()

    def committed(self, size: int) -> None:
        """So many bytes more are in the log; called by the writer's thread."""
        self._bytes += size
        if self._bytes >= AFTER_BYTES:
            self._wanted.set()

    def close(self) -> None:
        """End the thread; what is left is the writer's, when it closes the file."""
        self._closing.set()
        self._wanted.set()
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._wanted.wait()
            self._wanted.clear()
            self._bytes = 0
            with suppress(sqlite3.Error):  # the writer meets the trouble, and says so
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._closing.wait(EVERY_S)
