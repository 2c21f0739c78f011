"""What every type of destination promises, whatever is at the other end."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from receiver.destinations import TYPES, Destination, Digests, Parcel, Previews
from receiver.models import (
    Outcome,
    Result,
    Secret,
)
from receiver.settings import Argv, DestinationSettings
from tests import making

SAMPLE = Path(__file__).parent.parent / "samples" / "sora2-batch-completed.json"
PASSWORD = "pass-word-of-ann"
TOKEN = "T0KEN-in-the-path"
KEY = b"0123456789abcdefghijklmnop"
SIGNING = "whsec_" + base64.b64encode(KEY).decode()
HIDDEN = (PASSWORD, TOKEN, SIGNING, SIGNING.removeprefix("whsec_"))

HANDLER = """
import os, time
from pathlib import Path

HERE = Path(__file__).parent

def on_event(event):
    mode = (HERE / "mode").read_text()
    if mode == "refuse":
        raise ValueError("no, thanks")
    if mode == "vanish":
        os._exit(3)
    if mode == "babble":
        print("\\x00" * 1_000_000)
        raise SystemExit("\\x00\\n" * 1_000)
    if mode == "hang":
        (HERE / "reached").write_text(str(os.getpid()))
        time.sleep(1000)
"""

PROGRAM = """#!/bin/sh
cd "$(dirname "$0")"
case $(cat mode) in
refuse) echo "no, thanks, $KEY" >&2; exit 1 ;;
vanish) kill -KILL $$ ;;
babble) head -c 1000000 /dev/zero >&2; exit 1 ;;
hang) echo $$ > reached; exec sleep 1000 ;;
esac
"""


@dataclass
class OtherSide:
    """Somebody we deliver to: set `mode`, and see when it is left alone again."""

    mode: str = "ok"
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0

    def set(self, mode: str) -> None:
        self.mode = mode

    async def was_reached(self) -> None:
        await self.reached.wait()

    async def was_left(self) -> None:
        await self.left.wait()

    async def hang(self, reader: asyncio.StreamReader) -> None:
        self.reached.set()
        with suppress(ConnectionError):
            while await reader.read(65536):
                pass
        self.left.set()


class HttpSide(OtherSide):
    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            await reader.readexactly(length)
            if self.mode == "hang":
                await self.hang(reader)
                return
            if self.mode == "vanish":
                return
            if self.mode == "babble":
                writer.write(b"\x00\xff" * 1000)
                return
            status, text = {
                "ok": (b"200 OK", b"ok"),
                "refuse": (b"500 Oh No", b"no, thanks"),
            }[self.mode]
            writer.write(
                b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s"
                % (status, len(text), text)
            )


class SmtpSide(OtherSide):
    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if self.mode == "babble":
            writer.write(b"\x00\xff" * 1000 + b"\r\n")
            return
        writer.write(b"220 mx.test\r\n")
        while line := await reader.readline():
            word = line[:4].upper().decode()
            if self.mode == "vanish" and word == "RCPT":
                return
            if self.mode == "hang" and word == "RCPT":
                await self.hang(reader)
                return
            writer.write(self.reply(word))
            if word == "DATA":
                await reader.readuntil(b"\r\n.\r\n")
                writer.write(b"250 taken\r\n")
            if word == "QUIT":
                return

    def reply(self, word: str) -> bytes:
        if word == "RCPT" and self.mode == "refuse":
            return b"450 no, thanks\r\n"
        return {
            "EHLO": b"250-mx.test\r\n250 AUTH PLAIN\r\n",
            "AUTH": b"235 welcome\r\n",
            "DATA": b"354 go on\r\n",
            "QUIT": b"221 bye\r\n",
        }.get(word, b"250 ok\r\n")


class LocalSide(OtherSide):
    """Code on this machine, which reads its mode from a file."""

    def __init__(self, folder: Path, name: str, code: str) -> None:
        super().__init__()
        self.folder = folder
        self.file = folder / name
        self.file.write_text(code)
        self.file.chmod(0o700)
        self.set("ok")

    def set(self, mode: str) -> None:
        (self.folder / "mode").write_text(mode)

    async def was_reached(self) -> None:
        while not self._pid():  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)

    async def was_left(self) -> None:
        while Path(f"/proc/{self._pid()}").exists():  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)

    def _pid(self) -> str:
        file = self.folder / "reached"
        return file.read_text() if file.exists() else ""


@dataclass(frozen=True)
class Scene:
    destination: Destination
    other: OtherSide
    settings: DestinationSettings


@asynccontextmanager
async def listening(
    side: HttpSide | SmtpSide,
) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        side.connections += 1
        try:
            await side.serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            side.connections -= 1
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def configured(kind: str, **options: Any) -> DestinationSettings:
    found = TYPES[kind].settings_class()("here", type=kind, **options)
    assert list(found.problems()) == []
    return found


@asynccontextmanager
async def other_side(
    kind: str, folder: Path
) -> AsyncIterator[tuple[OtherSide, DestinationSettings]]:
    """A new type says here what it delivers to."""
    if kind == "python":
        local = LocalSide(folder, "contract_handler.py", HANDLER)
        handler = {"handler": "contract_handler:on_event", "path": (str(folder),)}
        yield local, configured(kind, **handler)
        return
    if kind == "command":
        local = LocalSide(folder, "program", PROGRAM)
        variables = {"KEY": Secret(PASSWORD)}
        argv = Argv((str(local.file), TOKEN))
        yield local, configured(kind, command=argv, variables=variables)
        return
    side = SmtpSide() if kind == "email" else HttpSide()
    async with listening(side) as port:
        url = Secret(f"http://127.0.0.1:{port}/{TOKEN}")
        smtp = Secret(f"smtp://ann:{PASSWORD}@127.0.0.1:{port}")
        address = {"from_": "receiver@example.com", "to": ("ann@example.com",)}
        options: dict[str, dict[str, Any]] = {
            "http": {"url": url, "secrets": (Secret(SIGNING),)},
            "slack": {"url": url},
            "email": {"smtp": smtp, **address},
        }
        yield side, configured(kind, **options[kind])


@pytest.fixture(params=TYPES)
async def scene(request, tmp_path) -> AsyncIterator[Scene]:
    async with other_side(request.param, tmp_path) as (side, settings):
        destination = TYPES[request.param].make(settings)
        try:
            yield Scene(destination, side, settings)
        finally:
            await destination.close()


def parcel(number: int = 1) -> Parcel:
    return making.parcel(making.event(SAMPLE.read_bytes()), number)


def shows_no_secret(outcome: Outcome) -> bool:
    return not any(hidden in repr(outcome) for hidden in HIDDEN)


async def test_what_is_taken_is_ok(scene):
    first = await scene.destination.send(parcel())
    second = await scene.destination.send(parcel(2))

    for outcome in (first, second):
        assert outcome.result is Result.OK, outcome
        assert not outcome.pause
        assert shows_no_secret(outcome)


@pytest.mark.parametrize("mode", ["refuse", "vanish", "babble"])
async def test_trouble_at_the_other_side_is_an_outcome(scene, mode):
    scene.other.set(mode)
    async with asyncio.timeout(60):
        outcome = await scene.destination.send(parcel())
    scene.other.set("ok")
    after = await scene.destination.send(parcel(2))

    assert not outcome.ok
    assert outcome.detail
    assert "\n" not in outcome.detail
    assert not outcome.permanent
    assert not outcome.pause
    assert shows_no_secret(outcome)
    assert after.ok, after


async def test_nothing_runs_on_after_a_send_was_cancelled(scene):
    scene.other.set("hang")
    sending = asyncio.create_task(scene.destination.send(parcel()))
    async with asyncio.timeout(60):
        await scene.other.was_reached()
    before = asyncio.all_tasks()

    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending
    async with asyncio.timeout(60):
        await scene.other.was_left()

    assert sending.cancelled()
    assert asyncio.all_tasks() <= before
    scene.other.set("ok")
    assert (await scene.destination.send(parcel(2))).ok


async def test_it_can_be_closed_unused_used_and_twice(scene):
    unused = TYPES[scene.settings.type].make(scene.settings)
    await unused.close()
    await scene.destination.send(parcel())

    await scene.destination.close()
    await scene.destination.close()

    async with asyncio.timeout(60):
        while scene.other.connections:  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)


async def test_several_may_be_sent_at_once(scene):
    outcomes = await asyncio.gather(
        *(scene.destination.send(parcel(n)) for n in range(1, 6))
    )

    assert [outcome.result for outcome in outcomes] == [Result.OK] * 5


async def test_a_preview_sends_nothing_and_shows_no_secret(scene):
    if not isinstance(scene.destination, Previews):
        return

    preview = await scene.destination.preview(parcel())

    assert preview.text
    assert not scene.other.connections
    assert not any(hidden in repr(preview) for hidden in HIDDEN)


@pytest.mark.parametrize("mode", ["ok", "refuse", "vanish"])
async def test_several_events_at_once_have_one_outcome(scene, mode):
    if not isinstance(scene.destination, Digests):
        return
    scene.other.set(mode)

    outcome = await scene.destination.send_many([parcel(), parcel()])

    assert outcome.ok is (mode == "ok")
    assert not outcome.permanent
    assert shows_no_secret(outcome)


async def test_its_settings_show_no_secret(scene):
    shown = repr(scene.settings) + scene.settings.described()

    hidden = [text for text in HIDDEN if text in shown]
    assert hidden == []


@pytest.mark.parametrize("type_", TYPES.values(), ids=TYPES)
def test_every_setting_is_explained(type_):
    cls: Callable[..., DestinationSettings] = type_.settings_class()

    helps = [f.metadata.get("help") for f in vars(cls)["__dataclass_fields__"].values()]

    assert helps.count(None) == 1  # the name, which is given
    assert all(helps[1:])
