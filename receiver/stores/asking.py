"""
Asking: which subjects have not ended and are to be asked for, and what came of it.

A subject that was asked for and has no time for the next question is given up: it is
not asked for again by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Waiting:
    """A subject that has not ended: since when it is silent, how often it was asked for."""

    subject: str
    heard_at: datetime
    asked: int


class AskingReader(Protocol):
    """Looks, and changes nothing."""

    async def to_ask(
        self, source: str, *, silent_since: datetime, now: datetime, limit: int
    ) -> Sequence[Waiting]:
        """
        Subjects to ask for now: what was never asked for and is silent since then, and
        what was, and is due again; the longest silence first.
        """
        ...


class AskingStore(Protocol):
    """Notes what came of questions."""

    async def asked(
        self,
        source: str,
        subject: str,
        *,
        counts: bool,
        next_at: datetime | None,
        note: str,
    ) -> None:
        """
        A subject was asked for; `counts` if there was an answer.  With `next_at` None
        it is given up.  Of what is not known nothing is noted.
        """
        ...

    async def ask_anew(self, source: str, subjects: Sequence[str]) -> None:
        """Forget that these were asked for, if they have not ended."""
        ...
