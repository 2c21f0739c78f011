"""
Copying a store whole while others write to it, and looking into such a copy.

A read transaction is held open on the source while its pages are copied step by step:
SQLite's online backup then neither begins anew when somebody writes (as it does when
each step reads a moment of its own) nor keeps anybody from writing.  What is copied is
synced bit by bit, for one large sync at the end would hold up the server's own.

Source: https://www.sqlite.org/backup.html, https://www.sqlite.org/isolation.html
"""

import os
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from receiver import ids
from receiver.errors import StoreError, StoreUnusable
from receiver.stores.sqlite.errors import code_of, naming
from receiver.stores.sqlite.migrate import check
from receiver.stores.sqlite.reader import open_file

STEP_PAGES = 1024
"""4 MB: copied, then synced, before anything else is looked at."""

SPARE_BYTES = 1 << 20

_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

Watch = Callable[[int, int], None]
"""Told after each step how many pages are copied, and how many there are."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a whole and undamaged file holds; `rows` has the count of every table."""

    schema: int
    bytes: int
    rows: Mapping[str, int]
    newest_event_at: datetime | None

    @property
    def events(self) -> int:
        return self.rows["events"]

    @property
    def keys(self) -> int:
        return self.rows["event_keys"]

    @property
    def deliveries(self) -> int:
        return self.rows["deliveries"]


def copy(
    source: Path, target: Path, watch: Watch, *, min_free_bytes: int = 0
) -> Contents:
    """
    Make `target`, which must not exist, a copy of one moment of the store; what it holds.

    It is one file without a log, readable by its owner alone, synced and checked.  When
    it cannot be made nothing is left of it.

    Raises:
        StoreUnusable: the source is damaged, newer than we are, or not ours.
        StoreError: the disk of `target` has not the room for it, with `min_free_bytes`
            left over; or one of the files cannot be read or written.
    """
    with naming(source):
        origin = _open_moment(source)
    with closing(origin):
        size = _number(origin, "page_count") * _number(origin, "page_size")
        _check_room(target.parent, size, min_free_bytes)
        with naming(target):
            descriptor = os.open(target, _NEW_FILE, 0o600)
        try:
            with naming(target.parent):
                _copy_pages(origin, target, descriptor, watch)
            with naming(source):  # what is wrong with the copy is wrong with it, too
                found = _contents(target)
                if found.bytes != size:
                    raise StoreError(f"of {size} bytes {found.bytes} were copied")
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
    return found


def inspect(path: Path) -> Contents:
    """
    Read all of a file that nobody writes to, and say what it holds.

    Raises:
        StoreUnusable: it is damaged, newer than we are, or not ours.
        StoreError: it cannot be read.
    """
    with naming(path):
        return _contents(path)


def sync_folder(folder: Path) -> None:
    """Make what was renamed in it survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# -- steps


def _open_moment(path: Path) -> sqlite3.Connection:
    """The file as it is now, whoever writes to it from now on."""
    connection = open_in_use(path)
    try:
        connection.execute("BEGIN")
        if check(connection) == 0:
            raise StoreUnusable("it is empty")
    except BaseException:
        connection.close()
        raise
    return connection


def _copy_pages(
    origin: sqlite3.Connection, target: Path, descriptor: int, watch: Watch
) -> None:
    def after(_status: int, remaining: int, total: int) -> None:
        os.fdatasync(descriptor)
        watch(total - remaining, total)

    # Nobody else knows the file, and a network's file system may not have locks.
    uri = f"{target.absolute().as_uri()}?mode=rw&vfs=unix-none"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as into:
        into.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
        into.execute("PRAGMA journal_mode = OFF").fetchall()
        into.execute("PRAGMA synchronous = OFF")
        origin.backup(into, pages=STEP_PAGES, progress=after, sleep=0)
        # A file that needs no others beside it, not even to be read.
        into.execute("PRAGMA journal_mode = DELETE").fetchall()
    os.fsync(descriptor)


def _contents(path: Path) -> Contents:
    with closing(_open_unchanging(path)) as connection:
        schema = check(connection)
        if schema == 0:
            raise StoreUnusable("it is empty")
        wrong = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
        if wrong != ["ok"]:
            raise StoreUnusable(f"the file is damaged ({'; '.join(wrong)})")
        tables = connection.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'table'"
            " AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        rows = {
            table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for (table,) in tables
        }
        [[last]] = connection.execute("SELECT max(id) FROM events")
        return Contents(
            schema=schema,
            bytes=_number(connection, "page_count") * _number(connection, "page_size"),
            rows=rows,
            newest_event_at=None if last is None else ids.made_at(last),
        )


def open_in_use(path: Path) -> sqlite3.Connection:
    """Of a store in use, whoever writes; also where the folder cannot be written."""
    connection = open_file(path, "ro")
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.Error as error:
        connection.close()
        log = path.with_name(path.name + "-wal")
        unwritable = code_of(error) in (
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_READONLY,
        )
        if unwritable and not (log.exists() and log.stat().st_size):
            return _open_unchanging(path)
        raise
    return connection


def _open_unchanging(path: Path) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    return sqlite3.connect(uri, uri=True, isolation_level=None)


def _check_room(folder: Path, size: int, min_free_bytes: int) -> None:
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    if free < size + SPARE_BYTES + min_free_bytes:
        kept = f", and {_megabytes(min_free_bytes)} have to stay free there"
        raise StoreError(
            f"{folder} has {_megabytes(free)} free, the copy needs "
            f"{_megabytes(size + SPARE_BYTES)}{kept if min_free_bytes else ''}: "
            "make room, or choose another disk"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    [[number]] = connection.execute(f"PRAGMA {pragma}")
    return int(number)
