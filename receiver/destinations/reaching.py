"""Whether the other side of an HTTP destination can be connected to; nothing is sent."""

import asyncio
import os
import socket
import ssl

from yarl import URL

from receiver.destinations import tls
from receiver.destinations.addresses import Refused
from receiver.destinations.transport import Dialling
from receiver.models import Outcome, Result

ANYHOW = Dialling()


async def reach(url: str, dialling: Dialling = ANYHOW) -> Outcome:
    """
    Connect to the host of a URL as a request would, TLS included, and hang up.

    The outcome names host and port, never more of the URL.
    """
    try:
        address = URL(url)
        host, port = address.raw_host or "", address.port or 0
    except ValueError:
        return Outcome(Result.BAD_CONFIG, "the URL is not valid")
    place = f"{host}:{port}"
    if not dialling.guard.allows(host):
        return Outcome(Result.BLOCKED, f"`allow_hosts` does not name {host}")
    try:
        trust = None
        if address.scheme == "https":
            trust = await asyncio.to_thread(dialling.tls.context)
        await _connect(host, port, trust, dialling)
    except (OSError, UnicodeError) as error:  # ssl.SSLError is an OSError
        return _failure(error, host, place)
    return Outcome(Result.OK, f"{place} is connected to{' by TLS' if trust else ''}")


def _failure(error: Exception, host: str, place: str) -> Outcome:
    if isinstance(error, socket.gaierror | UnicodeError):
        return Outcome(Result.DNS, f"the name {host} could not be looked up")
    if isinstance(error, Refused):
        wrong = f"{host} has {error}, and `deny_private` forbids that"
        return Outcome(Result.BLOCKED, wrong)
    if isinstance(error, ssl.SSLError):
        why = tls.described(error)
        return Outcome(Result.TLS, f"{place}: no TLS connection: {why}")
    number = error.errno if isinstance(error, OSError) else None
    why = os.strerror(number) if number else "no connection"
    return Outcome(Result.CONNECT, f"{place}: {why}")


async def _connect(
    host: str, port: int, trust: ssl.SSLContext | None, dialling: Dialling
) -> None:
    """
    By one address after the other.

    Raises:
        OSError: none of them could be connected to; of the last.
    """
    loop = asyncio.get_running_loop()
    failed: OSError | None = None
    for found in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        opened = None
        try:
            opened = dialling.guard.open(found)
            opened.setblocking(False)
            await loop.sock_connect(opened, found[4])
            name = host if trust else None
            _, writer = await asyncio.open_connection(
                sock=opened, ssl=trust, server_hostname=name
            )
        except OSError as error:  # ssl.SSLError is one
            failed = error
            if opened is not None:
                opened.close()
        else:
            writer.transport.abort()
            return
    raise failed or OSError("no address")
