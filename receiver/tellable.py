"""JSON as the expressions can have it: with what they cannot hold replaced."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

_NOT_IN_TEXTS = re.compile("[\\0\\ud800-\\udfff]")
_DIGITS_AS_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG_NUMBER = b"0" * 19


def tellable(data: Any, body: bytes) -> Any:
    """
    The parsed body as CEL can have it.

    Its texts are Unicode that a NUL ends, and its whole numbers have 64 bits.  A NUL or
    half a surrogate pair becomes U+FFFD and a larger number a float, so that what one
    field has does not decide what an expression makes of the others.
    """
    odd = b"\\u" in body or _LONG_NUMBER in body.translate(_DIGITS_AS_ZEROS)
    return replaced(data) if odd else data


def replaced(data: Any) -> Any:
    """A copy, made without recursion: the parser goes deeper than we could."""
    made: list[Any] = []
    waiting: list[tuple[Any, Callable[[Any], None]]] = [(data, made.append)]
    while waiting:
        value, put = waiting.pop()
        if isinstance(value, dict):
            table: dict[str, Any] = {}
            put(table)
            inside = reversed(value.items())
            waiting += [(v, partial(table.__setitem__, _text(n))) for n, v in inside]
        elif isinstance(value, list):
            items: list[Any] = []
            put(items)
            waiting += [(v, items.append) for v in reversed(value)]
        elif isinstance(value, str):
            put(_text(value))
        elif isinstance(value, int) and not -(2**63) <= value < 2**63:
            put(float(str(value)))  # which does not overflow
        else:
            put(value)
    return made[0]


def _text(text: str) -> str:
    return _NOT_IN_TEXTS.sub("\ufffd", text)
