"""The real `receiver serve`, as a process, and what it says."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

SECRET = "a secret for tests"
START_S = 60.0
STOP_S = 60.0
"""Each takes about a second; a busy machine may be in no hurry."""


class Serving:
    """A running server; `log` has its lines as they come, parsed."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.log: list[Mapping[str, Any]] = []
        self.raw: list[str] = []
        self.url = ""
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def line(
        self, event: str, timeout: float = START_S, **fields: object
    ) -> Mapping[str, Any]:
        """The first log line with this `event` and these fields."""
        return (await self.lines(event, 1, timeout, **fields))[0]

    async def lines(
        self, event: str, count: int, timeout: float = START_S, **fields: object
    ) -> list[Mapping[str, Any]]:
        """The log lines with this `event` and these fields, once there are so many."""

        def found() -> list[Mapping[str, Any]]:
            return [
                line
                for line in self.log
                if line.get("event") == event and fields.items() <= line.items()
            ]

        try:
            async with asyncio.timeout(timeout), self._news:
                await self._news.wait_for(
                    lambda: len(found()) >= count or self._reading.done()
                )
        except TimeoutError:
            pass
        lines = found()
        assert len(lines) >= count, f"{len(lines)} {event} {fields} in:\n" + "\n".join(
            self.raw[-40:]
        )
        return lines

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def kill(self) -> None:
        """SIGKILL."""
        if self.process.returncode is None:
            self.process.kill()
        await self.ended()

    async def ended(self) -> int:
        async with asyncio.timeout(STOP_S):
            code = await self.process.wait()
            await self._reading
        return code

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            text = raw.decode(errors="replace").rstrip()
            try:
                line = json.loads(text)
            except ValueError:
                line = {"event": "", "text": text}
            async with self._news:
                self.raw.append(text)
                self.log.append(line if isinstance(line, dict) else {"text": text})
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()


def config(
    *,
    destinations: Mapping[str, str] | None = None,
    routes: str = "",
    server: str = "",
    source: str = "",
) -> str:
    """
    A receiver.toml with a sora2 source at /webhook/sora2.

    `destinations` are TOML bodies by name; without `routes` everything goes to all.
    """
    destinations = destinations or {}
    parts = [
        f"[server]\nport = 0\n{server}",
        '[store]\nurl = "sqlite:///receiver.db"\nmin_free_bytes = 0',
        f'[sources.sora2]\nprovider = "sora2"\npath = "/webhook/sora2"\nsecrets = ["{SECRET}"]\n{source}',
    ]
    parts += [f"[destinations.{name}]\n{body}" for name, body in destinations.items()]
    if routes:
        parts.append(routes)
    elif destinations:
        names = json.dumps(list(destinations))
        parts.append(f'[[routes]]\nname = "all"\nsource = "sora2"\nto = {names}')
    return "\n\n".join(parts) + "\n"


@asynccontextmanager
async def serving(
    folder: Path,
    toml: str | None,
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    program: Sequence[str] = (sys.executable, "-m", "receiver"),
    wait: bool = True,
    **process: Any,
) -> AsyncIterator[Serving]:
    """`receiver serve` in `folder` with this configuration, until the block ends."""
    if toml is not None:
        (folder / "receiver.toml").write_text(toml)
    running = Serving(
        await asyncio.create_subprocess_exec(
            *program,
            "serve",
            *arguments,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            stderr=asyncio.subprocess.PIPE,
            limit=16 * 1024 * 1024,
            **process,
        ),
        folder,
    )
    try:
        if wait:
            running.url = (await running.line("receiver.ready"))["url"]
        yield running
    finally:
        await running.kill()


async def command(
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
) -> tuple[int, str, str]:
    """A `receiver` command run in `folder`: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "receiver",
        *arguments,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
