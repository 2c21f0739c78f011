"""
How fast webhooks are delivered, next to a client and to a server that do nothing else.

    .venv/bin/python -m tests.benchmarks.delivering [--only drain,both,soon,hanging]

In one run, on one machine, alternating.  The server under test has a core of its own;
the load and the endpoint, raw protocols that cost little, have another.

    drain     a backlog for one endpoint is delivered and recorded; next to plain
              aiohttp, on the same core, that posts the same bodies to the same endpoint
    both      events arrive at 0.08 of what bare uvicorn takes, open loop, and are
              delivered at the same time
    soon      500 events a second for three destinations: from being sent to us to
              being received there
    hanging   what two destinations get, and what is answered, while a third accepts
              connections and never answers, next to the same while the third is paused

Where the machine is busy, look at the CPU time for each delivery; it is the server's
whole process, all threads.
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.benchmarks.intake import bare, free_port, load, pin_to, request
from tests.dispatching import benching
from tests.serving import command, config

CONCURRENCY = 64
LATENCY_RATE = 500
RATIO_OF_BARE = 0.08

PLAIN = """
import asyncio, aiohttp, sys, uvloop
async def main(url, count, at_a_time):
    body, left = b"x" * 1000, iter(range(count))
    headers = {"content-type": "application/json", "webhook-id": "evt_1"}
    connector = aiohttp.TCPConnector(limit=at_a_time)
    async with aiohttp.ClientSession(connector=connector) as session:
        async def work():
            for _ in left:
                async with session.post(url, data=body, headers=headers) as response:
                    await response.read()
        await asyncio.gather(*(work() for _ in range(at_a_time)))
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


class Endpoint(asyncio.Protocol):
    """Answers 200 to every request at once, and notes when it got which."""

    OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

    def __init__(self, got: dict[bytes, float] | list[float]) -> None:
        self._got = got
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            head, found, body = self._data.partition(b"\r\n\r\n")
            if not found:
                return
            low = head.lower()
            length = int(low.partition(b"content-length: ")[2].split(b"\r\n")[0])
            if len(body) < length:
                return
            self._data = body[length:]
            self._note(low)
            self._transport.write(self.OK)  # type: ignore[attr-defined]

    def _note(self, head: bytes) -> None:
        now = time.perf_counter()
        if isinstance(self._got, list):
            self._got.append(now)
        else:
            name = head.partition(b"webhook-id: ")[2].split(b"\r\n")[0]
            self._got.setdefault(name, now)


class Silent(asyncio.Protocol):
    """Takes everything and never says a word."""


@asynccontextmanager
async def endpoint(
    got: dict[bytes, float] | list[float], *, silent: bool = False
) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    make = Silent if silent else lambda: Endpoint(got)
    server = await loop.create_server(make, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@dataclass
class Server:
    """A running `receiver serve`."""

    pid: int
    port: int
    folder: Path

    def cpu_s(self) -> float:
        """What it has used so far, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def pending(self) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        lines = [
            line for line in text.splitlines() if line.startswith("receiver_pending")
        ]
        return round(sum(float(line.split()[-1]) for line in lines))

    async def settled(self) -> None:
        while await self.pending():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def serve(
    folder: Path, core: int, urls: Mapping[str, str], level: str
) -> AsyncIterator[Server]:
    """Our server on a core, delivering to these addresses; its log in a file."""
    port = free_port()
    destinations = {
        name: f'type = "http"\nurl = "{url}"\nconcurrency = {CONCURRENCY}\n'
        'secrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"]'
        for name, url in urls.items()
    }
    server = f'log_level = "{level}"\nlog_format = "json"'
    toml = config(destinations=destinations, server=server)
    (folder / "receiver.toml").write_text(toml.replace("port = 0", f"port = {port}"))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "receiver", "serve"),
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            stderr=log,
            preexec_fn=pin_to(core),
        )
        try:
            await _listens(port)
            yield Server(process.pid, port, folder)
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _listens(port: int) -> None:
    for _ in range(1000):
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.02)
    raise RuntimeError("the server does not listen")


# -- drain


async def drain(core: int, count: int, level: str) -> None:
    posts = await _plain(core, min(count, 20_000))
    got: list[float] = []
    async with endpoint(got) as url:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            await _backlog(folder, count)
            async with serve(folder, core, {"app": url}, level) as server:
                while len(got) < count // 10:  # past its start
                    await asyncio.sleep(0.01)
                before, begun, at = server.cpu_s(), len(got), time.perf_counter()
                while len(got) < count:
                    await asyncio.sleep(0.05)
                await server.settled()
                took, cpu = time.perf_counter() - at, server.cpu_s() - before
    ours = (count - begun) / took
    print(
        f"drain     {ours:,.0f}/s of plain aiohttp's {posts:,.0f}/s: "
        f"ratio {ours / posts:.3f} (>= 0.20); "
        f"{cpu / (count - begun) * 1e6:.0f} us of CPU a delivery, "
        f"{1e6 / posts:.0f} us a plain post"
    )


async def _plain(core: int, count: int) -> float:
    got: list[float] = []
    async with endpoint(got) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PLAIN, url, str(count), str(CONCURRENCY)),
            preexec_fn=pin_to(core),
        )
        await process.wait()
    later = got[len(got) // 10 :]
    return (len(later) - 1) / (later[-1] - later[0])


async def _backlog(folder: Path, count: int) -> None:
    async with benching(folder) as bench:
        for first in range(0, count, 256):
            several = range(first, min(first + 256, count))
            await asyncio.gather(
                *(bench.accept("app", body=b"x" * 1_000) for _ in several)
            )


# -- open loop


@dataclass
class Sent:
    """What was sent and answered in an open loop: by the event's id."""

    at: dict[bytes, float] = field(default_factory=dict)
    answers: list[float] = field(default_factory=list)
    left: int = 0


class Sender(asyncio.Protocol):
    """One connection that sends what it is given, in turn, and awaits each answer."""

    def __init__(self, sent: Sent) -> None:
        self._sent = sent
        self._waiting: list[tuple[float, bytes]] = []
        self._busy: float | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self, at: float, data: bytes) -> None:
        """`at` is when it should have been sent: waiting for the connection counts."""
        if self._busy is not None:
            self._waiting.append((at, data))
            return
        self._busy = at
        self._transport.write(data)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if len(body) < length or self._busy is None:
            return
        self._data = b""
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode() + body.decode())
        at, self._busy = self._busy, None
        self._sent.at[body.partition(b'"id":"')[2].split(b'"')[0]] = at
        self._sent.answers.append(time.perf_counter() - at)
        self._sent.left -= 1
        if self._waiting:
            self.send(*self._waiting.pop(0))

    def close(self) -> None:
        self._transport.close()


async def send_at(port: int, rate: float, requests: list[bytes]) -> Sent:
    """Open loop: each request when it is its time, whether or not others are answered."""
    sent = Sent(left=len(requests))
    loop = asyncio.get_running_loop()
    senders = [
        (await loop.create_connection(lambda: Sender(sent), "127.0.0.1", port))[1]
        for _ in range(CONCURRENCY)
    ]
    started = time.perf_counter()
    for number, data in enumerate(requests):
        at = started + number / rate
        if (early := at - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        senders[number % len(senders)].send(at, data)
    while sent.left:
        await asyncio.sleep(0.01)
    for sender in senders:
        sender.close()
    return sent


def cuts(seconds: list[float]) -> str:
    found = statistics.quantiles(seconds, n=100)
    return f"p50 {found[49] * 1000:.1f} ms, p99 {found[98] * 1000:.1f} ms"


async def both(core: int, seconds: float, level: str) -> None:
    async with bare(pin_to(core)) as port:
        requests = [request(number) for number in range(20_000)]
        bare_rate = (await load(port, requests, CONCURRENCY)).per_second
    rate = bare_rate * RATIO_OF_BARE
    requests = [request(number) for number in range(round(rate * seconds))]
    got: dict[bytes, float] = {}
    async with endpoint(got) as url:
        with tempfile.TemporaryDirectory() as name:
            async with serve(Path(name), core, {"app": url}, level) as server:
                await _warm(server)
                before, at, early = server.cpu_s(), time.perf_counter(), len(got)
                sent = await send_at(server.port, rate, requests)
                await server.settled()
                took, cpu = time.perf_counter() - at, server.cpu_s() - before
    arrived = [got[name] - sent.at[name] for name in sent.at]
    print(
        f"both      {rate:,.0f}/s offered ({RATIO_OF_BARE:g} of bare uvicorn's "
        f"{bare_rate:,.0f}/s), {(len(got) - early) / took:,.0f}/s delivered; answers "
        f"{cuts(sent.answers)} (<= 50); there {cuts(arrived)}; "
        f"{cpu / len(requests) * 1e6:.0f} us of CPU an event, {cpu / took:.0%} of a core"
    )


async def soon(core: int, seconds: float, level: str) -> None:
    numbers = range(round(LATENCY_RATE * seconds))
    requests = [request(number) for number in numbers]
    got: list[dict[bytes, float]] = [{}, {}, {}]
    async with endpoint(got[0]) as a, endpoint(got[1]) as b, endpoint(got[2]) as c:
        with tempfile.TemporaryDirectory() as name:
            urls = {"a": a, "b": b, "c": c}
            async with serve(Path(name), core, urls, level) as server:
                await _warm(server)
                before = server.cpu_s()
                sent = await send_at(server.port, LATENCY_RATE, requests)
                await server.settled()
                cpu = server.cpu_s() - before
    arrived = [there[name] - sent.at[name] for there in got for name in sent.at]
    print(
        f"soon      {LATENCY_RATE}/s to three: answers {cuts(sent.answers)}; "
        f"there {cuts(arrived)} (<= 3, <= 10); "
        f"{cpu / len(requests) * 1e6:.0f} us of CPU an event"
    )


async def hanging(core: int, seconds: float, level: str, rounds: int) -> None:
    found: dict[str, list[float]] = {"paused": [], "hanging": []}
    for _ in range(rounds):
        for what, several in found.items():
            several.append(await _with_third(core, what, seconds, level))
    paused, hangs = (statistics.median(several) for several in found.values())
    print(
        f"hanging   {hangs:.0f} us of CPU an event; {paused:.0f} where it is paused: "
        f"{hangs / paused - 1:+.1%} (<= 5 %)"
    )


async def _with_third(core: int, what: str, seconds: float, level: str) -> float:
    rate = 1_000.0
    requests = [request(number) for number in range(round(rate * seconds))]
    got: dict[bytes, float] = {}
    async with endpoint(got) as url, endpoint({}, silent=True) as silent:
        with tempfile.TemporaryDirectory() as name:
            urls = {"a": url, "b": url, "c": silent}
            async with serve(Path(name), core, urls, level) as server:
                if what == "paused":
                    code, _, error = await command(
                        server.folder, "destinations", "pause", "c"
                    )
                    if code:
                        raise RuntimeError(error)
                await _warm(server)
                before = server.cpu_s()
                sent = await send_at(server.port, rate, requests)
                while await server.pending() > len(requests) + 200:
                    await asyncio.sleep(0.02)
                cpu = server.cpu_s() - before
    arrived = [got[name] - sent.at[name] for name in sent.at]
    print(
        f"  {what:<8}answers {cuts(sent.answers)}; at the others {cuts(arrived)}; "
        f"{cpu / len(requests) * 1e6:.0f} us of CPU an event"
    )
    return cpu / len(requests) * 1e6


async def _warm(server: Server) -> None:
    await send_at(server.port, 200, [request(10**9 + n) for n in range(200)])
    await asyncio.sleep(0.3)


async def run(chosen: argparse.Namespace) -> None:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    core, level = cores[-1], chosen.log_level
    print(f"load average {os.getloadavg()[0]:.1f}, log level {level}")
    for _ in range(chosen.rounds):
        if "drain" in chosen.only:
            await drain(core, chosen.count, level)
        if "both" in chosen.only:
            await both(core, chosen.seconds, level)
        if "soon" in chosen.only:
            await soon(core, chosen.seconds, level)
    if "hanging" in chosen.only:
        await hanging(core, chosen.seconds, level, chosen.rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--log-level", default="warning")
    parser.add_argument("--only", default="drain,both,soon,hanging")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
