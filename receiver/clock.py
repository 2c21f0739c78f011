"""The one place that reads the time; everything else is told `now`."""

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock, UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Seconds that never jump; only differences mean anything."""
    return time.monotonic()


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970, the form times have on disk."""
    return round(moment.timestamp() * 1000)


def from_ms(ms: int) -> datetime:
    """The reverse of `to_ms`."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def iso(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: `2026-01-24T10:02:05.000Z`."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
