"""
The JSON API under `/api/v1`, and `/api/openapi.json` that describes it.

On the socket beside the store whoever may write to it may do everything; over HTTP a
bearer token says who asks.  Every change is logged, and kept with who made it.
"""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver.errors import ReceiverError
from receiver.web.api import (
    asking,
    batches,
    deliveries,
    destinations,
    events,
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
from receiver.web.api.problems import Problem, render

OPERATIONS: tuple[Operation, ...] = (
    *overview.OPERATIONS,
    *events.OPERATIONS,
    *batches.OPERATIONS,
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
    found = [
        Route(
            PREFIX + operation.path,
            _endpoint(parts, operation, identify),
            methods=[operation.method],
        )
        for operation in OPERATIONS
    ]
    described = document(OPERATIONS)

    async def openapi(_: Request) -> Response:
        return JSONResponse(described)

    return [*found, Route("/api/openapi.json", openapi, methods=["GET"])]


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
