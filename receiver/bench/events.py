"""
Signed Sora2 events of about 1 KB, as they go over the wire.

Each has a number, which is in its batch id, so that whoever is delivered it can say
which one it was.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from receiver import clock
from receiver.models import Secret
from receiver.providers import Provider, provider_of
from receiver.providers.sending import outgoing
from receiver.settings import Source

_NUMBER = re.compile(rb'"batch_id":"bat_[0-9a-f]+_(\d+)"')
_ITEMS = 6


@dataclass(frozen=True, slots=True)
class Place:
    """Where events are posted, and what gets them in there."""

    url: str
    secrets: tuple[Secret, ...]
    token: Secret | None = None
    basic: Secret | None = None
    bearer: Secret | None = None
    require_headers: dict[str, Secret] = field(default_factory=dict[str, Secret])

    @classmethod
    def of(cls, url: str, source: Source) -> "Place":
        """The place of a configured source."""
        return cls(
            url,
            source.secrets,
            source.token,
            source.basic,
            source.bearer,
            dict(source.require_headers),
        )

    def sender(self) -> Provider:
        """Who signs as the real one would."""
        source = Source(
            "sora2",
            provider="sora2",
            secrets=tuple(map(Secret, self.secrets)),
            token=self.token,
            basic=self.basic,
            bearer=self.bearer,
            require_headers=self.require_headers,
        )
        return provider_of(source)


def body(number: int, run: str) -> bytes:
    """The event of this number; `run` (hex digits) tells runs apart."""
    batch = f"bat_{run}_{number:012}"
    data = {
        "event": "batch.completed",
        "batch_id": batch,
        "status": "partial",
        "summary": {"total": _ITEMS, "succeeded": _ITEMS - 1, "failed": 1},
        "ledger": {"reserved": 100, "settled": 90, "refunded": 10},
        "items": [
            {
                "item_id": f"item_{i:03}",
                "index": i,
                "status": "succeeded",
                "video_url": f"https://cdn.sora2aivideos.com/v/{batch}-{i:03}.mp4",
            }
            for i in range(_ITEMS)
        ],
        "timestamp": clock.iso(clock.now()),
    }
    return json.dumps(data, separators=(",", ":")).encode()


def number_in(text: bytes) -> int | None:
    """Which event a body is; None if it is none of ours."""
    found = _NUMBER.search(text)
    return int(found[1]) if found else None


def wired(place: Place, run: str) -> Callable[[int], bytes]:
    """Makes whole HTTP requests: the event of a number, signed now."""
    provider, parts = place.sender(), urlsplit(place.url)

    def make(number: int) -> bytes:
        sent = outgoing(provider, body(number, run), clock.now())
        path = parts.path or "/"
        query = "&".join(filter(None, (parts.query, urlencode(sent.query))))
        lines = [f"POST {path}{f'?{query}' if query else ''} HTTP/1.1"]
        lines += [f"host: {parts.netloc}", f"content-length: {len(sent.body)}"]
        lines += [f"{name}: {value}" for name, value in sent.headers.items()]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + sent.body

    return make
