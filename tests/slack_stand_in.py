"""A real HTTP endpoint that takes what Slack takes, by its published limits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PATH = "/services/T000/B000/secretsecret"


def texts(block: dict[str, Any]) -> list[dict[str, Any]]:
    found = [block["text"]] if "text" in block else []
    return [*found, *block.get("fields", ()), *block.get("elements", ())]


def units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


LONGEST = {"header": 150, "section": 3000, "context": 3000}


def fault(payload: dict[str, Any]) -> str:
    """What Slack would answer: `ok`, or the word for the limit that is broken."""
    blocks = payload["blocks"]
    everything = [text for block in blocks for text in texts(block)]
    total = sum(units(text["text"]) for text in everything)
    if not payload.get("text"):
        return "no_text"
    if total + units(payload["text"]) > 12_000:
        return "msg_blocks_too_long"
    wrong = len(blocks) > 50 or not all(text["text"].strip() for text in everything)
    for block in blocks:
        fields = block.get("fields", ())
        longest = LONGEST[block["type"]]
        wrong |= any(units(text["text"]) > longest for text in texts(block))
        wrong |= len(fields) > 10 or any(units(f["text"]) > 2000 for f in fields)
        wrong |= len(block.get("elements", ())) > 10 or not texts(block)
        wrong |= block["type"] == "header" and block["text"]["type"] != "plain_text"
    return "invalid_blocks" if wrong else "ok"


@dataclass
class StandIn:
    """
    Answers as Slack does: with a word in plain text.

    `answer` is given to everything; `refuses` is a word for the first message only.
    """

    url: str = ""
    answer: tuple[int, str, dict[str, str]] | None = None
    refuses: str = ""
    posted: list[dict[str, Any]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            return web.Response(status=400, text="invalid_payload")
        payload = await request.json()
        if self.answer:
            status, text, headers = self.answer
            return web.Response(status=status, text=text, headers=headers)
        word, self.refuses = self.refuses or fault(payload), ""
        if word != "ok":
            return web.Response(status=400, text=word)
        self.posted.append(payload)
        return web.Response(text="ok")


@asynccontextmanager
async def slack_stand_in() -> AsyncIterator[StandIn]:
    """A stand-in on a free port of 127.0.0.1."""
    found = StandIn()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post(PATH, found.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
    try:
        yield found
    finally:
        await runner.cleanup()
