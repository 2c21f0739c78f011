"""
Clients that hold connections and say nothing, or little: real webhooks get through.

`FAULTS_LONG=10` makes them 10,000 idle connections and 1,000 slow ones, with no limit
of open files but the machine's; both sides need that many (ulimit -n 20000).
"""

import asyncio
import os
import resource
import socket
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import pytest

from receiver.crashtest.plan import Plan
from receiver.crashtest.processes import RECEIVER, witnesses
from tests.faults.lives import LONG, accepted, alive, broken, finished
from tests.serving import Serving, config, serving
from tests.web.wire import connected, event, post, request

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300 * LONG)]

IDLE, SLOW = 1_000 * LONG, 100 * LONG
LIMIT = 500 if LONG == 1 else 20_000
"""Of the server's open files: fewer than there are clients, as in the long form."""

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
TIMEOUTS = 'header_timeout = "5s"\nbody_timeout = "10s"'


@pytest.fixture(autouse=True)
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def limited(files: int):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


class Crowd:
    """Connections that are opened and then left alone."""

    def __init__(self, server: Serving) -> None:
        parts = urlsplit(server.url)
        self._address = (parts.hostname, parts.port)
        self._held: list[socket.socket] = []

    async def join(self, says: bytes) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        self._held.append(sock)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, self._address)
        if says:
            await loop.sock_sendall(sock, says)

    async def gather(self, count: int, says: bytes) -> None:
        for _ in range(count // 50):
            await asyncio.gather(*(self.join(says) for _ in range(50)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._held:
            sock.close()


async def webhooks(server: Serving, name: str, count: int) -> list[float]:
    """Seconds that each took, on a connection of its own; all are accepted."""
    took = []
    for number in range(count):
        started = time.perf_counter()
        answer = await post(server.url, event(f"{name}_{number}"))
        took.append(time.perf_counter() - started)
        assert (answer.status, answer.json["status"]) == (200, "accepted")
    return took


async def test_a_crowd_of_idle_and_slow_clients_keeps_no_webhook_out(
    folder: Path, record_property
):
    body = event("slow", padding="x" * 200)
    slow_head, slow_body = request(body)[:60], request(body)[:-50]
    async with serving(
        folder, config(server=TIMEOUTS), preexec_fn=limited(LIMIT)
    ) as server:
        before = await webhooks(server, "before", 30)
        with Crowd(server) as crowd:
            await crowd.gather(IDLE // 2, HEALTH)
            await crowd.gather(IDLE // 2, b"")
            await crowd.gather(SLOW // 2, slow_head)
            await crowd.gather(SLOW // 2, slow_body)
            during = await webhooks(server, "during", 30)
            coming = asyncio.create_task(crowd.gather(IDLE // 2, HEALTH))
            meanwhile = await webhooks(server, "meanwhile", 30)
            await coming
            files = len(os.listdir(f"/proc/{server.process.pid}/fd"))  # noqa: PTH208 (names only)
        after = await webhooks(server, "after", 30)
        code = await server.stop()

    told = {"before": before, "during": during, "meanwhile": meanwhile, "after": after}
    medians = {name: round(statistics.median(t) * 1000, 1) for name, t in told.items()}
    record_property("milliseconds", medians)
    print(medians)  # noqa: T201 (for whoever wants to know)
    assert files < LIMIT
    assert max(during) < 2
    assert statistics.median(during) < statistics.median(before) + 0.05
    assert code == 0


async def test_a_request_that_is_being_answered_is_not_given_up_for_others(
    folder: Path,
):
    body = event("bat_1", padding="x" * 200_000)
    async with serving(folder, config(), preexec_fn=limited(200)) as server:
        async with AsyncExitStack() as held:
            wires = [
                await held.enter_async_context(connected(server.url)) for _ in range(20)
            ]
            for number, wire in enumerate(wires):
                padded = event(f"bat_{number}", padding="x" * 100_000)
                await wire.send(request(padded))
            with Crowd(server) as crowd:
                await crowd.gather(300, HEALTH)
                answers = [await wire.answer() for wire in wires]
        last = await post(server.url, body)

    assert [answer.status for answer in answers] == [200] * 20
    assert last.status == 200


async def test_a_server_that_ran_out_of_descriptors_recovers_without_a_restart(
    folder: Path, seed: int
):
    """Deliveries need descriptors, too: none is lost, and none is stuck afterwards."""
    plan = Plan.new(seed, rate=100)
    limit = ("prlimit", "--nofile=64:64", "--")
    async with witnesses(folder, plan) as there:
        command = (*limit, *RECEIVER)
        async with alive(there, command) as life:
            await accepted(there, 30)
            url = (folder / "receiver.url").read_text()
            parts = urlsplit(url)
            socks = []
            for _ in range(300):
                sock = socket.create_connection((parts.hostname, parts.port))
                socks.append(sock)
            await asyncio.sleep(1)  # nobody can tell what they keep from happening
            for sock in socks:
                sock.close()
            await accepted(there, 30)
            verdict = await finished(there, life)

    assert broken(verdict) == {}
