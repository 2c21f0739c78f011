"""
Child processes that can be stopped or killed, with all they started, at any moment.

`Child` is one process; `Worker` is one that is asked and answers in frames, again and
again; `Pool` keeps some workers warm.  Each child leads a session of its own: a
Ctrl-C on our terminal does not reach it, and it can be killed as a group.

Unless its starter wants otherwise, a child's standard input is empty, and what it
prints goes to our standard error, unread: output in any amount costs us no memory,
none is lost in a crash, and a child that prints waits for nobody here.

A worker learns of our death from its socket, and ends its own group then.  Linux could
kill any child for us (PR_SET_PDEATHSIG), but it alone, and not what it started.
"""

import asyncio
import errno
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from weakref import WeakSet

from receiver import clock, frames
from receiver.frames import Frame

IDLE_S = 300.0
"""Seconds after which a worker that nobody asks is ended."""

GRACE_S = 3.0
"""Seconds an idle worker has to end by itself before it is killed."""

LARGEST_ANSWER = 1 << 20
"""Bytes; a worker that answers more is not speaking our language, by default."""

POLL_S = 0.05
"""Seconds between looks at whether a group that was asked to end has done so."""

_STDERR = 2

_children: "WeakSet[Child]" = WeakSet()


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
        self._spared_until = 0.0
        self._loop = asyncio.get_running_loop()
        self.ending: asyncio.Future[Ending] = self._loop.create_future()
        """Done when the process has ended; what it left in its group is dead then."""
        threading.Thread(
            target=self._wait, name=f"child-{self.pid}", daemon=True
        ).start()
        _children.add(self)

    @classmethod
    def start(
        cls,
        argv: Sequence[str],
        pass_fds: Sequence[int] = (),
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int = _STDERR,
        stderr: int = _STDERR,
        environment: Mapping[str, str | bytes] | None = None,
        folder: Path | None = None,
    ) -> Self:
        """
        Run a program.  Never waits, so no cancellation can come in between.

        It has our environment and folder unless it is given others.

        Raises:
            OSError: it could not be started.
        """
        process = subprocess.Popen(  # noqa: S603 (no shell; who configures, chooses)
            argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        with suppress(OSError):  # Linux: when memory is short, end it and not us
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("500")
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
        self._kill(frozenset())

    async def stop(self, grace_s: float) -> None:
        """
        SIGTERM for all that `kill` would kill, and SIGKILL for what is left of it.

        Returns when it has ended, which takes little more than `grace_s`.  Cancelled
        meanwhile, it kills at once.
        """
        if not self.alive:
            return
        family = _family(self.pid)
        self._spared_until = clock.monotonic() + grace_s
        self._signal_group(signal.SIGTERM)
        for relative in family:
            if relative.group != self.pid:
                relative.signal(signal.SIGTERM)
        try:
            await asyncio.wait({self.ending}, timeout=grace_s)
        finally:
            self._kill(family)
        await asyncio.wait({self.ending}, timeout=GRACE_S)

    def _kill(self, known: AbstractSet["_Process"]) -> None:
        self._spared_until = 0.0
        if self.alive:
            family = _family(self.pid, known)
            self._signal_group(signal.SIGKILL)
        else:  # its number may be another's already
            family = _family(None, known) if known else set()
        for relative in family:
            relative.signal(signal.SIGKILL)

    def _signal_group(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _group(self) -> set["_Process"]:
        return {process for process in _processes() if process.group == self.pid}

    def _wait(self) -> None:
        ending = Ending(self._process.wait())
        while clock.monotonic() < self._spared_until and self._group():
            time.sleep(POLL_S)  # what it started may still be putting things in order
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know
            self._loop.call_soon_threadsafe(self._settle, ending)

    def _settle(self, ending: Ending) -> None:
        self._signal_group(signal.SIGKILL)
        self.ending.set_result(ending)


def kill_all() -> None:
    """Kill every child there is: for a process that ends without waiting for them."""
    for child in list(_children):
        child.kill()


class Worker:
    """A child that answers frames with frames, one at a time."""

    def __init__(
        self,
        child: Child,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        largest: int,
    ) -> None:
        self.child = child
        self._largest = largest
        self._reader = reader
        self._writer = writer
        # Its socket may outlive it, in the hands of a process that it forked.
        child.ending.add_done_callback(lambda _: writer.transport.abort())

    @classmethod
    async def start(cls, argv: Sequence[str], largest: int = LARGEST_ANSWER) -> Self:
        """
        Run a program that is told its socket's number as the last argument.

        It is killed when it answers with more than `largest` bytes.

        Raises:
            OSError: it could not be started.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            fd = theirs.fileno()
            try:
                child = Child.start([*argv, str(fd)], [fd])
                return cls(child, reader, writer, largest)
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
        if head + body > self._largest:
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

    def __init__(
        self,
        argv: Sequence[str],
        size: int,
        idle_s: float = IDLE_S,
        largest: int = LARGEST_ANSWER,
    ) -> None:
        self._argv = argv
        self._largest = largest
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
        worker = await Worker.start(self._argv, self._largest)
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


@dataclass(frozen=True, slots=True)
class _Process:
    """A process as /proc/PID/stat has it; its number and its start tell it apart."""

    pid: int
    parent: int = field(compare=False)
    group: int = field(compare=False)
    session: int = field(compare=False)
    started: int

    def signal(self, number: int) -> None:
        """Send a signal, unless the number has become another's."""
        with suppress(ProcessLookupError, PermissionError):
            if _process(self.pid) == self:
                os.kill(self.pid, number)


def _family(
    leader: int | None, known: AbstractSet[_Process] = frozenset()
) -> set[_Process]:
    """Who is in the leader's session, or descends from it or from those known."""
    everyone = set(_processes())
    found = everyone & known
    grown = True
    while grown:
        parents = {leader, *(process.pid for process in found)}
        more = {
            process
            for process in everyone - found
            if process.pid != leader
            and (process.parent in parents or process.session == leader)
        }
        found |= more
        grown = bool(more)
    return found


def _processes() -> Iterator[_Process]:
    """All there are, where there is /proc."""
    for folder in Path("/proc").glob("[0-9]*"):
        process = _process(int(folder.name))
        if process is not None:
            yield process


def _process(pid: int) -> _Process | None:
    """
    One process, of `/proc/PID/stat` (proc_pid_stat(5)); None if it has ended.

    A zombie has ended.  Where nobody waits for orphans it is there for ever.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    values = text.rpartition(b")")[2].split()
    if values[0] in (b"Z", b"X"):
        return None
    parent, group, session, started = (int(values[i]) for i in (1, 2, 3, 19))
    return _Process(pid, parent, group, session, started)
