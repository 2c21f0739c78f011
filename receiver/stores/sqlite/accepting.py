"""The part of the SQLite store that keeps what came."""

from collections.abc import Mapping, Sequence

from receiver import ids
from receiver.clock import to_ms
from receiver.models import Decision, Event, Rejection, Scalar, Variant
from receiver.offload import beside
from receiver.stores.accepting import Added
from receiver.stores.confirming import Hold
from receiver.stores.sqlite import lines, writes
from receiver.stores.sqlite.bodies import Packed, body_hash, pack
from receiver.stores.sqlite.rows import (
    CARRIED,
    STATE_NUMBERS,
    headers_to_text,
    in_milliseconds,
    key_hash,
    to_json,
)
from receiver.stores.sqlite.writer import SqliteWriter


class Accepting(SqliteWriter):
    """Implements `AcceptingStore`."""

    async def add(
        self,
        event: Event,
        decision: Decision,
        facts: Mapping[str, Scalar],
        hold: Hold | None = None,
    ) -> Added:
        self._guard.check_room()
        numbers = self._names.numbers
        if not (
            event.type in numbers
            and event.source in numbers
            and event.provider in numbers
        ):
            await self._know_names(event.source, event.provider, event.type)
        decided = self._names.decision_numbers.get(decision)
        if decided is None:
            decided = await self._know_decision(decision)
        packed = await beside(len(event.body), pack, event.body)
        item = self._new_event(event, decision, decided, facts, packed, hold)

        def then(added: Added) -> None:
            if added.created:
                for _, _, destination, _, _ in item.deliveries:
                    self._pending.change(destination, 1)
                kept = in_milliseconds(event, added.event_id)
                self._recent.put(item.id, kept)
                if hold is None:
                    self._hand_over.give(kept, item.row[1], item.deliveries)
                else:
                    for row in item.deliveries:
                        self._hand_over.look(row[2])

        size = len(event.body) + 1
        added: Added = await self._group.submit(writes.add_events, item, size, then)
        return added

    def _new_event(
        self,
        event: Event,
        decision: Decision,
        decided: int,
        facts: Mapping[str, Scalar],
        packed: Packed,
        hold: Hold | None,
    ) -> writes.NewEvent:
        numbers = self._names.numbers
        fan_out = len(decision.destinations)
        number = self._ids.take(event.received_at, 1 + fan_out)
        received_at = to_ms(event.received_at)
        row = (
            number,
            numbers[event.source],
            numbers[event.provider],
            numbers[event.type],
            STATE_NUMBERS[event.state],
            event.final,
            decided,
            fan_out,
            to_ms(event.occurred_at) if event.occurred_at else None,
            received_at,
            event.subject,
            event.key,
            event.origin,
            to_json(facts),
            to_json(event.query) if event.query else "{}",
            headers_to_text(event.headers),
            len(event.body),
            packed.codec,
            packed.body,
        )
        ordered = self._due_now.ordered
        line = lines.line_of(row[1], event.subject) if ordered else None
        due_at = to_ms(hold.due_at) if hold else received_at
        deliveries = [
            (number + 1 + i, number, to, due_at, line if to in ordered else None)
            for i, to in enumerate([numbers[name] for name in decision.destinations])
        ]
        return writes.NewEvent(
            number,
            key_hash(event.source, event.key),
            packed.hash,
            row,
            deliveries,
            to_ms(hold.until) if hold else None,
        )

    async def add_variant(self, variant: Variant) -> None:
        row = (
            ids.number("evt", variant.event_id),
            body_hash(variant.body),
            variant.kind,
            to_ms(variant.received_at),
            variant.body,
        )
        await self._write(writes.add_variants, row, len(variant.body))

    async def add_rejections(self, rejections: Sequence[Rejection]) -> None:
        rows = [
            (
                self._ids.take(rejection.received_at),
                rejection.source,
                rejection.code,
                rejection.message,
                to_ms(rejection.received_at),
                to_json(rejection.query),
                headers_to_text(rejection.headers),
                rejection.body_bytes,
                rejection.body,
                CARRIED.index(rejection.carried),
                rejection.client,
            )
            for rejection in rejections
        ]
        size = sum(len(row[5]) + len(row[6]) + len(row[8]) for row in rows)
        await self._write(writes.add_rejections, rows, size)

    async def rejection_accepted(self, rejection_id: str, event_id: str) -> None:
        row = (ids.number("evt", event_id), ids.number("rej", rejection_id))
        await self._write(writes.rejections_accepted, row)
