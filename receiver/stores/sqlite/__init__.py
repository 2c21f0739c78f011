"""
The store in one SQLite file, owned by one process.

WAL with `synchronous=FULL`: a commit is on the disk before anybody is told of it.
One connection writes, in groups (`group`); one reads what is due, one everything
else.  Claims are in memory (`claims`): they must not outlive the process anyway.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import blake2b
from math import inf
from pathlib import Path
from typing import Any

import aiosqlite

from receiver import clock, ids
from receiver.clock import to_ms
from receiver.errors import NotFound, StoreError, StoreUnusable
from receiver.models import (
    Attempt,
    Claim,
    Decision,
    Event,
    Rejection,
    Scalar,
    Step,
    Variant,
)
from receiver.offload import beside
from receiver.stores import Added, Claimed, Queue
from receiver.stores.sqlite import reads, writes
from receiver.stores.sqlite.bodies import Packed, body_hash, pack
from receiver.stores.sqlite.claims import Claims, RecentEvents, fitting
from receiver.stores.sqlite.errors import translated
from receiver.stores.sqlite.group import GroupCommit, Operation, Then
from receiver.stores.sqlite.guard import FileGuard, create_privately
from receiver.stores.sqlite.lock import FileLock
from receiver.stores.sqlite.migrate import migrate
from receiver.stores.sqlite.names import add_decisions, add_names
from receiver.stores.sqlite.reader import SqliteReader, connect
from receiver.stores.sqlite.rows import (
    CARRIED,
    DELIVERY_COLUMNS,
    STATE_NUMBERS,
    Row,
    delivery_from_row,
    headers_to_text,
    in_milliseconds,
    to_json,
)

MAX_WAITING_BYTES = 128 * 1024 * 1024
CACHED_EVENT_BYTES = 16 * 1024 * 1024
CHECKPOINT_PAGES = 4_000  # 16 MB of log: fewer, larger checkpoints write less


class SqliteStore(SqliteReader):
    """Implements `receiver.stores.Store`; make it with `SqliteStore.open`."""

    def __init__(
        self,
        path: Path,
        lock: FileLock,
        group: GroupCommit,
        connections: Sequence[aiosqlite.Connection],
        guard: FileGuard,
    ) -> None:
        writer, due, reader = connections
        super().__init__(reader)
        self.path = path
        self._lock = lock
        self._group = group
        self._writer = writer
        self._due = due
        self._ids = ids.IdSource()
        self._claims = Claims()
        self._claiming: dict[int, asyncio.Lock] = {}
        self._recent = RecentEvents(CACHED_EVENT_BYTES)
        self._pending: dict[int, int] = {}
        self._guard = guard

    # -- life

    @classmethod
    async def open(cls, path: Path, min_free_bytes: int = 0) -> "SqliteStore":
        """See `receiver.stores.open_store`."""
        if not path.parent.is_dir():
            raise StoreUnusable(f"the folder {path.parent} does not exist")
        if path.is_dir():
            raise StoreUnusable(f"{path} is a folder; name a file in it")
        lock = FileLock(path)
        connections: list[aiosqlite.Connection] = []
        try:
            async with translated():
                create_privately(path)
                connections.append(writer := await connect(path, "rw"))
                await migrate(writer)
                await writer.execute("PRAGMA synchronous = FULL")
                await writer.execute_fetchall(
                    f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}"
                )
                connections.append(await connect(path, "ro"))
                connections.append(await connect(path, "ro"))
                guard = FileGuard(path, min_free_bytes)
                group = GroupCommit(
                    writer, max_bytes=MAX_WAITING_BYTES, before_commit=guard.check_file
                )
                store = cls(path, lock, group, connections, guard)
                await store._start()
        except BaseException:
            for connection in connections:
                await connection.close()
            lock.release()
            raise
        return store

    async def _start(self) -> None:
        await self._names.load(self._reader)
        self._pending = await reads.pending(self._reader)
        for table in ("events", "deliveries", "replays", "rejections"):
            rows = await self._due.execute_fetchall(f"SELECT max(id) FROM {table}")
            self._ids.advance(next(iter(rows))[0] or 0)

    async def close(self) -> None:
        await self._group.close()
        await super().close()
        await self._due.close()
        await self._writer.close()  # last: only it can empty the log into the file
        self._lock.release()

    async def remember(self, name: str, text: str, now: datetime) -> None:
        await self._write(writes.remember, (name, text, to_ms(now)), len(text))

    async def ping(self) -> None:
        self._guard.check_room()
        await self._write(writes.beat, to_ms(clock.now()))

    # -- accepting

    async def add(
        self, event: Event, decision: Decision, facts: Mapping[str, Scalar]
    ) -> Added:
        self._guard.check_room()
        await self._know_names(event.source, event.provider, event.type)
        if decision not in self._names.decision_numbers:
            await self._know_names(*decision.destinations)
            await self._write(add_decisions, decision)
            await self._names.load(self._reader)
        packed = await beside(len(event.body), pack, event.body)
        item = self._new_event(event, decision, facts, packed)

        def then(added: Added) -> None:
            if added.created:
                for _, _, destination, _ in item.deliveries:
                    self._count(destination, 1)
                self._recent.put(item.id, in_milliseconds(event, added.event_id))

        size = len(event.body) + 1
        added: Added = await self._write(writes.add_events, item, size, then)
        return added

    def _new_event(
        self,
        event: Event,
        decision: Decision,
        facts: Mapping[str, Scalar],
        packed: Packed,
    ) -> writes.NewEvent:
        numbers = self._names.numbers
        fan_out = len(decision.destinations)
        number = self._ids.take(event.received_at, 1 + fan_out)
        received_at = to_ms(event.received_at)
        key = f"{event.source}\0{event.key}".encode(errors="surrogatepass")
        row = (
            number,
            numbers[event.source],
            numbers[event.provider],
            numbers[event.type],
            STATE_NUMBERS[event.state],
            event.final,
            self._names.decision_numbers[decision],
            fan_out,
            to_ms(event.occurred_at) if event.occurred_at else None,
            received_at,
            event.subject,
            event.key,
            event.origin,
            to_json(facts),
            to_json(event.query),
            headers_to_text(event.headers),
            len(event.body),
            packed.codec,
            packed.body,
        )
        deliveries = [
            (number + 1 + i, number, numbers[name], received_at)
            for i, name in enumerate(decision.destinations)
        ]
        return writes.NewEvent(
            number,
            blake2b(key, digest_size=16).digest(),
            packed.hash,
            row,
            deliveries,
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

    # -- delivering

    async def claim(
        self,
        destination: str,
        *,
        owner: str,
        now: datetime,
        limit: int,
        max_bytes: int,
        lease_s: float,
    ) -> Claimed:
        number = self._names.numbers.get(destination)
        if number is None:
            return Claimed((), None)
        # One look at a time: what is recorded while we look must not be taken again.
        async with self._claiming.setdefault(number, asyncio.Lock()), translated():
            held = self._claims.held(number)
            rows = await self._due_rows(number, now, limit + len(held) + 1)
            free = [row for row in rows if row[0] not in held]
            chosen = fitting(free[:limit], max_bytes)
            tokens = [
                self._claims.take(number, row[0], owner, lease_s, manual=row[8])
                for row in chosen
            ]
            try:
                events = await self._events_of(chosen)
                more = len(chosen) < len(free)  # more is due than fits
                next_due = now if more else await self._next_due(number, now)
            except BaseException:
                for row, token in zip(chosen, tokens, strict=True):
                    self._claims.end(number, row[0], token)
                raise
        return Claimed(
            [
                Claim(token, delivery_from_row(row, self._names.names), events[row[1]])
                for token, row in zip(tokens, chosen, strict=True)
                if row[1] in events  # one that cannot be read must not hold up the rest
            ],
            next_due,
        )

    async def _due_rows(self, destination: int, now: datetime, limit: int) -> list[Row]:
        rows = await self._due.execute_fetchall(
            f"SELECT {DELIVERY_COLUMNS}, e.bytes FROM deliveries d"
            " INDEXED BY deliveries_due JOIN events e ON e.id = d.event_id"
            " WHERE d.status = 0 AND d.destination_id = ? AND d.due_at <= ?"
            " ORDER BY d.due_at, d.id LIMIT ?",
            (destination, to_ms(now), limit),
        )
        return list(rows)

    async def _next_due(self, destination: int, after: datetime) -> datetime | None:
        rows = await self._due.execute_fetchall(
            "SELECT min(due_at) FROM deliveries INDEXED BY deliveries_due"
            " WHERE status = 0 AND destination_id = ? AND due_at > ?",
            (destination, to_ms(after)),
        )
        due_at = next(iter(rows))[0]
        return None if due_at is None else clock.from_ms(due_at)

    async def _events_of(self, rows: Sequence[Row]) -> dict[int, Event]:
        found = {row[1]: self._recent.get(row[1]) for row in rows}
        missing = [number for number, event in found.items() if event is None]
        if missing:
            read = await reads.events_by_number(self._due, self._known, missing)
            for number, stored in read.items():
                self._recent.put(number, stored.event)
                found[number] = stored.event
        return {number: event for number, event in found.items() if event}

    async def record(self, claim: Claim, attempt: Attempt, step: Step) -> bool:
        delivery = ids.number("dlv", claim.delivery.id)
        destination = self._names.numbers[claim.delivery.destination]
        held = self._claims.find(destination, delivery, claim.token)
        if held is None:
            return False

        def then(settled: bool) -> None:
            self._count(destination, -1 if settled else 0)
            self._claims.end(destination, delivery, claim.token)

        item = writes.NewRecord(delivery, held.manual, attempt, step)
        # While it is being written nobody else may take it, however long that takes.
        self._claims.extend(destination, delivery, replace(held, until=inf))
        try:
            await self._write(writes.record_attempts, item, then=then)
        except StoreError:
            self._claims.extend(destination, delivery, held)
            raise
        return True

    async def release(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            destination = self._names.numbers[claim.delivery.destination]
            delivery = ids.number("dlv", claim.delivery.id)
            self._claims.end(destination, delivery, claim.token)

    async def forget_claims(self, owner: str) -> None:
        self._claims.forget(owner)

    # -- mending

    async def retry(self, deliveries: Sequence[str], now: datetime) -> int:
        def then(changed: writes.Changed) -> None:
            for _, destination, status in changed.rows:
                self._count(destination, 1 if status else 0)

        return await self._change(writes.retry, deliveries, now, then)

    async def cancel(self, deliveries: Sequence[str], now: datetime) -> int:
        def then(changed: writes.Changed) -> None:
            for _, destination, status in changed.rows:
                self._count(destination, 0 if status else -1)

        return await self._change(writes.cancel, deliveries, now, then)

    async def _change(
        self, operation: Any, deliveries: Sequence[str], now: datetime, then: Then
    ) -> int:
        numbers = [
            ids.number("dlv", delivery) for delivery in dict.fromkeys(deliveries)
        ]
        item = (numbers, to_ms(now))
        changed: writes.Changed = await self._write(operation, item, then=then)
        if changed.missing:
            missing = ids.public("dlv", changed.missing[0])
            raise NotFound(f"there is no delivery {missing}")
        return len(changed.rows)

    async def create_replay(self, asked: Mapping[str, object], now: datetime) -> str:
        number = self._ids.take(now)
        await self._write(writes.add_replays, (number, to_ms(now), to_json(asked)))
        return ids.public("rpl", number)

    async def add_replayed(
        self,
        replay_id: str,
        wanted: Sequence[tuple[str, str, datetime]],
        *,
        as_new: bool,
        now: datetime,
    ) -> int:
        if not wanted:
            return 0
        await self._know_names(*{destination for _, destination, _ in wanted})
        events = {ids.number("evt", event) for event, _, _ in wanted}
        sources = await self._sources_of(sorted(events))
        first = self._ids.take(now, len(wanted))
        rows = [
            (
                first + i,
                ids.number("evt", event),
                self._names.numbers[destination],
                sources[ids.number("evt", event)],
                to_ms(due),
            )
            for i, (event, destination, due) in enumerate(wanted)
        ]

        def then(_added: int) -> None:
            for _, _, destination, _, _ in rows:
                self._count(destination, 1)

        item = writes.NewReplayed(ids.number("rpl", replay_id), as_new, rows)
        added: int = await self._write(writes.add_replayed, item, len(rows) * 64, then)
        return added

    async def _sources_of(self, events: Sequence[int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for start in range(0, len(events), 500):
            chunk = events[start : start + 500]
            marks = ", ".join("?" * len(chunk))
            sql = f"SELECT id, source_id FROM events WHERE id IN ({marks})"
            found |= {
                row[0]: row[1]
                for row in await self._reader.execute_fetchall(sql, chunk)
            }
        for event in events:
            if event not in found:
                raise NotFound(f"there is no event {ids.public('evt', event)}")
        return found

    async def pause(self, destination: str, reason: str, now: datetime) -> bool:
        await self._know_names(destination)
        number = self._names.numbers[destination]
        changed: bool = await self._write(writes.pause, (number, to_ms(now), reason))
        return changed

    async def resume(self, destination: str, now: datetime) -> bool:
        number = self._names.numbers.get(destination, -1)
        changed: bool = await self._write(writes.resume, (number, to_ms(now)))
        return changed

    # -- looking

    async def queues(self) -> Sequence[Queue]:
        async with translated():
            return await reads.queues(self._reader, self._known, self._pending)

    # -- steps

    async def _write(
        self, operation: Operation, item: Any, size: int = 0, then: Then | None = None
    ) -> Any:
        return await self._group.submit(operation, item, size, then)

    async def _know_names(self, *names: str) -> None:
        """Give names their numbers before the rows that carry them: rare, so apart."""
        unknown = [name for name in names if name not in self._names.numbers]
        if unknown:
            await asyncio.gather(*(self._write(add_names, name) for name in unknown))
            await self._names.load(self._reader)

    def _count(self, destination: int, change: int) -> None:
        self._pending[destination] = self._pending.get(destination, 0) + change
