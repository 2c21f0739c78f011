"""
The store in one SQLite file, owned by one process.

WAL with `synchronous=FULL`: a commit is on the disk before anybody is told of it.
One connection writes, in groups (`group`); one reads what is due, one everything
else.  Claims are in memory (`claims`): they must not outlive the process anyway.
"""

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import aiosqlite

from receiver import clock, ids
from receiver.clock import to_ms
from receiver.errors import NotFound, StoreUnusable
from receiver.models import (
    Attempt,
    Claim,
    Decision,
    Event,
    OnDead,
    Rejection,
    ReplayStep,
    Scalar,
    Step,
    Variant,
)
from receiver.offload import beside
from receiver.stores import Added, Claimed, Queue, Taker
from receiver.stores.confirming import Hold
from receiver.stores.following import Change
from receiver.stores.sqlite import (
    audit,
    extent,
    following,
    forward,
    joins,
    lines,
    reads,
    replays,
    subjects,
    writes,
)
from receiver.stores.sqlite.bodies import Packed, body_hash, pack
from receiver.stores.sqlite.claims import RecentEvents
from receiver.stores.sqlite.deciding import DecidingStore
from receiver.stores.sqlite.due import DueNow
from receiver.stores.sqlite.errors import translated
from receiver.stores.sqlite.group import GroupCommit, Operation, Then
from receiver.stores.sqlite.guard import FileGuard, create_privately
from receiver.stores.sqlite.handover import HandOver
from receiver.stores.sqlite.lock import FileLock
from receiver.stores.sqlite.migrate import migrate
from receiver.stores.sqlite.names import add_decisions, add_names
from receiver.stores.sqlite.outcomes import record_attempts
from receiver.stores.sqlite.pending import Pending
from receiver.stores.sqlite.pruner import SqlitePruner
from receiver.stores.sqlite.reader import connect, open_file
from receiver.stores.sqlite.recording import Recording
from receiver.stores.sqlite.rows import (
    CARRIED,
    STATE_NUMBERS,
    headers_to_text,
    in_milliseconds,
    to_json,
)

MAX_WAITING_BYTES = 128 * 1024 * 1024
CACHED_EVENT_BYTES = 16 * 1024 * 1024
CHECKPOINT_PAGES = 4_000  # 16 MB of log: fewer, larger checkpoints write less


class SqliteStore(DecidingStore, SqlitePruner):
    """Implements `receiver.stores.Store`; make it with `SqliteStore.open`."""

    def __init__(
        self,
        path: Path,
        connections: Sequence[aiosqlite.Connection],
        group: GroupCommit,
        guard: FileGuard,
        pending: Pending,
    ) -> None:
        due, reader = connections
        super().__init__(reader)
        self.path = path
        self._group = group
        self._guard = guard
        self._life = AsyncExitStack()
        self._due = due
        self._ids = ids.IdSource()
        self._recent = RecentEvents(CACHED_EVENT_BYTES)
        self._due_now = DueNow(due, self._recent, self._names, self._known)
        self._claims = self._due_now.claims
        self._hand_over = HandOver(self._claims, self._names)
        self._order: dict[int, OnDead] = {}
        self._pending = pending
        self._recording = Recording(
            lambda records, then: self._write(record_attempts, records, then=then),
            self._due_now,
            self._hand_over,
            pending,
        )

    # -- life

    @classmethod
    async def open(cls, path: Path, min_free_bytes: int = 0) -> "SqliteStore":
        """See `receiver.stores.open_store`."""
        if not path.parent.is_dir():
            raise StoreUnusable(f"the folder {path.parent} does not exist")
        if path.is_dir():
            raise StoreUnusable(f"{path} is a folder; name a file in it")
        async with AsyncExitStack() as life, translated():
            life.callback(FileLock(path).release)
            writer = await asyncio.to_thread(_open_to_write, path)
            # Last of the connections: only then it can empty the log into the file.
            life.push_async_callback(asyncio.to_thread, writer.close)
            order = await asyncio.to_thread(lines.ordered, writer)
            connections: list[aiosqlite.Connection] = []
            for _ in range(2):
                connections.append(connection := await connect(path))
                life.push_async_callback(connection.close)
            pending = await Pending.begin(path)
            life.push_async_callback(pending.close)
            guard = FileGuard(path, min_free_bytes)
            group = GroupCommit(
                writer, max_bytes=MAX_WAITING_BYTES, before_commit=guard.check_file
            )
            life.push_async_callback(group.close)
            store = cls(path, connections, group, guard, pending)
            await store._start(order)
            store._life = life.pop_all()
        return store

    async def _start(self, order: dict[int, OnDead]) -> None:
        await self._names.load(self._reader)
        self._order = order
        self._due_now.ordered.update(order)
        for table in ("events", "deliveries", "replays", "rejections", "subjects"):
            rows = await self._due.execute_fetchall(f"SELECT max(id) FROM {table}")
            self._ids.advance(next(iter(rows))[0] or 0)
        # What is beyond a cursor is new, also if all events were pruned since.
        self._ids.advance(await following.furthest(self._due))
        self._ids.advance(await extent.pruned_to(self._due))

    async def close(self) -> None:
        await self._life.aclose()

    @property
    def commits(self) -> int:
        return self._group.commits

    async def remember(self, name: str, text: str, now: datetime) -> None:
        await self._write(writes.remember, (name, text, to_ms(now)), len(text))

    async def ping(self) -> None:
        self._guard.check_room()
        await self._write(writes.beat, to_ms(clock.now()))

    # -- accepting

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
        key = f"{event.source}\0{event.key}".encode(errors="surrogatepass")
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
            blake2b(key, digest_size=16).digest(),
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

    # -- mending

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
        if changed.missing:
            missing = ids.public("dlv", changed.missing[0])
            raise NotFound(f"there is no delivery {missing}")
        return len(changed.rows)

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

    async def add_audit(
        self, who: str, what: str, details: Mapping[str, object], now: datetime
    ) -> None:
        await self._write(audit.add, (to_ms(now), who, what, to_json(details)))

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

    # -- following

    async def advance(
        self, name: str, upto: str | None, changes: Sequence[Change]
    ) -> None:
        item = following.prepared(name, upto, changes, self._names.numbers)
        await self._write(following.advance, item)

    async def register_subjects(
        self, source: str, provider: str, names: Sequence[str], now: datetime
    ) -> int:
        await self._know_names(source, provider)
        first = self._ids.take(now, max(1, len(names)))
        numbers = (self._names.numbers[source], self._names.numbers[provider])
        item = [(first + i, *numbers, name, now) for i, name in enumerate(names)]
        added: int = await self._write(subjects.register, item)
        return added

    async def prune_subjects(self, before: datetime, limit: int) -> int:
        item = (ids.floor(before), to_ms(before), limit)
        pruned: int = await self._write(subjects.prune, item)
        return pruned

    async def prune_joins(self, before: datetime, limit: int) -> int:
        pruned: int = await self._write(joins.prune, (limit, to_ms(before)))
        return pruned

    # -- looking

    async def queues(self) -> Sequence[Queue]:
        async with translated():
            return await reads.queues(
                self._reader, self._known, await self._pending.now()
            )

    # -- steps

    async def _write(
        self, operation: Operation, item: Any, size: int = 0, then: Then | None = None
    ) -> Any:
        try:
            return await self._group.submit(operation, item, size, then)
        except StoreUnusable as error:
            self._guard.damaged(error)
            raise

    async def _know_names(self, *names: str) -> None:
        """Give names their numbers before the rows that carry them: rare, so apart."""
        unknown = [name for name in names if name not in self._names.numbers]
        if unknown:
            await asyncio.gather(*(self._write(add_names, name) for name in unknown))
            await self._known()

    async def _know_decision(self, decision: Decision) -> int:
        await self._know_names(*decision.destinations)
        await self._write(add_decisions, decision)
        await self._known()
        return self._names.decision_numbers[decision]


def _open_to_write(path: Path) -> sqlite3.Connection:
    create_privately(path)
    writer = open_file(path, "rw")
    try:
        migrate(writer)
        lines.teach(writer)
        writer.execute("PRAGMA synchronous = FULL")
        writer.execute("PRAGMA secure_delete = FAST").fetchall()
        writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}").fetchall()
    except BaseException:
        writer.close()
        raise
    return writer
