"""HTTP on a bare socket: clients as rude as they come, and what they are answered."""

import asyncio
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.serving import SECRET

PATH = "/webhook/sora2"


@dataclass(frozen=True)
class Answer:
    """One response; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The refusal's code, its shape checked."""
        found = self.json
        assert found.keys() == {"error"}
        assert found["error"].keys() == {"code", "message"}
        assert found["error"]["message"]
        return str(found["error"]["code"])


class Wire:
    """One connection.  Reading bypasses asyncio's streams, which drop what came
    before a reset."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()
        self._read = b""

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    async def answer(self, timeout: float = 60, *, bodyless: bool = False) -> Answer:
        """The next response; `bodyless` for the answer to HEAD."""
        async with asyncio.timeout(timeout):
            while b"\r\n\r\n" not in self._read:
                assert await self._more(), f"closed after {self._read!r}"
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            status, *lines = head.decode().split("\r\n")
            pairs = (line.split(": ", 1) for line in lines)
            headers = {name.lower(): value for name, value in pairs}
            length = 0 if bodyless else int(headers["content-length"])
            while len(self._read) < length:
                assert await self._more(), "closed in the middle of the body"
        body, self._read = self._read[:length], self._read[length:]
        return Answer(int(status.split()[1]), headers, body)

    async def rest(self, timeout: float = 60) -> bytes:
        """Whatever still comes until the other side closes."""
        async with asyncio.timeout(timeout):
            while await self._more():
                pass
        found, self._read = self._read, b""
        return found

    async def _more(self) -> bool:
        try:
            found = await self._loop.sock_recv(self._sock, 65536)
        except ConnectionError:
            return False
        self._read += found
        return bool(found)


@asynccontextmanager
async def connected(url: str, own: str = "") -> AsyncIterator[Wire]:
    """A connection, from an address of our own if one is given."""
    parts = urlsplit(url)
    with socket.socket() as sock:
        sock.setblocking(False)
        if own:
            sock.bind((own, 0))
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (parts.hostname, parts.port))
        yield Wire(sock)


def digest(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"x-sora2-signature": f"sha256={digest(body, secret)}"}


def as_sent(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"x-webhook-signature": digest(body, secret)}


def request(
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    path: str = PATH,
    length: int | None = None,
) -> bytes:
    """The bytes of a request; signed unless `headers` are given."""
    given = signed(body) if headers is None else headers
    lines = [f"{method} {path} HTTP/1.1", "host: receiver.test"]
    lines += [f"{name}: {value}" for name, value in given.items()]
    lines += [f"content-length: {len(body) if length is None else length}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(body: bytes, size: int) -> bytes:
    """The same, signed, in chunks of `size` bytes."""
    head = request(body).partition(b"content-length")[0]
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    return head + b"transfer-encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


async def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    path: str = PATH,
) -> Answer:
    """One request on a connection of its own."""
    async with connected(url) as wire:
        await wire.send(request(body, headers, path=path))
        return await wire.answer()


def event(batch: str, kind: str = "batch.completed", **more: Any) -> bytes:
    """A documented body: 9 of 10 succeeded."""
    summary = {"total": 10, "succeeded": 9, "failed": 1, "pending": 0}
    ledger = {"reserved": 100, "settled": 90, "refunded": 10}
    body = {"event": kind, "batch_id": batch, "summary": summary, "ledger": ledger}
    return json.dumps({**body, **more}).encode()


def flat(batch: str, **more: Any) -> bytes:
    """What is really sent about the same batch."""
    counts = {"total_count": 10, "success_count": 9, "failed_count": 1}
    body = {"batch_id": batch, "status": "partial", **counts, "credits_spent": 90}
    return json.dumps({**body, **more}).encode()
