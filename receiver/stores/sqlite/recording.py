"""Recording outcomes: only for who holds the claim, and the claim ends with it."""

from collections.abc import Awaitable, Callable, Sequence
from math import inf

from receiver.errors import StoreError
from receiver.models import Attempt, Claim, Status, Step
from receiver.stores.sqlite.claims import Held
from receiver.stores.sqlite.due import DueNow
from receiver.stores.sqlite.group import Then
from receiver.stores.sqlite.handover import HandOver
from receiver.stores.sqlite.outcomes import NewRecord
from receiver.stores.sqlite.pending import Pending

Write = Callable[[Sequence[NewRecord], Then], Awaitable[object]]
"""Has records written in one transaction, then calls back."""

_Ours = Sequence[tuple[int, Held, Attempt, Step]]


class Recording:
    """See `receiver.stores.Store.record_all`."""

    def __init__(
        self,
        write: Write,
        due_now: DueNow,
        hand_over: HandOver,
        pending: Pending,
    ) -> None:
        self._write = write
        self._due_now = due_now
        self._claims = due_now.claims
        self._hand_over = hand_over
        self._pending = pending

    async def record_all(
        self, outcomes: Sequence[tuple[Claim, Attempt, Step]]
    ) -> Sequence[bool]:
        ours: _Ours = [
            (claim.token, held, attempt, step)
            for claim, attempt, step in outcomes
            if (held := self._claims.find(claim.token)) is not None
        ]
        if ours:
            await self._record(ours)
        found = {token for token, _, _, _ in ours}
        return [claim.token in found for claim, _, _ in outcomes]

    async def _record(self, ours: _Ours) -> None:
        records = [
            NewRecord(
                held.delivery,
                held.manual,
                attempt,
                step,
                held.destination in self._due_now.ordered,
            )
            for _, held, attempt, step in ours
        ]
        # While it is being written nobody else may take it, however long that takes.
        until = [held.until for _, held, _, _ in ours]
        for _, held, _, _ in ours:
            held.until = inf
        try:
            await self._write(records, lambda applied: self._recorded(ours, applied))
        except StoreError:
            for (_, held, _, _), before in zip(ours, until, strict=True):
                held.until = before
            raise

    def _recorded(self, ours: _Ours, applied: Sequence[bool]) -> None:
        for (token, held, _, step), follows in zip(ours, applied, strict=True):
            self._claims.end(token)
            if not follows:
                self._hand_over.look(held.destination)
            elif step.status is not Status.PENDING:
                self._pending.change(held.destination, -1)
