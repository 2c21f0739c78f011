"""
Public ids and the integers behind them.

An id is 63 bits: 42 of milliseconds since 2025, 9 that tell processes apart, 12 that
count.  They sort by time, are made without asking the store, and are never used
again by a new store file: destinations deduplicate on them.  A public id is the
kind and sixteen hex digits: `evt_019a4c3f2b7d0001`.
"""

import os
import threading
from datetime import UTC, datetime, timedelta
from typing import Literal

from receiver.errors import NotFound

Kind = Literal["evt", "dlv", "rpl", "rej", "sub", "jon"]

_EPOCH = datetime(2025, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NODE_BITS = 9
_COUNT_BITS = 12
_SHIFT = _NODE_BITS + _COUNT_BITS
LARGEST = 2**63 - 1


class IdSource:
    """
    Makes ids that grow, within one process, whatever the clock does.

    `advance` tells it of an id that is already in use, so that a clock set back
    between two starts does not repeat one.
    """

    def __init__(self) -> None:
        self._node = int.from_bytes(os.urandom(2)) % (1 << _NODE_BITS)
        self._last = 0
        self._lock = threading.Lock()

    def take(self, now: datetime, count: int = 1) -> int:
        """
        The first of `count` consecutive ids, for this moment.

        A clock that shows a time no id can hold is not believed: the ids go on from
        the last one.
        """
        wanted = floor(now) | (self._node << _COUNT_BITS)
        if wanted == LARGEST:
            wanted = 0
        with self._lock:
            first = max(wanted, self._last + 1)
            self._last = first + count - 1
        return first

    def advance(self, used: int) -> None:
        """Never make this id, or an earlier one."""
        with self._lock:
            self._last = max(self._last, used)


def floor(moment: datetime) -> int:
    """The smallest id that could have been made at `moment`."""
    milliseconds: int = (moment - _EPOCH) // _MILLISECOND
    return min(max(milliseconds, 0) << _SHIFT, LARGEST)


def made_at(number: int) -> datetime:
    """When an id was made, to the millisecond."""
    return _EPOCH + timedelta(milliseconds=number >> _SHIFT)


def public(kind: Kind, number: int) -> str:
    """`evt_019a4c3f2b7d0001`, the form users see."""
    return f"{kind}_{number:016x}"


def number(kind: Kind, text: str) -> int:
    """
    The integer behind a public id.

    Raises:
        NotFound: the text is not an id of this kind, so nothing can be there.
    """
    prefix, _, digits = text.partition("_")
    if (
        prefix != kind
        or len(digits) != 16
        or not set(digits) <= set("0123456789abcdef")
    ):
        raise NotFound(f"{text!r} is not an id like {kind}_0123456789abcdef")
    return min(int(digits, 16), LARGEST)
