"""The processes of a crash test: the two witnesses, and one life of a receiver."""

import asyncio
import json
import os
import signal
import sys
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from receiver.crashtest.plan import Plan, config, noted, tell
from receiver.crashtest.verdict import Kept, Notes, Verdict, judge
from receiver.ledger import Ledger
from receiver.models import Status
from receiver.stores import EventFilter, open_reader

RECEIVER = (sys.executable, "-m", "receiver")
START_S = 30.0
STOP_S = 60.0
LOOK_EVERY_S = 0.2
PAGE = 1_000


class Failed(Exception):
    """A process did not do what it had to; the text says which and what it said."""


class Witnesses:
    """A sender and a sink at work in a folder; made by `witnesses`."""

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        sender: asyncio.subprocess.Process,
    ) -> None:
        self.folder = folder
        self.store = f"sqlite:///{folder.resolve() / plan.store}"
        self._sender = sender

    def receiver_is_at(self, url: str) -> None:
        """Where the sender has to post from now on."""
        tell(self.folder / "receiver.url", url)

    async def stop_sending(self) -> None:
        """Returns when the sender has noted all there is to note."""
        await _ended(self._sender)

    async def drained(self, patience_s: float = 60.0) -> bool:
        """
        Wait until nothing is to be delivered; whether that came about.

        Given up when for `patience_s` nothing arrived at the sink any more.
        """
        loop = asyncio.get_running_loop()
        received, since = -1, loop.time()
        while await self._pending():
            size = (self.folder / "received.jsonl").stat().st_size
            if size != received:
                received, since = size, loop.time()
            elif loop.time() - since > patience_s:
                return False
            await asyncio.sleep(LOOK_EVERY_S)
        return True

    async def judge(self, exit_code: int | None) -> Verdict:
        """What they noted until now, held against what the receiver has to show."""
        kept = await shown(self.store, exit_code)
        return judge(self.sent(), self.received(), kept)

    def sent(self) -> Notes:
        return list(noted(self.folder / "sent.jsonl"))

    def received(self) -> Notes:
        return list(noted(self.folder / "received.jsonl"))

    async def _pending(self) -> int:
        """How many deliveries wait."""
        reader = await open_reader(self.store)
        try:
            return sum(queue.pending for queue in await reader.queues())
        finally:
            await reader.close()


@asynccontextmanager
async def witnesses(folder: Path, plan: Plan) -> AsyncGenerator[Witnesses, None]:
    """
    Start both, and write a `receiver.toml` for the receiver between them.

    Raises:
        Failed: the sink does not start.
    """
    plan.write(folder)
    for name in ("sent.jsonl", "received.jsonl"):
        (folder / name).touch()
    sink = await _python("receiver.crashtest.sink", folder)
    try:
        address = await _address(sink, folder / "sink.url")
        (folder / "receiver.toml").write_text(config(plan, address))
        sender = await _python("receiver.crashtest.sender", folder)
        try:
            yield Witnesses(folder, plan, sender)
        finally:
            await _ended(sender)
    finally:
        await _ended(sink)


async def _python(module: str, folder: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, str(folder), start_new_session=True
    )


async def _address(sink: asyncio.subprocess.Process, path: Path) -> str:
    try:
        async with asyncio.timeout(START_S):
            while sink.returncode is None and not path.exists():  # noqa: ASYNC110 (a file tells nobody)
                await asyncio.sleep(0.02)
        return path.read_text()
    except OSError:  # TimeoutError is one
        raise Failed("the sink did not start") from None


async def _ended(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


class Life:
    """
    One `receiver serve`, from its start to its end; at most that of the block.

    What it logs, but for a line per event, is added to `receiver.log`.
    """

    def __init__(self, folder: Path, command: Sequence[str] = RECEIVER) -> None:
        self._folder = folder
        self._command = command
        self._url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._said: deque[bytes] = deque(maxlen=8)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            "-c",
            "receiver.toml",
            "serve",
            cwd=self._folder,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 24,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()

    async def ready(self) -> str:
        """
        The address, once it is served.

        Raises:
            Failed: it ended, or did not come so far in time.
        """
        try:
            async with asyncio.timeout(START_S):
                return await asyncio.shield(self._url)
        except TimeoutError:
            raise Failed(f"the receiver was not ready in {START_S:g} s") from None

    async def kill(self) -> None:
        """SIGKILL, to it and what it started."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._reading
        if self._url.done():
            self._url.exception()  # nobody may have asked

    async def stop(self) -> int | None:
        """SIGTERM; the exit code, None if it did not end by itself."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        return await self.ended()

    async def ended(self) -> int | None:
        """The exit code, once it ends by itself; None if it does not in time."""
        try:
            async with asyncio.timeout(STOP_S):
                return await self._process.wait()
        except TimeoutError:
            return None

    async def _read(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 (for the type checker)
        with (self._folder / "receiver.log").open("ab", buffering=0) as log:
            async for line in self._process.stderr:
                ours = b'"event":"receiver.' in line
                if ours or b'"level":"info"' not in line:
                    log.write(line)
                    self._said.append(line.strip())
                if ours and b"receiver.ready" in line:
                    self._url.set_result(json.loads(line)["url"])
        if not self._url.done():
            said = b"; ".join(self._said).decode(errors="replace")
            self._url.set_exception(Failed(f"the receiver did not start: {said}"))


async def shown(store: str, exit_code: int | None) -> Kept:
    """What the store has to show, read by somebody else than its owner."""
    reader = await open_reader(store)
    try:
        events: list[tuple[str, str]] = []
        after = None
        while page := await reader.events(EventFilter(), limit=PAGE, after=after):
            events += [(stored.event.id, stored.event.key) for stored in page]
            after = page[-1].event.id
        ledger = Ledger(await reader.ledger(), await reader.totals())
    finally:
        await reader.close()
    return Kept(events, ledger.difference, _unsettled(ledger), exit_code)


def _unsettled(ledger: Ledger) -> Mapping[str, int]:
    return {
        status.value: sum(tally.by_status.get(status, 0) for tally in ledger.tallies)
        for status in Status
        if status is not Status.DELIVERED
    }
