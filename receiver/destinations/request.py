"""
The request that comes of an event, exactly as it is sent; pure.

    expressions -> method, address, headers and body -> signature over that body

Of the headers the configured ones win over the provider's and over our own, except
those of Standard Webhooks.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from urllib.parse import urlsplit

from receiver.destinations import Parcel
from receiver.destinations.computing import (
    JSON,
    Asked,
    Computed,
    Uncomputable,
    compute,
)
from receiver.destinations.http_settings import (
    HEADER,
    METHODS,
    RESERVED,
    HttpSettings,
    is_web_address,
    without_path,
)
from receiver.models import Secret
from receiver.signatures import standard_signature

USER_AGENT = f"receiver/{version('receiver')}"

LEAST_HIDDEN_CHARS = 4
"""A secret of fewer is hidden only where it is all there is."""

MASK = "***"


@dataclass(frozen=True, slots=True)
class Rendered:
    """
    One request.  Its `repr` shows nothing of it; `masked` can be shown.

    Header names are in lower case.
    """

    method: str
    url: Secret
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    hidden: tuple[str, ...] = field(repr=False, default=())
    shown_url: str = ""
    """The address without what may be secret; empty for one that was computed."""

    def masked(self) -> "Rendered":
        """The same with stars for what is secret: good to look at, not to send."""
        headers = {
            name: hide(value, self.hidden) for name, value in self.headers.items()
        }
        if "authorization" in headers:
            headers["authorization"] = MASK
        body = hide(self.body.decode("utf-8", "surrogateescape"), self.hidden)
        return replace(
            self,
            url=Secret(self.shown_url or _shown(self.url, self.hidden)),
            headers=headers,
            body=body.encode("utf-8", "surrogateescape"),
        )


def asked(settings: HttpSettings, parcel: Parcel) -> Asked:
    """What must be evaluated for a parcel."""
    return Asked(
        settings.expressions, settings.texts, parcel.delivery.id, parcel.number
    )


def render(settings: HttpSettings, parcel: Parcel) -> Rendered:
    """
    The request for a parcel whose event was read (pure).

    Raises:
        Uncomputable: an expression failed, or gave what cannot be sent.
    """
    return assemble(settings, parcel, compute(asked(settings, parcel), parcel.event))


def assemble(settings: HttpSettings, parcel: Parcel, computed: Computed) -> Rendered:
    """
    The request, from what the expressions gave.

    Raises:
        Uncomputable: that cannot be sent.
    """
    method = _method(computed.method or settings.literal_method)
    body = computed.body
    if body is None:
        body = b"" if method in ("GET", "HEAD") else parcel.event.body
    return Rendered(
        method=method,
        url=Secret(_address(computed.url or settings.literal_url)),
        headers=_headers(settings, parcel, computed, body),
        body=body,
        hidden=settings.hidden,
        shown_url=settings.literal_url and without_path(settings.literal_url),
    )


def hide(text: str, hidden: Iterable[str]) -> str:
    """The text with stars for whatever of it is secret, also as JSON writes it."""
    for secret in sorted(hidden, key=len, reverse=True):
        if text == secret:
            return MASK
        if len(secret) >= LEAST_HIDDEN_CHARS:
            text = text.replace(secret, MASK)
            text = text.replace(json.dumps(secret, ensure_ascii=False)[1:-1], MASK)
    return text


def _shown(url: str, hidden: Iterable[str]) -> str:
    parts = urlsplit(url)
    without_user = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return hide(without_user.geturl(), hidden)


def _method(method: str) -> str:
    if method.upper() not in METHODS:
        raise Uncomputable(f"`method`: gave none of {', '.join(METHODS)}")
    return method.upper()


def _address(url: str) -> str:
    if not is_web_address(url):
        raise Uncomputable("`url`: gave no http:// or https:// address")
    return url


def _headers(
    settings: HttpSettings, parcel: Parcel, computed: Computed, body: bytes
) -> Mapping[str, str]:
    event, delivery = parcel.event, parcel.delivery
    wanted = (name.lower() for name in settings.forward_headers)
    headers = {
        name: event.headers[name]
        for name in wanted
        if name in event.headers and name not in RESERVED
    }
    timestamp = int(parcel.now.timestamp())
    headers |= {
        "user-agent": USER_AGENT,
        "receiver-source": event.source,
        "receiver-event-type": event.type,
        "receiver-attempt": str(parcel.number),
    }
    if computed.body is None:
        headers["content-type"] = event.headers.get("content-type", JSON)
    elif computed.content_type:
        headers["content-type"] = computed.content_type
    if delivery.replay_id is not None:
        headers["receiver-replay"] = delivery.replay_id
    headers |= _configured(settings, computed)
    headers |= {
        "webhook-id": delivery.sent_as,
        "webhook-timestamp": str(timestamp),
    }
    if settings.keys:
        headers["webhook-signature"] = standard_signature(
            settings.keys, delivery.sent_as, timestamp, body
        )
    return {name: _one_line(value) for name, value in headers.items()}


def _configured(settings: HttpSettings, computed: Computed) -> Mapping[str, str]:
    if isinstance(settings.headers, Mapping):
        return {name.lower(): value for name, value in settings.headers.items()}
    found = {name.lower(): value for name, value in (computed.headers or {}).items()}
    for name in found:
        if not HEADER.fullmatch(name) or name in RESERVED:
            raise Uncomputable(f"`headers`: {name!r} is no header that can be set")
    return found


def _one_line(value: str) -> str:
    """A provider's type or header could hold anything; a header's value cannot."""
    return "".join(c if " " <= c <= "~" or c == "\t" else "?" for c in value)
