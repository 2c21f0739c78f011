"""
What is kept of requests: nothing that is secret, and of refused ones not too much.

Whoever can reach us can be refused as often as they like.
"""

from collections.abc import Container, Iterator, Mapping, Sequence

from receiver.errors import Rejected
from receiver.models import Rejection, Request
from receiver.settings import Source

KEPT_REJECTED_BYTES = 64 * 1024
"""How much of an unauthentic body is kept."""

KEPT_HEADER_CHARS = 16 * 1024
KEPT_VALUE_CHARS = 1024
KEPT_QUERY_CHARS = 4 * 1024
"""How much of a refused request's headers, of each value, and of its query is kept."""

REJECTIONS_AT_ONCE = 50
REJECTED_BYTES_AT_ONCE = 1024 * 1024
"""Kept in one piece at most, so that events do not wait long for their turn."""

NEVER_KEPT = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers whose values are replaced before they are stored."""


def rejection_of(
    source: Source, request: Request, why: Rejected, body: bytes
) -> Rejection:
    """The request as it is kept, with as much of its body as is given."""
    return Rejection(
        id="",
        source=source.name,
        code=why.code,
        message=why.message,
        received_at=request.received_at,
        headers=_shortened(kept_headers(source, request.headers), KEPT_HEADER_CHARS),
        query=_shortened(kept_query(request.query), KEPT_QUERY_CHARS),
        body=body,
        body_bytes=_length(request),
    )


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


def pieces(rejections: Sequence[Rejection]) -> Iterator[Sequence[Rejection]]:
    """In order, each small enough to be written at once."""
    piece: list[Rejection] = []
    size = 0
    for rejection in rejections:
        size += len(rejection.body)
        if len(piece) == REJECTIONS_AT_ONCE or (
            piece and size > REJECTED_BYTES_AT_ONCE
        ):
            yield piece
            piece, size = [], len(rejection.body)
        piece.append(rejection)
    if piece:
        yield piece


def kept_headers(source: Source, headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers, credentials replaced by stars."""
    never = NEVER_KEPT | {name.lower() for name in source.require_headers}
    if never.isdisjoint(headers):
        return headers
    return {name: "***" if name in never else v for name, v in headers.items()}


def kept_query(query: Mapping[str, str]) -> Mapping[str, str]:
    """The query, the token replaced by stars."""
    return query if "token" not in query else {**query, "token": "***"}


def shown_headers(headers: Mapping[str, str], also: Container[str]) -> dict[str, str]:
    """Headers for people to see: signatures masked, they are as good as the request."""
    return {
        name: "***" if name in also or "signature" in name else value
        for name, value in headers.items()
    }
