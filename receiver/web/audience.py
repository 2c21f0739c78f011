"""
Who listens: streams hold a connection each, so there are few places for them.

One token and one address have fewer than there are, so that whoever takes all they can
get leaves some for others.
"""

from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

from receiver.web.clients import neighbourhood

MOST = 50
"""Streams at a time."""

OF_ONE_TOKEN = 40
OF_ONE_ADDRESS = 20
"""Of these; an address of IPv6 is its network of 64 bits."""

Full = Literal["token", "address", "all"]


class Audience:
    """Counts the streams that are open."""

    def __init__(self) -> None:
        self._open: Counter[tuple[str, str]] = Counter()

    def full(self, token: str, address: str) -> Full | None:
        """Why there is no place for one more of this token at this address."""
        if self._open["", ""] >= MOST:
            return "all"
        if self._open["address", neighbourhood(address)] >= OF_ONE_ADDRESS:
            return "address"
        return "token" if self._open["token", token] >= OF_ONE_TOKEN else None

    @contextmanager
    def place(self, token: str, address: str) -> Generator[None]:
        """A place for as long as the block takes."""
        taken = Counter(
            [("", ""), ("token", token), ("address", neighbourhood(address))]
        )
        self._open.update(taken)
        try:
            yield
        finally:
            self._open -= taken  # and forgets who has none any more
