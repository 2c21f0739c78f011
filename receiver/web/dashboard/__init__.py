"""
The dashboard: pages at `/` and below `/ui` for people who look after a receiver.

Made on the server, read and used without a script; a small one of ours keeps what is
shown up to date.  Without a token it is off, and `/` says how to turn it on.
"""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from receiver.settings import Server
from receiver.web.api.access import tokens
from receiver.web.api.parts import Parts

HOW = (
    "set admin_token in [server], for example to what this prints: openssl rand -hex "
    "32; then restart"
)


def is_on(server: Server) -> bool:
    """Whether anybody can sign in."""
    return any(True for _ in tokens(server))


def routes(parts: Parts) -> list[Route]:
    """Every page, or only the one that says why there are none."""
    if not is_on(parts.settings.server):
        return [Route("/", _off, methods=["GET"])]
    from receiver.web.dashboard import pages  # noqa: PLC0415 (loads the templates)

    return pages.routes(parts)


async def _off(_: Request) -> Response:
    return PlainTextResponse(f"receiver runs. The dashboard is off: {HOW}\n")
