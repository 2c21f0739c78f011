"""
The load, in a process of its own.

`prepare` makes and signs the requests, so that sending them costs nothing more; `go`
sends them.
"""

import gc
import time
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

from receiver import clock
from receiver.bench.client import run
from receiver.bench.events import Place, wired
from receiver.bench.talk import Answer, answering, to_text


class Load:
    """What is prepared, and where it goes."""

    def __init__(self) -> None:
        self._requests: list[bytes] = []
        self._host, self._port = "", 0

    async def answer(self, asked: dict[str, Any]) -> Any:
        """`prepare` or `go`."""
        what = asked.pop("ask")
        return self._prepare(**asked) if what == "prepare" else await self._go(**asked)

    def _prepare(
        self,
        place: dict[str, Any],
        run: str,
        first: int,
        count: int,
        times: int,
        same: bool,
    ) -> None:
        to = Place(**place)
        parts = urlsplit(to.url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        make = wired(to, run)
        numbers = [first] if same else range(first, first + count)
        made = [make(number) for number in numbers]
        self._requests = made * (times * count // len(made))

    async def _go(self, connections: int, rate: float | None) -> dict[str, Any]:
        gc.collect()
        gc.disable()
        cpu, started = time.process_time(), clock.monotonic()
        try:
            sent = await run(self._host, self._port, self._requests, connections, rate)
        finally:
            gc.enable()
        took = clock.monotonic() - started
        return {
            "due": to_text(sent.due),
            "answered": to_text(sent.answered),
            "late_s": sent.late_s,
            "busy": (time.process_time() - cpu) / took,
        }


async def serve() -> AsyncGenerator[Answer, None]:
    """Until nobody asks any more."""
    yield Load().answer


if __name__ == "__main__":
    answering(serve)
