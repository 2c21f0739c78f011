"""
The JSON API under `/api/v1`, and `/api/openapi.json` that describes it.

On the socket beside the store whoever may write to it may do everything; over HTTP a
bearer token says who asks.  Every change is logged, and kept with who made it.
"""

from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from receiver.errors import ReceiverError
from receiver.web.api import (
    asking,
    batches,
    deliveries,
    destinations,
    events,
    joins,
    overview,
    pruning,
    rejections,
    replays,
    stream,
)
from receiver.web.api.access import CONTROL, Who
from receiver.web.api.openapi import PREFIX, document
from receiver.web.api.operation import Operation
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem, not_allowed, render

OPERATIONS: tuple[Operation, ...] = (
    *overview.OPERATIONS,
    *events.OPERATIONS,
    *batches.OPERATIONS,
    *joins.OPERATIONS,
    *deliveries.OPERATIONS,
    *replays.OPERATIONS,
    *rejections.OPERATIONS,
    *destinations.OPERATIONS,
    *pruning.OPERATIONS,
    *asking.OPERATIONS,
    *stream.OPERATIONS,
)

Endpoint = Callable[[Request], Awaitable[Response]]
Identify = Callable[[Request], Who]


def control_app(parts: Parts) -> Starlette:
    """For the socket that only the store's owner may write to."""
    return Starlette(routes=routes(parts, lambda _: CONTROL), exception_handlers=ERRORS)


def routes(parts: Parts, identify: Identify) -> list[Route]:
    """All operations; `identify` says who asks, or raises a Problem."""
    at: dict[str, dict[str, Endpoint]] = {}
    for operation in OPERATIONS:
        answers = _endpoint(parts, operation, identify)
        at.setdefault(operation.path, {})[operation.method] = answers
    # What is at a path of its own is not something with an id.
    found = [
        Route(PREFIX + path, _Resource(at[path]))
        for path in sorted(at, key=lambda path: "{" in path)
    ]
    described = document(OPERATIONS)

    async def openapi(_: Request) -> Response:
        return JSONResponse(described)

    return [*found, Route("/api/openapi.json", openapi, methods=["GET"])]


class _Resource:
    """What is at one path, by method; it says which there are if asked by another."""

    def __init__(self, endpoints: Mapping[str, Endpoint]) -> None:
        reading = {"HEAD": endpoints["GET"]} if "GET" in endpoints else {}
        self._endpoints = {**endpoints, **reading}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        endpoint = self._endpoints.get(request.method)
        if endpoint is None:
            allowed = {"allow": ", ".join(self._endpoints)}
            raise Problem(405, "method_not_allowed", not_allowed(request), allowed)
        await (await endpoint(request))(scope, receive, send)


def _endpoint(parts: Parts, operation: Operation, identify: Identify) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        who = identify(request)
        if operation.writes and not who.may_write:
            message = f"the {who.name} may only look"
            raise Problem(403, "read_only", message)
        return await operation.call(parts, who, request)

    return endpoint


ERRORS = {HTTPException: render, ReceiverError: render, Problem: render}
"""How an application that has these routes renders what they raise."""
