"""Destinations of type `email`, and what is sent to them."""

from datetime import datetime
from pathlib import Path
from typing import Any

from receiver.destinations import Parcel
from receiver.destinations.email import Email, EmailSettings, addressed
from receiver.messages import compose
from receiver.messages.mail import letter
from receiver.models import Event, Secret
from tests import making
from tests.making import event

SAMPLES = Path(__file__).parent.parent.parent / "samples"
ANN, BEN, CIA = "ann@example.com", "ben@example.com", "cia@example.com"


def parcel(
    progress: str = "", sent_as: str = "evt_0000000000000001", **changes: Any
) -> Parcel:
    body = (SAMPLES / "sora2-batch-completed.json").read_bytes()
    sent = event(body, **changes)
    return making.parcel(sent, progress=progress, sent_as=sent_as)


def configured(url: str, *to: str, **changes: Any) -> EmailSettings:
    given: dict[str, Any] = {
        "name": "finance",
        "type": "email",
        "smtp": Secret(url),
        "from_": "Receiver <receiver@example.com>",
        "to": to or (ANN,),
    }
    return EmailSettings(**{**given, **changes})


def build(sent: Event, sent_as: str, found: EmailSettings, now: datetime) -> Any:
    return addressed(letter(compose(sent)), [sent_as], found, now)


def email(port: int, *to: str, **changes: Any) -> Email:
    return Email(configured(f"smtp://127.0.0.1:{port}", *to, **changes))


HEADERS = {
    *("From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted"),
    *("X-Auto-Response-Suppress", "X-Event-Id", "MIME-Version", "Content-Type"),
}
