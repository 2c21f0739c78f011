"""Who takes what a store hands over, for tests without lanes."""

import asyncio

from receiver.models import Claim


class Listening:
    """Hears of every delivery that is added, and takes those it has room for."""

    owner = "listening"
    lease_s = 60.0

    def __init__(self, room: int = 0) -> None:
        self.room = room
        self.taken: list[Claim] = []
        self.told: asyncio.Queue[None] = asyncio.Queue()

    def has_room(self, size: int) -> bool:
        return len(self.taken) < self.room

    def take(self, claim: Claim) -> None:
        self.taken.append(claim)

    def look(self) -> None:
        self.told.put_nowait(None)
