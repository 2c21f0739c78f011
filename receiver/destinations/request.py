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
from urllib.parse import urlsplit

from receiver import __version__
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

USER_AGENT = f"receiver/{__version__}"

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
    wants_token: bool = field(repr=False, default=False)
    """Whether an access token is added when it is sent."""

    literal: bool = field(repr=False, default=False)
    """Whether the address was configured as it is, and so may be secret after the host."""

    def masked(self) -> "Rendered":
        """The same with stars for what is secret: good to look at, not to send."""
        headers = {
            name: hide(value, self.hidden) for name, value in self.headers.items()
        }
        if "authorization" in headers or self.wants_token:
            headers["authorization"] = MASK
        body = hide(self.body.decode("utf-8", "surrogateescape"), self.hidden)
        return replace(
            self,
            url=Secret(
                without_path(self.url)
                if self.literal
                else _without_user(hide(self.url, self.hidden))
            ),
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
    method = settings.literal_method or _method(computed.method or "")
    body = computed.body
    if body is None:
        body = b"" if method in ("GET", "HEAD") else parcel.event.body
    return Rendered(
        method=method,
        url=settings.url if computed.url is None else _address(computed.url),
        headers=_headers(settings, parcel, computed, body),
        body=body,
        hidden=settings.hidden,
        wants_token=settings.oauth2 is not None,
        literal=computed.url is None,
    )


def hide(text: str, hidden: Iterable[str]) -> str:
    """
    The text with stars for whatever of it is secret, also as JSON writes it.

    So is the beginning of a secret where the text ends, for it may have been cut.
    """
    for secret in sorted(hidden, key=len, reverse=True):
        if text == secret:
            return MASK
        if len(secret) >= LEAST_HIDDEN_CHARS:
            text = text.replace(secret, MASK)
            text = text.replace(json.dumps(secret, ensure_ascii=False)[1:-1], MASK)
            text = _without_beginning(text, secret)
    return text


def _without_beginning(text: str, secret: str) -> str:
    at = text.find(secret[:LEAST_HIDDEN_CHARS])
    while at >= 0 and not secret.startswith(text[at:]):
        at = text.find(secret[:LEAST_HIDDEN_CHARS], at + 1)
    return text if at < 0 else text[:at] + MASK


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _method(method: str) -> str:
    if method.upper() not in METHODS:
        raise Uncomputable(f"`method`: gave none of {', '.join(METHODS)}")
    return method.upper()


def _address(url: str) -> Secret:
    if not is_web_address(url):
        raise Uncomputable("`url`: gave no http:// or https:// address")
    return Secret(url)


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
    if settings.authorization:
        headers["authorization"] = settings.authorization
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
    if "authorization" in found and (settings.authorization or settings.oauth2):
        raise Uncomputable("`headers`: gave authorization, which is set already")
    for name in found:
        if not HEADER.fullmatch(name) or name in RESERVED:
            raise Uncomputable(f"`headers`: {name!r} is no header that can be set")
    return found


def _one_line(value: str) -> str:
    """A provider's type or header could hold anything; a header's value cannot."""
    if value.isascii() and value.isprintable():
        return value
    return "".join(c if " " <= c <= "~" or c == "\t" else "?" for c in value)
