"""The process: it starts, takes signals, and ends in order."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

import uvloop

from receiver import collector, logs
from receiver.app import App
from receiver.child import kill_all
from receiver.reloading import reload, warn
from receiver.servers import HttpServer, local, public
from receiver.settings import Settings
from receiver.sockets import addresses, listen, listen_for_admin, listen_locally
from receiver.stores import control_path
from receiver.web import create_admin_app
from receiver.web.api import control_app
from receiver.web.limits import raise_descriptor_limit

SWITCH_INTERVAL_S = 0.001
"""Threads hand over after this long, so that parsing a large body holds nobody up."""


def run(
    settings: Settings, load: Callable[[], Settings], fd: int | None = None
) -> None:
    """
    Serve until SIGTERM or SIGINT; `load` reads the configuration anew on SIGHUP.

    Raises:
        SettingsError: the address cannot be listened on.
        StoreError: the store is owned by another process, or unusable.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    raise_descriptor_limit()
    collector.spare()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, load, fd))


async def _serve(
    settings: Settings, load: Callable[[], Settings], fd: int | None
) -> None:
    log = logs.get()
    app = await App.open(settings)  # first: who owns the store may have the port, too
    try:
        app.keys.start()
        listener = listen(settings, fd)
        admin = listen_for_admin(settings)
        control = listen_locally(control_path(settings.store.url))
        asked = asyncio.Event()
        _on_signals(asked, lambda: reload(app, load))
        served = [
            (public(app.web, settings.server), listener),
            (local(control_app(app.parts), settings.server), control),
        ]
        if admin is not None:
            web = create_admin_app(app.health, app.parts)
            served.append((public(web, settings.server), admin))
        servers = [HttpServer(config) for config, _ in served]
        tasks = [
            asyncio.create_task(server.serve(sockets=[sock]))
            for server, (_, sock) in zip(servers, served, strict=True)
        ]
        for task in tasks:
            task.add_done_callback(lambda _: asked.set())
        await app.start()
        for server in servers:
            await server.ready.wait()
        log.info("receiver.ready", **addresses(settings, listener, admin))
        _notify("READY=1")
        await warn(app)
        await asked.wait()
        grace_s = settings.server.grace.total_seconds()
        attempts = app.dispatcher.running
        log.info("receiver.stopping", grace_s=grace_s, running_attempts=attempts)
        _notify("STOPPING=1")
        for server in servers:
            server.should_exit = True
        await asyncio.gather(app.stop(), *tasks)
    finally:
        with suppress(OSError):  # closing the store matters more
            control_path(settings.store.url).unlink(missing_ok=True)
        await app.close()
        log.info("receiver.stopped")


def _on_signals(asked: asyncio.Event, again: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[object]] = set()

    def start_reload() -> None:
        task = asyncio.ensure_future(again())  # type: ignore[call-overload]
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def begin_to_stop() -> None:
        if asked.is_set():
            # asked twice: what is unfinished is done after the next start
            kill_all()
            os._exit(1)
        asked.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_to_stop)
    loop.add_signal_handler(signal.SIGHUP, start_reload)


def _notify(state: str) -> None:
    """Tell systemd, if it asked (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with (
        suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier,
    ):
        notifier.connect("\0" + address[1:] if address.startswith("@") else address)
        notifier.send(state.encode())
