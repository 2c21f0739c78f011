"""
Child processes that can be killed, with all they started, at any moment.

`Child` is one process; `Worker` is one that is asked and answers in frames, again and
again; `Pool` keeps some workers warm.  Each child leads a session of its own: a
Ctrl-C on our terminal does not reach it, and it can be killed as a group.

What a child prints goes to our standard error, unread: output in any amount costs us
no memory, none is lost in a crash, and a child that prints waits for nobody here.
Its standard input is empty.

A child learns of our death from its socket (a worker ends its own group then).  Linux
could kill it for us (PR_SET_PDEATHSIG), but it alone, and not what it started.
"""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from receiver import frames
from receiver.frames import Frame

IDLE_S = 300.0
"""Seconds after which a worker that nobody asks is ended."""

GRACE_S = 3.0
"""Seconds an idle worker has to end by itself before it is killed."""

LARGEST_ANSWER = 1 << 20
"""Bytes; a worker that answers more is not speaking our language."""

_STDERR = 2


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: its exit status, or minus the signal that killed it."""

    status: int

    def __str__(self) -> str:
        if self.status >= 0:
            return f"exit status {self.status}"
        try:
            return f"signal {-self.status} {signal.Signals(-self.status).name}"
        except ValueError:
            return f"signal {-self.status}"  # a real-time signal has no name


class Child:
    """One process, and the group it leads."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self.ending: asyncio.Future[Ending] = self._loop.create_future()
        """Done when the process has ended; what it left in its group is dead then."""
        threading.Thread(
            target=self._wait, name=f"child-{self.pid}", daemon=True
        ).start()

    @classmethod
    def start(cls, argv: Sequence[str], pass_fds: Sequence[int] = ()) -> Self:
        """
        Run a program.  Never waits, so no cancellation can come in between.

        Raises:
            OSError: it could not be started.
        """
        process = subprocess.Popen(  # noqa: S603 (no shell; who configures, chooses)
            argv,
            stdin=subprocess.DEVNULL,
            stdout=_STDERR,
            stderr=_STDERR,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        try:
            return cls(process)
        except RuntimeError:  # no thread can be started, so nobody would notice its end
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return not self.ending.done()

    def kill(self) -> None:
        """
        SIGKILL for the process, its group, and whatever else descends from it.

        Out of reach is only what made itself an orphan in a session of its own.
        """
        if not self.alive:
            return
        relatives = list(_relatives(self.pid))
        self._kill_group()
        for pid in relatives:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _wait(self) -> None:
        ending = Ending(self._process.wait())
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(self._settle, ending)

    def _settle(self, ending: Ending) -> None:
        self._kill_group()
        self.ending.set_result(ending)


class Worker:
    """A child that answers frames with frames, one at a time."""

    def __init__(
        self,
        child: Child,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.child = child
        self._reader = reader
        self._writer = writer
        # Its socket may outlive it, in the hands of a process that it forked.
        child.ending.add_done_callback(lambda _: writer.transport.abort())

    @classmethod
    async def start(cls, argv: Sequence[str]) -> Self:
        """
        Run a program that is told its socket's number as the last argument.

        Raises:
            OSError: it could not be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            fd = theirs.fileno()
            try:
                return cls(Child.start([*argv, str(fd)], [fd]), reader, writer)
            except OSError:
                writer.close()
                raise

    async def ask(self, question: Frame) -> Frame | Ending:
        """
        The answer, or how the process ended instead of giving one.

        When this is cancelled or raises, the worker is good for nothing but `kill`.
        """
        try:
            self._writer.write(frames.pack(question))
            self._writer.write(question.body)
            await self._writer.drain()
            return await self._answer()
        except (EOFError, OSError, ValueError):
            self.child.kill()
            return await asyncio.shield(self.child.ending)

    async def _answer(self) -> Frame:
        prefix = await self._reader.readexactly(frames.PREFIX_BYTES)
        head, body = frames.lengths(prefix)
        if head + body > LARGEST_ANSWER:
            raise ValueError("not an answer")
        return frames.unpack(
            await self._reader.readexactly(head), await self._reader.readexactly(body)
        )

    def dismiss(self) -> None:
        """Let it end by itself, now; it is killed if it does not."""
        self._writer.close()
        late = asyncio.get_running_loop().call_later(GRACE_S, self.child.kill)
        self.child.ending.add_done_callback(lambda _: late.cancel())


class Pool:
    """
    Up to `size` workers of one program, started when needed and kept for the next.

    A worker whose answer has a true `last` in its head is not asked again.
    """

    def __init__(self, argv: Sequence[str], size: int, idle_s: float = IDLE_S) -> None:
        self._argv = argv
        self._slots = asyncio.Semaphore(size)
        self._idle_s = idle_s
        self._workers: set[Worker] = set()
        self._idle: dict[Worker, asyncio.TimerHandle] = {}
        self._closed = False

    @property
    def pids(self) -> set[int]:
        """The processes there are now."""
        return {worker.child.pid for worker in self._workers}

    async def ask(self, question: Frame) -> Frame | Ending:
        """
        The answer of one worker, or how it ended instead.

        When this is cancelled the worker is killed with all it started.

        Raises:
            OSError: no worker could be started.
        """
        async with self._slots:
            worker = self._take() or await self._start()
            try:
                answer = await worker.ask(question)
            except BaseException:
                worker.child.kill()
                raise
            if isinstance(answer, Frame):
                self._keep(worker, last=bool(answer.head.get("last")))
            return answer

    async def close(self) -> None:
        """End them all: the idle ones by themselves, the others by force."""
        self._closed = True
        for worker in list(self._workers):
            if worker in self._idle:
                self._retire(worker)
            else:
                worker.child.kill()
        if self._workers:
            endings = {worker.child.ending for worker in self._workers}
            await asyncio.wait(endings, timeout=2 * GRACE_S)

    def _take(self) -> Worker | None:
        if not self._idle:
            return None
        worker, timer = self._idle.popitem()  # the warmest, so that others may go
        timer.cancel()
        return worker

    async def _start(self) -> Worker:
        worker = await Worker.start(self._argv)
        self._workers.add(worker)
        worker.child.ending.add_done_callback(lambda _: self._forget(worker))
        return worker

    def _keep(self, worker: Worker, *, last: bool) -> None:
        if not worker.child.alive:
            return
        loop = asyncio.get_running_loop()
        self._idle[worker] = loop.call_later(self._idle_s, self._retire, worker)
        if last or self._closed:
            self._retire(worker)

    def _retire(self, worker: Worker) -> None:
        self._idle.pop(worker).cancel()
        worker.dismiss()

    def _forget(self, worker: Worker) -> None:
        self._workers.discard(worker)
        timer = self._idle.pop(worker, None)
        if timer is not None:
            timer.cancel()


def _relatives(pid: int) -> Iterator[int]:
    """Processes of the session that `pid` leads and its descendants, where /proc is."""
    family = {pid}
    stats = list(_stats())
    grown = True
    while grown:
        found = {
            child
            for child, parent, session in stats
            if child not in family and (parent in family or session == pid)
        }
        family |= found
        yield from found
        grown = bool(found)


def _stats() -> Iterator[tuple[int, int, int]]:
    """Process, parent and session ids, of `/proc/PID/stat` (proc_pid_stat(5))."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            fields = file.read_bytes().rpartition(b")")[2].split()
            yield int(file.parent.name), int(fields[1]), int(fields[3])
