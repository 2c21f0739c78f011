"""
The HTTP edge: source paths first, by one look-up; everything else by Starlette.

    POST {source path}   accept a webhook        (hooks)
    /healthz  /readyz    alive; can commit       (health)
    /metrics             Prometheus              (health)
    /api/v1/...          JSON                    (api)
    /  /ui/...           pages for people        (dashboard)

With an `admin_port` the public one has only the source paths and the probes.
"""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from receiver import logs
from receiver.web.api import ERRORS, routes
from receiver.web.api.access import Who, by_token
from receiver.web.api.parts import Parts
from receiver.web.api.problems import render
from receiver.web.dashboard import HOW, is_on
from receiver.web.dashboard import routes as pages
from receiver.web.health import Health
from receiver.web.hooks import Hooks


def create_app(hooks: Hooks, health: Health, parts: Parts) -> ASGIApp:
    """What is served on the public port."""
    apart = parts.settings.server.admin_port is not None
    rest = Starlette(
        routes=health.probes() if apart else _everything(health, parts),
        exception_handlers={**ERRORS, HTTPException: refuse},
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            sender = hooks.sender(scope["path"])
            if sender is not None:
                await hooks(sender, scope, receive, send)
                return
        await rest(scope, receive, send)

    return app


def create_admin_app(health: Health, parts: Parts) -> ASGIApp:
    """What is served on the admin port, if there is one."""
    return Starlette(
        routes=_everything(health, parts),
        exception_handlers={**ERRORS, HTTPException: refuse},
    )


def begin(parts: Parts) -> None:
    """What pages show of the last hour is counted from now on."""
    parts.trends.start(parts.stopping)
    if not is_on(parts.settings.server):
        logs.get().info("dashboard.off", advice=HOW)


def _everything(health: Health, parts: Parts) -> list[Route]:
    def identify(request: Request) -> Who:
        return by_token(parts.settings.server, parts.calls, request)

    return [*health.routes(), *routes(parts, identify), *pages(parts)]


async def refuse(request: Request, error: Exception) -> Response:
    """Starlette's own refusals in the shape of all others."""
    if not isinstance(error, HTTPException) or request.url.path.startswith("/api/"):
        return await render(request, error)
    status, path = error.status_code, request.url.path
    if (status, path) == (405, "/"):  # a sender who was given no path
        status = 404
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "error")
    message = {
        404: f"nothing is at {path[:200]}; `receiver check` lists the paths"
    }.get(status, error.detail)
    body = {"error": {"code": code, "message": message}}
    return JSONResponse(body, status, headers=error.headers)
