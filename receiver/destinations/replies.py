"""What an HTTP endpoint answered, for the destinations that speak HTTP."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

RETRYABLE = frozenset({408, 425, 429}) | frozenset(range(500, 600))
"""Statuses after which the same request may well succeed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the other side answered; `text` is its body's beginning."""

    status: int
    headers: Mapping[str, str]
    text: str

    def retry_after_s(self, now: datetime) -> float | None:
        """`Retry-After` on a 429 or 503, as seconds from now (RFC 9110, 10.2.3)."""
        value = self.headers.get("Retry-After", "").strip()
        if self.status not in (429, 503) or not value:
            return None
        if value.isdecimal():
            return min(float(value), 1e9)
        try:
            return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
        except (ValueError, TypeError, OverflowError):
            return None  # neither seconds nor a date with a zone


def status_words(status: int) -> str:
    """`503 Service Unavailable`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
