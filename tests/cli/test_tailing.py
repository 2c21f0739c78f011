"""tail: live events on the terminal, and to a local program; nothing is missed."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from receiver.cli.sse import Message, messages
from tests.cli.conftest import Place
from tests.making import sample
from tests.ports import lasting
from tests.serving import Serving, command, config, serving
from tests.sinks import Seen, sink
from tests.web.wire import post

ADMIN, READ = "the admin token of these tests", "a token that may only look"
TOKENS = f'admin_token = "{ADMIN}"\nread_tokens = ["{READ}"]'


class Tail:
    """A running `receiver tail`; `out` and `err` have its lines as they come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.out: list[str] = []
        self.err: list[str] = []
        self._news = asyncio.Condition()
        assert process.stdout is not None
        assert process.stderr is not None
        self._reading = [
            asyncio.create_task(self._read(process.stdout, self.out)),
            asyncio.create_task(self._read(process.stderr, self.err)),
        ]

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        async for raw in stream:
            async with self._news:
                lines.append(raw.decode().rstrip())
                self._news.notify_all()

    async def said(self, text: str, times: int = 1) -> None:
        """Wait until so many lines on standard error have this text."""
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(
                lambda: sum(text in line for line in self.err) >= times
            )

    async def printed(self, count: int) -> list[str]:
        """The lines on standard output, once there are so many."""
        async with asyncio.timeout(60), self._news:
            await self._news.wait_for(lambda: len(self.out) >= count)
        return self.out

    async def interrupted(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            await asyncio.gather(*self._reading)
            return await self.process.wait()


@asynccontextmanager
async def tail(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Tail]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "receiver",
        "tail",
        *arguments,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    running = Tail(process)
    try:
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await asyncio.gather(*running._reading)
        await process.wait()


async def accepted(server: Serving, subject: str, kind: str = "batch.completed") -> str:
    answer = await post(server.url, sample(kind, subject))
    assert answer.status == 200
    return str(answer.json["id"])


async def test_events_are_shown_as_they_come_until_ctrl_c(place: Place):
    assert place.server is not None
    before = await place.accepted()
    async with tail(place.folder) as tailing:
        await tailing.said("connected to the server here")
        first = await place.accepted(subject="bat_live")
        lines = await tailing.printed(2)
        code = await tailing.interrupted()

    assert lines[0].split()[:3] == ["ID", "RECEIVED", "SOURCE"]
    assert lines[1].split()[0] == first
    assert "bat_live" in lines[1]
    assert "app" in lines[1]
    assert before not in "".join(lines)
    assert (code, tailing.err[-1]) == (0, "1 event")
    assert "\x1b" not in "".join(lines + tailing.err)


async def test_filters_choose_and_since_begins_earlier(place: Place):
    completed = [await place.accepted(subject=f"bat_{n}") for n in range(2)]
    failed = await place.accepted("batch.failed", "bat_0")
    asked = {
        ("--since", "1h"): [*completed, failed],
        ("--after", completed[0]): [completed[1], failed],
        ("--since", "1h", "--type", "batch.c*"): completed,
        ("--since", "1h", "--subject", "bat_0"): [completed[0], failed],
        ("--since", "1h", "--source", "sora2"): [*completed, failed],
    }

    found = {}
    for arguments, expected in asked.items():
        async with tail(place.folder, "--json", *arguments) as tailing:
            lines = await tailing.printed(len(expected))
            await tailing.interrupted()
            found[arguments] = [json.loads(line)["id"] for line in lines]

    assert found == asked


async def test_json_is_one_object_a_line_without_signatures_or_body(place: Place):
    event = await place.accepted()
    async with (
        sink() as program,
        tail(
            place.folder, "--json", "--since", "1h", "--forward", program.url
        ) as tailing,
    ):
        [line] = await tailing.printed(1)
        await tailing.interrupted()
    shown = await place.json("events", "show", event)

    printed = json.loads(line)
    forwarded = printed.pop("forwarded")
    assert printed.items() <= shown.items()
    assert {v for n, v in printed["headers"].items() if "signature" in n} == {"***"}
    assert forwarded["status"] == 200
    assert "raw" not in printed


async def test_without_a_server_what_the_store_has_is_shown(place: Place):
    assert place.server is not None
    event = await place.accepted()
    await place.server.stop()
    async with tail(place.folder, "--since", "1h") as tailing:
        lines = await tailing.printed(2)
        await tailing.said("not connected to the server here")
        await tailing.interrupted()

    assert lines[1].split()[0] == event


async def test_a_tail_that_is_there_first_waits_for_the_server(alone: Place):
    async with tail(alone.folder) as tailing:
        await tailing.said("not connected to the server here")
        async with serving(alone.folder, None) as server:
            event = await accepted(server, "bat_first")
            lines = await tailing.printed(2)

    assert lines[1].split()[0] == event


async def test_a_forwarded_event_is_what_its_sender_sent(place: Place):
    assert place.server is not None
    event = await place.accepted(subject="bat_same")
    raw, _ = await place.run("events", "show", event, "--raw")
    async with (
        sink() as program,
        tail(
            place.folder, "--since", "1h", "--forward", f"{program.url}/hook?a=1"
        ) as tailing,
    ):
        lines = await tailing.printed(2)
        await tailing.interrupted()

    [seen] = program.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/hook?a=1", raw.encode())
    assert seen.headers["webhook-id"] == event
    signatures = [value for name, value in seen.headers.items() if "signature" in name]
    assert signatures
    assert "***" not in seen.headers.values()
    assert seen.headers["host"] in program.url
    assert lines[1].split()[-3] == "200"
    assert tailing.err[-1] == "1 event, 1 forwarded, 1 answered with 2xx"


async def test_a_refusal_of_the_program_is_shown_and_the_next_event_follows(
    place: Place,
):
    async def refuse(seen: Seen) -> web.Response:
        return web.Response(status=500 if b"bat_bad" in seen.body else 204)

    for subject in ("bat_bad", "bat_good"):
        await place.accepted(subject=subject)
    async with sink() as program:
        program.respond = refuse
        async with tail(
            place.folder, "--since", "1h", "--forward", program.url
        ) as tailing:
            lines = await tailing.printed(3)
            await tailing.interrupted()

    assert [line.split()[-3] for line in lines[1:]] == ["500", "204"]
    assert tailing.err[-1] == "2 events, 2 forwarded, 1 answered with 2xx"


async def test_events_wait_while_the_program_is_down_and_that_is_said_once(
    place: Place,
):
    async def vanish(seen: Seen) -> web.Response:
        assert program._transport is not None
        program._transport.abort()
        return web.Response()

    assert place.server is not None
    events = [await place.accepted() for _ in range(3)]
    async with sink() as program:
        program.respond = vanish
        async with tail(
            place.folder, "--since", "1h", "--forward", program.url
        ) as tailing:
            await program.wait_for(2)
            stopped = await place.server.stop()  # a stream that waits holds up nobody
            program.respond = None
            lines = await tailing.printed(4)
            await tailing.interrupted()

    assert stopped == 0
    assert [line.split()[0] for line in lines[1:]] == events
    assert sum("does not answer" in line for line in tailing.err) == 1
    assert f"{events[0]} waits for it" in "".join(tailing.err)
    assert sum("answers again" in line for line in tailing.err) == 1


@pytest.mark.parametrize("where", ["here", "there"])
async def test_a_lost_connection_is_said_also_while_the_program_does_not_answer(
    tmp_path: Path, where: str
):
    still = asyncio.Event()

    async def hang(_seen: Seen) -> web.Response:
        await still.wait()
        return web.Response()

    port = lasting()
    toml = config(server=TOKENS).replace("port = 0", f"port = {port}")
    arguments = ["--from", f"http://127.0.0.1:{port}"] if where == "there" else []
    async with sink() as program, AsyncExitStack() as stack:
        program.respond = hang
        async with serving(tmp_path, toml) as server:
            events = [await accepted(server, f"bat_{n}") for n in range(2)]
            tailing = await stack.enter_async_context(
                tail(
                    tmp_path,
                    "--since",
                    "1h",
                    "--forward",
                    program.url,
                    *arguments,
                    environment={"RECEIVER_TOKEN": ADMIN},
                )
            )
            await program.wait_for(1)
            stopped = await server.stop()
            await tailing.said("not connected")
        async with serving(tmp_path, toml) as server:
            await tailing.said("connected again")
            events.append(await accepted(server, "bat_2"))
            forwarded_meanwhile = len(program.seen)
            still.set()
            await tailing.printed(1 + len(events))
            code = await tailing.interrupted()

    assert (stopped, code, forwarded_meanwhile) == (0, 0, 1)
    assert [seen.headers["webhook-id"] for seen in program.seen] == events
    told = [line for line in tailing.err if "connected" in line]
    assert len(told) == 3


@pytest.mark.parametrize("where", ["here", "there"])
async def test_every_event_arrives_once_and_in_order_though_the_server_is_killed(
    tmp_path: Path, where: str
):
    server_says = ""
    events: list[str] = []
    port = lasting()
    url = f"http://127.0.0.1:{port}"
    toml = config(server=TOKENS).replace("port = 0", f"port = {port}")
    async with serving(tmp_path, toml):
        pass  # there is a store to look into
    arguments = ["--from", url] if where == "there" else []
    async with (
        sink() as program,
        tail(
            tmp_path,
            "--since",
            "1h",
            "--forward",
            program.url,
            *arguments,
            environment={"RECEIVER_TOKEN": ADMIN},
        ) as tailing,
    ):
        await tailing.said("not connected")
        for life in range(1, 4):
            async with serving(tmp_path, toml) as server:
                await tailing.said("connected again", life)
                events += await many(server, life)
                await program.wait_for(len(events) - 10)
                await server.kill()
            await tailing.said("not connected", life + 1)
        async with serving(tmp_path, toml):
            await program.wait_for(len(events))
            await tailing.printed(1 + len(events))
            code = await tailing.interrupted()
        server_says = tailing.err[-1]

    assert [seen.headers["webhook-id"] for seen in program.seen] == events
    assert code == 0
    assert server_says.startswith(f"{len(events)} events, {len(events)} forwarded")


async def many(server: Serving, life: int) -> list[str]:
    return [await accepted(server, f"bat_{life}_{n}") for n in range(40)]


async def test_another_receiver_is_followed_with_a_token_and_only_shown_to_readers(
    tmp_path: Path,
):
    async with serving(tmp_path, config(server=TOKENS)) as server:
        asked: dict[str, tuple[str, ...]] = {
            "wrong": ("--token", "x"),
            "reader": ("--token", READ, "--forward", "http://127.0.0.1:9"),
            "none": (),
        }
        refused = {
            name: await command(tmp_path, "tail", "--from", server.url, *arguments)
            for name, arguments in asked.items()
        }
        async with tail(tmp_path, "--from", server.url, "--token", READ) as tailing:
            await tailing.said(f"connected to {server.url}")
            event = await accepted(server, "bat_there")
            lines = await tailing.printed(2)

    assert lines[1].split()[0] == event
    assert {name: code for name, (code, _, _) in refused.items()} == {
        "wrong": 1,
        "reader": 1,
        "none": 2,
    }
    assert "not known" in refused["wrong"][2]
    assert "may only look" in refused["reader"][2]
    assert "RECEIVER_TOKEN" in refused["none"][2]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "1h", "--after", "evt_0123456789abcdef"),
        ("--source", "nobody"),
        ("--forward", "localhost:3000"),
        ("--from", "ftp://x", "--token", "x"),
        ("--since", "yesterday"),
    ],
)
async def test_a_tail_that_cannot_be_is_refused(
    alone: Place, arguments: tuple[str, ...]
):
    _, err = await alone.run("tail", *arguments, code=2)

    assert err


async def pieces(text: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(text), size):
        yield text[start : start + size]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_messages_are_read_however_they_are_cut(size: int):
    text = (
        b": hello\nid: 1\n\n"
        b"id: 2\r\nevent: event\r\ndata: {\r\ndata:  }\r\n\r\n"
        b": still here\n\n"
        b"data: again\n\n"
        b"id: 3\ndata: never ended\n"
    )

    found = [message async for message in messages(pieces(text, size))]

    assert found == [Message("1", None), Message("2", "{\n }"), Message("2", "again")]
