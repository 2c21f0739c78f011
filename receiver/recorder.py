"""Writing outcomes down, for as long as it takes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

from receiver import logs
from receiver.errors import StoreError, Unwritable
from receiver.models import Attempt, Claim, Step
from receiver.stores import Store

T = TypeVar("T")

STORE_TROUBLE_S = 0.5
"""Between two tries."""


class _Entry(NamedTuple):
    claim: Claim
    attempt: Attempt
    step: Step
    then: Callable[[], None]


class Recorder:
    """
    Writes outcomes down; shared by all lanes.

    While one cannot be written nothing new may be claimed (`clear` is not set): what
    was done and not noted would be done again.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stuck = 0
        self._waiting: list[_Entry] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.clear = asyncio.Event()
        self.clear.set()

    def record(
        self, claim: Claim, attempt: Attempt, step: Step, then: Callable[[], None]
    ) -> None:
        """
        Have an outcome written down, with all others of this turn of the loop.

        `then` is called when it is, or when it cannot be: the claim is not ours any
        more, or the outcome can never be kept.
        """
        self._waiting.append(_Entry(claim, attempt, step, then))
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._begin)

    async def pause(self, destination: str, reason: str, now: datetime) -> None:
        """Note that a destination is paused."""
        await self._for_as_long_as_it_takes(
            lambda: self._store.pause(destination, reason, now)
        )

    def _begin(self) -> None:
        entries, self._waiting = self._waiting, []
        task = asyncio.create_task(self._write(entries))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write(self, entries: Sequence[_Entry]) -> None:
        try:
            await self._for_as_long_as_it_takes(
                lambda: self._store.record_all([entry[:3] for entry in entries])
            )
        except Unwritable as error:
            if len(entries) > 1:  # what is wrong with one must not keep the others
                await asyncio.gather(*(self._write([entry]) for entry in entries))
                return
            lost = entries[0].claim.delivery.id  # the claim runs out; it is tried again
            logs.get().error("outcome.lost", id=lost, error=str(error))
        for entry in entries:
            entry.then()

    async def _for_as_long_as_it_takes(self, write: Callable[[], Awaitable[T]]) -> T:
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
