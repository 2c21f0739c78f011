"""
A restart under socket activation loses nobody: whoever connects meanwhile is answered.

What systemd does is done here by hand: the socket is made by somebody else and handed
over as descriptor 3 (sd_listen_fds(3)), and readiness is told to NOTIFY_SOCKET
(sd_notify(3)).
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.making import sample, signed
from tests.serving import SECRET, config

pytestmark = pytest.mark.e2e

# Becomes `receiver serve`, so that LISTEN_PID is the server's own process id.
LAUNCH = """
import os, sys
os.dup2(int(sys.argv[1]), 3, inheritable=True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.executable, [sys.executable, "-m", "receiver", "serve", *sys.argv[2:]])
"""


@contextmanager
def listening() -> Generator[socket.socket]:
    """The socket, as the service manager holds it."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield listener


class Notified:
    """What the service manager is told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    async def next(self) -> str:
        async with asyncio.timeout(60):
            loop = asyncio.get_running_loop()
            return (await loop.sock_recv(self._socket, 4096)).decode()

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def notified(tmp_path: Path) -> Iterator[Notified]:
    found = Notified(tmp_path / "notify")
    yield found
    found.close()


@asynccontextmanager
async def activated(
    folder: Path, listener: socket.socket, notified: Notified
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """`receiver serve` with the socket handed over, once it has said that it is ready."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", LAUNCH, str(listener.fileno())),
        cwd=folder,
        env={**os.environ, "NOTIFY_SOCKET": str(notified.path)},
        pass_fds=[listener.fileno()],
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert await notified.next() == "READY=1"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def end(process: asyncio.subprocess.Process, number: signal.Signals) -> int:
    process.send_signal(number)
    async with asyncio.timeout(60):
        return await process.wait()


async def post(listener: socket.socket, batch: str) -> httpx.Response:
    """One batch of the provider's, on a connection of its own."""
    body = sample("batch.completed", batch)
    headers = signed(body, SECRET)
    host, port = listener.getsockname()
    url = f"http://{host}:{port}/webhook/sora2"
    async with httpx.AsyncClient(timeout=30) as client:
        return await client.post(url, content=body, headers=headers)


async def test_the_socket_handed_over_is_the_one_that_is_served(
    tmp_path: Path, notified: Notified
):
    # The configured port is taken by nobody but could not be this one.
    (tmp_path / "receiver.toml").write_text(config())

    with listening() as listener:
        async with activated(tmp_path, listener, notified):
            response = await post(listener, "bat_1")

    assert response.json()["status"] == "accepted"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_who_connects_while_nobody_serves_is_answered_by_the_next(
    number: signal.Signals, tmp_path: Path, notified: Notified
):
    (tmp_path / "receiver.toml").write_text(config())
    with listening() as listener:
        async with activated(tmp_path, listener, notified) as first:
            before = await post(listener, "bat_1")
            await end(first, number)
        waiting = asyncio.create_task(post(listener, "bat_2"))
        repeated = asyncio.create_task(post(listener, "bat_1"))
        done, _ = await asyncio.wait({waiting, repeated}, timeout=0.5)
        assert not done  # neither refused nor answered: the kernel holds them
        if number is signal.SIGTERM:
            assert await notified.next() == "STOPPING=1"

        async with activated(tmp_path, listener, notified):
            answers = [(await task).json() for task in (waiting, repeated)]

    assert [answer["status"] for answer in answers] == ["accepted", "duplicate"]
    assert answers[1]["id"] == before.json()["id"]


async def test_a_stop_is_announced_and_ends_well(tmp_path: Path, notified: Notified):
    (tmp_path / "receiver.toml").write_text(config())

    with listening() as listener:
        async with activated(tmp_path, listener, notified) as process:
            code = await end(process, signal.SIGTERM)

    assert await notified.next() == "STOPPING=1"
    assert code == 0


async def test_a_socket_meant_for_another_process_is_left_alone(
    tmp_path: Path, notified: Notified
):
    (tmp_path / "receiver.toml").write_text(config())
    with listening() as listener:
        environment = {"LISTEN_FDS": "1", "LISTEN_PID": "1"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "receiver", "serve"),
            cwd=tmp_path,
            env={**os.environ, **environment, "NOTIFY_SOCKET": str(notified.path)},
            stderr=asyncio.subprocess.PIPE,
        )
        assert await notified.next() == "READY=1"
        process.terminate()

        _, log = await process.communicate()

        port = listener.getsockname()[1]
        assert b"receiver.ready" in log
        assert f":{port}".encode() not in log
