"""
Bodies on disk: as they came, compressed where that is worth the time, or pruned.

A batch of ten thousand items is two megabytes of JSON that repeats itself.  Written
as it is, everybody in its commit waits for the disk; compressed it is a tenth.
"""

import zlib
from datetime import datetime
from hashlib import blake2b
from typing import NamedTuple

from receiver.clock import from_ms
from receiver.offload import LARGE_BYTES

AS_RECEIVED = 0
ZLIB = 1
PRUNED = 2
"""In place of the body there is when it went."""

FAST = 1
"""zlib's level: most of the saving for a fraction of the time."""


class Packed(NamedTuple):
    """A body as it is written, and the hash of what it was."""

    codec: int
    body: bytes
    hash: bytes


def pack(body: bytes) -> Packed:
    """Hash a body, and compress it if it is large and that helps."""
    if len(body) > LARGE_BYTES:
        smaller = zlib.compress(body, FAST)
        if len(smaller) < len(body):
            return Packed(ZLIB, smaller, body_hash(body))
    return Packed(AS_RECEIVED, body, body_hash(body))


def unpack(codec: int, body: bytes) -> bytes:
    """The body as it was received; nothing, where it was pruned."""
    if codec == PRUNED:
        return b""
    return zlib.decompress(body) if codec == ZLIB else body


def pruned_mark(now_ms: int) -> bytes:
    """What is kept in place of a body that goes now."""
    return now_ms.to_bytes(8)


def pruned_at(codec: int, body: bytes) -> datetime | None:
    """When a body went; None while it is there."""
    return from_ms(int.from_bytes(body)) if codec == PRUNED else None


def body_hash(body: bytes) -> bytes:
    """16 bytes that tell two bodies apart."""
    return blake2b(body, digest_size=16).digest()
