"""
One process owns a SQLite file: a lock beside it, held while the process lives.

The kernel lets go of it however the process ends, so a crash needs no repair.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from receiver.errors import StoreLocked, StoreUnusable


def holder(store: Path) -> str | None:
    """The process that owns the store; None where nobody does, or it cannot be told."""
    file = store.resolve()
    try:
        fd = os.open(file.with_name(file.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go of below, at once
    except OSError:
        return os.pread(fd, 64, 0).decode(errors="replace").strip() or "unknown"
    finally:
        os.close(fd)
    return None


class FileLock:
    """Holds `<store>.lock`, which says who holds it."""

    def __init__(self, store: Path) -> None:
        """
        Raises:
            StoreLocked: another process has it; the message names that process.
            StoreUnusable: the folder cannot be written.
        """
        file = store.resolve()  # by whatever name, the same file has the same lock
        self.path = file.with_name(file.name + ".lock")
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnusable(f"{self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._fd, 64, 0).decode(errors="replace").strip()
            os.close(self._fd)
            raise StoreLocked(
                f"{store} is owned by another receiver (process {holder or 'unknown'})"
            ) from None
        with suppress(OSError):  # a courtesy, which a full disk may refuse
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; the file stays, for its absence would let two in at once."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
