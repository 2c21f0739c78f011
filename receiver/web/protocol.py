"""
uvicorn's HTTP protocol with limits it does not have.

Time: a client has `header_timeout` for its headers, `body_timeout` for its body and as
long to read what it is answered.  An idle connection between requests is uvicorn's to
close.  Memory: headers and trailers may have `MAX_HEADER_BYTES`, trailers are thrown
away, nothing is read while requests wait for their turn, `MAX_QUEUED` may wait, and
only so many connections are open at once: for one more, the one that has been silent
for longest is closed, unless an answer is owed on it.

Who goes beyond is answered 408, 431 or 503 and disconnected.  An answer that is still
owed for an earlier request on the connection comes first, and then nothing else.
"""

import asyncio
from collections import deque
from typing import Any, ClassVar, cast
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from receiver import clock, logs
from receiver.web.cycle import EXTENSIONS, Cycle
from receiver.web.limits import connection_limit
from receiver.web.seldom import Seldom

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 100
MAX_QUEUED = 32
"""Requests on one connection that wait for an earlier one to be answered."""

MALFORMED_EVERY_S = 60.0
"""What is no HTTP is logged at most so often, with a count."""

_BETWEEN, _HEADERS, _BODY = range(3)


class _Refused(Exception):
    """Raised to stop the parser in the middle of what was read."""


class _Flow(FlowControl):
    """Does not read on while requests are queued, whoever asks for it."""

    def __init__(self, transport: asyncio.Transport, queued: deque[Any]) -> None:
        super().__init__(transport)
        self._queued = queued

    def resume_reading(self) -> None:
        if not self._queued:
            super().resume_reading()


class BoundedProtocol(HttpToolsProtocol):
    """Pass `bounded(...)` as uvicorn's `http`."""

    header_timeout_s: ClassVar[float] = 5.0
    body_timeout_s: ClassVar[float] = 10.0
    max_connections: ClassVar[int] = 1000
    silent: ClassVar[dict["BoundedProtocol", None]] = {}
    """All that wait for their client, in the order in which it last brought something
    to its end; with some among them on which an answer is owed."""

    malformed: ClassVar[Seldom] = Seldom(MALFORMED_EVERY_S)

    _timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None
    _stage = _BETWEEN
    _moved = False  # to another stage, since the timer was set
    _header_bytes = 0
    _loose_bytes = 0  # read since the parser last told us of anything
    _progress = False
    _deaf = False  # whatever else is sent is not looked at
    _idle_since: float | None = None  # when the last answer was given, until more comes
    _idle_timer: asyncio.TimerHandle | None = None
    _repeating = False  # the parser is being told headers that we know

    # -- the connection

    def connection_made(self, transport: Any) -> None:
        if len(self.connections) >= self.max_connections and not self._make_room():
            self.transport = transport
            self._deaf = True
            self._say("503 Service Unavailable", "busy")
            self._close()
            return
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self.silent[self] = None
        self._wait(self.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_waiting_for_reader()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        self.pipeline.clear()
        self.silent.pop(self, None)
        super().connection_lost(exc)

    def _make_room(self) -> bool:
        """Close the connection that is missed least; whether there was one."""
        found = next((one for one in self.silent if not one._owes()), None)  # noqa: SLF001 (of its own class)
        if found is None:
            return False
        del self.silent[found]
        found._leave()  # noqa: SLF001
        return True

    def _owes(self) -> bool:
        """Whether a whole request is there that is not answered yet."""
        cycle = cast("Any", self.cycle)  # None before the first request
        answered = cycle is None or cycle.response_complete
        return bool(self.pipeline) or (self._stage != _BODY and not answered)

    def _leave(self) -> None:
        if self._stage == _BETWEEN:
            self._close()
        else:
            self._end("503 Service Unavailable", "busy")

    def _heard(self) -> None:
        self.silent.pop(self, None)
        self.silent[self] = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        self._stop_waiting_for_reader()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        self._idle_timer = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._idle_timer = self.loop.call_later(
                left, self.timeout_keep_alive_handler
            )
        elif not self.transport.is_closing():
            self._close()

    def _unset_keepalive_if_required(self) -> None:
        self._idle_since = None

    def _set_keepalive(self) -> None:
        """One timer looks now and then: one for each request would cost too much."""
        self._idle_since = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # -- what is read

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _Refused):
                self._end("431 Request Header Fields Too Large", "headers_too_large")
            else:
                self._end("400 Bad Request", "malformed_request")
                self._tell_malformed()
            return
        if self._stage != _BETWEEN:
            if self._progress:
                self._progress = False
            else:
                self._loose_bytes += len(data)
                if self._loose_bytes > MAX_HEADER_BYTES:
                    status = "431 Request Header Fields Too Large"
                    self._end(status, "headers_too_large")
                    return
        self._set_timer()

    def _feed(self, data: bytes) -> None:
        """Parse it; an offer to upgrade is not taken up, so the body follows as usual."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                self._go_on_without_upgrade()
            else:
                return

    def _go_on_without_upgrade(self) -> None:
        """
        The parser has skipped the body.  Another one is told how it is framed, and
        reads it; what it says of these headers we know already.
        """
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        framing = [
            b"%s: %s\r\n" % (name, value)
            for name, value in self.headers
            if name in (b"content-length", b"transfer-encoding")
        ]
        self._repeating = True
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%s\r\n" % b"".join(framing))

    def _set_timer(self) -> None:
        if self._moved:
            self._moved = False
            self._stop_waiting()
            if self._stage == _HEADERS:
                self._wait(self.header_timeout_s)
            elif self._stage == _BODY:
                self._wait(self.body_timeout_s)
        elif (
            self._stage == _BETWEEN
            and self._timer is None
            and self.cycle.response_complete  # there is one: the first timer has run
        ):  # empty lines, which begin nothing but have ended the keep-alive timer
            self._wait(self.header_timeout_s)

    def _should_upgrade(self) -> bool:
        return False

    # -- what the parser says

    def on_message_begin(self) -> None:
        if self._repeating:
            return
        if len(self.pipeline) >= MAX_QUEUED:
            self._deaf = True
            self._stop_waiting()
            raise _Refused
        self._stage = _HEADERS
        self._moved = True
        self._heard()
        self._header_bytes = self._loose_bytes = 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_url(self, url: bytes) -> None:
        if self._repeating:
            return
        self._count(len(url))
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._repeating:
            return
        self._count(len(name) + len(value) + 4)
        if self._stage != _HEADERS:
            return  # a trailer: proxies do not look at those, so nor do we
        if len(self.headers) >= MAX_HEADERS:
            raise _Refused
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._repeating:
            self._repeating = False
            return
        existing = cast("Any", self.cycle)  # None before the first request
        self.cycle = cycle = self._make_cycle()
        app = cast("Any", self.app)
        if existing is None or existing.response_complete:
            self._start_asgi_task(cycle, app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, app))
        self._stage = _BODY
        self._moved = self._progress = True
        self._header_bytes = self._loose_bytes = 0

    def _make_cycle(self) -> Cycle:
        parser = self.parser
        version = parser.get_http_version()
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        scope: Any = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "method": parser.get_method().decode("ascii"),
            "scheme": self.scheme or "http",
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "root_path": "",
            "headers": self.headers,
            "client": self.client,
            "server": self.server,
            "extensions": EXTENSIONS,
            "state": {},
        }
        self.scope = scope
        return Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )

    def on_body(self, body: bytes) -> None:
        self._progress = True
        self._loose_bytes = 0
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # the body is still to come
        self._stage = _BETWEEN
        self._moved = self._progress = True
        cycle = self.cycle
        if cycle.response_complete:  # it was answered early: this is when it is idle
            self._set_keepalive()
            return
        cycle.more_body = False
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        last = not self.pipeline
        self.server_state.total_requests += 1
        if self.transport.is_closing() or (self._deaf and last):
            self._close()
            return
        self.flow.resume_reading()
        if last:
            self._set_keepalive()
        else:
            self._start_asgi_task(*self.pipeline.pop())

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > MAX_HEADER_BYTES:
            raise _Refused

    # -- time

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        self._end("408 Request Timeout", "request_timeout")

    def _wait_for_reader(self) -> None:
        if self._read_timer is None:
            abort = self.transport.abort
            self._read_timer = self.loop.call_later(self.body_timeout_s, abort)

    def _stop_waiting_for_reader(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    # -- the end

    def _end(self, status: str, code: str) -> None:
        """Look at nothing more, answer what is owed, and close."""
        if self._deaf or self.transport.is_closing():
            return
        self._deaf = True
        self._stop_waiting()
        cycle = cast("Any", self.cycle)  # None before the first request
        if self._stage == _BODY:
            if self.pipeline:  # the one in question is the last that waits
                self.pipeline.popleft()
                return
            if not cycle.response_started:
                cycle.disconnected = True  # this is its answer
                cycle.message_event.set()
                self._say(status, code)
        elif cycle is not None and not cycle.response_complete:
            return  # closed when that is answered
        else:
            self._say(status, code)
        self._close()

    def _tell_malformed(self) -> None:
        count = self.malformed.happened(clock.monotonic())
        if count:
            client = self.client[0] if self.client else ""
            logs.get().warning("request.malformed", client=client, count=count)

    def _say(self, status: str, code: str) -> None:
        body = b'{"error":{"code":"%s","message":"%s"}}' % (
            code.encode(),
            status[4:].encode(),
        )
        retry = b"retry-after: 2\r\n" if status.startswith("503") else b""
        self.transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n%s"
            b"content-length: %d\r\nconnection: close\r\n\r\n%s"
            % (status.encode(), retry, len(body), body)
        )

    def _close(self) -> None:
        """Close; what the client does not read in time is not waited for."""
        self.transport.close()
        if self.transport.get_write_buffer_size() > 0:
            self._wait_for_reader()


def bounded(
    header_timeout_s: float, body_timeout_s: float, max_connections: int | None = None
) -> type[BoundedProtocol]:
    """The protocol class with these limits; connections as open files allow."""
    limits = {
        "header_timeout_s": header_timeout_s,
        "body_timeout_s": body_timeout_s,
        "max_connections": max_connections or connection_limit(),
        "silent": {},
        "malformed": Seldom(MALFORMED_EVERY_S),
    }
    return type("Bounded", (BoundedProtocol,), limits)
