"""
Who gets in, and what every answer has.

A page is for whoever is signed in.  An action is a form that a page of ours made for
this session, sent by somebody who may change something.  Everything else is refused
before it is looked at.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from receiver import clock
from receiver.errors import Conflict, NotFound, ReceiverError, Rejected, StoreError
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.dashboard.forms import fields
from receiver.web.dashboard.origin import is_foreign, is_secure
from receiver.web.dashboard.rendering import rendered
from receiver.web.dashboard.session import Session, is_ours, of_cookie
from receiver.web.dashboard.visit import Show, Visit

_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src {images}; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
STRICT = _POLICY.format(images="'self'")
WITH_IMAGES = _POLICY.format(images="'self' https:")
"""For the one page on which somebody asked to see thumbnails."""

HEADERS = {
    "content-security-policy": STRICT,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with less, forms come with no origin
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

Endpoint = Callable[[Request], Awaitable[Response]]


def guarded(response: Response) -> Response:
    """The answer with what every answer of the dashboard has."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def cookie_name(parts: Parts, request: Request) -> str:
    """Over https a browser takes `__Host-` only from us, and only over https."""
    secure = is_secure(parts.settings.server, request)
    return "__Host-receiver" if secure else "receiver"


def session_of(parts: Parts, request: Request) -> Session | None:
    """Who asks, if that is proven."""
    cookie = request.cookies.get(cookie_name(parts, request), "")
    return of_cookie(parts.settings.server, cookie, clock.now())


def page(parts: Parts, path: str, show: Show) -> Route:
    """A page that is looked at."""

    async def endpoint(request: Request) -> Response:
        session = session_of(parts, request)
        if session is None:
            return guarded(_to_sign_in(request))
        visit = Visit(parts, session, request, clock.now())
        return await _shown(show, visit)

    return Route(path, endpoint, methods=["GET"])


def action(parts: Parts, path: str, act: Show) -> Route:
    """A form that changes something."""

    async def endpoint(request: Request) -> Response:
        session = session_of(parts, request)
        if session is None:
            return guarded(RedirectResponse("/ui/sign-in", 303))
        visit = Visit(parts, session, request, clock.now())

        async def checked(visit: Visit) -> Response:
            form = await fields(visit.request)
            _check(visit, form.get("form_token", [""])[0])
            return await act(Visit(parts, session, request, clock.now(), form))

        return await _shown(checked, visit)

    return Route(path, endpoint, methods=["POST"])


def _check(visit: Visit, form_token: str) -> None:
    """
    Raises:
        Problem: no page of ours made this form, or its sender may only look.
    """
    foreign = is_foreign(visit.request.headers)
    if foreign or not is_ours(visit.session, form_token):
        message = "this form was not made here, or too long ago: open the page again"
        raise Problem(403, "foreign", message)
    if not visit.may_write:
        message = f"the {visit.session.who.name} may only look"
        raise Problem(403, "read_only", message)


async def _shown(show: Show, visit: Visit) -> Response:
    try:
        found = await show(visit)
    except (Problem, ReceiverError, HTTPException) as error:
        status, message = _refusal(error)
        found = visit.page("error.html", status, title="Not done", message=message)
    return guarded(found)


def _refusal(error: Exception) -> tuple[int, str]:
    if isinstance(error, Problem):
        return error.status, error.message
    if isinstance(error, NotFound):
        return 404, str(error)
    if isinstance(error, Conflict | Rejected):
        return 409, str(error)
    if isinstance(error, StoreError):
        return 503, f"{error}; nothing was changed: try again in a moment"
    if isinstance(error, HTTPException):
        return error.status_code, error.detail
    return 500, "something went wrong; the log says what"


def _to_sign_in(request: Request) -> Response:
    wanted = request.url.path
    if request.url.query:
        wanted = f"{wanted}?{request.url.query}"
    # A link in a mail or a chat comes without the cookie: asked again by a page of
    # ours, the browser sends it.
    if request.headers.get("sec-fetch-site") == "cross-site":
        return HTMLResponse(rendered("again.html", {"path": wanted}))
    query = f"?{urlencode({'next': wanted})}" if wanted != "/" else ""
    return RedirectResponse(f"/ui/sign-in{query}", 303)
