"""Bodies: parsed strictly once, and read again when a stored event needs it."""

import json
from dataclasses import replace
from typing import Any

from receiver.errors import Rejected
from receiver.models import Event, Request
from receiver.offload import beside
from receiver.providers import PROVIDERS


def parse(body: bytes) -> Any:
    """
    JSON as RFC 8259 has it: UTF-8, no NaN, and no name twice in one object.

    Raises:
        Rejected: `malformed_body`, saying what is wrong.
    """
    try:
        return _decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        why = f"not UTF-8 at byte {error.start}"
    except RecursionError:
        why = "nested too deeply"
    except ValueError as error:
        why = str(error)
    raise Rejected(400, "malformed_body", f"the body is not usable JSON: {why}")


async def with_reading(event: Event) -> Event:
    """The event with what only its body knows: links to results and their expiry."""
    return await beside(len(event.body), _with_reading, event)


def _with_reading(event: Event) -> Event:
    request = Request(event.headers, event.query, event.body, event.received_at)
    try:
        reading = PROVIDERS[event.provider].read(request, parse(event.body))
    except (Rejected, KeyError):
        return event
    return replace(
        event, result_urls=reading.result_urls, expires_at=reading.expires_at
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the name {name[:50]!r} is there twice in one object")
            seen.add(name)
    return found


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_not_json).decode
