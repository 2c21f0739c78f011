"""
How senders sign, as data: where a signature is, how it is written, what it covers.

    header -> items -> prefix -> decode -> compare, with the bytes that were signed

Everything that verifies, signs or explains a signature goes by a `Scheme`; a provider
only declares them.  Pure, and comparisons take the same time wherever values differ.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any, Literal

from receiver.clock import iso
from receiver.errors import Rejected
from receiver.models import Headers, Request, Signed
from receiver.signatures import standard_key

Algorithm = Literal["sha256", "sha512", "sha1", "ed25519"]
Encoding = Literal["hex", "base64"]
KeyForm = Literal["text", "base64", "hex", "whsec", "whpk", "ed25519"]
TimeFormat = Literal["unix", "unix_ms", "iso"]

EARLIEST, LATEST = 1970, 3000
"""Years between which a time is believed; others cannot all be kept."""

MOST_ITEMS = 20
"""Signatures in one header that are looked at; senders have one for each live key."""

URL_ALPHABET = str.maketrans("-_", "+/")
"""From base64url to base64."""

MOST_PUBLIC = 4
"""Those of them that are made with public keys, which take a thousand times as long."""

_PLACEHOLDER = re.compile(r"(\{[a-z0-9_.-]+\})")
_DIGITS = re.compile(r"[0-9]{1,16}")


@dataclass(frozen=True, eq=False)  # compared by identity, as keys of what is made ready
class Scheme:
    """
    One way of signing.

    `signed` is a template of the signed bytes: `{body}`, `{sha256}` (of the body, in
    lower-case hex), `{timestamp}` and `{id}` (their text as received), `{header.NAME}`.
    Where `separator` is given the header holds several items, of which those that
    begin with `prefix` are signatures, and the one that begins with
    `timestamp_prefix` may be the timestamp.
    """

    header: str
    signed: str = "{body}"
    prefix: str = ""
    separator: str = ""
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    key: KeyForm = "text"
    id_header: str = ""
    timestamp_header: str = ""
    timestamp_prefix: str = ""
    timestamp_format: TimeFormat = "unix"

    @cached_property
    def covers(self) -> frozenset[Signed]:
        """What cannot be changed without changing the signature."""
        names = {"{body}": "body", "{sha256}": "body"}
        names |= {"{timestamp}": "timestamp", "{id}": "id"}
        return frozenset(names[p] for p in _parts(self.signed) if p in names)  # type: ignore[misc]  # pyright: ignore[reportReturnType]

    @cached_property
    def headers(self) -> frozenset[str]:
        """The headers that have to be there."""
        wanted = {self.header}
        if "{timestamp}" in self.signed:
            wanted.add(self.timestamp_header)
        if "{id}" in self.signed and self.id_header:
            wanted.add(self.id_header)
        prefix = "{header."
        named = (p for p in _parts(self.signed) if p.startswith(prefix))
        return frozenset(wanted | {p[len(prefix) : -1] for p in named})

    @cached_property
    def signs_id(self) -> bool:
        """Whether an id is signed."""
        return "{id}" in self.signed

    @cached_property
    def other_headers(self) -> frozenset[str]:
        """The headers that have to be there, but for the one with the id."""
        return self.headers - {self.id_header}


# -- keys


def keys_of(scheme: Scheme, secrets: Iterable[str]) -> tuple[bytes, ...]:
    """The keys in those secrets that have the scheme's form; the others are not used."""
    found: list[bytes] = []
    for secret in secrets:
        try:
            found.append(key_of(scheme.key, secret))
        except ValueError:
            continue
    return tuple(found)


def key_of(form: KeyForm, secret: str) -> bytes:
    """
    The bytes a secret stands for.

    Raises:
        ValueError: it is not of that form, or not secret; the message says why.
    """
    if form not in ("whpk", "ed25519") and secret.startswith("whpk_"):
        raise ValueError("a public key, which everybody may know")
    if secret.strip() in ("", "whsec_"):
        raise ValueError("empty")
    if form == "whsec":
        return standard_key(secret)
    if form in ("text", "hex"):
        try:
            return secret.encode() if form == "text" else bytes.fromhex(secret)
        except ValueError:
            message = "not UTF-8" if form == "text" else "not hex digits"
            raise ValueError(message) from None
    return _from_base64(form, secret)


def _from_base64(form: KeyForm, secret: str) -> bytes:
    encoded = secret.removeprefix("whpk_") if form == "whpk" else secret
    if form == "ed25519":  # as JWKs have it, in the alphabet of URLs
        encoded = secret.translate(URL_ALPHABET)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        raise ValueError("not base64") from None
    if form == "whpk" and (encoded == secret or len(key) != 32):
        raise ValueError("not whpk_ and 32 bytes in base64")
    if form == "ed25519" and len(key) != 32:
        raise ValueError("not 32 bytes in base64")
    return key


# -- verifying


def check(
    scheme: Scheme, request: Request, keys: Sequence[bytes], ids: Sequence[str] = ()
) -> None:
    """
    Hold a request against one scheme; any of the keys and ids may fit.

    `ids` are candidates for `{id}` where it is not in a header.

    Raises:
        Rejected: 401 `signature_missing`, `timestamp_missing`, `header_missing`,
            `id_missing` or
            `signature_mismatch`.
    """
    if scheme.header not in request.headers:
        raise Rejected(401, "signature_missing", f"{scheme.header} is not there")
    given = given_signatures(scheme, request.headers)
    if not given:
        message = f"{scheme.header} holds no signature that begins with {scheme.prefix}"
        raise Rejected(401, "signature_mismatch", message)
    if "{timestamp}" in scheme.signed and timestamp_text(scheme, request) is None:
        message = f"{scheme.timestamp_header} has no timestamp"
        raise Rejected(401, "timestamp_missing", message)
    if not scheme.other_headers.issubset(request.headers):
        absent = sorted(scheme.other_headers - request.headers.keys())
        message = f"{', '.join(absent)} is not there, which is signed"
        raise Rejected(401, "header_missing", message)
    ids = known_ids(scheme, request, ids)
    if scheme.signs_id and not ids:
        where = scheme.id_header or "the body"
        raise Rejected(401, "id_missing", f"{where} has no id, which is signed")
    fits = False
    for one in ids or ("",):
        message_bytes = signed_bytes(scheme, request, one)
        for key in keys:
            fits |= _fits(scheme, message_bytes, key, given)
    if not fits:
        message = "no configured secret gives this signature for the bytes received"
        raise Rejected(401, "signature_mismatch", message)


def given_signatures(scheme: Scheme, headers: Headers) -> list[str]:
    """The signatures in the header, without their prefix; those of other kinds left out."""
    value = headers.get(scheme.header)
    if value is None:
        return []
    if not scheme.separator:
        item = value.strip()
        there = item.startswith(scheme.prefix)
        return [item[len(scheme.prefix) :].strip()] if there else []
    items = value.split(scheme.separator)
    found = [item.strip() for item in items[:MOST_ITEMS]]
    prefix = scheme.prefix
    return [item[len(prefix) :].strip() for item in found if item.startswith(prefix)]


def timestamp_text(scheme: Scheme, request: Request) -> str | None:
    """The timestamp as it was written, which is what is signed."""
    value = request.headers.get(scheme.timestamp_header)
    if value is None or not scheme.timestamp_prefix:
        return value
    items = (item.strip() for item in value.split(scheme.separator or ","))
    prefix = scheme.timestamp_prefix
    return next(
        (item[len(prefix) :] for item in items if item.startswith(prefix)), None
    )


def timestamp_of(scheme: Scheme, request: Request) -> datetime | None:
    """The moment the timestamp names; None where there is none that can be read."""
    text = timestamp_text(scheme, request)
    if text is None:
        return None
    if scheme.timestamp_format == "iso":
        return moment_from(text)
    if not _DIGITS.fullmatch(text):
        return None
    # Of more digits, seconds would be far in the future: they are milliseconds.
    seconds = scheme.timestamp_format == "unix" and len(text) <= 11
    return moment_from(int(text) * (1000 if seconds else 1))


def known_ids(
    scheme: Scheme, request: Request, candidates: Sequence[str] = ()
) -> Sequence[str]:
    """What `{id}` can stand for: the header's value, else the candidates."""
    if scheme.id_header:
        value = request.headers.get(scheme.id_header)
        return () if value is None else (value,)
    return candidates


def signed_bytes(scheme: Scheme, request: Request, message_id: str = "") -> bytes:
    """The bytes the signature is over."""
    if scheme.signed == "{body}":
        return request.body
    return b"".join(
        _filled(part, scheme, request, message_id) for part in _parts(scheme.signed)
    )


def signature(algorithm: Algorithm, key: bytes, message: bytes) -> bytes:
    """
    Sign; for ed25519 the key is the 32 bytes of the private seed.

    Raises:
        ModuleNotFoundError: ed25519 without its extra.
    """
    if algorithm == "ed25519":
        return bytes(_ed25519().Ed25519PrivateKey.from_private_bytes(key).sign(message))
    made = _prepared(algorithm, key).copy()
    made.update(message)
    return made.digest()


@lru_cache(maxsize=256)
def _prepared(algorithm: Algorithm, key: bytes) -> hmac.HMAC:
    """To be copied: a key is made ready once, not for each message."""
    return hmac.new(key, digestmod=algorithm)


def encoded(encoding: Encoding, signature_bytes: bytes) -> str:
    if encoding == "hex":
        return signature_bytes.hex()
    return base64.b64encode(signature_bytes).decode()


def moment_from(value: Any) -> datetime | None:
    """ISO 8601 text (UTC where it names no zone), or milliseconds since 1970."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            moment = moment.astimezone(UTC)
        elif isinstance(value, int) and not isinstance(value, bool):
            moment = datetime.fromtimestamp(value / 1000, UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return moment if EARLIEST <= moment.year < LATEST else None


# -- signing


def sign(
    scheme: Scheme,
    body: bytes,
    key: bytes,
    now: datetime,
    *,
    message_id: str = "",
    headers: Headers | None = None,
) -> Headers:
    """
    The headers with which a sender would post this body.

    `headers` are others it sends, in case the signature covers them; they are part of
    what is returned.
    """
    sent = dict(headers or {})
    if scheme.id_header:
        sent[scheme.id_header] = message_id
    time_item = ""
    if scheme.timestamp_header:
        written = _written(scheme.timestamp_format, now)
        time_item = scheme.timestamp_prefix + written
        sent[scheme.timestamp_header] = time_item
    message = signed_bytes(scheme, Request(sent, {}, body, now), message_id)
    value = encoded(scheme.encoding, signature(scheme.algorithm, key, message))
    if scheme.timestamp_header == scheme.header:
        between = scheme.separator or ","
        return sent | {scheme.header: f"{time_item}{between}{scheme.prefix}{value}"}
    return sent | {scheme.header: scheme.prefix + value}


# -- inside


def _fits(scheme: Scheme, message: bytes, key: bytes, given: list[str]) -> bool:
    if scheme.algorithm == "ed25519":
        return _ed25519_fits(scheme, message, key, given)
    made = signature(scheme.algorithm, key, message)
    expected = encoded(scheme.encoding, made).encode()
    fits = False
    for text in given:
        same_case = text.lower() if scheme.encoding == "hex" else text
        raw = same_case.encode("utf-8", "surrogateescape")
        fits |= hmac.compare_digest(raw, expected)
    return fits


def _ed25519_fits(scheme: Scheme, message: bytes, key: bytes, given: list[str]) -> bool:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 (see _ed25519)

    for text in given[:MOST_PUBLIC]:
        try:
            raw = (
                bytes.fromhex(text)
                if scheme.encoding == "hex"
                else base64.b64decode(text, validate=True)
            )
            _ed25519().Ed25519PublicKey.from_public_bytes(key).verify(raw, message)
        except (InvalidSignature, ValueError, binascii.Error):
            continue
        return True
    return False


def _ed25519() -> Any:
    """Only few providers need it, so it is an extra: see pyproject.toml."""
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415

    return ed25519


@lru_cache(maxsize=256)
def _parts(template: str) -> tuple[str, ...]:
    return tuple(part for part in _PLACEHOLDER.split(template) if part)


def _filled(part: str, scheme: Scheme, request: Request, message_id: str) -> bytes:
    if part == "{body}":
        return request.body
    if part == "{sha256}":
        return hashlib.sha256(request.body).hexdigest().encode()
    if part == "{id}" and not scheme.id_header:  # out of a body, so it is UTF-8
        return message_id.encode("utf-8", "replace")
    if part == "{timestamp}":
        text = timestamp_text(scheme, request) or ""
    elif part == "{id}":
        text = message_id
    elif part.startswith("{header."):
        text = request.headers.get(part[8:-1], "")
    else:
        return part.encode()
    return text.encode("latin-1", "replace")  # as headers came


def _written(form: TimeFormat, now: datetime) -> str:
    if form == "iso":
        return iso(now)
    return str(int(now.timestamp() * (1000 if form == "unix_ms" else 1)))
