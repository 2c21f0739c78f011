"""
Kinds of senders: how their requests are verified and read.

A provider is one module with one class that has these methods; register an instance
in `PROVIDERS`.  The provider is chosen by the source's configuration, never guessed
from headers: three known senders use `X-Webhook-Signature` with different meanings.
`tests/providers/test_contract.py` holds every provider to the contract.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from receiver.models import Headers, Reading, Request, Secret, Signed
from receiver.providers.sophon import Sophon
from receiver.providers.sora2 import Sora2
from receiver.settings import Source


class Provider(Protocol):
    """Pure: takes values, touches neither clocks nor disk."""

    @property
    def name(self) -> str: ...

    @property
    def signs(self) -> frozenset[Signed]:
        """What the signature covers; a change of any of it must be refused."""
        ...

    @property
    def signature_headers(self) -> frozenset[str]:
        """Headers that carry signatures; masked wherever headers are shown."""
        ...

    def is_test_ping(self, request: Request) -> bool:
        """Whether this is the provider's unsigned test, which is answered, not kept."""
        ...

    def verify(self, request: Request, source: Source) -> None:
        """
        Check that the request is from the holder of one of the source's secrets.

        Raises:
            Rejected: it is not, or cannot be known to be; the code says why.
        """
        ...

    def read(self, request: Request, data: Any) -> Reading:
        """
        What a verified request means; `data` is its parsed body.

        Raises:
            Rejected: what makes it an event is missing.
        """
        ...

    def sign(self, body: bytes, secret: Secret, now: datetime) -> Headers:
        """The headers with which the provider would send this body."""
        ...

    def samples(self, subject: str, now: datetime) -> Mapping[str, bytes]:
        """Bodies as the provider would send them, by event type."""
        ...


PROVIDERS: Mapping[str, Provider] = {
    provider.name: provider for provider in (Sora2(), Sophon())
}
