"""The OpenAPI 3.1 document, made from the operations (pure)."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

import receiver
from receiver.web.api.operation import Operation
from receiver.web.api.problems import MEDIA_TYPE
from receiver.web.api.schemas import (
    BATCH,
    DELIVERY,
    EVENT,
    JOIN,
    NAME,
    NOUNS,
    REJECTION,
    REPLAY,
    ref,
)

PREFIX = "/api/v1"

_IDS = {
    "batches": BATCH,
    "events": EVENT,
    "deliveries": DELIVERY,
    "joins": JOIN,
    "replays": REPLAY,
    "rejections": REJECTION,
}


def document(operations: Iterable[Operation]) -> Mapping[str, Any]:
    """What `/api/openapi.json` answers."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        at = paths.setdefault(PREFIX + operation.path, {})
        at[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "receiver",
            "version": receiver.__version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": NOUNS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    answers = operation.answers
    media = (
        {answers: {"schema": {"type": "string"}}}
        if isinstance(answers, str)
        else {"application/json": {"schema": answers}}
    )
    found: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.path.split("/")[1]],
        "parameters": [*_in_path(operation), *_in_query(operation)],
        "responses": {
            str(operation.status): {
                "description": HTTPStatus(operation.status).phrase,
                "content": media,
            },
            **{str(status): _refusal(status) for status in _refusals(operation)},
        },
    }
    if operation.body is not None:
        content = {"application/json": {"schema": operation.body}}
        needed = bool(operation.body.get("required") or operation.body.get("oneOf"))
        found["requestBody"] = {"content": content, "required": needed}
    return found


def _in_path(operation: Operation) -> Iterable[dict[str, Any]]:
    first = operation.path.split("/")[1]
    for name in ("id", "name"):
        if f"{{{name}}}" in operation.path:
            schema = _IDS[first] if name == "id" else NAME
            yield {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(operation: Operation) -> Iterable[dict[str, Any]]:
    for name, schema in operation.query.items():
        required = name in operation.required
        yield {"name": name, "in": "query", "required": required, "schema": schema}


def _refusals(operation: Operation) -> list[int]:
    """Those any request may get, and its own."""
    common = {400, 401, 429, 500, 503}
    if operation.writes:
        common |= {403, 413}
    return sorted(common | set(operation.refusals))


def _refusal(status: int) -> dict[str, Any]:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": ref("Problem")}},
    }
