"""Refusals of the API, in one shape: problem details (RFC 9457)."""

from collections.abc import Mapping
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from receiver.errors import Conflict, NotFound, Rejected, StoreError

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """A request that is refused: a status, a stable `code`, a sentence."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers


def problem(
    status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    """`{"type", "title", "status", "code", "detail"}`."""
    body = {
        "type": f"urn:receiver:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": message,
    }
    return JSONResponse(body, status, headers=headers, media_type=MEDIA_TYPE)


async def render(request: Request, error: Exception) -> Response:
    """What went wrong, as far as it concerns whoever asked."""
    if isinstance(error, Problem):
        return problem(error.status, error.code, error.message, error.headers)
    if isinstance(error, HTTPException):  # Starlette's own
        return _of_routing(request, error)
    if isinstance(error, NotFound):
        return problem(404, "not_found", str(error))
    if isinstance(error, Conflict | Rejected):
        return problem(409, "conflict", str(error))
    if isinstance(error, StoreError):
        return problem(503, "not_stored", str(error), {"retry-after": "2"})
    return problem(500, "error", "something went wrong; the log says what")


def _of_routing(request: Request, error: HTTPException) -> Response:
    """Of a path there is not, or a method it has not."""
    status, headers = error.status_code, error.headers
    if status == HTTPStatus.NOT_FOUND:
        message = "there is nothing at this path; /api/openapi.json has all there are"
        return problem(status, "not_found", message, headers)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return problem(status, "method_not_allowed", not_allowed(request), headers)
    return problem(status, "error", error.detail, headers)


def not_allowed(request: Request) -> str:
    """That a path has no such method, for people."""
    return f"there is no {request.method} at this path; see the header `allow`"
