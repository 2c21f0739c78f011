"""The part of the store that has to do with asking senders: what is held, what was asked."""

from collections.abc import Sequence
from datetime import datetime

from receiver import ids
from receiver.clock import to_ms
from receiver.stores.confirming import Verdict
from receiver.stores.sqlite import asking
from receiver.stores.sqlite.confirmations import VERDICTS, Decided, decide
from receiver.stores.sqlite.writer import SqliteWriter


class Deciding(SqliteWriter):
    """Implements `ConfirmingStore` and `AskingStore`."""

    async def decide(
        self,
        event_id: str,
        verdict: Verdict,
        note: str,
        *,
        deliver: bool,
        now: datetime,
    ) -> Sequence[str]:
        item = Decided(
            ids.number("evt", event_id),
            VERDICTS.index(verdict),
            note,
            deliver,
            to_ms(now),
        )

        def then(destinations: Sequence[int]) -> None:
            for destination in destinations:
                self._pending.change(destination, 0 if deliver else -1)
                self._hand_over.look(destination)

        found: Sequence[int] = await self._write(decide, item, len(note), then)
        return [self._names.names[destination] for destination in found]

    async def asked(
        self,
        source: str,
        subject: str,
        *,
        counts: bool,
        next_at: datetime | None,
        note: str,
    ) -> None:
        at = None if next_at is None else to_ms(next_at)
        number = self._names.numbers.get(source, -1)
        await self._write(asking.asked, (int(counts), at, note, number, subject))

    async def ask_anew(self, source: str, subjects: Sequence[str]) -> None:
        number = self._names.numbers.get(source, -1)
        await self._write(asking.ask_anew, [(number, one) for one in subjects])
