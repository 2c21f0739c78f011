"""
Sets of public keys as senders publish them: JSON Web Key Sets with Ed25519 keys (pure).
https://www.rfc-editor.org/rfc/rfc7517#section-5, https://www.rfc-editor.org/rfc/rfc8037
"""

import base64
import json
from collections.abc import Iterable
from typing import Any

from receiver.errors import Rejected
from receiver.providers.body import parse
from receiver.providers.values import table, text
from receiver.schemes import key_of

MOST_KEYS = 20
"""Each is tried with every signature; senders have one, and two while they rotate."""


def keys_in(document: bytes) -> tuple[bytes, ...]:
    """
    The Ed25519 keys of a set; keys of other kinds are for others.

    Raises:
        ValueError: there is none; the message says why.
    """
    try:
        listed = table(parse(document)).get("keys")
    except Rejected:
        raise ValueError("the answer is not JSON") from None
    several = listed if isinstance(listed, list) else []
    found = [key for one in several if (key := _key(table(one))) is not None]
    if not found:
        raise ValueError("the answer has no Ed25519 key")
    return tuple(dict.fromkeys(found))[:MOST_KEYS]


def written(keys: Iterable[bytes]) -> str:
    """The set that has these keys."""
    texts = (base64.urlsafe_b64encode(key).rstrip(b"=").decode() for key in keys)
    return json.dumps(
        {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x} for x in texts]}
    )


def _key(jwk: Any) -> bytes | None:
    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        return None
    try:
        return key_of("ed25519", text(jwk.get("x")))
    except ValueError:
        return None
