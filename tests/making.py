"""
What tests are made of: an event, its delivery, and the parcel destinations are given;
and requests as a provider would send them.
"""

import base64
import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from receiver import clock
from receiver.destinations import Parcel
from receiver.models import Delivery, Event, Headers, Secret, State, Status, Trigger
from receiver.providers import LazySources, Provider, provider_of, source_of
from receiver.providers.samples import samples
from receiver.providers.sending import outgoing
from receiver.settings.fields import Problems, build

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)


def event(body: bytes | str | dict[str, Any] = b"{}", **changes: Any) -> Event:
    raw = json.dumps(body) if isinstance(body, dict) else body
    given: dict[str, Any] = {
        "id": "evt_0000000000000001",
        "source": "sora2",
        "provider": "sora2",
        "key": "k",
        "type": "batch.completed",
        "subject": "bat_1",
        "state": State.PARTIAL,
        "final": True,
        "occurred_at": NOW,
        "received_at": NOW,
        "origin": "webhook",
        "headers": {"content-type": "application/json"},
        "query": {},
        "body": raw.encode() if isinstance(raw, str) else raw,
    }
    return Event(**{**given, **changes})


def parcel(sent: Event | None = None, number: int = 1, **changes: Any) -> Parcel:
    """Attempt `number` at delivering an event; `changes` are to the delivery."""
    sent = sent or event()
    delivery = Delivery(
        id="dlv_0000000000000001",
        event_id=sent.id,
        destination="crm",
        status=Status.PENDING,
        attempts=number - 1,
        created_at=NOW,
        due_at=NOW,
        settled_at=None,
        replay_id=None,
        sent_as=sent.id,
        trigger=Trigger.SCHEDULED,
        round_attempts=number - 1,
        round_started_at=NOW,
        progress="",
    )
    return Parcel(sent, replace(delivery, **changes), number, Trigger.SCHEDULED, NOW)


def provider(name: str, *secrets: str, **more: Any) -> Provider:
    """The sender of a source of this kind; a preset is filled in as the settings do."""
    made = source_of("here", name)
    return provider_of(replace(made, secrets=tuple(map(Secret, secrets)), **more))


def configured(name: str, **table: Any) -> Provider:
    """The sender of a source with these keys in its table, whatever is wrong there."""
    cls, filled = LazySources()[name]
    problems = Problems("receiver.toml")
    made = build(cls, {**filled, **table, "provider": name}, "s", problems, name="here")
    assert made is not None, problems.found
    return provider_of(made)


def signed(
    body: bytes,
    secret: str,
    name: str = "sora2",
    now: datetime | None = None,
) -> Headers:
    """The headers with which the provider would post this body, now."""
    return outgoing(provider(name, secret), body, now or clock.now()).headers


def sample(kind: str, subject: str = "bat_1", name: str = "sora2") -> bytes:
    """A body as the provider would send it now."""
    return samples(name, subject, clock.now())[kind].body


def key_pair(words: str) -> tuple[str, str]:
    """A private Ed25519 key in base64, always the same for the same words, and its
    public half as a JWK's `x`."""
    private = base64.b64encode(hashlib.sha256(words.encode()).digest()).decode()
    return private, public_key(private)


def public_key(private: str) -> str:
    key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(private))
    raw = key.public_key().public_bytes_raw()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw_key(x: str) -> bytes:
    """The 32 bytes of a JWK's `x`."""
    return base64.urlsafe_b64decode(x + "=")
