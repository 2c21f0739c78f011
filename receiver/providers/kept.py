"""
What is kept, and shown, of a request's headers and query: nothing that is secret.

Of an event, credentials are replaced by stars.  Of a refused request they are replaced
by a digest, so that it can be held against a configuration that was mended; signatures
are as good as the request itself, and are masked wherever headers are shown.
"""

from collections.abc import Container, Mapping

from receiver.providers.verification import DIGEST, authorization_of, digest
from receiver.settings import Source

NEVER_KEPT = frozenset({"authorization", "cookie", "proxy-authorization"})
"""Headers whose values are replaced before they are stored."""


def kept_headers(source: Source, headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers, credentials replaced by stars."""
    never = NEVER_KEPT
    if source.require_headers:
        never |= {name.lower() for name in source.require_headers}
    if never.isdisjoint(headers):
        return headers
    return {name: "***" if name in never else v for name, v in headers.items()}


def kept_query(query: Mapping[str, str]) -> Mapping[str, str]:
    """The query, the token replaced by stars."""
    return query if "token" not in query else {**query, "token": "***"}


def digested_headers(source: Source, headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers, credentials the source asks for as digests, others as stars."""
    asked = authorization_of(source)
    found = {n: "***" if n in NEVER_KEPT else value for n, value in headers.items()}
    return found | {n: digest(headers[n]) for n in asked if n in headers}


def digested_query(query: Mapping[str, str]) -> Mapping[str, str]:
    """The query, the token replaced by its digest."""
    return {n: digest(value) if n == "token" else value for n, value in query.items()}


def shown_headers(headers: Mapping[str, str], also: Container[str]) -> dict[str, str]:
    """Headers for people to see: signatures masked, they are as good as the request."""
    return {
        name: "***" if _is_secret(name, value, also) else value
        for name, value in headers.items()
    }


def shown_query(query: Mapping[str, str]) -> dict[str, str]:
    """The query for people to see: a digest is nobody's business."""
    return dict(kept_query(query))


def _is_secret(name: str, value: str, also: Container[str]) -> bool:
    named = name in also or "signature" in name or name in NEVER_KEPT
    return named or (value.startswith(DIGEST) and len(value) == len(DIGEST) + 64)
