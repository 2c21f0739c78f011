"""
Putting another file in a store's place, so that at every moment there is a whole one.

Whoever does this holds the store's lock.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from receiver.errors import StoreError
from receiver.stores.sqlite.backup import sync_folder
from receiver.stores.sqlite.migrate import check
from receiver.stores.sqlite.reader import open_file

COMPANIONS = ("-wal", "-shm")
"""What SQLite keeps beside a file; a log beside a file that it is not of destroys it."""


def companions(store: Path) -> Iterator[Path]:
    for suffix in COMPANIONS:
        yield store.with_name(store.name + suffix)


def put_in_place(new: Path, store: Path, now: datetime) -> Path | None:
    """
    Make `new` the store; what was there is kept beside it under the name returned.

    A log that could not be brought into the old file goes with it.

    Raises:
        OSError: a file could not be renamed.
    """
    give_to_owner(new, store if store.exists() else store.parent)
    kept = None
    if store.exists():
        kept = _free_name(store, f"before-restore-{now:%Y-%m-%dT%H-%M-%SZ}")
        if _settled(store):
            for beside in companions(store):
                beside.unlink(missing_ok=True)
            _keep_beside(store, kept)
        else:
            store.replace(kept)
    for beside, suffix in zip(companions(store), COMPANIONS, strict=True):
        if kept is not None and suffix == "-wal" and beside.exists():
            beside.replace(kept.with_name(kept.name + suffix))
        beside.unlink(missing_ok=True)
    new.replace(store)
    sync_folder(store.parent)
    return kept


def give_to_owner(file: Path, like: Path) -> None:
    """What root makes must belong to whom the server runs as."""
    if os.geteuid() == 0 and file.exists():
        owner = like.stat()
        os.chown(file, owner.st_uid, owner.st_gid)


def _settled(store: Path) -> bool:
    """Bring what is in the log into the file; False where that cannot be done."""
    with suppress(sqlite3.Error, StoreError):
        with closing(open_file(store, "ro")) as connection:
            check(connection)  # or what is damaged would be changed by being opened
        return _emptied(store)
    return False


def _emptied(store: Path) -> bool:
    with closing(open_file(store, "rw")) as connection:
        sql = "PRAGMA wal_checkpoint(TRUNCATE)"
        [[busy, _, _]] = connection.execute(sql)
        return not busy


def _keep_beside(store: Path, kept: Path) -> None:
    """By a second name, so that the first always leads to a file."""
    try:
        os.link(store, kept)
    except OSError:  # not every file system has links
        store.replace(kept)


def _free_name(store: Path, suffix: str) -> Path:
    names = (f"{store.name}.{suffix}{f'-{n}' if n > 1 else ''}" for n in count(1))
    return next(path for path in map(store.with_name, names) if not path.exists())
