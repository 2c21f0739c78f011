"""
Being a provider for a moment: what it would post, to try things out and to test.

The reverse of verification, by the same schemes.
"""

import base64
import re
import secrets
from dataclasses import dataclass
from datetime import datetime

from receiver.models import Headers, Request
from receiver.providers.base import Provider
from receiver.providers.verification import authorization_of
from receiver.schemes import URL_ALPHABET, Scheme, key_of, sign


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as the provider would make it."""

    headers: Headers
    query: dict[str, str]
    body: bytes


_LONG = re.compile(r"[A-Za-z0-9+/_-]+")


class CannotSign(ValueError):
    """There is no secret with which this could be signed; says what would help."""


def outgoing(
    provider: Provider,
    body: bytes,
    now: datetime,
    *,
    secret: str | None = None,
    headers: Headers | None = None,
    message_id: str = "",
    unsigned: bool = False,
) -> Outgoing:
    """
    Sign a body as the source's provider would, and meet the source's conditions.

    `secret` is used instead of the source's first; for ed25519 it is the private key
    (`whsk_...`, or 32 bytes in base64).  A source without secrets gets no signature.
    `unsigned` leaves the signature out.

    Raises:
        CannotSign: the secret does not fit, or is one that only verifies.
    """
    message_id = message_id or f"msg_{secrets.token_hex(12)}"
    sent = {"content-type": "application/json"}
    sent |= headers or {}
    sent |= provider.sending_headers(body, message_id)
    sent |= authorization_of(provider.source)
    scheme = provider.scheme_for(body, secret or "")
    if secret is None and provider.source.secrets:
        secret = provider.source.secrets[0]
    known = secret is not None or not provider.needs_secret
    if scheme is not None and known and not unsigned:
        key = _signing_key(scheme, secret)
        request = Request(sent, {}, body, now)
        signed_id = provider.sending_id(scheme, request, message_id)
        sent = dict(sign(scheme, body, key, now, message_id=signed_id, headers=sent))
    token = provider.source.token
    return Outgoing(sent, {"token": str(token)} if token is not None else {}, body)


def spoiled(provider: Provider, sent: Outgoing) -> Outgoing:
    """
    The same with one character of its signature wrong.

    Raises:
        CannotSign: it has none.
    """
    names = provider.signature_headers & sent.headers.keys()
    if not names:
        raise CannotSign("its requests carry no signature that could be wrong")
    wrong = {name: _spoiled(sent.headers[name]) for name in names}
    return Outgoing({**sent.headers, **wrong}, sent.query, sent.body)


def _spoiled(value: str) -> str:
    """
    The signature is the longest word of its header; its first character counts in any
    encoding, while the last one of base64 may not.
    """
    start = max(_LONG.finditer(value), key=lambda found: len(found[0])).start()
    other = "0" if value[start] != "0" else "1"
    return value[:start] + other + value[start + 1 :]


def _signing_key(scheme: Scheme, secret: str | None) -> bytes:
    if scheme.algorithm == "ed25519":
        return _private_key(secret)
    try:
        return key_of(scheme.key, secret or "")
    except ValueError as error:
        raise CannotSign(f"the secret does not fit: {error}") from None


def _private_key(secret: str | None) -> bytes:
    help_ = (
        "set RECEIVER_SEND_KEY to the private key of a pair of your own: 32 bytes in "
        "base64, or whsk_..."
    )
    if secret is None or secret.startswith("whpk_"):
        raise CannotSign(f"a public key only verifies; to sign, {help_}")
    try:
        text = secret.removeprefix("whsk_").translate(URL_ALPHABET)
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        key = b""
    if len(key) not in (32, 64):  # with or without the public half behind it
        raise CannotSign(f"that is no private key; {help_}")
    return key[:32]
