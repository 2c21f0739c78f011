"""
uvicorn's HTTP protocol with limits it does not have: slow and endless requests.

A client has `header_timeout` for its headers and `body_timeout` for its body; headers
may have `MAX_HEADER_BYTES`.  Whoever takes longer is answered 408 if nothing was sent
yet, and disconnected.  An idle connection between requests is uvicorn's to close.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEADER_BYTES = 64 * 1024


class BoundedProtocol(HttpToolsProtocol):
    """Pass `bounded(...)` as uvicorn's `http`."""

    header_timeout_s: ClassVar[float] = 5.0
    body_timeout_s: ClassVar[float] = 10.0

    _timer: asyncio.TimerHandle | None = None
    _in_headers = True
    _header_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait(self.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES + len(data):
                self._end("431 Request Header Fields Too Large", "headers_too_large")
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._in_headers = True
        self._header_bytes = 0
        self._wait(self.header_timeout_s)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._wait(self.body_timeout_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_waiting()
        super().on_message_complete()

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._end("408 Request Timeout", "request_timeout")

    def _end(self, status: str, code: str) -> None:
        if self.transport.is_closing():
            return
        cycle = getattr(self, "cycle", None)
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = b'{"error":{"code":"%s","message":"%s"}}' % (
                code.encode(),
                status[4:].encode(),
            )
            self.transport.write(
                b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\nconnection: close\r\n\r\n%s"
                % (status.encode(), len(body), body)
            )
        self.transport.close()


def bounded(header_timeout_s: float, body_timeout_s: float) -> type[BoundedProtocol]:
    """The protocol class with these limits."""
    limits = {"header_timeout_s": header_timeout_s, "body_timeout_s": body_timeout_s}
    return type("Bounded", (BoundedProtocol,), limits)
