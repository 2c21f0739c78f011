"""
One thing the API does: its route, what it takes and what it answers, in one place.

The routes, the checks of what comes in and the OpenAPI document are all made from
operations, so that none of them can say what another does not.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import fastjsonschema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from receiver.plain import plain
from receiver.web.api.access import Who
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.api.schemas import Schema, inlined

MAX_BODY_BYTES = 1_048_576

_WHOLE = re.compile("-?[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in and checked: `query` and `body` fit their schemas."""

    parts: Parts
    who: Who
    path: Mapping[str, str]
    query: Mapping[str, Any]
    body: Mapping[str, Any]
    request: Request


Handle = Callable[[Call], Awaitable[object]]


@dataclass(frozen=True)
class Operation:
    """
    `path` is below `/api/v1`.  What changes something has a `body`, and a
    `handle` made by `receiver.web.api.changing.change`.

    `answers` is the schema of a JSON answer, or a media type.  `refusals` are the
    statuses beside those any operation has.
    """

    method: str
    path: str
    handle: Handle
    summary: str
    answers: Schema | str
    query: Mapping[str, Schema] = field(default_factory=dict[str, Schema])
    required: Sequence[str] = ()
    body: Schema | None = None
    status: int = 200
    refusals: Sequence[int] = ()

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def name(self) -> str:
        """As in the OpenAPI document: `listEvents`."""
        first, *rest = self.handle.__name__.strip("_").split("_")
        return first + "".join(map(str.capitalize, rest))

    async def call(self, parts: Parts, who: Who, request: Request) -> Response:
        """
        Check, do it, and put the answer into JSON.

        Raises:
            Problem: the request does not fit.
            ReceiverError: what the operation itself says.
        """
        query = self._query(request)
        body = await self._body(request)
        call = Call(parts, who, request.path_params, query, body, request)
        found = await self.handle(call)
        if isinstance(found, Response):
            return found
        return JSONResponse(plain(found), self.status)

    @cached_property
    def _check_body(self) -> Callable[[object], object]:
        return _checker(self.body or {})

    @cached_property
    def _check_query(self) -> Mapping[str, Callable[[object], object]]:
        return {name: _checker(schema) for name, schema in self.query.items()}

    def _query(self, request: Request) -> Mapping[str, Any]:
        found: dict[str, Any] = {}
        for name, text in request.query_params.multi_items():
            if name not in self._check_query:
                known = ", ".join(self.query) or "none"
                message = f"there is no parameter {name[:100]!r}; there are: {known}"
                raise Problem(400, "invalid_parameter", message)
            if name in found:
                raise Problem(400, "invalid_parameter", f"{name} is there twice")
            found[name] = _fitting(
                self._check_query[name], _converted(self.query[name], text), name
            )
        for name, schema in self.query.items():
            if name not in found and "default" in schema:
                found[name] = schema["default"]
        for name in self.required:
            if name not in found:
                raise Problem(400, "invalid_parameter", f"{name} is missing")
        return found

    async def _body(self, request: Request) -> Mapping[str, Any]:
        if self.body is None:
            return {}
        raw = bytearray()
        async for part in request.stream():
            raw += part
            if len(raw) > MAX_BODY_BYTES:
                message = f"the body is larger than {MAX_BODY_BYTES} bytes"
                raise Problem(413, "body_too_large", message)
        try:
            found = json.loads(raw or b"{}", parse_constant=_not_json)
            json.dumps(found, ensure_ascii=False).encode()  # no half surrogate pairs
        except (ValueError, RecursionError):
            raise Problem(400, "invalid_body", "the body is not JSON") from None
        fitting: Mapping[str, Any] = _fitting(self._check_body, found, "body")
        return fitting


def _checker(schema: Schema) -> Callable[[object], object]:
    compiled: Callable[[object], object] = fastjsonschema.compile(
        inlined(schema), use_default=True, use_formats=False
    )
    return compiled


def _fitting(check: Callable[[object], object], value: object, name: str) -> Any:
    try:
        return check(value)
    except fastjsonschema.JsonSchemaValueException as error:
        message = error.message.replace("data", name, 1)[:300]
        said = (error.definition or {}).get("description")
        if said and error.rule == "oneOf":  # which can only say that it does not fit
            message = str(said)
        elif said and error.rule == "pattern":  # which few can read
            message = f"{str(error.name).replace('data', name, 1)} {said}"
        code = "invalid_body" if name == "body" else "invalid_parameter"
        raise Problem(400, code, message) from None


def _converted(schema: Schema, text: str) -> object:
    """A parameter's text as the type its schema has; left as it is if it has another."""
    kind = schema.get("type")
    if kind == "integer" and _WHOLE.fullmatch(text):
        return int(text)
    if kind == "boolean" and text in ("true", "false"):
        return text == "true"
    return text


def _not_json(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
