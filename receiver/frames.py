"""
Frames: how two of our own processes speak to each other over a socket.

    4 bytes   the head's length, big-endian
    4 bytes   the body's length
    head      a JSON object
    body      bytes, as they are

Pure, and light enough for a child process to import.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

_LENGTHS = struct.Struct("!II")

PREFIX_BYTES = _LENGTHS.size
"""How many bytes precede the head."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: a few named values, and bytes."""

    head: Mapping[str, Any]
    body: bytes = b""


def pack(frame: Frame) -> bytes:
    """The frame up to its body, which follows as it is: it may be large."""
    head = json.dumps(frame.head).encode()
    return _LENGTHS.pack(len(head), len(frame.body)) + head


def lengths(prefix: bytes) -> tuple[int, int]:
    """How long head and body are, from the first `PREFIX_BYTES`."""
    head, body = _LENGTHS.unpack(prefix)
    return head, body


def unpack(head: bytes, body: bytes) -> Frame:
    """
    The frame from its parts.

    Raises:
        ValueError: the head is not a JSON object.
    """
    parsed = json.loads(head)
    if not isinstance(parsed, dict):
        raise ValueError("not an object")  # noqa: TRY004 (the bytes are at fault)
    return Frame(parsed, body)


def read(stream: BinaryIO) -> Frame | None:
    """The next frame, or None where the stream ends.  Blocks."""
    prefix = stream.read(PREFIX_BYTES)
    if len(prefix) < PREFIX_BYTES:
        return None
    head_bytes, body_bytes = lengths(prefix)
    head, body = stream.read(head_bytes), stream.read(body_bytes)
    if len(head) < head_bytes or len(body) < body_bytes:
        return None
    return unpack(head, body)
