"""
Answers that stay open and say what happens, as server-sent events.

They hold a connection for as long as somebody looks, so there are only few places.
"""

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem

POLL_S = 0.2
KEEP_ALIVE_S = 15.0
MOST = 50
"""Streams at a time."""


class EventStream(StreamingResponse):
    """
    Messages, for as long as somebody reads them; to HEAD only that there would be some.

    Raises:
        Problem: when it is to be sent, and all places are taken; 503.
    """

    def __init__(self, parts: Parts, messages: AsyncIterator[str]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(messages, headers=headers, media_type="text/event-stream")
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            await send({"type": "http.response.body", "body": b""})
            return
        # Looked at and taken at once: no other request comes between.
        if self._parts.streams >= MOST:
            message = f"{MOST} streams are open already"
            raise Problem(503, "busy", message, {"retry-after": "10"})
        self._parts.streams += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._parts.streams -= 1
