"""Every provider with secrets that fit it, ready to be sent and verified."""

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from receiver.models import Request
from receiver.providers import Provider, names
from receiver.providers.samples import Sample, samples
from receiver.providers.sending import outgoing
from receiver.providers.verification import check_conditions, verify
from tests import making

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
SUBJECT = "sub_1"
TOKEN = "a token for the address"

_FORMS = {
    "text": lambda text: text,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "ed25519": lambda text: making.key_pair(text)[0],
    "whsec": lambda text: "whsec_" + base64.b64encode(text.encode()).decode(),
}


@dataclass(frozen=True)
class Case:
    """One provider: `secrets` are those of its holder, `stranger` is somebody else's."""

    name: str

    @cached_property
    def schemes(self) -> bool:
        return bool(making.provider(self.name).schemes)

    def secret(self, text: str) -> str:
        """A secret of the form this provider has."""
        form = making.provider(self.name).schemes[0].key
        return str(_FORMS[form](text))

    @cached_property
    def publishes(self) -> bool:
        """Whether it signs with private keys, and publishes the public ones."""
        return bool(making.provider(self.name).keys_url)

    @cached_property
    def secrets(self) -> tuple[str, str]:
        words = ("the one secret of this source", "the next secret of this source")
        return (self.secret(words[0]), self.secret(words[1]))

    @cached_property
    def stranger(self) -> str:
        return self.secret("the secret of somebody else")

    def provider(self, **more: Any) -> Provider:
        if not self.schemes:
            return making.provider(self.name, token=TOKEN, **more)
        if self.publishes:
            words = [making.public_key(secret) for secret in self.secrets]
            return knowing(self.name, *words, **more)
        return knowing(self.name, *self.secrets, **more)

    def samples(self, subject: str = SUBJECT) -> dict[str, Sample]:
        return samples(self.name, subject, NOW)

    def sent(self, sample: Sample, secret: str | None = None) -> Request:
        """The sample as the provider would post it, signed with this secret."""
        if secret is None and self.schemes:
            secret = self.secrets[0]
        made = outgoing(
            self.provider(), sample.body, NOW, secret=secret, headers=sample.headers
        )
        return Request(made.headers, made.query, made.body, NOW)


def knowing(name: str, *keys: str, **more: Any) -> Provider:
    """A provider that verifies with these: its secrets, or public keys of its sender."""
    if making.provider(name).keys_url:
        return making.provider(name, keys=keys, fetch_keys=False, **more)
    return making.provider(name, *keys, **more)


def accept(provider: Provider, request: Request) -> None:
    """
    Check all that the intake checks before it reads.

    Raises:
        Rejected: the request does not get in.
    """
    check_conditions(provider.source, request)
    verify(provider, request)


CASES = tuple(Case(name) for name in names())
SIGNING = tuple(case for case in CASES if case.schemes)
