"""
Server-sent events, as far as our own stream uses them.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Message:
    """
    One message; `data` is None where only the position was told.

    `id` is what to come back with as `Last-Event-ID`.
    """

    id: str
    data: str | None


async def messages(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Message, None]:
    """
    The messages in a stream of bytes.

    One that is not whole when the stream ends is not given: whoever comes back with the
    last id gets it again.
    """
    last, data, news = "", list[str](), False
    async for line in _lines(chunks):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if news:
                yield Message(last, "\n".join(data) if data else None)
            data, news = [], False
        elif name == "id":
            last, news = value, True
        elif name == "data":
            data.append(value)
            news = True


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
    parts: list[bytes] = []  # of a line that may be long, joined once
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        parts.append(first)
        for other in others:
            yield b"".join(parts).removesuffix(b"\r").decode("utf-8", "replace")
            parts = [other]
