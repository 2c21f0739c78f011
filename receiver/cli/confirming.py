"""Whether an event waits, or waited, for its sender's API: in words."""

from receiver.clock import iso
from receiver.stores.confirming import Confirmation


def in_words(confirmation: Confirmation | None) -> str | None:
    """What to say of it; None of an event that never waited."""
    if confirmation is None:
        return None
    if confirmation.verdict is None:
        until = iso(confirmation.until)
        return f"held until the sender's API says the same, at most until {until}"
    at = f" at {iso(confirmation.decided_at)}" if confirmation.decided_at else ""
    why = f": {confirmation.note}" if confirmation.note else ""
    return f"{confirmation.verdict}{at}{why}"
