"""
Answers that stay open and say what happens, as server-sent events.

They hold a connection for as long as somebody looks, so there are only few places
(`receiver.web.audience`).
"""

from collections.abc import AsyncIterator

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.audience import MOST, OF_ONE_ADDRESS, OF_ONE_TOKEN, Full

POLL_S = 0.2
KEEP_ALIVE_S = 15.0
_FULL: dict[Full, tuple[int, str, str]] = {
    "all": (503, "busy", f"{MOST} streams are open already"),
    "token": (429, "too_many_streams", f"{OF_ONE_TOKEN} of this token are open"),
    "address": (429, "too_many_streams", f"{OF_ONE_ADDRESS} from here are open"),
}


class EventStream(StreamingResponse):
    """
    Messages, for as long as somebody reads them; to HEAD only that there would be some.

    Raises:
        Problem: when it is to be sent, and all places are taken (503), or as many as
            one token or address may have (429).
    """

    def __init__(
        self, parts: Parts, token: str, address: str, messages: AsyncIterator[str]
    ) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(messages, headers=headers, media_type="text/event-stream")
        self._audience = parts.audience
        self._whose = (token, address)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            start = {"status": self.status_code, "headers": self.raw_headers}
            await send({"type": "http.response.start", **start})
            await send({"type": "http.response.body", "body": b""})
            return
        # Looked at and taken at once: no other request comes between.
        full = self._audience.full(*self._whose)
        if full is not None:
            raise Problem(*_FULL[full], {"retry-after": "10"})
        with self._audience.place(*self._whose):
            await super().__call__(scope, receive, send)
