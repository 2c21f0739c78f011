"""Nouns as JSON has them, the same for the commands and the API."""

import base64
import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from receiver import clock

_AS_IT_IS = frozenset({str, int, float, bool, type(None)})
"""Most values; a page of events has ten thousand."""


def plain(value: Any) -> Any:  # noqa: PLR0911 (a table in code)
    """Times in RFC 3339, durations in seconds, bytes as text or else base64."""
    if type(value) in _AS_IT_IS:
        return value
    names = _fields(type(value))  # type: ignore[arg-type]  # a class is hashable
    if names is not None:
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, dict | Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, datetime):
        return clock.iso(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return _body(value)
    return value


@cache
def _fields(kind: type) -> tuple[str, ...] | None:
    """The names of a dataclass's fields; None: it is none."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple(field.name for field in dataclasses.fields(kind))


def _body(body: bytes) -> object:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
