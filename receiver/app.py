"""
The composition root: settings -> store, dispatcher, intake, web; and the process.

`App` puts the parts together and can be used alone (the commands do, when no server
runs).  `serve` adds sockets and signals, and ends in order.
"""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn
import uvloop
from starlette.types import ASGIApp

from receiver import collector, logs
from receiver.alerts import Alerts
from receiver.batches import Batches
from receiver.child import kill_all
from receiver.confirmer import Confirmer
from receiver.destinations import make
from receiver.dispatcher import Dispatcher
from receiver.errors import Problem, SettingsError, StoreError, StoreUnusable
from receiver.follower import Follower
from receiver.ingest import Intake
from receiver.joins import Joins
from receiver.ledger import orphan_advice, standings
from receiver.metrics import Metrics
from receiver.providers.keys import PublicKeys
from receiver.providers.senders import Senders
from receiver.providers.status.askers import Askers
from receiver.reconciler import Reconciler
from receiver.replayer import Replayer
from receiver.retention import Retention
from receiver.settings import Settings
from receiver.stores import Reader, Store, control_path, open_reader, open_store
from receiver.watcher import Watcher
from receiver.web import begin, create_admin_app, create_app
from receiver.web.api import control_app
from receiver.web.api.parts import Parts
from receiver.web.health import Health
from receiver.web.hooks import Hooks
from receiver.web.limits import raise_descriptor_limit
from receiver.web.protocol import bounded

KEEP_ALIVE_S = 75
BACKLOG = 2048
SWITCH_INTERVAL_S = 0.001
"""Threads hand over after this long, so that parsing a large body holds nobody up."""

MAX_SOCKET_PATH = 100


class App:
    """All parts, wired."""

    def __init__(self, settings: Settings, store: Store, reader: Reader) -> None:
        self.settings = settings
        self.store = store
        self._reader = reader
        self.changing = asyncio.Lock()
        """Held by a start, a reload or a stop: one after the other, the last one wins."""

        self.metrics = Metrics()
        self.senders = Senders(settings.sources.values())
        self.keys = PublicKeys(store)
        self.alerts = Alerts(settings, store, self._wake)
        self.dispatcher = Dispatcher(
            store, self.metrics, make, self.senders.read, self.alerts
        )
        self.batches = Batches(settings, store, self.senders)
        self.joins = Joins(settings, store, self.senders)
        folders = (self.batches, self.joins)
        self.follower = Follower("events", store, folders, self.alerts.tell)
        self.askers = Askers(self.senders)
        self.confirmer = Confirmer(store, self.senders, self.askers, self.alerts)
        self.intake = Intake(
            settings,
            store,
            self.metrics,
            self._wake,
            self.senders,
            self.keys,
            self.alerts,
            self.confirmer.expect,
        )
        self.reconciler = Reconciler(
            settings, store, self.askers, self.intake.accept_asked
        )
        self.watcher = Watcher(settings, store, self.alerts, self.senders.read)
        self.retention = Retention(settings.store, store, self.metrics)
        self.hooks = Hooks(settings, self.intake, self.senders)
        self.health = Health(store, self.metrics, self.dispatcher)
        self.replayer = Replayer(
            settings, store, self.senders.read, self.dispatcher.wake
        )
        self.parts = Parts(
            settings,
            store,
            reader,
            self.dispatcher,
            self.senders,
            self.intake.accept_again,
            self.alerts,
            self.replayer,
            self.retention,
            self.reconciler,
            self.metrics,
        )
        self.web: ASGIApp = create_app(self.hooks, self.health, self.parts)

    def _wake(self, _destinations: tuple[str, ...]) -> None:
        self.follower.wake()  # the store tells the lanes

    @classmethod
    async def open(cls, settings: Settings) -> "App":
        """Open the store and put everything on it; nothing is delivered yet."""
        store = await open_store(
            settings.store.url, min_free_bytes=settings.store.min_free_bytes
        )
        app = cls(settings, store, await open_reader(settings.store.url))
        await app.keys.use(app.senders)
        return app

    async def reload(self, settings: Settings) -> None:
        """Use new settings for what comes; store and server stay as they are."""
        await self.dispatcher.reload(settings.destinations)  # it alone can fail
        self.settings = settings
        self.senders.reload(settings.sources.values())
        self.alerts.reload(settings)
        self.watcher.reload(settings)
        self.batches.reload(settings)
        self.retention.reload(settings.store)
        self.joins.reload(settings)
        self.intake.reload(settings)
        self.hooks.reload(settings)
        self.replayer.reload(settings)
        self.parts.reload(settings)
        await self.keys.use(self.senders)
        await self.askers.reload(self.senders)
        await self.reconciler.reload(settings)

    async def orphans(self) -> list[str]:
        """A sentence for every destination that is gone but still has deliveries."""
        found = standings(await self.store.queues(), (), self.settings.destinations)
        return [orphan_advice(standing) for standing in found if standing.orphaned]

    async def close(self) -> None:
        """Let go of the store; call `dispatcher.stop` first if it was started."""
        await self.keys.close()
        await self.intake.close()
        await self.askers.close()
        await self.alerts.close()
        await self.replayer.stop()
        await self._reader.close()
        await self.store.close()


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
        listener = _listen(settings, fd)
        admin = _listen_for_admin(settings)
        control = _listen_locally(control_path(settings.store.url))
        stop = asyncio.Event()
        _on_signals(stop, lambda: _reload(app, load))
        served = [(_public(app, app.web), listener), (_control(app), control)]
        if admin is not None:
            served.append(
                (_public(app, create_admin_app(app.health, app.parts)), admin)
            )
        servers = [_Server(config) for config, _ in served]
        tasks = [
            asyncio.create_task(server.serve(sockets=[sock]))
            for server, (_, sock) in zip(servers, served, strict=True)
        ]
        for task in tasks:
            task.add_done_callback(lambda _: stop.set())
        async with app.changing:
            await app.confirmer.start()
            await app.dispatcher.start(settings.destinations)
            await app.watcher.start()
            await app.follower.start()
            await app.replayer.start()
            app.retention.start()
            await app.reconciler.start()
            begin(app.parts)
        for server in servers:
            await server.ready.wait()
        log.info("receiver.ready", **_addresses(settings, listener, admin))
        _notify("READY=1")
        await _warn(app)
        await stop.wait()
        grace_s = settings.server.grace.total_seconds()
        attempts = app.dispatcher.running
        log.info("receiver.stopping", grace_s=grace_s, running_attempts=attempts)
        _notify("STOPPING=1")
        await _stop(app, servers, tasks)
    finally:
        with suppress(OSError):  # closing the store matters more
            control_path(settings.store.url).unlink(missing_ok=True)
        await app.close()
        log.info("receiver.stopped")


async def _stop(
    app: App, servers: list["_Server"], tasks: list[asyncio.Task[None]]
) -> None:
    """Take no more, finish what was taken, then let go."""
    app.hooks.stopping = app.health.stopping = True
    app.parts.stopping.set()
    for server in servers:
        server.should_exit = True
    grace_s = app.settings.server.grace.total_seconds()
    async with app.changing:
        await app.watcher.stop()
        await app.follower.stop()
        await app.replayer.stop()
        await app.retention.stop()
        await app.reconciler.stop()
        await app.confirmer.stop()
        await asyncio.gather(app.dispatcher.stop(grace_s), *tasks)


async def _reload(app: App, load: Callable[[], Settings]) -> None:
    async with app.changing:
        if not app.hooks.stopping:
            await _reload_alone(app, load)


async def _reload_alone(app: App, load: Callable[[], Settings]) -> None:
    log = logs.get()
    try:
        settings = load()
        before = app.settings
        await app.reload(settings)
    except SettingsError as error:
        for problem in error.problems:
            log.error("reload.refused", problem=str(problem))
        return
    except StoreError as error:
        log.error("reload.refused", problem=str(error))
        return
    if _fixed(before) != _fixed(settings):
        advice = "[server], store.url and store.min_free_bytes need a restart"
        log.warning("reload.partial", advice=advice)
    log.info("reload.done", routes=len(settings.routes))
    await _warn(app)


def _fixed(settings: Settings) -> tuple[object, ...]:
    """What stays as it is until a restart."""
    store = settings.store
    return settings.server, store.url, store.min_free_bytes


async def _warn(app: App) -> None:
    """Say what works, but not as somebody may think."""
    log = logs.get()
    for key, message in app.senders.warnings():
        log.warning("config.warning", key=key, message=message)
    for advice in await app.orphans():
        log.warning("deliveries.orphaned", advice=advice)


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, and with a way to wait for its start."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _public(app: App, web: ASGIApp) -> uvicorn.Config:
    server = app.settings.server
    limits = bounded(
        server.header_timeout.total_seconds(), server.body_timeout.total_seconds()
    )
    return _config(web, limits, server.grace.total_seconds())


def _control(app: App) -> uvicorn.Config:
    return _config(
        control_app(app.parts), "httptools", app.settings.server.grace.total_seconds()
    )


def _config(app: ASGIApp, http: object, grace_s: float) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=http,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(grace_s)),
    )


def _listen(settings: Settings, fd: int | None) -> socket.socket:
    """The socket handed to us, or one of our own."""
    if fd is not None:
        try:
            return socket.socket(fileno=fd)
        except OSError as error:
            message = f"descriptor {fd} is not a socket: {error.strerror}"
            raise SettingsError([Problem("--fd", "", message)]) from None
    return _bound(settings, settings.server.host, settings.server.port)


def _listen_for_admin(settings: Settings) -> socket.socket | None:
    server = settings.server
    if server.admin_port is None:
        return None
    return _bound(settings, server.admin_host, server.admin_port)


def _bound(settings: Settings, host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        in_use = "is another program using it? stop that, or set another port"
        hint = (
            in_use if error.errno == errno.EADDRINUSE else "see [server] host and port"
        )
        message = f"cannot listen on {host}:{port}: {error.strerror}"
        raise SettingsError([Problem(settings.file, "server", message, hint)]) from None
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _listen_locally(path: Path) -> socket.socket:
    """A socket only this user may write to; one left by a crash is replaced."""
    if len(str(path)) > MAX_SOCKET_PATH:
        message = "is too long for a Unix socket beside it"
        hint = f"keep it under {MAX_SOCKET_PATH} characters"
        raise SettingsError([Problem(str(path), "store.url", message, hint)])
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise StoreUnusable(
            f"{path} cannot be made ({error.strerror}): the store's folder must belong "
            "to the user the receiver runs as, on a disk with room"
        ) from error
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _on_signals(stop: asyncio.Event, reload: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[object]] = set()

    def start_reload() -> None:
        task = asyncio.ensure_future(reload())  # type: ignore[call-overload]
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def begin_to_stop() -> None:
        if stop.is_set():
            # asked twice: what is unfinished is done after the next start
            kill_all()
            os._exit(1)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, begin_to_stop)
    loop.add_signal_handler(signal.SIGHUP, start_reload)


def _addresses(
    settings: Settings, listener: socket.socket, admin: socket.socket | None
) -> dict[str, object]:
    where = {} if admin is None else {"admin": _url(admin)}
    base, store = _url(listener), settings.store.url
    if base.startswith("unix:"):
        return {"url": base, **where, "store": store}
    paths = {source.name: base + source.path for source in settings.sources.values()}
    return {"url": base, **where, "sources": paths, "store": store}


def _url(listener: socket.socket) -> str:
    name = listener.getsockname()
    if isinstance(name, str | bytes):
        return f"unix:{os.fsdecode(name)}"
    host, port = name[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


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
