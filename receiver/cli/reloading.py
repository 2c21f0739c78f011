"""reload: the running server reads the configuration again, and what came of it."""

import asyncio
import os
import signal
import socket
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from receiver.cli.common import server, waits
from receiver.cli.output import as_json, emit_json, plural
from receiver.cli.serving import complete
from receiver.errors import ReceiverError
from receiver.settings import Settings
from receiver.stores import control_path, sqlite_path

LONGEST_S = 30.0
LOOK_S = 0.05

_CREDENTIALS = struct.Struct("3i")
"""Of a socket's other end: its process, user and group (unix(7), SO_PEERCRED)."""

RESTART = "[server], store.url and store.min_free_bytes need a restart"


@click.command()
@as_json
@click.pass_obj
@waits
async def reload(config: Path | None, json_: bool) -> None:
    """
    Have the running server read the configuration and its .env again.

    It is checked first, as `check` does: with a problem in it the server is not asked.
    Exit code 1 if the server refuses it, and goes on with what it had.

    \b
    Examples:
      receiver reload
      receiver -c /etc/receiver/receiver.toml reload
    """
    settings = complete(config)
    running = await server(settings)
    if running is None:
        raise ReceiverError(_nobody(settings))
    _check_same(settings, running)
    try:
        os.kill(_process(settings, running), signal.SIGHUP)
    except OSError as error:
        raise ReceiverError(f"the server cannot be told: {error.strerror}") from None
    found = await _came(settings, running["configuration"]["times"])
    problems, restart = found["problems"], found["needs_restart"]
    if json_:
        told = {"reloaded": not problems, "needs_restart": restart}
        emit_json({"file": found["file"], **told, "problems": problems})
    elif problems:
        click.secho("refused; the server goes on with what it had:", fg="red", err=True)
        for problem in problems:
            click.echo(f"  {problem}", err=True)
    else:
        click.echo(f"reloaded {found['file']}: {_counted(settings)}")
        if restart:
            click.secho(f"not all of it: {RESTART}", fg="yellow")
    sys.exit(1 if problems else 0)


def _nobody(settings: Settings) -> str:
    """Why there is no server to be told."""
    from receiver.stores.sqlite.lock import holder

    path = sqlite_path(settings.store.url)
    owner = holder(path)
    if owner is None:
        return f"no server runs on {path}: receiver serve"
    return f"process {owner} owns {path}, but does not answer; see its log"


def _check_same(settings: Settings, running: Mapping[str, Any]) -> None:
    """
    Raises:
        ReceiverError: it would read another file than the one that was checked.
    """
    if "configuration" not in running:
        raise ReceiverError("the server is of an earlier version: restart it")
    its = Path(running["configuration"]["file"])
    if its.is_file() and not its.samefile(settings.file):
        raise ReceiverError(f"the server reads {its}: receiver -c {its} reload")


def _process(settings: Settings, running: Mapping[str, Any]) -> int:
    """
    The server's process by the number it has here, which is another than its own where
    it runs in a container.

    Raises:
        ReceiverError: it has none here.
        OSError: it has just ended.
    """
    if not hasattr(socket, "SO_PEERCRED"):  # not Linux
        return int(running["pid"])
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(str(control_path(settings.store.url)))
        size = _CREDENTIALS.size
        raw = end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid: int = _CREDENTIALS.unpack(raw)[0]
    if pid <= 0:
        raise ReceiverError("the server runs in a container; run this command there")
    return pid


async def _came(settings: Settings, times: int) -> Mapping[str, Any]:
    """
    What came of it, once the server has tried.

    Raises:
        ReceiverError: it has ended, or is busy.
    """
    try:
        async with asyncio.timeout(LONGEST_S):
            while running := await server(settings):
                found: Mapping[str, Any] = running["configuration"]
                if found["times"] > times:
                    return found
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        message = f"the server was told, and has not done it in {LONGEST_S:.0f} s"
        raise ReceiverError(f"{message}; see its log") from None
    raise ReceiverError("the server was told, and has ended; see its log")


def _counted(settings: Settings) -> str:
    parts = {
        "source": settings.sources,
        "destination": settings.destinations,
        "route": settings.routes,
    }
    return ", ".join(plural(len(several), noun) for noun, several in parts.items())
