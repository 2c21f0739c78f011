"""Mending: what is done by hand, and the record of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from receiver.models import AuditEntry, Pause, Replay, ReplayStep


class MendingReader(Protocol):
    """Looks, and changes nothing."""

    async def replays(
        self, *, limit: int, after: str | None = None, running: bool = False
    ) -> Sequence[Replay]:
        """The newest first; with `running` only those that are not done."""
        ...

    async def replay(self, replay_id: str) -> Replay:
        """Raises NotFound."""
        ...

    async def audit(
        self, *, limit: int, after: int | None = None
    ) -> Sequence[AuditEntry]:
        """The newest first; `after` is the id of the last one of the page before."""
        ...

    async def pauses(self) -> Sequence[Pause]:
        """All of them, oldest first."""
        ...


class MendingStore(Protocol):
    """Changes what waits, is dead, or was delivered."""

    async def retry(self, deliveries: Sequence[str], now: datetime) -> int:
        """
        Start a new round for pending or dead deliveries; returns how many it was.

        A dead one stays as it is if its event's body was pruned.

        Raises:
            NotFound: no delivery has one of the ids.
        """
        ...

    async def cancel(self, deliveries: Sequence[str], now: datetime) -> int:
        """Stop pending or dead deliveries for good; returns how many it was."""
        ...

    async def move(
        self,
        deliveries: Sequence[str],
        to: str,
        now: datetime,
        *,
        replay_id: str | None = None,
    ) -> tuple[str, int]:
        """
        Send to `to` instead what is pending or dead elsewhere: a new delivery there and
        an end here, together.  Moving again what was moved moves nothing.

        What is to go there already, and what lost its body, stays.  The new deliveries
        are of a replay, a new one unless it is given: its id, and how many were moved.

        Raises:
            NotFound: no delivery has one of the ids.
        """
        ...

    async def create_replay(
        self, asked: Mapping[str, object], now: datetime, *, running: bool = False
    ) -> str:
        """Note what a replay was asked for; returns its id.  One that runs has steps."""
        ...

    async def cancel_replay(self, replay_id: str, now: datetime) -> bool:
        """Stop a running replay; what it made stays.  False if it was not running."""
        ...

    async def add_replayed(
        self,
        replay_id: str,
        wanted: Sequence[tuple[str, str, datetime]],
        *,
        as_new: bool,
        now: datetime,
        step: ReplayStep | None = None,
    ) -> int:
        """
        New deliveries of stored events: (event id, destination, due at) each.

        With `as_new` the receiving side sees a new id; otherwise the event's own.
        `step` belongs to a running replay, and is kept together with the deliveries;
        -1: it was cancelled meanwhile, and nothing was added.
        Deliveries of events whose body was pruned are left out; returns how many were
        added.

        Raises:
            NotFound: there is no such event (any more).
        """
        ...

    async def begin_audit(
        self, who: str, what: str, details: Mapping[str, object], now: datetime
    ) -> int:
        """Keep that somebody is changing something by hand; the entry's number."""
        ...

    async def end_audit(self, entry: int, details: Mapping[str, object] | None) -> None:
        """Keep what came of it; None: nothing did, and the entry goes."""
        ...

    async def prune_replays(self, before: datetime, limit: int) -> int:
        """
        Forget replays that ended before this, among so many of the oldest; returns how
        many it was.  What they made is not touched, and stays in the ledger.
        """
        ...

    async def prune_audit(self, before: datetime, limit: int) -> int:
        """Forget entries from before this, among so many of the oldest; how many."""
        ...

    async def pause(self, destination: str, reason: str, now: datetime) -> bool:
        """Give a destination nothing more; False if it was paused already."""
        ...

    async def resume(self, destination: str, now: datetime) -> bool:
        """The reverse of `pause`; False if it was not paused."""
        ...
