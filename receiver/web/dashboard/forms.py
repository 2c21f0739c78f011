"""What a form sends: few fields, read with a limit."""

from collections.abc import Mapping
from urllib.parse import parse_qs

from starlette.requests import Request

from receiver.web.api.problems import Problem

MAX_BYTES = 131_072
"""A thousand ids have room."""

MAX_FIELDS = 1_100

Fields = Mapping[str, list[str]]


async def fields(request: Request) -> Fields:
    """
    A form's fields, each with its values.

    Raises:
        Problem: it is too large, or no form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Problem(415, "no_form", "this takes forms only")
    raw = bytearray()
    async for part in request.stream():
        raw += part
        if len(raw) > MAX_BYTES:
            message = f"the form is larger than {MAX_BYTES} bytes"
            raise Problem(413, "body_too_large", message)
    try:
        return parse_qs(raw.decode(), max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Problem(400, "no_form", "the form cannot be read") from None
