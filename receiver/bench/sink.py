"""
Where things are delivered to, in a process of its own: counts, and notes the time.

What is posted to `/failing` is answered 503, to `/hanging` never, to anything else 200.
"""

import asyncio
import re
from array import array
from collections import defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from receiver import clock
from receiver.bench.events import number_in
from receiver.bench.talk import Answer, answering, to_text

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
_FAILING = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"


@dataclass
class Arrived:
    """What came to one path, in order."""

    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    times: "array[float]" = field(default_factory=lambda: array("d"))


class Sink:
    """What arrived; somebody may wait for more."""

    def __init__(self) -> None:
        self.port = 0
        self._at: dict[str, Arrived] = defaultdict(Arrived)
        self._news = asyncio.Event()

    def arrived(self, path: str, number: int) -> None:
        """One request came in whole."""
        at = self._at[path]
        at.numbers.append(number)
        at.times.append(clock.monotonic())
        self._news.set()

    async def answer(self, asked: dict[str, Any]) -> Any:
        """`port`, `forget`, `wait` for a count per path, or all that `arrived`."""
        match asked.pop("ask"):
            case "port":
                return self.port
            case "forget":
                self._at.clear()
                return None
            case "wait":
                return await self._wait(**asked)
            case _:
                return {
                    path: {"numbers": to_text(at.numbers), "times": to_text(at.times)}
                    for path, at in self._at.items()
                }

    async def _wait(self, counts: dict[str, int], patience_s: float) -> bool:
        """Whether so many arrived at each path before nothing new did for that long."""
        while any(len(self._at[path].times) < n for path, n in counts.items()):
            self._news.clear()
            try:
                async with asyncio.timeout(patience_s):
                    await self._news.wait()
            except TimeoutError:
                return False
        return True


class Endpoint(asyncio.Protocol):
    """As much of HTTP/1.1 as taking a POST with a content-length needs."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n") + 4) > 3:
            length = _LENGTH.search(self._rest, 0, end)
            whole = end + (int(length[1]) if length else 0)
            if len(self._rest) < whole:
                return
            path = self._rest.split(b" ", 2)[1].decode()
            number = number_in(self._rest[end:whole])
            self._rest = self._rest[whole:]
            self._sink.arrived(path, -1 if number is None else number)
            if path != "/hanging":
                self._transport.write(_FAILING if path == "/failing" else _OK)


async def serve() -> AsyncGenerator[Answer, None]:
    """Listen on a free port of this machine until nobody asks any more."""
    sink = Sink()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Endpoint(sink), "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    yield sink.answer
    server.close()


if __name__ == "__main__":
    answering(serve)
