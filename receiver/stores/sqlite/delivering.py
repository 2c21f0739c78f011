"""The part of the SQLite store that gives out what is due, and keeps what came of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from receiver.clock import to_ms
from receiver.errors import StoreUnusable
from receiver.models import Attempt, Claim, OnDead, Step
from receiver.stores.delivering import Claimed, Taker
from receiver.stores.sqlite import forward, lines
from receiver.stores.sqlite.errors import translated
from receiver.stores.sqlite.writer import SqliteWriter


class Delivering(SqliteWriter):
    """Implements `DeliveringStore`."""

    async def claim(
        self,
        destination: str,
        *,
        owner: str,
        now: datetime,
        limit: int,
        max_bytes: int,
        lease_s: float,
        by_hand: bool = False,
    ) -> Claimed:
        number = self._names.numbers.get(destination)
        if number is None:
            return Claimed((), None)
        try:
            async with translated():
                return await self._due_now.claim(
                    number,
                    owner=owner,
                    now=now,
                    limit=limit,
                    max_bytes=max_bytes,
                    lease_s=lease_s,
                    by_hand=by_hand,
                )
        except StoreUnusable as error:
            self._guard.damaged(error)
            raise

    def hand_to(self, destination: str, taker: Taker | None) -> None:
        self._hand_over.to(destination, taker)

    async def record(self, claim: Claim, attempt: Attempt, step: Step) -> bool:
        [recorded] = await self.record_all([(claim, attempt, step)])
        return recorded

    async def record_all(
        self, outcomes: Sequence[tuple[Claim, Attempt, Step]]
    ) -> Sequence[bool]:
        return await self._recording.record_all(outcomes)

    async def release(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._claims.end(claim.token)

    async def bring_forward(
        self, destination: str, waits: Sequence[timedelta], now: datetime
    ) -> int:
        number = self._names.numbers.get(destination)
        if number is None:
            return 0
        async with translated():
            late = await forward.late(self._due, number, waits, to_ms(now))
        for start in range(0, len(late), forward.STEP):
            item = (late[start : start + forward.STEP], to_ms(now))
            await self._write(forward.bring, item)
        return len(late)

    async def forget_claims(self, owner: str) -> None:
        self._claims.forget(owner)

    async def keep_order(self, wanted: Mapping[str, OnDead | None]) -> None:
        kept = {self._names.names[to]: on_dead for to, on_dead in self._order.items()}
        changed = [name for name in wanted if wanted[name] != kept.get(name)]
        if not changed:
            return
        await self._know_names(*changed)
        numbers = self._names.numbers
        item: dict[int, OnDead | None] = {numbers[n]: wanted[n] for n in changed}
        async with self._due_now.reordered(item):
            await self._write(lines.keep_order, item)
            order: dict[int, OnDead | None] = {**self._order, **item}
            self._order = {to: on_dead for to, on_dead in order.items() if on_dead}
