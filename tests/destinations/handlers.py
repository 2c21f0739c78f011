"""Handlers of the kinds that people write, good and bad; run in child processes."""

import asyncio
import functools
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from receiver import Event, Permanent

kept = SimpleNamespace(loop=None, tasks=0)


def tell(event: Event, text: object) -> None:
    """Say something to the test, which waits at the other end of a FIFO."""
    Path(event.query["fifo"]).write_text(str(text))


def tell_pid(event: Event) -> None:
    tell(event, os.getpid())


def tell_event(event: Event) -> None:
    tell(event, repr(event))


def tell_data(event: Event) -> None:
    tell(event, repr(event.data))


def tell_signal_dispositions(event: Event) -> None:
    program = "import signal; print(signal.getsignal(15) is signal.SIG_DFL)"
    tell(event, subprocess.check_output([sys.executable, "-c", program], text=True))


async def tell_pid_async(event: Event) -> None:
    await asyncio.sleep(0)
    tell(event, os.getpid())


async def tell_ticks(event: Event) -> None:
    """How often the loop went round since the last event."""

    async def tick() -> None:
        while True:
            kept.tasks += 1
            if kept.tasks == 100:
                Path(event.query["ticked"]).write_text("ticked")
            await asyncio.sleep(0)

    if kept.loop is None:
        kept.task = asyncio.create_task(tick())
    same = kept.loop in (None, asyncio.get_running_loop())
    kept.loop = asyncio.get_running_loop()
    tell(event, same)


def decorated(handler: Any) -> Any:
    @functools.wraps(handler)
    def wrapper(event: Event) -> Any:
        return handler(event)

    return wrapper


@decorated
async def fail_behind_a_decorator(_: Event) -> None:
    await asyncio.sleep(0)
    raise ValueError("reached")


class Callables:
    async def __call__(self, event: Event) -> None:
        await asyncio.sleep(0)
        raise ValueError("called")

    @staticmethod
    def method(event: Event) -> None:
        raise ValueError("method called")


an_object = Callables()
not_callable = 3


def yields(event: Event) -> Iterator[Event]:
    yield event


def run_a_loop_of_its_own(event: Event) -> None:
    asyncio.run(tell_pid_async(event))


def return_something(_: Event) -> object:
    return {"a": object()}


def fail(_: Event) -> None:
    raise ValueError("no\nsuch   thing")


def fail_at_length(_: Event) -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            raise ValueError("x" * 1_000_000)
        deeper(depth - 1)

    deeper(500)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def fail_unspeakably(_: Event) -> None:
    raise Unspeakable


def fail_with_half_a_character(_: Event) -> None:
    raise ValueError("file \udcff")


def refuse(_: Event) -> None:
    raise Permanent("no such customer")


async def refuse_async(_: Event) -> None:
    await asyncio.sleep(0)
    raise Permanent("no such customer")


def leave(_: Event) -> None:
    sys.exit(4)


async def leave_async(_: Event) -> None:
    sys.exit(4)


async def cancel_itself(_: Event) -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


async def leave_from_a_task(_: Event) -> None:
    async def exits() -> None:
        sys.exit(4)

    await asyncio.create_task(exits())


def leave_at_once(_: Event) -> None:
    os._exit(6)


def crash(_: Event) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def read_input(_: Event) -> None:
    input()


def print_megabytes(_: Event) -> None:
    sys.stdout.write("out of the handler\n" * 200_000)
    os.write(1, b"\x00\x00\x00\x02\x00\x00\x00\x00{}")


def fork_and_return(_: Event) -> None:
    """Both copies return from here."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)


def fork_and_terminate(_: Event) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=time.sleep, args=(1000,)
    )
    process.start()
    process.terminate()
    process.join()


def close_everything(_: Event) -> None:
    os.closerange(0, 256)


def use_up_memory(_: Event) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
    bytearray(2**31)


def loop_for_ever(event: Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    tell(event, os.getpid())
    while True:
        pass


def start_and_block(event: Event) -> None:
    started = subprocess.Popen(["sleep", "1000"])
    tell(event, f"{os.getpid()} {started.pid}")
    started.wait()


def start_away_and_block(event: Event) -> None:
    started = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    tell(event, f"{os.getpid()} {started.pid}")
    started.wait()


async def block_async(event: Event) -> None:
    tell(event, f"{os.getpid()} {os.getpid()}")
    time.sleep(1000)  # noqa: ASYNC251 (what a handler must not do, and will)


def tell_twice(event: Event) -> None:
    """Says where it is, then waits to be told to go on."""
    tell(event, os.getpid())
    with Path(event.query["go"]).open() as go:
        go.readline()
