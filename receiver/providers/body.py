"""Bodies: parsed strictly, once, after they were verified; and what was read in them."""

import json
from typing import Any

from receiver.errors import Rejected
from receiver.models import Reading

LONGEST_NAME = 500


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


def check_names(reading: Reading) -> None:
    """
    Check that what a provider read can be stored and shown.

    Raises:
        Rejected: `malformed_body`.
    """
    for name in (reading.key, reading.type, reading.subject):
        try:
            name.encode()
        except UnicodeEncodeError:
            message = "an identifier has half a surrogate pair in it"
            raise Rejected(400, "malformed_body", message) from None
        if len(name) > LONGEST_NAME:
            message = f"an identifier is longer than {LONGEST_NAME} characters"
            raise Rejected(400, "malformed_body", message)


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
