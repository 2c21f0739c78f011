"""The part of the SQLite store that changes what somebody asked to have changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from receiver import ids
from receiver.clock import to_ms
from receiver.errors import NotFound
from receiver.models import ReplayStep
from receiver.stores.sqlite import audit, lines, moving, reads, replays, writes
from receiver.stores.sqlite.group import Then
from receiver.stores.sqlite.rows import to_json
from receiver.stores.sqlite.writer import SqliteWriter


class Mending(SqliteWriter):
    """Implements `MendingStore`."""

    async def retry(self, deliveries: Sequence[str], now: datetime) -> int:
        def then(changed: writes.Changed) -> None:
            for row in changed.rows:
                self._pending.change(row.destination, 1 if row.status else 0)

        return await self._change(writes.retry, deliveries, now, then)

    async def cancel(self, deliveries: Sequence[str], now: datetime) -> int:
        def then(changed: writes.Changed) -> None:
            for row in changed.rows:
                self._pending.change(row.destination, 0 if row.status else -1)

        return await self._change(writes.cancel, deliveries, now, then)

    async def _change(
        self, operation: Any, deliveries: Sequence[str], now: datetime, then: Then
    ) -> int:
        numbers = [
            ids.number("dlv", delivery) for delivery in dict.fromkeys(deliveries)
        ]
        item = (numbers, to_ms(now))
        changed: writes.Changed = await self._write(operation, item, then=then)
        _check_all_there(deliveries, changed.missing)
        return len(changed.rows)

    async def move(
        self,
        deliveries: Sequence[str],
        to: str,
        now: datetime,
        *,
        replay_id: str | None = None,
    ) -> tuple[str, int]:
        await self._know_names(to)
        destination = self._names.numbers[to]
        numbers = [ids.number("dlv", one) for one in dict.fromkeys(deliveries)]
        first = self._ids.take(now, 1 + len(numbers))
        replay = first if replay_id is None else ids.number("rpl", replay_id)
        asked = to_json({"move": len(numbers), "to": to}) if replay == first else None

        def then(moved: moving.Moved) -> None:
            for row in moved.rows:
                self._pending.change(row.destination, 0 if row.status else -1)
            self._pending.change(destination, len(moved.rows))

        item = moving.Asked(numbers, destination, to_ms(now), replay, first + 1, asked)
        moved: moving.Moved = await self._write(moving.move, item, then=then)
        _check_all_there(deliveries, moved.missing)
        return ids.public("rpl", replay), len(moved.rows)

    async def create_replay(
        self, asked: Mapping[str, object], now: datetime, *, running: bool = False
    ) -> str:
        number = self._ids.take(now)
        item = (number, to_ms(now), to_json(asked), running)
        await self._write(replays.add_replays, item)
        return ids.public("rpl", number)

    async def cancel_replay(self, replay_id: str, now: datetime) -> bool:
        item = (to_ms(now), ids.number("rpl", replay_id))
        cancelled: bool = await self._write(replays.cancel, item)
        return cancelled

    async def begin_audit(
        self, who: str, what: str, details: Mapping[str, object], now: datetime
    ) -> int:
        item = (to_ms(now), who, what, to_json(details))
        entry: int = await self._write(audit.begin, item)
        return entry

    async def end_audit(self, entry: int, details: Mapping[str, object] | None) -> None:
        text = None if details is None else to_json(details)
        await self._write(audit.end, (entry, text))

    async def prune_replays(self, before: datetime, limit: int) -> int:
        pruned: int = await self._write(replays.prune, (limit, to_ms(before)))
        return pruned

    async def prune_audit(self, before: datetime, limit: int) -> int:
        pruned: int = await self._write(audit.prune, (limit, to_ms(before)))
        return pruned

    async def add_replayed(
        self,
        replay_id: str,
        wanted: Sequence[tuple[str, str, datetime]],
        *,
        as_new: bool,
        now: datetime,
        step: ReplayStep | None = None,
    ) -> int:
        if not wanted and step is None:
            return 0
        await self._know_names(*{destination for _, destination, _ in wanted})
        events = {ids.number("evt", event) for event, _, _ in wanted}
        about = await reads.about(self._reader, sorted(events))
        first = self._ids.take(now, len(wanted))
        rows: list[replays.Replayed] = []
        for i, (event_id, name, due) in enumerate(wanted):
            event, to = ids.number("evt", event_id), self._names.numbers[name]
            source, subject = about[event]
            in_line = to in self._due_now.ordered
            line = lines.line_of(source, subject) | lines.BY_HAND if in_line else None
            rows.append(
                replays.Replayed(first + i, event, to, source, to_ms(due), line)
            )

        def then(added: Sequence[replays.Replayed] | None) -> None:
            for row in added or ():
                self._pending.change(row.destination, 1)

        reached = None if step is None else replays.reached(step, now)
        item = replays.NewReplayed(ids.number("rpl", replay_id), as_new, rows, reached)
        added: Sequence[replays.Replayed] | None = await self._write(
            replays.add_replayed, item, len(rows) * 64, then
        )
        return -1 if added is None else len(added)

    async def pause(self, destination: str, reason: str, now: datetime) -> bool:
        await self._know_names(destination)
        number = self._names.numbers[destination]
        changed: bool = await self._write(writes.pause, (number, to_ms(now), reason))
        return changed

    async def resume(self, destination: str, now: datetime) -> bool:
        number = self._names.numbers.get(destination, -1)
        changed: bool = await self._write(writes.resume, (number, to_ms(now)))
        return changed


def _check_all_there(deliveries: Sequence[str], missing: Sequence[int]) -> None:
    """
    Raises:
        NotFound: one is missing.
    """
    for delivery in deliveries if missing else ():
        if ids.number("dlv", delivery) in missing:
            raise NotFound(f"there is no delivery {delivery}")
