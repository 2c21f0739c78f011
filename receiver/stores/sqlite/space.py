"""Free space on the disk: some is kept for recording outcomes when intake stops."""

import os
from pathlib import Path

from receiver import clock
from receiver.errors import StoreBusy, StoreError

LOOK_EVERY_S = 1.0


class FreeSpace:
    """Looks at the store's disk, at most once a second."""

    def __init__(self, store: Path, min_free_bytes: int) -> None:
        self._store = store
        self._min_free_bytes = min_free_bytes
        self._looked_at = float("-inf")
        self._has_room = True

    def check(self) -> None:
        """
        Raises:
            StoreBusy: less than the configured space is free.
            StoreError: the folder is not there any more.
        """
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
