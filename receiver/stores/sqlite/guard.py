"""What must hold for the file while we write to it: it is there, whole, with room."""

import os
from pathlib import Path

from receiver import clock
from receiver.errors import StoreBusy, StoreError, StoreUnusable

LOOK_EVERY_S = 1.0


class FileGuard:
    """Watches the store's file, which must exist, and its disk."""

    def __init__(self, store: Path, min_free_bytes: int) -> None:
        self._store = store
        self._min_free_bytes = min_free_bytes
        self._identity = self._identify()
        self._looked_at = float("-inf")
        self._has_room = True
        self._damage = ""

    def damaged(self, error: StoreUnusable) -> None:
        """
        From now on nothing is accepted into the file: who knows whether it could be
        read again.
        """
        self._damage = str(error)

    def check_file(self) -> None:
        """
        Called before every commit: SQLite itself would go on writing to a file that
        nobody can find any more.

        Raises:
            StoreError: the path names another file now, or none.
        """
        if self._identify() != self._identity:
            raise StoreError(
                f"{self._store} was removed or replaced while it was in use: "
                "stop the receiver, put the file back, start again"
            )

    def check_room(self) -> None:
        """
        Called before accepting, and looks at most once a second: some space is kept
        for recording outcomes, which goes on when intake has stopped.

        Raises:
            StoreBusy: less than the configured space is free.
            StoreUnusable: the file is damaged.
            StoreError: the folder is not there any more.
        """
        if self._damage:
            raise StoreUnusable(self._damage)
        now = clock.monotonic()
        if now - self._looked_at > LOOK_EVERY_S:
            try:
                space = os.statvfs(self._store.parent)
            except OSError as error:
                raise StoreError(f"{self._store.parent}: {error.strerror}") from error
            self._has_room = space.f_bavail * space.f_frsize >= self._min_free_bytes
            self._looked_at = now
        if not self._has_room:
            raise StoreBusy(f"the disk of {self._store} is nearly full")

    def _identify(self) -> tuple[int, int] | None:
        try:
            found = self._store.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


def create_privately(store: Path) -> None:
    """
    Make the file, if there is none, so that only its owner can read it.

    Raises:
        StoreUnusable: it cannot be made, or be written.
    """
    try:
        os.close(os.open(store, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnusable(
            f"{store} cannot be written ({error.strerror}): it and its folder must "
            "belong to the user the receiver runs as, on a disk with room"
        ) from error
