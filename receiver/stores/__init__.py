"""
Where events, deliveries and attempts are kept.

`Store` is the whole contract; `tests/stores/test_contract.py` holds every
implementation to it.  All times that decide something are arguments.  Methods that
write return when what they wrote is committed and durable, and raise `StoreError`
when nothing was kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

from receiver.errors import Conflict, StoreUnusable
from receiver.models import (
    Attempt,
    AuditEntry,
    Claim,
    Decision,
    Delivery,
    Event,
    OnDead,
    Pause,
    Rejection,
    Replay,
    ReplayStep,
    Scalar,
    State,
    Status,
    Step,
    Variant,
)
from receiver.stores.asking import AskingReader, AskingStore
from receiver.stores.confirming import ConfirmingReader, ConfirmingStore, Hold
from receiver.stores.following import FollowingReader, FollowingStore
from receiver.stores.pruning import Measures, Prunes

T = TypeVar("T")


class Added(NamedTuple):
    """What `Store.add` did: `event_id` is the original's when it was there already."""

    event_id: str
    created: bool
    same_body: bool = True


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """
    An event with what was decided about it when it was accepted.

    Where its body was pruned the event's body, headers and query are empty.
    """

    event: Event
    decision: Decision
    fan_out: int
    facts: Mapping[str, Scalar]
    body_pruned_at: datetime | None = None

    def whole(self) -> Event:
        """
        The event, for whoever needs its body.

        Raises:
            Conflict: it was pruned.
        """
        if self.body_pruned_at is not None:
            day = f"{self.body_pruned_at:%Y-%m-%d}"
            raise Conflict(f"the body of {self.event.id} was pruned on {day}")
        return self.event


@dataclass(frozen=True, slots=True)
class Claimed:
    """What was due, and when the next delivery will be (None: nothing waits)."""

    claims: Sequence[Claim]
    next_due_at: datetime | None


class Taker(Protocol):
    """
    Who attempts a destination's deliveries, and would rather be given what is accepted
    than look for it.  The methods return at once.

    What is handed over is claimed for `owner`, for `lease_s` seconds.
    """

    owner: str
    lease_s: float

    def has_room(self, size: int) -> bool:
        """
        Whether a delivery with so large a body may be claimed for it now: it could
        begin soon, and nothing that is due longer waits unclaimed.
        """
        ...

    def take(self, claim: Claim) -> None:
        """A delivery it had room for, committed and claimed."""
        ...

    def look(self) -> None:
        """A delivery is due, or was added, that is not handed over."""
        ...


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; a field that is None does not restrict.  `type` is a glob."""

    source: str | None = None
    type: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    key: str | None = None
    state: State | None = None
    text: str | None = None
    """In the body, whatever the case of its ASCII letters."""


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries; a field that is None does not restrict."""

    status: Status | None = None
    destination: str | None = None
    event_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """
    Some of what a search finds, the newest first.

    `next` is the id after which to go on; None: that was all.  A search that took too
    long ends early: then `searched_to` says how far back it looked, and `items` may be
    fewer than were asked for.
    """

    items: Sequence[T]
    next: str | None
    searched_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """
    What waits for one destination.

    `failing` is the oldest pending delivery that was attempted before, in vain;
    `blocking` the oldest dead one that holds back its subject.
    """

    destination: str
    pending: int
    oldest_at: datetime | None
    failing: str | None = None
    blocking: str | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """
    One line of the ledger: deliveries from one source to one destination.

    `decided` comes from the events and the replays, the others from the deliveries;
    each has with it what pruning removed of its kind.
    """

    source: str
    destination: str
    decided: int
    by_status: Mapping[Status, int]

    @property
    def difference(self) -> int:
        return self.decided - sum(self.by_status.values())


@dataclass(frozen=True, slots=True)
class Totals:
    """
    Counts of what was ever kept, and how the events' own fan-outs add up.

    What pruning carried over is in `events`, `fan_out` and `routed_deliveries`.
    """

    events: int
    keys: int
    fan_out: int
    variants: int
    rejections: int
    routed_deliveries: int


class Reader(AskingReader, ConfirmingReader, FollowingReader, Measures, Protocol):
    """Looks, and changes nothing; many processes may at once."""

    async def event(self, event_id: str) -> StoredEvent:
        """Raises NotFound, also where nothing but the key is left."""
        ...

    async def events(
        self,
        where: EventFilter,
        *,
        limit: int,
        after: str | None = None,
        newest_first: bool = True,
    ) -> Sequence[StoredEvent]:
        """A page, by time; `after` is the last id of the page before."""
        ...

    async def count_events(self, where: EventFilter) -> int: ...

    async def search_events(
        self, where: EventFilter, *, limit: int, after: str | None, longest_s: float
    ) -> Page[StoredEvent]:
        """A page that is there within about `longest_s`, however much is stored."""
        ...

    async def search_deliveries(
        self, where: DeliveryFilter, *, limit: int, after: str | None, longest_s: float
    ) -> Page[Delivery]:
        """The same for deliveries."""
        ...

    async def variants(self, event_id: str) -> Sequence[Variant]: ...

    async def delivery(self, delivery_id: str) -> Delivery:
        """Raises NotFound."""
        ...

    async def deliveries(
        self,
        where: DeliveryFilter,
        *,
        limit: int,
        after: str | None = None,
        newest_first: bool = True,
    ) -> Sequence[Delivery]: ...

    async def attempts(self, delivery_id: str) -> Sequence[Attempt]: ...

    async def rejections(
        self,
        *,
        source: str | None,
        code: str | None = None,
        limit: int,
        after: str | None = None,
    ) -> Sequence[Rejection]:
        """The newest first; `after` is the last id of the page before."""
        ...

    async def rejection(self, rejection_id: str) -> Rejection:
        """Raises NotFound."""
        ...

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

    async def queues(self) -> Sequence[Queue]:
        """What waits, per destination, without reading what was delivered."""
        ...

    async def ledger(self) -> Sequence[Tally]:
        """Everything ever decided against everything there is.  Reads all of it."""
        ...

    async def totals(self) -> Totals: ...

    async def remembered(self, name: str) -> tuple[str, datetime] | None:
        """The text last remembered under a name, and when that was."""
        ...

    async def close(self) -> None:
        """Let go.  May be called twice."""
        ...


class Store(Reader, AskingStore, ConfirmingStore, FollowingStore, Prunes, Protocol):
    """Keeps everything; see the module's words for what all methods promise."""

    # -- accepting

    async def add(
        self,
        event: Event,
        decision: Decision,
        facts: Mapping[str, Scalar],
        hold: Hold | None = None,
    ) -> Added:
        """
        Keep an event and its deliveries, once per source and key, for ever.

        The event's own id is ignored; the store makes one.  Under any number of
        concurrent calls with one key exactly one creates it.  With `hold` its
        deliveries wait: see `receiver.stores.confirming`.

        Raises:
            StoreBusy: too much waits, or free space is nearly out.
        """
        ...

    async def add_variant(self, variant: Variant) -> None:
        """
        Keep a repeat's other body beside its original: a few per event, once each.

        Where the original's body was pruned it is not kept.
        """
        ...

    async def add_rejections(self, rejections: Sequence[Rejection]) -> None:
        """
        Keep refused requests; the oldest of their kind make room.

        Their own ids are ignored.
        """
        ...

    async def rejection_accepted(self, rejection_id: str, event_id: str) -> None:
        """Note which event a rejection became when it was verified again."""
        ...

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
        """
        Take what is due, oldest due first, so that nobody else does.

        At most `limit`, and after the first no more bodies than fit in `max_bytes`.
        `by_hand` takes only what somebody asked to retry.  A claim that is neither
        recorded nor released ends after `lease_s` seconds.
        """
        ...

    def hand_to(self, destination: str, taker: Taker | None) -> None:
        """
        From now on tell this one, in place of any earlier, of each delivery that is
        accepted for a destination, and hand it over claimed where that is possible;
        None: nobody.  Replays and what is due again must be claimed.
        """
        ...

    async def record(self, claim: Claim, attempt: Attempt, step: Step) -> bool:
        """
        Write down an attempt and what follows, and end the claim.

        False: the claim is not the holder's any more, and nothing was written.  A
        delivery cancelled meanwhile keeps that status; the attempt is still recorded.
        """
        ...

    async def record_all(
        self, outcomes: Sequence[tuple[Claim, Attempt, Step]]
    ) -> Sequence[bool]:
        """`record` for each, with one result for each; all are written, or none."""
        ...

    async def release(self, claims: Sequence[Claim]) -> None:
        """Give claims back untouched; others may take them at once."""
        ...

    async def bring_forward(
        self, destination: str, waits: Sequence[timedelta], now: datetime
    ) -> int:
        """
        Make due `now` what is due later than it can be, for the clock was ahead when
        that was decided; returns how many it was.

        After the nth attempt of a round that is `waits[n - 1]` from now, or the last of
        them; after a 429 or 503, which may ask for more, a day.  What was just accepted,
        or asked for by hand, is never due in the future.  What is to be due later for
        another reason stays: a replay with a rate, an event that is held.
        """
        ...

    async def forget_claims(self, owner: str) -> None:
        """Free whatever a process of this name had claimed before it ended."""
        ...

    async def keep_order(self, wanted: Mapping[str, OnDead | None]) -> None:
        """
        Which destinations get each subject in order from now on, also after a restart,
        and what a dead delivery does there; None: in no order.  What is not named stays
        as it is.

        There a source's subject has two lines: what was accepted, in that order, and
        replays and retried dead deliveries, in the order they were asked for.  A claim
        gives only the first of a line, and none of a subject of which another delivery
        is claimed.  Who is first stays so until it is delivered, cancelled or dead;
        with "block" one that is dead stays in its line, and in front of those behind
        it, until it is delivered after a retry, or cancelled.

        What is pending when order begins is put in line as if it had always been kept;
        what is dead by then holds nobody back.

        Raises:
            StoreError: nothing was changed.
        """
        ...

    # -- mending

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

    async def add_audit(
        self, who: str, what: str, details: Mapping[str, object], now: datetime
    ) -> None:
        """Keep that somebody changed something by hand."""
        ...

    async def pause(self, destination: str, reason: str, now: datetime) -> bool:
        """Give a destination nothing more; False if it was paused already."""
        ...

    async def resume(self, destination: str, now: datetime) -> bool:
        """The reverse of `pause`; False if it was not paused."""
        ...

    # -- life

    @property
    def commits(self) -> int:
        """How many transactions were committed since it was opened."""
        ...

    async def remember(self, name: str, text: str, now: datetime) -> None:
        """Keep a text that must outlive a restart, in place of the name's earlier one."""
        ...

    async def ping(self) -> None:
        """Commit something small.  Raises StoreError when that cannot be done."""
        ...


def sqlite_path(url: str) -> Path:
    """
    The file behind `sqlite:///path`.

    Raises:
        StoreUnusable: the url is of no known kind.
    """
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or not path:
        raise StoreUnusable(
            f"{url!r} is not a store; expected sqlite:///receiver.db "
            "(or sqlite:////absolute/path.db)"
        )
    return Path(path)


def control_path(url: str) -> Path:
    """The Unix socket beside the store, through which commands write to its owner."""
    store = sqlite_path(url).absolute()
    return store.with_name(store.name + ".sock")


async def open_store(url: str, *, min_free_bytes: int = 0) -> Store:
    """
    Own the store at `sqlite:///path`, creating or migrating it as needed.

    Raises:
        StoreLocked: another process owns it.
        StoreUnusable: the url is of no known kind, or the file is not fit for use.
    """
    from receiver.stores.sqlite import SqliteStore  # noqa: PLC0415 (loads the driver)

    return await SqliteStore.open(sqlite_path(url), min_free_bytes)


async def open_reader(url: str) -> Reader:
    """
    Look into the store at `sqlite:///path`, whether or not a server owns it.

    Raises:
        StoreUnusable: there is none, or the file is not fit for use.
    """
    from receiver.stores.sqlite.reader import SqliteReader  # noqa: PLC0415

    return await SqliteReader.open(sqlite_path(url))
