"""The part of the contract that is about pruning, and how large the store is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """
    What is old: all there is of events accepted before `events`, the bodies of those
    accepted before `bodies`, and requests refused before `rejections`; None: nothing is.
    """

    bodies: datetime | None = None
    events: datetime | None = None
    rejections: datetime | None = None


@dataclass(frozen=True, slots=True)
class Pruned:
    """
    What went, or would go.

    `bodies` are those that went alone, while their event stays; `subjects` what was
    made of the events of a batch, task or job (never foreseen).  `bytes` are of bodies,
    headers and queries, as they were kept.  `held` counts events that are old, but stay
    while a delivery waits.
    """

    events: int = 0
    bodies: int = 0
    deliveries: int = 0
    rejections: int = 0
    subjects: int = 0
    bytes: int = 0
    held: int = 0
    reached: datetime | None = None
    """How far it came: when the last event it looked at was accepted."""
    done: bool = True
    """Whether nothing old is left, but what is held."""
    changed: int = 0
    """Rows of the store that the last step changed."""
    others: int = 0
    """Rows that others changed between the last two steps."""

    @property
    def anything(self) -> bool:
        return any((self.events, self.bodies, self.rejections, self.subjects))

    def and_then(self, later: "Pruned") -> "Pruned":
        """Both together; how it ended is the later one's to say."""
        return Pruned(
            self.events + later.events,
            self.bodies + later.bodies,
            self.deliveries + later.deliveries,
            self.rejections + later.rejections,
            self.subjects + later.subjects,
            self.bytes + later.bytes,
            self.held + later.held,
            later.reached or self.reached,
            later.done,
            later.changed,
            later.others,
        )


@dataclass(frozen=True, slots=True)
class Extent:
    """
    How large the store is, and how far back it goes.

    `free_bytes` of the file's `file_bytes` hold nothing now and are used again.
    `oldest_body_at` is when the oldest event was accepted of which there is the body.
    Of what was accepted up to `pruned_bodies_to` the bodies are gone, up to
    `pruned_events_to` all but the keys, unless something waited; `pruned_events` is how
    many events are gone.
    """

    file_bytes: int
    free_bytes: int
    oldest_body_at: datetime | None
    pruned_bodies_to: datetime | None
    pruned_events_to: datetime | None
    pruned_events: int

    @property
    def used_bytes(self) -> int:
        return self.file_bytes - self.free_bytes


class Measures(Protocol):
    """What a `Reader` says about it."""

    async def extent(self) -> Extent:
        """How large it is; costs the same however large that is."""
        ...

    async def old(self, cutoffs: Cutoffs) -> bool:
        """Whether `prune` would find something; costs the same however much there is."""
        ...

    async def would_go(self, cutoffs: Cutoffs, after: int = 0) -> tuple[Pruned, int]:
        """
        What `prune` would remove of the next some thousand events after an id, and the
        last one's; `done` when there are no more.  It reads all of them.
        """
        ...


class Prunes(Measures, Protocol):
    """What a `Store` does about it."""

    async def prune(self, cutoffs: Cutoffs, *, limit: int, now: datetime) -> Pruned:
        """
        One step: remove at most `limit` of what is old, events first, oldest first.

        Keys stay for ever.  Nothing goes of an event of which a delivery is pending or
        holds back its subject.  What goes is counted in the same transaction, so the
        ledger goes on adding up.
        """
        ...

    async def prune_held(self, *, limit: int, now: datetime) -> Pruned:
        """
        Look again at some of what was old and had to wait; the next call at the next.

        What does not wait any more goes as far as others of its age have gone.
        """
        ...

    async def give_back(self, pages: int) -> int:
        """Shorten the file by so many free pages; how many are left."""
        ...
