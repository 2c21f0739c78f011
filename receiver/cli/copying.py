"""What backup and restore share: where the store is, and a copy that is watched."""

import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import click

from receiver.errors import StoreLocked
from receiver.settings import StoreSettings, load_store
from receiver.stores import sqlite_path
from receiver.stores.sqlite.backup import Contents, copy
from receiver.stores.sqlite.lock import FileLock
from receiver.stores.sqlite.swap import give_to_owner


def store_of(config: Path | None) -> tuple[StoreSettings, Path]:
    """
    The store's settings and file; the rest of the configuration may be wrong.

    Raises:
        SettingsError: it cannot be told where the store is.
    """
    settings = load_store(config, os.environ)
    return settings, sqlite_path(settings.url).absolute()


def copied(label: str, source: Path, target: Path, min_free_bytes: int = 0) -> Contents:
    """
    `copy`, with a progress bar where somebody watches.

    Raises:
        StoreError: see `copy`.
    """
    with click.progressbar(
        length=1, label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:

        def watch(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        return copy(source, target, watch, min_free_bytes=min_free_bytes)


@contextmanager
def owning(store: Path) -> Generator[None, None, None]:
    """
    Nobody else may own the store meanwhile.

    Raises:
        StoreLocked: a server does.
    """
    try:
        lock = FileLock(store)
    except StoreLocked as error:
        raise StoreLocked(f"{error}: stop it first") from None
    try:
        give_to_owner(lock.path, store if store.exists() else store.parent)
        yield
    finally:
        lock.release()


@contextmanager
def cleaning_up() -> Generator[None, None, None]:
    """Let SIGTERM, too, end the command in order: no half of a file stays."""

    def end(_number: int, _frame: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
