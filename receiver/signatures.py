"""
Signature arithmetic, pure: HMAC over exact bytes, and Standard Webhooks signing.

Comparisons take the same time wherever two values differ.
"""

import base64
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta

WHSEC = "whsec_"


def hmac_sha256_hex(key: bytes, message: bytes) -> str:
    return hmac.digest(key, message, "sha256").hex()


def matches_any(given: str, expected: Iterable[str]) -> bool:
    """Whether the text is one of those expected; looks at all of them."""
    text = given.encode("utf-8", "surrogateescape")
    found = False
    for candidate in expected:
        found |= hmac.compare_digest(text, candidate.encode())
    return found


def within(moment: datetime, now: datetime, tolerance: timedelta) -> bool:
    """Whether a timestamp is neither too old nor too far ahead."""
    return abs(now - moment) <= tolerance


def standard_key(secret: str) -> bytes:
    """
    The key in a Standard Webhooks secret: base64 after `whsec_`.
    https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

    Raises:
        ValueError: it is not of that form, or shorter than the 24 bytes asked for.
    """
    encoded = secret.removeprefix(WHSEC)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:  # not base64, or not even ASCII
        key = b""
    if not secret.startswith(WHSEC) or not 24 <= len(key) <= 64:
        raise ValueError("not whsec_ and 24 to 64 bytes in base64")
    return key


def standard_signature(
    keys: Iterable[bytes], message_id: str, timestamp: int, body: bytes
) -> str:
    """`v1,<base64>` for every key, separated by spaces: the `webhook-signature` header."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digests = (hmac.digest(key, signed, "sha256") for key in keys)
    return " ".join("v1," + base64.b64encode(digest).decode() for digest in digests)
