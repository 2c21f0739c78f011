"""What providers check alike: ages, and times in text."""

from datetime import UTC, datetime, timedelta
from typing import Any

from receiver.errors import Rejected
from receiver.signatures import within

EARLIEST, LATEST = 1970, 3000
"""Years between which a time is believed; others cannot all be kept."""


def check_age(moment: datetime | None, now: datetime, tolerance: timedelta) -> None:
    """
    Hold a request's time against the clock.

    Raises:
        Rejected: it has none, or it is too old or too early; the message says by how
            much.
    """
    if moment is None:
        message = "there is no timestamp, or it is not one that can be read"
        raise Rejected(401, "timestamp_missing", message)
    if not within(moment, now, tolerance):
        off = (now - moment).total_seconds()
        words = f"{abs(off):.0f} s {'old' if off > 0 else 'in the future'}"
        limit = f"{tolerance.total_seconds():.0f} s"
        message = f"the timestamp is {words}, tolerated are {limit}"
        raise Rejected(401, "timestamp_out_of_range", message)


def moment_from(value: Any) -> datetime | None:
    """ISO 8601 text (UTC where it names no zone), or milliseconds since 1970."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            moment = moment.astimezone(UTC)
        elif isinstance(value, int) and not isinstance(value, bool):
            moment = datetime.fromtimestamp(value / 1000, UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return moment if EARLIEST <= moment.year < LATEST else None
