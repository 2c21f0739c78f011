"""The sockets we listen on: one for everybody, one for who administers, a local one."""

import errno
import os
import socket
from pathlib import Path

from receiver.errors import Problem, SettingsError, StoreUnusable
from receiver.settings import Settings

BACKLOG = 2048
MAX_SOCKET_PATH = 100


def listen(settings: Settings, fd: int | None) -> socket.socket:
    """
    The socket handed to us, or one of our own.

    Raises:
        SettingsError: it is none, or the address cannot be listened on.
    """
    if fd is not None:
        try:
            return socket.socket(fileno=fd)
        except OSError as error:
            message = f"descriptor {fd} is not a socket: {error.strerror}"
            raise SettingsError([Problem("--fd", "", message)]) from None
    return _bound(settings, settings.server.host, settings.server.port)


def listen_for_admin(settings: Settings) -> socket.socket | None:
    """Where who administers has a port apart."""
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


def listen_locally(path: Path) -> socket.socket:
    """
    A socket only this user may write to; one left by a crash is replaced.

    Raises:
        SettingsError: its path is too long.
        StoreUnusable: it cannot be made.
    """
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


def addresses(
    settings: Settings, listener: socket.socket, admin: socket.socket | None
) -> dict[str, object]:
    """What is logged of where we listen."""
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
