"""
Says that something has changed, as server-sent events; the page then looks again.

What has changed is not told, so that nothing is shown here that a page would not show,
with its filters.  The store counts its commits: asking costs nothing.
"""

from collections.abc import AsyncGenerator

from starlette.responses import Response

from receiver import clock
from receiver.web.api.parts import Parts
from receiver.web.api.streaming import KEEP_ALIVE_S, POLL_S, EventStream
from receiver.web.clients import address
from receiver.web.dashboard.session import Session, of_cookie
from receiver.web.dashboard.visit import Visit


async def changes(visit: Visit) -> Response:
    """A message whenever something was committed, until the session ends."""
    parts, session = visit.parts, visit.session
    client = address(parts.settings.server, visit.request)
    messages = _messages(parts, session)
    return EventStream(parts, session.who.name, client, messages)


async def _messages(parts: Parts, session: Session) -> AsyncGenerator[str, None]:
    seen, spoken_at = parts.store.commits, clock.monotonic()
    yield ": connected\n\n"
    while not parts.stopping.is_set() and _holds(parts, session):
        await parts.pause_or_stop(POLL_S)
        if parts.store.commits != seen:
            seen, spoken_at = parts.store.commits, clock.monotonic()
            yield f"event: changed\ndata: {seen}\n\n"
        elif clock.monotonic() - spoken_at > KEEP_ALIVE_S:
            spoken_at = clock.monotonic()
            yield ": still here\n\n"


def _holds(parts: Parts, session: Session) -> bool:
    return of_cookie(parts.settings.server, session.cookie, clock.now()) is not None
