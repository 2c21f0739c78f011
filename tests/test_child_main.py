"""The child of the `python` destination, asked by a pool or by a parent that dies."""

import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from receiver.child import Pool
from receiver.child_main import event_from_frame, event_to_frame
from receiver.frames import Frame
from receiver.models import Event, State
from tests.processes import Fifo, ended

HANDLERS = Path(__file__).parent / "destinations"
NOW = datetime(2026, 1, 24, 10, 2, 5, 123456, UTC)


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    return Fifo(tmp_path / "fifo")


def event(**query: object) -> Event:
    return Event(
        id="evt_1",
        source="sora2",
        provider="sora2",
        key="batch-7:completed",
        type="batch.completed",
        subject="batch-7",
        state=State.PARTIAL,
        final=True,
        occurred_at=NOW.replace(tzinfo=timezone(timedelta(hours=8))),
        received_at=NOW,
        origin="webhook",
        headers={"x-sender": "Zoë ✓ \udcff"},
        query={name: str(value) for name, value in query.items()},
        body=bytes(range(256)),
        result_urls=("https://results.example/1.mp4", "https://results.example/2.mp4"),
        expires_at=None,
    )


def child(handler: str, path: Path) -> Pool:
    argv = (sys.executable, "-P", "-m", "receiver.child_main", handler, str(path))
    return Pool(argv, 1)


def module(folder: Path, text: str) -> Path:
    (folder / "module.py").write_text(text)
    return folder


def test_an_event_survives_the_way_to_the_child():
    sent = event(token="x")

    got = event_from_frame(event_to_frame(sent))

    assert got == sent
    assert (type(got.state), type(got.result_urls)) == (State, tuple)
    assert got.occurred_at is not None
    assert got.occurred_at.utcoffset() == timedelta(hours=8)


async def test_a_child_loads_nothing_that_the_handler_does_not_need(
    tmp_path: Path, fifo: Fifo
):
    text = """
import sys
from pathlib import Path
def on_event(event):
    Path(event.query["fifo"]).write_text(" ".join(sys.modules))
"""
    pool = child("module:on_event", module(tmp_path, text))

    told, answer = await fifo.told_by(pool.ask(event_to_frame(event(fifo=fifo.path))))
    await pool.close()

    heavy = {"asyncio", "ssl", "aiohttp", "receiver.settings", "receiver.destinations"}
    assert isinstance(answer, Frame)
    assert "module" in told.split()
    assert not heavy & set(told.split())


async def test_the_configured_directory_comes_before_all_others(tmp_path: Path):
    text = "def rgb_to_hsv(event): raise ValueError('mine')"
    (tmp_path / "colorsys.py").write_text(text)  # the library has one of this name
    pool = child("colorsys:rgb_to_hsv", tmp_path)

    answer = await pool.ask(event_to_frame(event()))
    await pool.close()

    assert isinstance(answer, Frame)
    assert answer.head["detail"] == "ValueError: mine"


async def test_an_idle_child_ends_as_programs_do(tmp_path: Path):
    text = f"""
import atexit, pathlib
atexit.register(pathlib.Path({str(tmp_path / "tidied")!r}).touch)
def on_event(event): pass
"""
    pool = child("module:on_event", module(tmp_path, text))
    await pool.ask(event_to_frame(event()))

    await pool.close()

    assert (tmp_path / "tidied").exists()


async def test_an_idle_child_ends_though_something_in_it_goes_on(
    tmp_path: Path, fifo: Fifo
):
    text = """
import os, subprocess, threading, time
from pathlib import Path
def on_event(event):
    threading.Thread(target=time.sleep, args=(1000,)).start()
    started = subprocess.Popen(["sleep", "1000"])
    Path(event.query["fifo"]).write_text(f"{os.getpid()} {started.pid}")
"""
    pool = child("module:on_event", module(tmp_path, text))
    told, _ = await fifo.told_by(pool.ask(event_to_frame(event(fifo=fifo.path))))

    await pool.close()

    for pid in told.split():
        await ended(int(pid))


async def test_programs_that_a_handler_starts_can_be_terminated(fifo: Fifo):
    pool = child("handlers:tell_signal_dispositions", HANDLERS)

    told, _ = await fifo.told_by(pool.ask(event_to_frame(event(fifo=fifo.path))))
    await pool.close()

    assert told == "True\n"


PARENT = """
import asyncio, sys
from pathlib import Path
from receiver.child import Pool
from receiver.frames import Frame

*argv, fifo, idle = sys.argv[1:]
head = dict.fromkeys(
    ("id", "source", "provider", "key", "type", "subject", "final", "origin"), ""
)
head |= dict.fromkeys(("occurred_at", "received_at", "expires_at"))
head |= {"state": "failed", "headers": {}, "query": {"fifo": fifo}, "result_urls": []}

async def main():
    await Pool(argv, 1).ask(Frame(head))
    Path(idle).write_text("idle")
    await asyncio.sleep(1000)

asyncio.run(main())
"""

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def idle(tmp_path: Path) -> Fifo:
    return Fifo(tmp_path / "idle")


@pytest.fixture
def start(fifo: Fifo, idle: Fifo) -> Start:
    """Start a parent whose child has this handler."""

    def start(handler: str) -> "subprocess.Popen[bytes]":
        child = [sys.executable, "-P", "-m", "receiver.child_main"]
        child += [f"handlers:{handler}", str(HANDLERS)]
        parent = [sys.executable, "-c", PARENT]
        return subprocess.Popen([*parent, *child, str(fifo.path), str(idle.path)])

    return start


@pytest.mark.parametrize("handler", ["start_and_block", "block_async", "loop_for_ever"])
async def test_a_running_child_ends_when_its_parent_is_killed(
    start: Start, fifo: Fifo, handler: str
):
    parent = start(handler)
    pids = (await fifo.told()).split()

    parent.kill()

    for pid in pids:
        await ended(int(pid))
    assert parent.wait() == -signal.SIGKILL


@pytest.mark.parametrize("handler", ["tell_pid", "tell_pid_async"])
async def test_an_idle_child_ends_when_its_parent_is_killed(
    start: Start, fifo: Fifo, idle: Fifo, handler: str
):
    parent = start(handler)
    child = int(await fifo.told())
    assert await idle.told() == "idle"

    parent.kill()

    await ended(child)
    assert parent.wait() == -signal.SIGKILL
