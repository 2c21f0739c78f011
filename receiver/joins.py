"""
Joins: the folder that waits for several events and makes one of them.

    event -> is it a part -> of which key -> with those before: is it all there

A part is the first event of its subject that fits, and counts: of what a sender does
not sign only what was confirmed.  However it ends, a join ends once:
the event that says so has one key for all its ends, and the store takes a key once.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from receiver import internal, logs
from receiver.errors import NotFound
from receiver.expressions import (
    ExpressionError,
    compile_condition,
    compile_over_parts,
    compile_value,
    context_of,
    context_of_parts,
)
from receiver.follower import Folded, Raise
from receiver.models import Event, State
from receiver.plain import plain
from receiver.providers.senders import Senders
from receiver.settings import MOST_PARTS, Join, Settings
from receiver.stores import Reader
from receiver.stores.following import Followed
from receiver.stores.joining import JoinChange, Joined, JoinName, JoinState, Part
from receiver.subjects import counts

FAILED = (State.FAILED, State.CANCELLED)

MOST_DATA_BYTES = 2 * 1024 * 1024
"""Of all parts in the event that ends a join; a part that does not fit is told without
its data, which can be asked for by the part's event."""

LONGEST_KEY = 400
AT_A_TIME = 100


class Joins:
    """A `Folder`; see the module."""

    def __init__(self, settings: Settings, store: Reader, senders: Senders) -> None:
        self._store = store
        self._senders = senders
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go by these joins for what comes."""
        self._joins = settings.joins

    async def fold(self, events: Sequence[Followed], now: datetime) -> Folded:  # noqa: ARG002 (Folder's)
        """Each event into the joins it is a part of."""
        open_: dict[JoinName, JoinChange] = {}
        raises: list[Raise] = []
        for event in events:
            for join in self._joins.values():
                if _concerns(join, event):
                    raises += await self._take(join, event, open_)
        return Folded(list(open_.values()), raises)

    async def look(self, now: datetime) -> Folded:
        """Joins whose time is up."""
        changes: list[JoinChange] = []
        raises: list[Raise] = []
        for joined in await self._store.overdue_joins(now, AT_A_TIME):
            ended = replace(joined, state=JoinState.TIMED_OUT)
            changes.append(JoinChange(ended, ()))
            raises.append(await self._told(ended))
        return Folded(changes, raises)

    async def _take(
        self, join: Join, event: Followed, open_: dict[JoinName, JoinChange]
    ) -> Sequence[Raise]:
        """The event as a part of a join, noted in `open_`; what that raises."""
        try:
            found = await self._belongs(join, event)
        except NotFound:
            return ()
        except ExpressionError as error:
            log = logs.get().bind(join=join.name, id=event.id)
            log.warning("join.skipped", error=str(error))
            return ()
        if found is None:
            return ()
        key, expected = found
        change = await self._change(join, key, event, open_)
        part = Part(event.source, event.subject, event.id, event.state in FAILED)
        if not _takes(join, change.joined, part):
            return ()
        joined = replace(
            change.joined,
            parts=sorted([*change.joined.parts, part], key=_came),
            expected=max(expected or 0, change.joined.expected or 0) or None,
        )
        joined = replace(joined, state=await self._decide(join, joined))
        open_[join.name, key] = JoinChange(joined, [*change.added, part])
        return () if joined.state is JoinState.OPEN else [await self._told(joined)]

    async def _belongs(
        self, join: Join, event: Followed
    ) -> tuple[str, int | None] | None:
        """
        The key of which the event is a part, and how many that says to expect; None: it
        is no part.

        Raises:
            NotFound: it was pruned.
            ExpressionError: an expression of the join failed on it.
        """
        full = await self._event(event.id)
        key = _key(join, full)
        return None if key is None else (key, _expected(join, full))

    async def _change(
        self,
        join: Join,
        key: str,
        event: Followed,
        open_: Mapping[JoinName, JoinChange],
    ) -> JoinChange:
        name = (join.name, key)
        if name in open_:
            return open_[name]
        known = (await self._store.joins([name])).get(name)
        due_at = event.received_at + join.timeout
        begun = Joined(*name, event.received_at, due_at, JoinState.OPEN, None, ())
        return JoinChange(known or begun, ())

    async def _decide(self, join: Join, joined: Joined) -> JoinState:
        if join.fail_fast and any(part.failed for part in joined.parts):
            return JoinState.FAILED
        if join.complete is None:
            complete = joined.expected is not None
            complete = complete and len(joined.parts) >= (joined.expected or 0)
            return JoinState.COMPLETED if complete else JoinState.OPEN
        parts = [await self._part(part) for part in joined.parts]
        try:
            all_there = compile_over_parts(join.complete).holds(context_of_parts(parts))
        except ExpressionError as error:
            logs.get().warning("join.skipped", join=join.name, error=str(error))
            return JoinState.OPEN
        return JoinState.COMPLETED if all_there else JoinState.OPEN

    async def _told(self, joined: Joined) -> Raise:
        left, parts = MOST_DATA_BYTES, list[Mapping[str, Any]]()
        for part in joined.parts:
            told = await self._part(part)
            size = len(internal.encoded(told))
            parts.append(told if size <= left else {**told, "data": None})
            left -= size if size <= left else 0
        body = internal.join_ended(
            joined.state,
            join=joined.name,
            key=joined.key,
            expected=joined.expected,
            begun_at=joined.begun_at,
            failed=[part.failed for part in joined.parts],
            parts=parts,
        )
        return Raise(body, f"join:{joined.name}:{joined.key}")

    async def _part(self, part: Part) -> Mapping[str, Any]:
        """What is told of a part; without its data once that was pruned."""
        known = {"event_id": part.event_id, "subject": part.subject}
        try:
            event = await self._event(part.event_id)
        except NotFound:
            return {**known, "source": part.source, "data": None}
        return {
            **known,
            "source": event.source,
            "type": event.type,
            "state": str(event.state),
            "failed": part.failed,
            "occurred_at": plain(event.occurred_at),
            "received_at": plain(event.received_at),
            "result_urls": list(event.result_urls),
            "query": dict(event.query),
            "data": event.data,
        }

    async def _event(self, event_id: str) -> Event:
        stored = await self._store.event(event_id)
        return await self._senders.read(stored.event)


def names_for(joins: Iterable[Join], event: Event) -> list[JoinName]:
    """
    The joins of which an event is a part, if it came in time and is the first of its
    subject; as they are configured now.
    """
    found: list[JoinName] = []
    for join in joins:
        with suppress(ExpressionError):
            key = _key(join, event) if _fits(join, event) else None
            found += [] if key is None else [(join.name, key)]
    return found


def _key(join: Join, event: Event) -> str | None:
    """
    Of which key the event is a part; None: it is no part.

    Raises:
        ExpressionError: an expression of the join failed on it.
    """
    if not compile_condition(join.when).holds(context_of(event)):
        return None
    return _text(compile_value(join.key).of(context_of(event, more={})))


def _concerns(join: Join, event: Followed) -> bool:
    return counts(event.standing) and _fits(join, event)


def _fits(join: Join, event: Followed | Event) -> bool:
    return (
        event.source != internal.SOURCE
        and join.source in ("*", event.source)
        and any(fnmatchcase(event.type, glob) for glob in join.types)
    )


def _came(part: Part) -> str:
    """Parts were confirmed in another order, perhaps, than they came in."""
    return part.event_id


def _takes(join: Join, joined: Joined, part: Part) -> bool:
    """Whether it is new, and there is still something to add it to."""
    name = (part.source, part.subject)
    if any((one.source, one.subject) == name for one in joined.parts):
        return False
    log = logs.get().bind(join=join.name, key=joined.key, id=part.event_id)
    if joined.state is not JoinState.OPEN:
        log.info("join.late", state=str(joined.state))
        return False
    if len(joined.parts) >= MOST_PARTS:
        log.warning("join.skipped", error=f"there are {MOST_PARTS} parts already")
        return False
    return True


def _text(value: object) -> str:
    """
    Raises:
        ExpressionError: it is no key.
    """
    usable = isinstance(value, str | int) and not isinstance(value, bool)
    text = str(value) if usable else ""
    if not text or len(text) > LONGEST_KEY:
        raise ExpressionError(
            f"the key must be a text of 1 to {LONGEST_KEY} characters"
        )
    return text


def _expected(join: Join, event: Event) -> int | None:
    """
    Raises:
        ExpressionError: the count gave no number above 0.
    """
    if join.count is None or isinstance(join.count, int):
        return join.count
    found = compile_value(join.count).of(context_of(event, more={}))
    if not isinstance(found, int) or not 0 < found <= MOST_PARTS:
        raise ExpressionError(f"count gave {found!r}, not a number up to {MOST_PARTS}")
    return found
