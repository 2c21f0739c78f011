"""
Standard Webhooks, which many senders use: Svix and those who send through it, and
with few differences OpenAI and Replicate.

`webhook-signature` is a list with spaces between: `v1,<base64>` is HMAC-SHA256 with the
bytes behind `whsec_`, `v1a,<base64>` ed25519 with the public key behind `whpk_`.  Both
are over `webhook-id`, a dot, `webhook-timestamp` (Unix seconds, of the attempt), a dot
and the raw body.  The older names `svix-id`, `svix-timestamp` and `svix-signature` mean
the same.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal

from receiver.errors import Rejected
from receiver.models import Reading, Request
from receiver.providers.mapped import Mapped, MappedSource, Written
from receiver.schemes import KeyForm, Scheme, key_of, keys_of
from receiver.settings import option

V1 = Scheme(
    header="webhook-signature",
    signed="{id}.{timestamp}.{body}",
    prefix="v1,",
    separator=" ",
    encoding="base64",
    key="whsec",
    id_header="webhook-id",
    timestamp_header="webhook-timestamp",
)
V1A = replace(V1, prefix="v1a,", algorithm="ed25519", key="whpk")
PLAIN = replace(V1, key="text")

ID_HEADERS = ("webhook-id", "svix-id")

_APART = {ord(":"): "%3A", ord("%"): "%25"}

FORMS: Mapping[str, KeyForm] = {"whsec_": "whsec", "whpk_": "whpk"}
"""What a secret is by its beginning; of any other beginning it may be plain."""


@dataclass(frozen=True)
class StandardSource(MappedSource):
    """A body as the specification recommends: type, timestamp, data."""

    key: Written | None = option(
        ("header:webhook-id", "header:svix-id"),
        help="what makes two requests the same event",
    )
    subject: Written = option(
        ("data.id", "header:webhook-id", "header:svix-id"),
        help="the id of what the event is about",
    )
    state: Written = option("data.status", help="the word for what has become of it")
    occurred_at: Written = option(
        "timestamp",
        help="when it happened: ISO 8601, or seconds or milliseconds since 1970",
    )
    status_api: Literal["openai", "replicate"] | None = option(
        None,
        help="whose status API can be asked about its subjects; the key of what ends "
        "one is the subject and the type then",
    )
    plain_secrets: bool = option(
        False, help="a secret without whsec_ is the key as it is, not base64"
    )


class Standard(Mapped):
    """See the module."""

    tolerance = timedelta(minutes=5)

    def __init__(self, source: StandardSource) -> None:
        forms = {_form(secret) or "text" for secret in source.secrets}
        known = (V1, V1A, PLAIN) if source.plain_secrets else (V1, V1A)
        # Those it has keys for, so that a refusal speaks of nothing else.
        kinds = tuple(kind for kind in known if kind.key in forms) or known
        self.schemes = (*kinds, *map(_as_svix, kinds))
        super().__init__(source)
        self._plain = source.plain_secrets
        self.status_api = source.status_api or ""
        plain = [secret for secret in source.secrets if not _form(secret)]
        for scheme in self.schemes:
            if scheme.key == "text":
                self._keys[scheme] = keys_of(scheme, plain)

    def read(self, request: Request, data: Any) -> Reading:
        """Only one of the two names is signed, so the other must not say otherwise."""
        found = {request.headers[n] for n in ID_HEADERS if n in request.headers}
        if len(found) > 1:
            message = f"the headers {' and '.join(ID_HEADERS)} are not the same"
            raise Rejected(400, "id_mismatch", message)
        reading = super().read(request, data)
        if not (self.status_api and reading.final):
            return reading
        # It ends once.  What the API says of it has no id of a webhook, and this key.
        key = f"{reading.subject.translate(_APART)}:{reading.type}"
        return reading._replace(key=key)

    def unfit(self, secret: str) -> str:
        form = _form(secret)
        if form is None:
            return super().unfit(secret)
        try:
            key_of(form, secret)
        except ValueError as error:
            return str(error)
        return ""

    def scheme_for(self, body: bytes, secret: str = "") -> Scheme:  # noqa: ARG002
        """By the secret, or the first: each form of key is for one kind of signature."""
        first = _form(next(iter(self.source.secrets), "whsec_")) or "text"
        if _form(secret) == "whsec":
            return V1
        if secret and first == "whsec" and self._plain:
            return PLAIN
        return next((s for s in self.schemes if s.key == first), V1)


def _form(secret: str) -> KeyForm | None:
    return next((f for start, f in FORMS.items() if secret.startswith(start)), None)


def _as_svix(scheme: Scheme) -> Scheme:
    return replace(
        scheme,
        header="svix-signature",
        id_header="svix-id",
        timestamp_header="svix-timestamp",
    )
