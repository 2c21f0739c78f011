"""
Confirming: deliveries that wait until the sender's API says the same as the event.

An event is held when it is added, in the same transaction.  Its deliveries are pending
like any others, only due later; who decides makes them due, or cancels them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

Verdict = Literal["confirmed", "contradicted", "unconfirmed"]
"""What the API said: the same, something else, or nothing in time."""


@dataclass(frozen=True, slots=True)
class Hold:
    """
    How long deliveries wait: it is decided by `until`; if nobody does, because nothing
    runs, they fall due at `due_at`.
    """

    until: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Held:
    """An event whose deliveries wait."""

    event_id: str
    source: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What became of a held event; `verdict` is None while it waits."""

    event_id: str
    until: datetime
    verdict: Verdict | None = None
    note: str = ""
    decided_at: datetime | None = None


class ConfirmingReader(Protocol):
    """Looks, and changes nothing."""

    async def confirmation(self, event_id: str) -> Confirmation | None:
        """Whether an event is or was held, and what was decided; None: it never was."""
        ...

    async def held(self) -> Sequence[Held]:
        """All that wait, the most urgent first."""
        ...


class ConfirmingStore(Protocol):
    """Decides about what is held."""

    async def decide(
        self,
        event_id: str,
        verdict: Verdict,
        note: str,
        *,
        deliver: bool,
        now: datetime,
    ) -> Sequence[str]:
        """
        Make what waits for an event due, or cancel it; returns the destinations.

        It is decided once.  What was attempted, or retried by hand, stays as it is.

        Raises:
            StoreError: nothing was changed.
        """
        ...
