"""
Whose links they are: hosts out of URLs, held against a list.

Programs disagree on what `https://a\\@b/`, `https:/a` or a host that is not ASCII mean,
so of those no host is told, and only a list with `*` allows them.  What is told is
what RFC 3986 and the WHATWG's URL standard (https://url.spec.whatwg.org/) agree on.
"""

import re
from collections.abc import Iterable, Iterator

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*"
_PATTERN = re.compile(rf"\*|(?:\*\.)?{_NAME}")
_URL = re.compile(
    rf"https?://({_NAME})\.?(?::[0-9]{{0,5}})?(?:[/?#][^\x00-\x20\x7f]*)?",
    re.IGNORECASE | re.ASCII,
)
_LINK = re.compile(
    r"[\x00-\x20]*(?:https?:|[a-z][a-z0-9+.-]*:[/\\]{2}|[/\\]{2})", re.IGNORECASE
)


def is_pattern(text: str) -> bool:
    """Whether it is `host.example`, `*.host.example` (what is below it) or `*`."""
    return _PATTERN.fullmatch(text.lower()) is not None


def is_link(text: str) -> bool:
    """Whether some program could take the whole text for an address to fetch."""
    return _LINK.match(text) is not None


def host_of(url: str) -> str | None:
    """
    The host in lower case, without port and final dot; None where that is unclear.

    Unclear are user names before the host, backslashes, control characters, IPv6
    literals, and hosts that are not ASCII or are percent-encoded.
    """
    found = _URL.fullmatch(url)
    return found[1].lower() if found is not None else None


def strangers(urls: Iterable[str], allowed: Iterable[str]) -> Iterator[str]:
    """What to call the host of each URL that no pattern allows."""
    patterns = [pattern.lower() for pattern in allowed]
    if "*" in patterns:
        return
    exact = frozenset(patterns)
    below = tuple(p[1:] for p in patterns if p.startswith("*."))
    for url in urls:
        host = host_of(url)
        if host is None:
            yield "a host that cannot be told for sure"
        elif host not in exact and not host.endswith(below):
            yield host
