"""Nouns as JSON has them, the same for the commands and the API."""

import base64
import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from receiver import clock


def plain(value: Any) -> Any:  # noqa: PLR0911 (a table in code)
    """Times in RFC 3339, durations in seconds, bytes as text or else base64."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
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


def _body(body: bytes) -> object:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
