"""
A child of the `python` destination: imports the user's handler, and calls it.

    python -P -m receiver.child_main HANDLER [DIRECTORY ...] FD

Events come and answers go as frames on the socket FD, which nothing the handler
prints or reads can touch.  Lives outside `destinations` and imports asyncio only for
an async handler, because every child pays for what is imported here.

The main thread runs the handler, as it would in a program of its own.  Another one
reads the socket: where it ends, our parent has died or wants us gone.
"""

import atexit
import inspect
import io
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from functools import cache, partial
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

from receiver import frames
from receiver.errors import Permanent
from receiver.frames import Frame
from receiver.models import Event, Result, State

Handler = Callable[[Event], Any]

GRACE_S = 2.0
"""Seconds an idle child may take to end by itself (`atexit`, clients being closed)."""

DETAIL_CHARS = 500
TRACE_CHARS = 2000
TRACE_FRAMES = 8

_STOPS: dict[int, Any] = {
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
}
"""Signals that ask programs to stop, and what Python usually does on them."""

_TIMES = ("occurred_at", "received_at", "expires_at")


def event_to_frame(event: Event) -> Frame:
    """The event as it travels to the child."""
    head: dict[str, Any] = {}
    for field in fields(event):
        value = getattr(event, field.name)
        if isinstance(value, datetime):
            value = value.isoformat()
        head[field.name] = dict(value) if isinstance(value, Mapping) else value
    return Frame(head, head.pop("body"))


def event_from_frame(frame: Frame) -> Event:
    """The event again, equal to what it was."""
    head = dict(frame.head)
    for name in _TIMES:
        if head[name] is not None:
            head[name] = datetime.fromisoformat(head[name])
    head["state"] = State(head["state"])
    head["result_urls"] = tuple(head["result_urls"])
    return Event(**head, body=frame.body)


class Channel:
    """The socket to the parent: a thread reads it, the main thread answers."""

    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # not for programs that the handler starts
        self._reader = open(fd, "rb")  # noqa: SIM115 (as long as the process)
        self._writer = open(fd, "wb", closefd=False)  # noqa: SIM115 (ditto)
        self._pid = os.getpid()
        self._asked: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()
        self._busy = False
        self._over = False

    def watch(self) -> None:
        """
        Pass on what is asked until the socket ends, and see to it that we end too.

        In the middle of an event that is at once; it will be tried again.
        """
        with suppress(OSError, ValueError):  # the handler closed or read it
            while (frame := frames.read(self._reader)) is not None:
                self._busy = True
                self._asked.put(frame)
        if not self._busy:
            self._over = True
            self._asked.put(None)
            time.sleep(GRACE_S)
        _end_group()

    def take(self) -> Event | None:
        """The next event, or None when there will be no more.  Blocks."""
        frame = self._asked.get()
        return None if frame is None else event_from_frame(frame)

    def answer(self, frame: Frame) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a copy that the handler forked, and that came back here
        self._busy = False
        try:
            self._writer.write(frames.pack(frame))
            self._writer.flush()
        except OSError:  # the parent is gone, or the handler closed the socket
            _end_group()

    def at_exit(self) -> None:
        """What runs last when an idle child ends by itself."""
        if self._over and os.getpid() == self._pid:
            _end_group()


def main() -> None:
    """Serve until the socket ends."""
    name, *path, fd = sys.argv[1:]
    sys.argv[1:] = []
    sys.path[:0] = [str(Path(directory).absolute()) for directory in path]
    channel = Channel(int(fd))
    _prepare()
    atexit.register(channel.at_exit)  # first in, so last to run
    threading.Thread(target=channel.watch, name="receiver", daemon=True).start()
    handler = load(name)
    if isinstance(handler, Frame):
        if channel.take() is not None:
            channel.answer(handler)
    elif _is_async(handler):
        _serve_async(handler, channel)
    else:
        _serve(handler, channel)


def load(name: str) -> Handler | Frame:
    """The handler `package.module:function`, or the answer that says why not."""
    module, _, attribute = name.partition(":")
    try:
        found: object = attrgetter(attribute)(import_module(module))
    except BaseException as error:  # noqa: BLE001 (also sys.exit at import)
        why = f"{name} cannot be imported: {_described(error)}"
        return _answer(Result.BAD_CONFIG, why, error)
    if not callable(found):
        return _answer(Result.BAD_CONFIG, f"{name} cannot be called")
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        return _answer(Result.BAD_CONFIG, f"{name} yields: calling it does nothing")
    return found


def _serve(handler: Handler, channel: Channel) -> None:
    while (event := channel.take()) is not None:
        channel.answer(_call(handler, event))


def _call(handler: Handler, event: Event) -> Frame:
    try:
        returned = handler(event)
        if inspect.isawaitable(returned):
            _runner().run(_finish(returned))  # `async def` behind a decorator
    except BaseException as error:  # noqa: BLE001 (also sys.exit)
        return _failed(error)
    return _answer(Result.OK)


async def _finish(returned: Awaitable[Any]) -> None:
    await returned


@cache
def _runner() -> Any:
    import asyncio  # noqa: PLC0415 (7 MB that a plain function does not need)

    return asyncio.Runner()


def _serve_async(handler: Handler, channel: Channel) -> None:
    import asyncio  # noqa: PLC0415 (as above)

    async def call(event: Event) -> Frame:
        try:
            await handler(event)
        except BaseException as error:  # noqa: BLE001 (also sys.exit, cancellation)
            return _failed(error)
        return _answer(Result.OK)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Event | None] = asyncio.Queue()

        def pump() -> None:
            event: Event | None = None
            with suppress(RuntimeError):  # the loop is closed: we are ending
                while (event := channel.take()) is not None:
                    loop.call_soon_threadsafe(arrived.put_nowait, event)
                loop.call_soon_threadsafe(arrived.put_nowait, None)

        threading.Thread(target=pump, name="receiver-events", daemon=True).start()
        while (event := await arrived.get()) is not None:
            # A task of its own, so that a handler can only cancel itself.
            task = loop.create_task(call(event))
            await asyncio.wait({task})
            cancelled = asyncio.CancelledError("the handler cancelled itself")
            channel.answer(_failed(cancelled) if task.cancelled() else task.result())

    asyncio.run(serve())


def _is_async(handler: Handler) -> bool:
    called = getattr(handler, "__call__", None)  # noqa: B004 (an object with async __call__)
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(called)


def _failed(error: BaseException) -> Frame:
    result = Result.REJECTED if isinstance(error, Permanent) else Result.ERROR
    return _answer(result, _described(error), error)


def _answer(
    result: Result, detail: str = "", error: BaseException | None = None
) -> Frame:
    head = {
        "result": result,
        "detail": _storable(detail)[:DETAIL_CHARS],
        "response": "" if error is None else _storable(_trace(error))[-TRACE_CHARS:],
        "permanent": result in (Result.REJECTED, Result.BAD_CONFIG),
        "last": result is Result.BAD_CONFIG,  # the next child imports anew
    }
    return Frame(head)


def _storable(text: str) -> str:
    """Without the halves of characters that stand for undecodable file names."""
    return text.encode("utf-8", "replace").decode()


def _described(error: BaseException) -> str:
    """`ValueError: message`, on one line."""
    try:
        message = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 (its __str__ is the user's too)
        message = "(its text cannot be shown)"
    kind = type(error).__name__
    return f"{kind}: {message}" if message else kind


def _trace(error: BaseException) -> str:
    """The traceback's last frames: where in the user's code it happened."""
    trace = error.__traceback__
    ours = trace.tb_next if trace is not None else None
    return "".join(
        traceback.format_exception(type(error), error, ours, limit=-TRACE_FRAMES)
    )


def _prepare() -> None:
    """Make this a process that can be told nothing except through its socket."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)  # a killed child loses no lines
    # A stop that reaches all our processes must not break off an event.  A handler
    # rather than SIG_IGN: programs and forks of the user's handler do not inherit it.
    for number in _STOPS:
        signal.signal(number, _go_on)
    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, _STOPS),
        after_in_parent=_unblock,
        after_in_child=_forked,
    )


def _go_on(_number: int, _frame: object) -> None:
    pass


def _forked() -> None:
    """A process that the handler forked can be stopped; until here that waited."""
    for number, usual in _STOPS.items():
        if signal.getsignal(number) is _go_on:
            signal.signal(number, usual)
    _unblock()


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


def _end_group() -> None:
    """Kill what the handler started, and this process."""
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
