"""What can be wrong with how a source asks its provider's API (pure)."""

from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from receiver.settings import Source

_NEEDS_KEY = ("api_url", "reconcile", "confirm")


def problems(
    source: Source, status_api: str, *, confirms: bool
) -> Iterable[tuple[str, str, str]]:
    """What is wrong: (field, message, hint) each."""
    if not status_api:
        for field in ("api_key", *_NEEDS_KEY):
            if getattr(source, field):
                message = f"no status API of {source.provider} is known here"
                yield field, message, "remove it: nothing could be asked"
        return
    if source.api_key is None:
        for field in _NEEDS_KEY:
            if getattr(source, field):
                hint = 'set api_key = "${...}", too'
                yield field, "does nothing without a key for the API", hint
    elif not (source.api_key.isascii() and source.api_key.isprintable()):
        yield "api_key", "is not printable ASCII", "copy it again"
    if source.api_url is not None and (why := unfit(source.api_url)):
        yield "api_url", why, 'write it like "https://api.example.com/v1"'
    if source.on_unconfirmed == "cancel" and not confirms:
        message = "does nothing where nothing is confirmed"
        yield "on_unconfirmed", message, "set confirm = true, too"


def unfit(url: str) -> str:
    """Why a key may not be sent to an address; empty if it may."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is no web address"
    if parts.scheme not in ("http", "https") or not host:
        return "is no web address"
    if parts.username or parts.password or parts.query or parts.fragment:
        return "has more than a host and a path in it"
    if parts.scheme == "http" and not _is_here(host):
        return "would send the key in the clear: only https, or http on this machine"
    return ""


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
