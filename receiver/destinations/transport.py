"""
HTTP for the destinations that speak it: one request, one reply or one named failure.

aiohttp rather than httpx, whose pool costs time that grows with the square of the
requests waiting.  Redirects are not followed: a webhook goes where it was configured
to go.  Of a reply only the first `KEPT_BYTES` are read.
"""

import asyncio
import io
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp.connector import Connection
from yarl import URL

from receiver.destinations import tls
from receiver.destinations.addresses import Guard, Refused
from receiver.destinations.replies import Reply
from receiver.destinations.tls import Alerts, Tls
from receiver.models import Outcome, Result

KEPT_BYTES = 2048
"""How much of a reply's body is kept for `deliveries show`."""

LARGE_BYTES = 1 << 20
"""A body of more is written piece by piece, so that it does not hold up the loop."""

CONNECTING, WAITING = "connecting", "waiting for the answer"


@dataclass(frozen=True, slots=True)
class Dialling:
    """
    How connections are made: to whom, with which certificates, and how patiently.

    `connect_s` is for the look-up of the name, the connection and TLS; `read_s` for
    silence of the other side.
    """

    guard: Guard = field(default_factory=Guard)
    tls: Tls = field(default_factory=Tls)
    connect_s: float | None = None
    read_s: float | None = None


@dataclass(slots=True)
class _Progress:
    """How far a request has come."""

    phase: str = CONNECTING


_progress: ContextVar[_Progress] = ContextVar("progress")


class _Connector(aiohttp.TCPConnector):
    """Notes when there is a connection; tracing would cost each request 10 µs."""

    async def connect(self, *args: Any, **kwargs: Any) -> Connection:
        connection = await super().connect(*args, **kwargs)
        _progress.get().phase = WAITING
        return connection


class Transport:
    """Keeps connections open between requests; made on first use, inside the loop."""

    def __init__(self, connections: int, dialling: Dialling | None = None) -> None:
        self._connections = connections
        self._dialling = dialling or Dialling()
        self._session: aiohttp.ClientSession | None = None
        self._trust: ssl.SSLContext | None = None
        self._alerts: Alerts | None = None
        self._reading = asyncio.Lock()

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        whole: int = 0,
    ) -> Reply | Outcome:
        """
        The reply, or the outcome when there was none.

        With `whole` the reply's text is all of it, up to that many bytes.  Cancelled,
        a note of the `CancelledError` says how far it had come.
        """
        progress = _Progress()
        _progress.set(progress)
        data = body if len(body) < LARGE_BYTES else io.BytesIO(body)
        try:
            address = self._allowed(url)
            trust = await self._trusted() if address.scheme == "https" else True
            async with self._open().request(
                method,
                address,
                data=data,
                headers=headers,
                allow_redirects=False,
                ssl=trust,
            ) as response:
                text = await _beginning(response, whole)
                return Reply(response.status, response.headers, text)
        except asyncio.CancelledError as error:
            error.add_note(f"while {progress.phase}")
            raise
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return self._failure(error, progress)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _allowed(self, url: str) -> URL:
        """The address as it is dialled; what is judged is what is used."""
        try:
            address = URL(url)
        except ValueError:
            raise aiohttp.InvalidURL(url) from None
        if not self._dialling.guard.allows(address.raw_host or ""):
            raise Refused(f"`allow_hosts` does not name {address.raw_host}")
        return address

    async def _trusted(self) -> ssl.SSLContext:
        """What is trusted, and what we show; from files, read once."""
        async with self._reading:
            if self._trust is None:
                try:
                    trust = await asyncio.to_thread(self._dialling.tls.context)
                except OSError as error:
                    raise _Unusable from error
                self._trust, self._alerts = trust, Alerts(trust)
            return self._trust

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._made()
        return self._session

    def _made(self) -> aiohttp.ClientSession:
        dialling = self._dialling
        return aiohttp.ClientSession(
            connector=_Connector(
                limit=self._connections,
                ttl_dns_cache=30,
                socket_factory=dialling.guard.open,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None,  # the caller's is the limit
                connect=dialling.connect_s,
                sock_read=dialling.read_s,
                ceil_threshold=3600,  # as it was configured, not rounded up
            ),
            auto_decompress=False,
        )

    def _failure(self, error: Exception, progress: _Progress) -> Outcome:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            seconds = self._dialling.connect_s
            return Outcome(Result.TIMEOUT, f"no connection within {seconds:g} s")
        if isinstance(error, aiohttp.SocketTimeoutError):
            silence = f"nothing came for {self._dialling.read_s:g} s"
            return Outcome(Result.TIMEOUT, f"{silence} while {progress.phase}")
        if isinstance(error, _Unusable):
            wrong = "the files for TLS cannot be used"
            pause = f"{wrong}: correct `client_cert`, `client_key` or `ca_file`"
            return Outcome(Result.BAD_CONFIG, wrong, pause=pause)
        outcome = failure(error)
        alert = self._alerts.take() if self._alerts else None
        if alert is not None and outcome.result is Result.CONNECT:
            return failure(alert)
        return outcome


class _Unusable(OSError):
    """The files for TLS cannot be used (any more)."""


async def _beginning(response: aiohttp.ClientResponse, whole: int) -> str:
    """Of the body; one that ends too early, or stalls, does not undo the status."""
    kept = b""
    try:
        kept = await response.content.read(whole or KEPT_BYTES)
        while len(kept) < whole and not response.content.at_eof():
            kept += await response.content.read(whole - len(kept))
    except (aiohttp.ClientPayloadError, aiohttp.SocketTimeoutError):
        pass
    return kept.decode("utf-8", "replace")


def failure(error: Exception) -> Outcome:
    """Name what went wrong before there was a reply; never shows the URL."""
    refused = getattr(error, "os_error", error)
    if isinstance(refused, Refused):
        return _blocked(error, refused)
    if isinstance(error, aiohttp.InvalidURL):
        return Outcome(Result.BAD_CONFIG, "the URL is not valid", permanent=True)
    if tls.is_tls(error):
        why = tls.described(error)
        return Outcome(Result.TLS, f"the TLS connection could not be set up: {why}")
    if isinstance(error, OSError | aiohttp.ClientConnectionError):
        return _unconnected(error)
    return Outcome(Result.ERROR, f"no usable reply ({type(error).__name__})")


def _unconnected(error: Exception) -> Outcome:
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Outcome(Result.DNS, f"the name {error.host} could not be looked up")
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or "the connection was closed at once"
        return Outcome(Result.CONNECT, f"{error.host}:{error.port}: {reason}")
    return Outcome(Result.CONNECT, "the connection was closed before a reply")


def _blocked(error: Exception, refused: Refused) -> Outcome:
    if isinstance(error, aiohttp.ClientConnectorError):
        wrong = f"{error.host} has {refused}, and `deny_private` forbids that"
    else:
        wrong = str(refused)
    return Outcome(Result.BLOCKED, wrong, permanent=True)
