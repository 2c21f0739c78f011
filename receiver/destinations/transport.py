"""
HTTP for the destinations that speak it: one request, one reply or one named failure.

aiohttp rather than httpx, whose pool costs time that grows with the square of the
requests waiting.  Redirects are not followed: a webhook goes where it was configured
to go.  Of a reply only the first `KEPT_BYTES` are read.
"""

import io
import ssl
from collections.abc import Mapping

import aiohttp

from receiver.destinations.replies import Reply
from receiver.models import Outcome, Result

KEPT_BYTES = 2048
"""How much of a reply's body is kept for `deliveries show`."""

LARGE_BYTES = 1 << 20
"""A body of more is written piece by piece, so that it does not hold up the loop."""


class Transport:
    """Keeps connections open between requests; made on first use, inside the loop."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Reply | Outcome:
        """The reply, or the outcome when there was none."""
        data = body if len(body) < LARGE_BYTES else io.BytesIO(body)
        try:
            async with self._open().request(
                method, url, data=data, headers=headers, allow_redirects=False
            ) as response:
                text = await _beginning(response)
                return Reply(response.status, response.headers, text)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return failure(error)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections, ttl_dns_cache=30
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # the caller's is the limit
                auto_decompress=False,
            )
        return self._session


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """Of the body; one that ends too early does not undo the status."""
    try:
        kept = await response.content.read(KEPT_BYTES)
    except aiohttp.ClientPayloadError:
        return ""
    return kept.decode("utf-8", "replace")


def failure(error: Exception) -> Outcome:
    """Name what went wrong before there was a reply; never shows the URL."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Outcome(Result.DNS, f"the name {error.host} could not be looked up")
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return Outcome(Result.TLS, "the TLS connection could not be set up")
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = error.os_error.strerror or "no connection"
        return Outcome(Result.CONNECT, f"{error.host}:{error.port}: {reason}")
    if isinstance(error, aiohttp.InvalidURL):
        return Outcome(Result.BAD_CONFIG, "the URL is not valid", permanent=True)
    if isinstance(error, OSError | aiohttp.ClientConnectionError):
        return Outcome(Result.CONNECT, "the connection was closed before a reply")
    return Outcome(Result.ERROR, f"no usable reply ({type(error).__name__})")
