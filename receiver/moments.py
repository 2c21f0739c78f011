"""Times as people write them."""

from datetime import UTC, datetime

from receiver.settings.fields import duration


def moment(text: str, now: datetime) -> datetime:
    """
    `2h` (ago), `2026-01-24`, `2026-01-24T10:00:00Z`; UTC where no zone is given.

    Raises:
        ValueError: it is none of these; the message says so.
    """
    try:
        ago = duration(text)
        if ago is not None:
            return now - ago
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        message = f"{text!r} is no time; write 2h, 2026-01-24 or 2026-01-24T10:00:00Z"
        raise ValueError(message) from None
