"""
One request and its answer, in fewer steps than uvicorn's where nothing is unusual.

A request that is there in one piece is given in one piece; an answer that is made in
one piece is written in one.  Everything else is uvicorn's to do.
"""

from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

WHOLE = "receiver.response"
"""
An ASGI extension: a message of this type is a whole answer.

    {"type": WHOLE, "status": 200, "headers": b"name: value\\r\\n...", "body": b"..."}

The headers are ready to be written, `content-length` among them.
"""

EXTENSIONS: dict[str, dict[object, object]] = {WHOLE: {}}
"""For the scope of a request that is answered by a `Cycle`."""


class _Written(NamedTuple):
    """Headers that every answer has, as uvicorn keeps them and as they are written."""

    headers: list[tuple[bytes, bytes]]
    text: bytes


class Cycle(RequestResponseCycle):
    """See the module."""

    _given = False  # all of the request
    _common = _Written([], b"")

    async def receive(self) -> Any:
        if (
            self.more_body
            or self._given
            or self.waiting_for_100_continue
            or self.disconnected
            or self.response_complete
        ):
            message = await super().receive()
            self._given = not message.get("more_body", False)
            return message
        self._given = True
        self.message_event.clear()
        self.flow.resume_reading()
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] != WHOLE:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        status: int = message["status"]
        headers: bytes = message["headers"]
        close = b"" if self.keep_alive else b"connection: close\r\n"
        self.transport.write(
            b"%b%b%b%b\r\n%b"
            % (STATUS_LINE[status], self._in_common(), headers, close, message["body"])
        )
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()

    def _in_common(self) -> bytes:
        """Made anew when uvicorn has made new ones: once a second, for the date."""
        headers = self.default_headers
        if Cycle._common.headers is not headers:
            lines = [b"%b: %b\r\n" % pair for pair in headers]
            Cycle._common = _Written(headers, b"".join(lines))
        return Cycle._common.text


def whole(status: int, headers: bytes, body: bytes) -> dict[str, Any]:
    """The message of a whole answer."""
    return {"type": WHOLE, "status": status, "headers": headers, "body": body}
