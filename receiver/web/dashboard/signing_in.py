"""Signing in with a token, and out."""

import math

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from receiver import clock, logs
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.clients import address
from receiver.web.dashboard.forms import fields
from receiver.web.dashboard.gate import cookie_name, guarded, session_of
from receiver.web.dashboard.origin import is_foreign, is_secure, local_path
from receiver.web.dashboard.rendering import rendered
from receiver.web.dashboard.session import LASTS, begun, is_ours


def routes(parts: Parts) -> list[Route]:
    """The form, what it sends, and the way out."""
    doors = _Doors(parts)
    return [
        Route("/ui/sign-in", doors.form, methods=["GET"]),
        Route("/ui/sign-in", doors.enter, methods=["POST"]),
        Route("/ui/sign-out", doors.leave, methods=["POST"]),
    ]


class _Doors:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._attempts = parts.sign_ins

    async def form(self, request: Request) -> Response:
        wanted = local_path(request.query_params.get("next", "/"))
        if session_of(self._parts, request) is not None:
            return guarded(RedirectResponse(wanted, 303))
        return _form(wanted)

    async def enter(self, request: Request) -> Response:
        try:
            return await self._enter(request)
        except Problem as problem:
            return _form("/", problem.message, problem.status)

    async def _enter(self, request: Request) -> Response:
        server = self._parts.settings.server
        form = await fields(request)
        wanted = local_path(form.get("next", ["/"])[0])
        if is_foreign(request.headers):
            return _form(wanted, "this form was not made here: try it again", 403)
        who, now = address(server, request), clock.monotonic()
        wait_s = math.ceil(self._attempts.wait_s(who, now))
        if wait_s:
            message = f"too many wrong tokens: try again in {wait_s} s"
            answer = _form(wanted, message, 429)
            answer.headers["retry-after"] = str(wait_s)
            return answer
        session = begun(server, form.get("token", [""])[0].strip(), clock.now())
        if session is None:
            self._attempts.failed(who, now)
            logs.get().warning("dashboard.refused", client=who)
            return _form(wanted, "this token is not known", 401)
        self._attempts.succeeded(who)
        logs.get().info("dashboard.entered", client=who, as_=session.who.name)
        answer = RedirectResponse(wanted, 303)
        answer.set_cookie(
            cookie_name(self._parts, request),
            session.cookie,
            max_age=int(LASTS.total_seconds()),
            secure=is_secure(server, request),
            httponly=True,
            samesite="strict",
        )
        return guarded(answer)

    async def leave(self, request: Request) -> Response:
        session = session_of(self._parts, request)
        answer = RedirectResponse("/ui/sign-in", 303)
        if session is None:
            return guarded(answer)
        try:
            token = (await fields(request)).get("form_token", [""])[0]
        except Problem:
            token = ""
        if is_foreign(request.headers) or not is_ours(session, token):
            return _form("/", "this form was not made here", 403)
        answer.delete_cookie(
            cookie_name(self._parts, request),
            secure=is_secure(self._parts.settings.server, request),
            httponly=True,
            samesite="strict",
        )
        return guarded(answer)


def _form(wanted: str, message: str = "", status: int = 200) -> Response:
    context = {"next": wanted, "message": message}
    return guarded(HTMLResponse(rendered("sign_in.html", context), status))
