"""
The HTTP edge: source paths first, by one look-up; everything else by Starlette.

    POST {source path}   accept a webhook        (hooks)
    /healthz  /readyz    alive; can commit       (health)
    /metrics             Prometheus              (health)

The JSON API that changes things is a second application (`api`), served only on the
Unix socket beside the store.
"""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver.web.health import Health
from receiver.web.hooks import Hooks


def create_app(hooks: Hooks, health: Health) -> ASGIApp:
    """What is served on the public port."""
    rest = Starlette(routes=health.routes(), exception_handlers={HTTPException: refuse})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            sender = hooks.sender(scope["path"])
            if sender is not None:
                await hooks(sender, scope, receive, send)
                return
        await rest(scope, receive, send)

    return app


async def refuse(request: Request, error: Exception) -> Response:
    """Starlette's own refusals in the shape of all others."""
    if not isinstance(error, HTTPException):
        raise error
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "error")
    message = {
        404: f"nothing is at {request.url.path[:200]}; `receiver check` lists the paths"
    }.get(error.status_code, error.detail)
    body = {"error": {"code": code, "message": message}}
    return JSONResponse(body, error.status_code, headers=error.headers)
