"""Writing outcomes down, for as long as it takes."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from receiver import logs
from receiver.errors import StoreError, Unwritable
from receiver.models import Attempt, Claim, Step
from receiver.stores import Store

STORE_TROUBLE_S = 0.5
"""Between two tries."""


class Recorder:
    """
    Writes outcomes down; shared by all lanes.

    While one cannot be written nothing new may be claimed (`clear` is not set): what
    was done and not noted would be done again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stuck = 0
        self.clear = asyncio.Event()
        self.clear.set()

    async def record(self, claim: Claim, attempt: Attempt, step: Step) -> bool:
        """False if the claim was not ours any more, or the outcome can never be kept."""
        try:
            return await self._for_as_long_as_it_takes(
                lambda: self._store.record(claim, attempt, step)
            )
        except Unwritable as error:  # the claim runs out, and it is tried again
            logs.get().error("outcome.lost", id=claim.delivery.id, error=str(error))
            return False

    async def pause(self, destination: str, reason: str, now: datetime) -> None:
        """Note that a destination is paused."""
        await self._for_as_long_as_it_takes(
            lambda: self._store.pause(destination, reason, now)
        )

    async def _for_as_long_as_it_takes(
        self, write: Callable[[], Awaitable[bool]]
    ) -> bool:
        stuck = False
        try:
            while True:
                try:
                    return await write()
                except Unwritable:
                    raise
                except StoreError as error:
                    if not stuck:
                        stuck = True
                        self._stuck += 1
                        self.clear.clear()
                        logs.get().error("outcome.not_recorded", error=str(error))
                    await asyncio.sleep(STORE_TROUBLE_S)
        finally:
            if stuck:
                self._stuck -= 1
                if not self._stuck:
                    self.clear.set()
