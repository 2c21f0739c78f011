"""
How fast webhooks are taken, next to a server that does nothing.

    .venv/bin/python -m tests.benchmarks.intake
    .venv/bin/python -m tests.benchmarks.intake --sync-ms 5 --connections 256

In one run, on one machine, alternating: bare uvicorn that reads the body and answers
200, and `receiver serve` with three destinations and one `when`, every event signed,
unique and committed with `synchronous=FULL` before its 200.  Metrics are counted.  The
three destinations are paused: each event's three deliveries are committed with it, and
none is attempted, for how fast those are is measured by itself (`delivering`).  All else
that a server does beside taking goes on, such as following its events.

The ratio is what counts; the figures themselves belong to the machine.  The load comes
from this process, over raw keep-alive connections, so that the client costs little; the
server has a core of its own.  The CPU time is the server's, of all its threads, for each
request: where others use the machine, too, its ratio says more than that of the rates.
With `--sync-ms` the disk takes so long for each fsync (`slow_sync.c`, made with gcc).
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.making import signed
from tests.serving import SECRET, command, config

BARE = """
import sys, uvicorn
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
uvicorn.run(app, port=int(sys.argv[1]), access_log=False, log_level="error")
"""


@dataclass(frozen=True)
class Measured:
    """Requests per second, the answer's time, and the server's CPU time for each."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


@dataclass(frozen=True)
class Server:
    """A server that takes connections."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """User and system time so far, of all its threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def request(number: int) -> bytes:
    """A signed, unique Sora2 event of about 1 KB as it goes over the wire."""
    data = {
        "event": "batch.completed",
        "batch_id": f"bat_{number:012}",
        "status": "partial",
        "summary": {"total": 10, "succeeded": 9, "failed": 1, "pending": 0},
        "ledger": {"reserved": 100, "settled": 90, "refunded": 10},
        "note": "x" * 700,
    }
    body = json.dumps(data, separators=(",", ":")).encode()
    sent = signed(body, SECRET)
    headers = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    return (
        f"POST /webhook/sora2 HTTP/1.1\r\nhost: x\r\n"
        f"{headers}content-length: {len(body)}\r\n\r\n"
    ).encode() + body


class Client(asyncio.Protocol):
    """One connection that sends the next request as soon as it is answered."""

    def __init__(self, requests: list[bytes], times: list[float]) -> None:
        self._requests = requests
        self._times = times
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, found, body = self._answer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self._transport.close()
            self.done.set_exception(RuntimeError(self._answer.decode()))
            return
        self._times.append(time.perf_counter() - self._sent_at)
        self._send()

    def _send(self) -> None:
        if not self._requests:
            self._transport.close()
            self.done.set_result(None)
            return
        self._answer = b""
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests.pop())  # type: ignore[attr-defined]


async def load(server: Server, requests: list[bytes], connections: int) -> Measured:
    """Closed loop: every connection waits for its answer before it sends again."""
    times: list[float] = []
    loop = asyncio.get_running_loop()
    cpu_s = server.cpu_s()
    count, started = len(requests), time.perf_counter()
    clients = [
        (
            await loop.create_connection(
                lambda: Client(requests, times), "127.0.0.1", server.port
            )
        )[1]
        for _ in range(connections)
    ]
    await asyncio.gather(*(client.done for client in clients))
    elapsed = time.perf_counter() - started
    cpu_us = (server.cpu_s() - cpu_s) * 1e6 / count
    cuts = statistics.quantiles(times, n=100)
    return Measured(count / elapsed, cuts[49] * 1000, cuts[98] * 1000, cpu_us)


@contextlib.asynccontextmanager
async def bare(pin: Callable[[], None]) -> AsyncIterator[Server]:
    port = free_port()
    arguments = [sys.executable, "-c", BARE, str(port)]
    async with running(arguments, port, pin, Path()) as server:
        yield server


@contextlib.asynccontextmanager
async def ours(
    pin: Callable[[], None], log_level: str, sync_ms: float = 0
) -> AsyncIterator[Server]:
    """The real server, its three destinations paused: what is measured is the intake."""
    port = free_port()
    destinations = dict.fromkeys("abc", 'type = "http"\nurl = "http://127.0.0.1:9/"')
    routes = "\n".join(
        f'[[routes]]\nname = "{name}"\nsource = "sora2"\nto = ["{name}"]\n{when}'
        for name, when in (
            ("a", ""),
            ("b", ""),
            ("c", "when = 'data.summary.failed > 0'"),
        )
    )
    server = f'log_level = "{log_level}"\nlog_format = "json"'
    toml = config(destinations=destinations, routes=routes, server=server)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "receiver.toml").write_text(
            toml.replace("port = 0", f"port = {port}")
        )
        slow = slow_disk(folder, sync_ms) if sync_ms else {}
        arguments = [sys.executable, "-m", "receiver", "serve"]
        async with running(arguments, port, pin, folder, slow) as found:
            await _pause(folder)
            yield found


@contextlib.asynccontextmanager
async def running(
    arguments: list[str],
    port: int,
    pin: Callable[[], None],
    folder: Path,
    more: Mapping[str, str] | None = None,
) -> AsyncIterator[Server]:
    """A server process on its own core, its log in a file, once it takes connections."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *arguments,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path.cwd()), **(more or {})},
            stderr=log,
            preexec_fn=pin,
        )
        try:
            for _ in range(400):
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.05)
            yield Server(process.pid, port)
        finally:
            process.terminate()
            await process.wait()


def slow_disk(folder: Path, sync_ms: float) -> dict[str, str]:
    """The environment in which each fsync takes so long."""
    library = folder / "slow_sync.so"
    source = Path(__file__).with_name("slow_sync.c")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True
    )
    return {"LD_PRELOAD": str(library), "SLOW_SYNC_US": str(round(sync_ms * 1000))}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _pause(folder: Path) -> None:
    for name in "abc":
        code, _, error = await command(folder, "destinations", "pause", name)
        assert code == 0, error


def pin_to(core: int) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, {core})


async def run(rounds: int, count: int, connections: int, sync_ms: float) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    pin = pin_to(cores[-1])
    found: dict[str, list[Measured]] = {
        "bare": [],
        "ours, warning": [],
        "ours, info": [],
    }
    numbers = iter(range(10**9))
    for number in range(rounds):
        for name, measurements in found.items():
            requests = [request(next(numbers)) for _ in range(count)]
            if name == "bare":
                async with bare(pin) as server:
                    measured = await load(server, requests, connections)
            else:
                async with ours(pin, name.split()[-1], sync_ms) as server:
                    measured = await load(server, requests, connections)
            measurements.append(measured)
            sys.stderr.write(f"\rround {number + 1} of {rounds}: {name:<20}")
    sys.stderr.write("\n")
    show(found, connections)


def show(found: dict[str, list[Measured]], connections: int) -> None:
    base = statistics.median(m.per_second for m in found["bare"])
    print(f"{connections} connections, medians of {len(found['bare'])} rounds")
    print(
        f"{'':<16}{'per second':>12}{'ratio':>8}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}"
    )
    for name, several in found.items():
        rate = statistics.median(m.per_second for m in several)
        p50 = statistics.median(m.p50_ms for m in several)
        p99 = statistics.median(m.p99_ms for m in several)
        cpu = statistics.median(m.cpu_us for m in several)
        print(
            f"{name:<16}{rate:>12,.0f}{rate / base:>8.2f}"
            f"{p50:>9.1f}{p99:>9.1f}{cpu:>9.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--sync-ms", type=float, default=0.0)
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(chosen.rounds, chosen.count, chosen.connections, chosen.sync_ms))


if __name__ == "__main__":
    main()
