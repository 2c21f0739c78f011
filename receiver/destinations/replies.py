"""What an HTTP endpoint answered, for the destinations that speak HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from receiver.retry import retry_after_s

RETRYABLE = frozenset({408, 425, 429}) | frozenset(range(500, 600))
"""Statuses after which the same request may well succeed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other side answered; `text` is its body's beginning."""

    status: int
    headers: Mapping[str, str]
    text: str

    def retry_after_s(self, now: datetime) -> float | None:
        """How long the other side asks everybody to wait."""
        return retry_after_s(self.status, self.headers.get("Retry-After", ""), now)


def status_words(status: int) -> str:
    """`503 Service Unavailable`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
