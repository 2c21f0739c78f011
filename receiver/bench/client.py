"""
Clients over raw keep-alive connections, so that the load costs little.

Closed loop: each connection sends as soon as it was answered, so a slow server is
asked less.  Open loop: requests are due at fixed times whatever the server does, and
what waits for a connection, or for its answer, is counted from when it was due.
Without that a server that stands still for a second would look slow once, not to
everybody who came in that second.
"""

import asyncio
import os
import re
import threading
import time
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from receiver import clock
from receiver.errors import ReceiverError

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LEAD_S = 0.02
"""Between starting the clock of an open loop and its first request."""


@dataclass(frozen=True, slots=True)
class Sent:
    """
    What became of each request, by its place: when it was due, when it was answered.

    Times are `clock.monotonic()`, which all processes of a machine share.  `late_s` is
    how late the load itself was at worst.
    """

    due: "array[float]"
    answered: "array[float]"
    late_s: float = 0.0


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._rest = b""
        self.place = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]

    def send(self, place: int, request: bytes) -> None:
        """Send the request of this place."""
        self.place = place
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        answer = self._rest + data if self._rest else data
        end = answer.find(b"\r\n\r\n")
        if end < 0:
            self._rest = answer
            return
        length = _LENGTH.search(answer, 0, end + 2)
        if answer[9:10] != b"2" or length is None:
            self._loop.failed(f"answered {answer[:400].decode('utf-8', 'replace')!r}")
        elif len(answer) < end + 4 + int(length[1]):
            self._rest = answer
        else:
            self._rest = b""
            self._loop.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._loop.failed(f"the connection was lost ({exc or 'closed'})")

    def close(self) -> None:
        """Let go of it."""
        self._transport.close()


class Loop:
    """Both kinds: what is sent, and when it was answered."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        self.requests = requests
        count = len(requests)
        self.due = array("d", bytes(8 * count))
        self.done = array("d", bytes(8 * count))
        self._left = count
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, connections: Sequence[Connection]) -> None:
        """All are connected: send."""
        raise NotImplementedError

    def free(self, connection: Connection) -> None:
        """It can take the next request."""
        raise NotImplementedError

    def answered(self, connection: Connection) -> None:
        """The connection's request was."""
        self.done[connection.place] = clock.monotonic()
        self._left -= 1
        if self._left:
            self.free(connection)
        elif not self.over.done():
            self.over.set_result(None)

    def failed(self, why: str) -> None:
        """A request was not answered as it should be: there is nothing to measure."""
        if not self.over.done():
            self.over.set_exception(ReceiverError(f"a request failed: {why}"))


class ClosedLoop(Loop):
    """Every connection sends the next request when it was answered."""

    _next = 0

    def begin(self, connections: Sequence[Connection]) -> None:
        for connection in connections:
            self.free(connection)

    def free(self, connection: Connection) -> None:
        place = self._next
        if place < len(self.requests):
            self._next = place + 1
            self.due[place] = clock.monotonic()
            connection.send(place, self.requests[place])


class OpenLoop(Loop):
    """A request is due every `1 / rate` seconds, whatever becomes of the others."""

    late_s = 0.0

    def __init__(self, requests: Sequence[bytes], rate: float) -> None:
        super().__init__(requests)
        self._rate = rate
        self._idle: deque[Connection] = deque()
        self._waiting: deque[int] = deque()
        self._next = 0

    def begin(self, connections: Sequence[Connection]) -> None:
        self._idle.extend(connections)
        start = clock.monotonic() + LEAD_S
        self.due = array(
            "d", (start + i / self._rate for i in range(len(self.requests)))
        )
        read, write = os.pipe()
        loop = asyncio.get_running_loop()
        loop.add_reader(read, self._time_has_come, read)
        threading.Thread(
            target=_tick, args=(self.due, write), daemon=True, name="pace"
        ).start()

    def free(self, connection: Connection) -> None:
        self._idle.append(connection)
        self._send()

    def _time_has_come(self, read: int) -> None:
        if not os.read(read, 65536):
            asyncio.get_running_loop().remove_reader(read)
            os.close(read)
        now = clock.monotonic()
        while self._next < len(self.due) and self.due[self._next] <= now:
            self.late_s = max(self.late_s, now - self.due[self._next])
            self._waiting.append(self._next)
            self._next += 1
        self._send()

    def _send(self) -> None:
        while self._waiting and self._idle:
            place = self._waiting.popleft()
            self._idle.popleft().send(place, self.requests[place])


def _tick(due: "array[float]", write: int) -> None:
    """A byte whenever something is due: an event loop's timers only know milliseconds."""
    try:
        for moment in due:
            wait = moment - clock.monotonic()
            if wait > 0:
                time.sleep(wait)
            os.write(write, b"x")
    except OSError:  # nobody reads any more: it failed
        return
    finally:
        os.close(write)


async def run(
    host: str,
    port: int,
    requests: Sequence[bytes],
    connections: int,
    rate: float | None = None,
) -> Sent:
    """
    Send all requests over so many connections; `rate` a second, or in a closed loop.

    Raises:
        ReceiverError: one was not answered 2xx.
        OSError: nobody listens there.
    """
    sending = ClosedLoop(requests) if rate is None else OpenLoop(requests, rate)
    loop = asyncio.get_running_loop()
    made: list[Connection] = []
    try:
        for _ in range(min(connections, len(requests))):
            _, connection = await loop.create_connection(
                lambda: Connection(sending), host, port
            )
            made.append(connection)
        sending.begin(made)
        await sending.over
    finally:
        for connection in made:
            connection.close()
    return Sent(sending.due, sending.done, getattr(sending, "late_s", 0.0))
