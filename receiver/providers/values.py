"""Small looks into parsed bodies, which may hold anything anywhere."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from receiver.models import Scalar

LARGEST = 2**53
"""From here on a whole number may not be kept exactly by a reader of JSON."""

_HALVES = re.compile("[\\ud800-\\udfff]")


def table(value: Any) -> Mapping[str, Any]:
    """The object, or an empty one where it is none."""
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str:
    """The text, or an empty one where it is none."""
    return value if isinstance(value, str) else ""


def first_text(*values: Any) -> str:
    """The first that is a text with something in it."""
    return next((v for v in values if isinstance(v, str) and v), "")


def whole(text: str) -> str:
    """Half surrogate pairs, which UTF-8 has not and so no store takes, as U+FFFD."""
    return _HALVES.sub("\ufffd", text)


def count(value: Any) -> int | None:
    """A whole number that any JSON reader keeps exactly, or None."""
    return value if type(value) is int and -LARGEST < value < LARGEST else None


def counts(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """Those that are counts; anything else a field may hold is not a fact."""
    return {
        name: value
        for name, value in values.items()
        if type(value) is int and -LARGEST < value < LARGEST
    }


def links(values: Any) -> tuple[str, ...]:
    """The web addresses in a list, in order, each once; also when there is just one."""
    if not values:
        return ()
    listed: Iterable[Any] = values if isinstance(values, list) else [values]
    found = (v for v in listed if isinstance(v, str))
    return tuple(
        dict.fromkeys(v for v in found if v.startswith(("https://", "http://")))
    )
