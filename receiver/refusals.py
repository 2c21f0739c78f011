"""
Requests that were refused: counted, logged, and kept (bounded), soon but not at once.

Whoever can reach us can be refused as often as they like, so nobody waits for what is
kept of them, and what does not fit is not kept.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from receiver import logs
from receiver.alerts import Alerts
from receiver.errors import Rejected, StoreError
from receiver.metrics import Metrics
from receiver.models import Carried, Rejection, Request
from receiver.providers import Provider
from receiver.providers.kept import digested_headers, digested_query
from receiver.stores import Store

KEPT_UNSIGNED_BYTES = 4 * 1024
"""How much is kept of a body that came without any signature."""

KEPT_SIGNED_BYTES = 1024 * 1024
"""A signed body up to this size is kept whole, so that it can be verified again."""

KEPT_HEADER_CHARS = 16 * 1024
KEPT_VALUE_CHARS = 1024
KEPT_QUERY_CHARS = 4 * 1024
"""How much of a refused request's headers, of each value, and of its query is kept."""

WAITING = 200
WAITING_BYTES = 8 * 1024 * 1024
EVERY_S = 0.25
"""How many may wait to be kept, how large, and for how long."""

AT_ONCE = 50
BYTES_AT_ONCE = 1024 * 1024
"""Kept in one piece at most, so that events do not wait long for their turn."""


class Refusals:
    """Notes refused requests."""

    def __init__(self, store: Store, metrics: Metrics, alerts: Alerts) -> None:
        self._store = store
        self._alerts = alerts
        self._metrics = metrics
        self._waiting: list[Rejection] = []
        self._bytes = 0
        self._flusher: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def keep_soon(self, provider: Provider, request: Request, why: Rejected) -> None:
        """Note one that anybody may have sent; at most so many wait."""
        self._note(provider, request, why)
        signed = not provider.signature_headers.isdisjoint(request.headers)
        if signed:
            self._alerts.source_rejecting(provider.source.name, why.code, why.message)
        most = KEPT_SIGNED_BYTES if signed else KEPT_UNSIGNED_BYTES
        kept = rejection_of(
            provider,
            request,
            why,
            request.body[: most if len(request.body) <= most else KEPT_UNSIGNED_BYTES],
            "signed" if signed else "unsigned",
        )
        if len(self._waiting) < WAITING and self._bytes < WAITING_BYTES:
            self._waiting.append(kept)
            self._bytes += len(kept.body)
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())

    async def keep(self, provider: Provider, request: Request, why: Rejected) -> None:
        """
        Keep a request that is authentic, whole, before it is answered.

        Raises:
            StoreError: it is not kept; the sender should try again.
        """
        self._note(provider, request, why)
        self._alerts.source_rejecting(provider.source.name, why.code, why.message)
        kept = rejection_of(provider, request, why, request.body, "verified")
        await self._store.add_rejections([kept])

    async def close(self) -> None:
        """Keep what waits."""
        self._closing.set()
        if self._flusher is not None:
            await self._flusher

    @property
    def waiting(self) -> int:
        """How many are not on the disk yet."""
        return len(self._waiting)

    def _note(self, provider: Provider, request: Request, why: Rejected) -> None:
        source = provider.source.name
        self._metrics.rejected.labels(source, why.code).inc()
        logs.get().warning(
            "event.rejected",
            source=source,
            code=why.code,
            reason=why.message,
            bytes=len(request.body),
        )

    async def _flush(self) -> None:
        while self._waiting:  # more may come while these are written
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._closing.wait()
            waiting, self._waiting = self._waiting, []
            self._bytes = 0
            for piece in pieces(waiting):
                try:
                    await self._store.add_rejections(piece)
                except StoreError as error:
                    logs.get().warning("rejections.not_kept", error=str(error))


def rejection_of(
    provider: Provider, request: Request, why: Rejected, body: bytes, carried: Carried
) -> Rejection:
    """The request as it is kept, with as much of its body as is given."""
    source = provider.source
    headers = digested_headers(source, request.headers)
    return Rejection(
        id="",
        source=source.name,
        code=why.code,
        message=why.message,
        received_at=request.received_at,
        headers=_shortened(headers, KEPT_HEADER_CHARS),
        query=_shortened(digested_query(request.query), KEPT_QUERY_CHARS),
        body=body,
        body_bytes=_length(request),
        carried=carried,
        client=request.client,
    )


def pieces(rejections: Sequence[Rejection]) -> Iterator[Sequence[Rejection]]:
    """In order, each small enough to be written at once."""
    piece: list[Rejection] = []
    size = 0
    for rejection in rejections:
        size += len(rejection.body)
        if len(piece) == AT_ONCE or (piece and size > BYTES_AT_ONCE):
            yield piece
            piece, size = [], len(rejection.body)
        piece.append(rejection)
    if piece:
        yield piece


def _length(request: Request) -> int:
    """How long its body is, or says it is when we have only the beginning."""
    said = request.headers.get("content-length", "")
    plain = len(said) < 16 and said.isascii() and said.isdigit()
    return max(len(request.body), int(said) if plain else 0)


def _shortened(texts: Mapping[str, str], most: int) -> Mapping[str, str]:
    """As many as fit in `most` characters, and of each value only the beginning."""
    kept: dict[str, str] = {}
    for name, value in texts.items():
        beginning = value[:KEPT_VALUE_CHARS]
        most -= len(name) + len(beginning)
        if most < 0:
            break
        kept[name] = beginning
    return kept
