"""A sender's key server, as it may be on good days and bad ones."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from tests import making
from tests.sinks import Seen, Sink, sink


class KeyServer:
    """Answers with the public halves of `private`, or with whatever `answer` is."""

    def __init__(self, at: Sink) -> None:
        self._at = at
        self.private: tuple[str, ...] = ()
        self.answer: bytes | None = None
        self.status = 200
        self.headers: dict[str, str] = {}
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        at.respond = self._respond

    @property
    def url(self) -> str:
        return f"{self._at.url}/.well-known/jwks.json"

    @property
    def asked(self) -> list[Seen]:
        return self._at.seen

    async def asked_times(self, count: int) -> None:
        await self._at.wait_for(count)

    async def _respond(self, seen: Seen) -> web.StreamResponse:
        await self.may_answer.wait()
        if self.answer is not None:
            return web.Response(
                body=self.answer, status=self.status, headers=self.headers
            )
        keys = [jwk(making.public_key(private)) for private in self.private]
        return web.json_response({"keys": keys}, status=self.status)


def jwk(x: object, **changes: Any) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": "1", "x": x, **changes}


@asynccontextmanager
async def key_server(*private: str) -> AsyncIterator[KeyServer]:
    async with sink() as at:
        found = KeyServer(at)
        found.private = private
        yield found
        found.may_answer.set()
