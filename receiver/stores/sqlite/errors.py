"""The driver's exceptions in our words, translated once, here."""

import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from receiver.errors import StoreBusy, StoreError, StoreUnusable, Unwritable

_WORDS = {
    sqlite3.SQLITE_BUSY: (StoreBusy, "another process holds the store's lock"),
    sqlite3.SQLITE_LOCKED: (StoreBusy, "another connection holds the store's lock"),
    sqlite3.SQLITE_FULL: (StoreError, "the disk is full"),
    sqlite3.SQLITE_READONLY: (StoreError, "the store's file cannot be written"),
    sqlite3.SQLITE_IOERR: (StoreError, "the disk failed"),
    sqlite3.SQLITE_CANTOPEN: (StoreError, "the store's file cannot be opened"),
    sqlite3.SQLITE_CORRUPT: (StoreUnusable, "the store's file is damaged"),
    sqlite3.SQLITE_NOTADB: (StoreUnusable, "the file is not a SQLite database"),
}

_DAMAGED = (
    "stop the receiver; `receiver doctor` says how bad it is, "
    "`receiver restore FILE` goes back to a backup"
)
_ADVICE = {
    sqlite3.SQLITE_FULL: "make room on it",
    sqlite3.SQLITE_READONLY: "who owns the file and its folder, and may they be written?",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: f"if it was one, {_DAMAGED}",
}


def code_of(error: BaseException) -> int | None:
    """SQLite's primary result code, where the error has one."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def concerns_all(error: BaseException) -> bool:
    """Whether the surroundings failed (disk, lock), rather than one row's values."""
    environment = isinstance(error, sqlite3.ProgrammingError | StoreError)
    return environment or code_of(error) in _WORDS


def translate(error: BaseException) -> StoreError:
    """A StoreError that says what happened, the driver's error as its cause."""
    if isinstance(error, StoreError):
        return error
    unknown = (StoreError if concerns_all(error) else Unwritable, "it cannot be kept")
    code = code_of(error) or -1
    kind, words = _WORDS.get(code, unknown)
    advice = f": {_ADVICE[code]}" if code in _ADVICE else ""
    translated = kind(f"{words} ({error}){advice}")
    translated.__cause__ = error
    return translated


@asynccontextmanager
async def translated() -> AsyncGenerator[None, None]:
    """Raise the driver's errors as StoreErrors."""
    try:
        yield
    except (sqlite3.Error, ValueError, OverflowError) as error:
        # ValueError: text that is not Unicode; a connection that is closed
        raise translate(error) from error


@contextmanager
def naming(path: Path) -> Generator[None, None, None]:
    """Raise all errors as StoreErrors that say which file they are about."""
    try:
        yield
    except StoreError as error:
        raise type(error)(f"{path}: {error}") from error
    except sqlite3.Error as error:
        told = translate(error)
        raise type(told)(f"{path}: {told}") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error
