"""
A large store with a past that is like a real one's, for benchmarks.

A million events of about 1 KB in two hundred thousand batches, three deliveries of each,
over 90 days.  Of the deliveries 2 % are dead and 1 % pending, some of those were tried in
vain; batches are followed as a server does it, some have credits that do not add up, some
never end.  There are replays, refused requests, and changes by hand.
"""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import timedelta
from itertools import product
from pathlib import Path

from receiver import clock
from receiver.batches import Batches
from receiver.bench import events
from receiver.bench.filling import RUN, Past, Pattern, fill
from receiver.models import Rejection, Secret, Status
from receiver.providers.senders import Senders
from receiver.providers.sora2 import Sora2Source
from receiver.settings import Server, Settings, StoreSettings
from receiver.stores import EventFilter, Store, open_store
from receiver.stores.joining import JoinChange, Joined, JoinState, Part

NAMES = ("a", "b", "c")
STAGES = ("batch.created", "batch.running", "batch.progress", "batch.completed")
REFUNDED = "batch.refunded"
STAGES_OF_A_BATCH = len(STAGES) + 1
BEHIND = 20
"""Other batches that begin between two events of one."""

OUT_OF = 10_000
DEAD, PENDING, SELDOM, WRONG = 600, 100, 10, 50
"""Events of so many; of those that are dead one delivery of three is."""

JOIN = "order"
JOINS = 2_000
REPLAYED = 1_000
REJECTIONS = 300
CHANGES = 300
A_STRETCH = 1_000
FOLLOWER = "events"
MILLISECOND_BIT = 21
"""Of an id."""
LATER = timedelta(days=1)
"""When what is pending is due: not while something is measured."""


def past(count: int) -> Past:
    """How the events of a store with so many are made."""
    batches = max(1, count // STAGES_OF_A_BATCH)
    patterns, places = _patterns()

    def choose(number: int) -> tuple[int, int]:
        stage = number % STAGES_OF_A_BATCH
        batch = (number // STAGES_OF_A_BATCH - BEHIND * stage) % batches
        return places[stage, _sort(number, batch)], batch

    return Past(patterns, choose)


def _sort(number: int, batch: int) -> str:
    """What is particular about an event, the same each time; batches are of one source."""
    if _any(batch) < SELDOM:
        return "seldom"
    drawn = _any(number)
    if drawn < DEAD:
        return "b" if drawn % 2 else "c"
    if drawn < DEAD + PENDING:
        return "pending"
    return "wrong" if _any(batch) < SELDOM + WRONG else ""


def _any(number: int) -> int:
    return (number + 1) * 2_654_435_761 % 2**32 * OUT_OF // 2**32


def _patterns() -> tuple[list[Pattern], dict[tuple[int, str], int]]:
    patterns: list[Pattern] = []
    places: dict[tuple[int, str], int] = {}
    waiting = dict.fromkeys(NAMES, Status.PENDING)
    sorts = {
        "": ("sora2", {}),
        "wrong": ("sora2", {}),
        "seldom": ("seldom", {}),
        "b": ("sora2", {"b": Status.DEAD}),
        "c": ("sora2", {"c": Status.DEAD}),
        "pending": ("sora2", waiting),
    }
    for (stage, kind), sort in product(enumerate((*STAGES, REFUNDED)), sorts):
        source, fates = sorts[sort]
        places[stage, sort] = len(patterns)
        patterns.append(Pattern(_body(kind, wrong=sort == "wrong"), source, fates))
    return patterns, places


def _body(kind: str, *, wrong: bool) -> Callable[[int], bytes]:
    def make(batch: int) -> bytes:
        data = json.loads(events.body(batch, RUN))
        data |= {"event": kind, "request_id": f"order-of-{data['batch_id']}"}
        if kind in STAGES[:-1]:
            data["status"] = "pending" if kind == STAGES[0] else "running"
            data["ledger"] = {"reserved": 100}
            data["summary"] = {"total": 6, "succeeded": 0, "failed": 0}
        elif wrong:
            data["ledger"]["refunded"] = 30
        return json.dumps(data, separators=(",", ":")).encode()

    return make


async def make(path: Path, count: int) -> AsyncIterator[str]:
    """Make the store in a new file; says what it is at."""
    async for done in fill(path, count, NAMES, past(count)):
        yield f"writing events: {done:,}"
    _put_off(path)
    store = await open_store(f"sqlite:///{path}")
    try:
        async for done in _follow(store, path):
            yield f"following them: {done:,}"
        yield "adding what was done by hand"
        await _join(store)
        await _replay(store)
        await _refuse(store)
        await _change(store)
    finally:
        await store.close()


def _put_off(path: Path) -> None:
    later = clock.to_ms(clock.now() + LATER)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "UPDATE deliveries SET due_at = ?1, attempts = (id >> ?2) % 2,"
            " round_attempts = (id >> ?2) % 2 WHERE status = 0",
            (later, MILLISECOND_BIT),
        )


async def _follow(store: Store, path: Path) -> AsyncIterator[int]:
    """As a server does, but without a rest."""
    given = settings(path)
    batches = Batches(given, store, Senders(given.sources.values()))
    upto, done, now = await store.cursor(FOLLOWER), 0, clock.now()
    while (stretch := await store.follow(upto, A_STRETCH)).upto is not None:
        folded = await batches.fold(stretch.events, now)
        upto = stretch.upto
        await store.advance(FOLLOWER, upto, folded.changes)
        done += len(stretch.events)
        yield done
    while changes := (await batches.look(clock.now())).changes:
        await store.advance(FOLLOWER, None, changes)


async def _join(store: Store) -> None:
    """Orders of three batches each; of a few the last one is waited for."""
    some = await store.events(EventFilter(type=STAGES[-1]), limit=3 * JOINS)
    for start in range(0, len(some), 3):
        parts = [
            Part(one.event.source, one.event.subject, one.event.id, failed=False)
            for one in some[start : start + 3]
        ]
        begun_at = some[start].event.received_at
        state = JoinState.COMPLETED if start % 100 else JoinState.OPEN
        joined = Joined(
            JOIN, f"order-{start}", begun_at, begun_at + LATER * 2, state, 3, parts
        )
        await store.advance(FOLLOWER, None, [JoinChange(joined, parts)])


async def _replay(store: Store) -> None:
    now, after = clock.now(), None
    for _ in range(3):
        some = await store.events(EventFilter(), limit=REPLAYED, after=after)
        wanted = [(stored.event.id, "a", now + LATER) for stored in some]
        replay = await store.create_replay({"where": {"type": "batch.*"}}, now)
        await store.add_replayed(replay, wanted, as_new=False, now=now)
        after = some[-1].event.id


async def _refuse(store: Store) -> None:
    headers = {"content-type": "application/json", "x-sora2-signature": "sha256=0"}
    body = events.body(0, RUN)
    several = [
        Rejection(
            id="",
            source="sora2",
            code="signature_mismatch" if i % 2 else "no_signature",
            message="the signature does not match",
            received_at=clock.now() - timedelta(minutes=i),
            headers=headers,
            query={},
            body=body,
            body_bytes=len(body),
            carried="signed" if i % 2 else "unsigned",
        )
        for i in reversed(range(REJECTIONS))
    ]
    await store.add_rejections(several)


async def _change(store: Store) -> None:
    for i in range(CHANGES):
        details = {"count": i, "asked": i}
        entry = await store.begin_audit(
            "admin token", "deliveries.retried", details, clock.now()
        )
        await store.end_audit(entry, details)


def settings(path: Path) -> Settings:
    """What the past was lived through with."""
    sources = {
        name: Sora2Source(
            name,
            provider="sora2",
            secrets=(Secret("a secret"),),
            stall_after=timedelta(hours=1),
        )
        for name in ("sora2", "seldom")
    }
    url = f"sqlite:///{path}"
    return Settings("", Server(), StoreSettings(url=url), sources, {}, ())
