"""
fal, the queue of generative models: one webhook for each request that has ended.

`X-Fal-Webhook-Signature` is an Ed25519 signature in hex, over four lines: the values of
`X-Fal-Webhook-Request-Id`, `-User-Id` and `-Timestamp` (seconds since 1970), and the
SHA-256 of the raw body in lower-case hex.  The public keys are a JWK set that fal
publishes; any of them may fit, and they may be cached for at most a day.  A webhook
that is not taken is sent ten times in all, within two hours.

Source: https://docs.fal.ai/model-endpoints/webhooks
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from receiver.errors import Rejected
from receiver.models import Headers, Reading, Request, State
from receiver.providers.base import Provider
from receiver.providers.values import links, table, text
from receiver.schemes import Scheme, key_of, keys_of
from receiver.settings import Source, option

KEYS_URL = "https://rest.alpha.fal.ai/.well-known/jwks.json"
REQUEST_ID = "x-fal-webhook-request-id"
USER_ID = "x-fal-webhook-user-id"

SIGNED = Scheme(
    header="x-fal-webhook-signature",
    signed=f"{{id}}\n{{header.{USER_ID}}}\n{{timestamp}}\n{{sha256}}",
    algorithm="ed25519",
    key="ed25519",
    id_header=REQUEST_ID,
    timestamp_header="x-fal-webhook-timestamp",
)

MOST_VALUES = 10_000
MOST_LINKS = 100
"""How many objects and lists of a result are searched for links, which may be anywhere."""

_ENDS = {
    "OK": ("request.completed", State.SUCCEEDED),
    "ERROR": ("request.failed", State.FAILED),
}


@dataclass(frozen=True)
class FalSource(Source):
    keys_url: str = option(KEYS_URL, help="where fal publishes its public keys")
    users: tuple[str, ...] = option(
        (), help="ids of the fal accounts whose webhooks are taken; if empty, of all"
    )
    fetch_keys: bool = option(
        True, help="whether they are fetched from there; if not, keys has all of them"
    )
    keys: tuple[str, ...] = option(
        (), help="public keys to take beside the fetched ones: x of a JWK, in base64url"
    )


class Fal(Provider):
    """See the module."""

    schemes = (SIGNED,)
    tolerance = timedelta(minutes=5)

    def __init__(self, source: FalSource) -> None:
        super().__init__(source)
        self._settings = source
        self._pinned = keys_of(SIGNED, source.keys)
        self.keys_url = source.keys_url if source.fetch_keys else ""

    @property
    def needs_secret(self) -> bool:
        return False

    def keys(self, scheme: Scheme) -> Sequence[bytes]:  # noqa: ARG002 (there is one)
        return (*self._pinned, *self.published)

    def check_sender(self, request: Request) -> None:
        users = self._settings.users
        if users and request.headers.get(USER_ID) not in users:
            message = f"{USER_ID} names an account that is not in users"
            raise Rejected(401, "user_not_allowed", message)

    def read(self, request: Request, data: Any) -> Reading:
        body = table(data)
        request_id, status = text(body.get("request_id")), text(body.get("status"))
        for name, value in (("request_id", request_id), ("status", status)):
            if not value:
                raise Rejected(400, "malformed_body", f"the body has no {name}")
        if request.headers.get(REQUEST_ID, request_id) != request_id:
            message = f"the header {REQUEST_ID} names another request than the body"
            raise Rejected(400, "request_id_mismatch", message)
        kind, state = _ENDS.get(status, (f"request.{status.lower()}", State.UNKNOWN))
        # With `payload_error` the result could only not be sent.  It is there and paid
        # for, and fal gives it to whoever asks with the request's id: no failure.
        done = state is State.SUCCEEDED
        return Reading(
            key=f"{request_id}:{kind}",
            type=kind,
            subject=request_id,
            state=state,
            final=status in _ENDS,
            facts={"status": status},
            result_urls=_found_links(body.get("payload")) if done else (),
        )

    def problems(self) -> Iterable[tuple[str, str, str]]:
        source = self._settings
        yield from self.missing_extra()
        if source.secrets:
            message = "fal signs with keys that it publishes, not with a secret"
            yield "secrets", message, "remove it"
        if source.allow_unsigned:
            yield "allow_unsigned", "fal signs whatever it sends", "remove it"
        if not _can_be_trusted(source.keys_url):
            hint = "only over TLS are keys known to be those of whom they should be"
            yield "keys_url", "is not an https:// address", hint
        for i, key in enumerate(source.keys):
            try:
                key_of(SIGNED.key, key)
            except ValueError as error:
                yield f"keys[{i}]", f"is no public key: {error}", "copy it again"
        if not source.fetch_keys and not source.keys:
            hint = 'write keys = ["..."], or leave fetch_keys out'
            yield "keys", "there is none, so nothing could be verified", hint

    def warnings(self) -> Iterable[tuple[str, str]]:
        if not self._settings.users and not self.source.has_condition:
            message = "whoever has an account at fal can have fal post here"
            yield "users", f'{message}; to take only your own: users = ["your user id"]'

    def sending_headers(self, body: bytes, message_id: str) -> Headers:
        try:
            request_id = text(table(json.loads(body)).get("request_id"))
        except (ValueError, RecursionError):
            request_id = ""
        user = next(iter(self._settings.users), "user_1")
        return {REQUEST_ID: request_id or message_id, USER_ID: user}


def _found_links(payload: Any) -> tuple[str, ...]:
    """
    What any `url` in a result names, in order: `video.url`, `images[].url`, ...

    Without recursion, for it may be nested deeply.
    """
    found: list[str] = []
    waiting, looked_at = [payload], 0
    while waiting and looked_at < MOST_VALUES:
        value = waiting.pop()
        looked_at += 1
        found += links(table(value).get("url"))
        inner = list(value.values()) if isinstance(value, dict) else value
        if isinstance(inner, list):
            waiting += [v for v in reversed(inner) if isinstance(v, dict | list)]
    return tuple(dict.fromkeys(found))[:MOST_LINKS]


def _can_be_trusted(url: str) -> bool:
    """Whether nobody between here and there could answer in its place."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    return parts.scheme == "http" and _is_here(host)


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
