"""
The real `receiver serve` in a process of its own, on a store in a temporary folder.
"""

import asyncio
import re
import socket
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from receiver import clock
from receiver.bench.machine import pin
from receiver.errors import ReceiverError
from receiver.stores import control_path

PATIENCE_S = 30.0
LOG_LINES = 5
STORE = "receiver.db"
_SAMPLE = re.compile(r"^(\w+?)(?:\{.*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Setup:
    """What it is configured with: destinations as TOML bodies by their names."""

    destinations: Mapping[str, str] = field(default_factory=dict[str, str])
    conditions: Mapping[str, str] = field(default_factory=dict[str, str])
    """CEL for `when` of the routes to these destinations."""
    paused: Sequence[str] = ()
    taking: Sequence[str] = ()
    """Those that take what they are given: they are waited for before a load."""
    log_level: str = "warning"
    server: str = ""
    """More TOML of `[server]`."""
    more: str = ""
    """More TOML."""

    def toml(self, secret: str, folder: Path) -> str:
        """The whole configuration."""
        parts = [
            f'[server]\nlog_level = "{self.log_level}"\nlog_format = "json"\n'
            + self.server,
            # What is put there with a past of its own must not go while it is measured.
            f'[store]\nurl = "sqlite:///{folder / STORE}"\nkeep_bodies_for = "36500d"',
            f'[sources.sora2]\nprovider = "sora2"\nsecrets = ["{secret}"]',
        ]
        for name, body in self.destinations.items():
            parts.append(f"[destinations.{name}]\n{body}")
            route = f'[[routes]]\nname = "{name}"\nsource = "sora2"\nto = ["{name}"]'
            when = self.conditions.get(name)
            parts.append(f"{route}\nwhen = '{when}'" if when else route)
        return "\n\n".join([*parts, self.more]) + "\n"


class Server:
    """A running one."""

    def __init__(self, pid: int, port: int, folder: Path) -> None:
        self.pid = pid
        self.url = f"http://127.0.0.1:{port}/webhooks/sora2"
        self.folder = folder
        self._base = f"http://127.0.0.1:{port}"
        socket_path = str(control_path(f"sqlite:///{folder / STORE}"))
        self._http = httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False)
        self._control = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=socket_path),
            base_url="http://receiver",
            timeout=PATIENCE_S,
        )

    async def is_ready(self) -> bool:
        """Whether it says that it takes webhooks."""
        with suppress(httpx.TransportError):
            return (await self._http.get(f"{self._base}/readyz")).status_code == 200
        return False

    async def counted(self) -> dict[str, float]:
        """Its metrics, each summed over its labels."""
        answer = await self._http.get(f"{self._base}/metrics")
        found: dict[str, float] = {}
        for name, value in _SAMPLE.findall(answer.text):
            found[name] = found.get(name, 0.0) + float(value)
        return found

    async def pause(self, name: str) -> None:
        """Give a destination nothing."""
        await self._change(f"/api/v1/destinations/{name}/pause")

    async def resume(self, name: str) -> None:
        """Give it what waits."""
        await self._change(f"/api/v1/destinations/{name}/resume")

    async def pending(self, name: str) -> int:
        """How many deliveries to a destination are not done."""
        answer = await self._http.get(f"{self._base}/metrics")
        label = f'receiver_pending_deliveries{{destination="{name}"}} '
        _, _, rest = answer.text.partition(label)
        return int(float(rest.partition("\n")[0] or 0))

    async def close(self) -> None:
        """Let go of our connections to it."""
        await self._http.aclose()
        await self._control.aclose()

    async def _change(self, path: str) -> None:
        answer = await self._control.post(path, json={})
        if not answer.is_success:
            raise ReceiverError(f"the server answered {answer.status_code} at {path}")


@asynccontextmanager
async def serving(
    setup: Setup, secret: str, folder: Path, core: int | None
) -> AsyncGenerator[Server, None]:
    """
    `receiver serve`, ready, until the block ends; its store stays in the folder.

    Raises:
        ReceiverError: it did not start; with what it logged last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file, log = folder / "receiver.toml", folder / "log"
    file.write_text(setup.toml(secret, folder))
    with listening() as listener, log.open("wb") as logged:
        process = await asyncio.create_subprocess_exec(
            *serve_command(file, listener.fileno()),
            cwd=folder,
            stderr=logged,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        pin(process.pid, core)
        server = Server(process.pid, listener.getsockname()[1], folder)
    try:
        await until_ready(server, process, log)
        for name in setup.paused:
            await server.pause(name)
        yield server
    finally:
        await server.close()
        with suppress(ProcessLookupError):
            process.kill()  # nothing of the store is needed any more
        await process.wait()


def serve_command(file: Path, fd: int) -> Sequence[str]:
    """What starts a server that takes connections from an inherited socket."""
    return sys.executable, "-m", "receiver", "-c", str(file), "serve", "--fd", str(fd)


def listening() -> socket.socket:
    """A socket on a free port of this machine, for a process to inherit."""
    return socket.create_server(("127.0.0.1", 0), backlog=2048)


async def until_ready(
    server: Server, process: asyncio.subprocess.Process, log: Path
) -> None:
    """
    Raises:
        ReceiverError: it ended, or takes too long.
    """
    limit = clock.monotonic() + PATIENCE_S
    while not await server.is_ready():
        if process.returncode is not None or clock.monotonic() > limit:
            last = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
            raise ReceiverError("the server did not start: " + "\n".join(last))
        await asyncio.sleep(0.01)
