"""
Signatures as they are written in headers, read with more patience than the intake has.

Only to explain why one was refused: the intake takes what its scheme says, and no more.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass

from receiver.models import Headers
from receiver.schemes import Encoding, Scheme, given_signatures

ALGORITHMS = {
    16: "md5",
    20: "sha1",
    28: "sha224",
    32: "sha256",
    48: "sha384",
    64: "sha512",
}
"""What makes digests of so many bytes."""

SIGNING_WORDS = ("sig", "hmac", "digest")
"""What names of headers with signatures have in them."""

MASK = "***"

ANOTHER_WAY = "the sender signs in another way than this provider: see `provider`"

_LABEL = re.compile(r"[A-Za-z][\w-]{0,15}=(?=.)")
_HEX = re.compile(r"(?:[0-9a-fA-F]{2})+")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_MOST_CHARS = 4096
_MOST_ITEMS = 40


@dataclass(frozen=True, slots=True)
class Given:
    """The bytes of something that may be a signature, and how they were written."""

    raw: bytes
    encoding: Encoding | str


def possible_signatures(scheme: Scheme, value: str) -> tuple[Given, ...]:
    """
    All that may be signatures in a header's value, those the scheme sees first.

    Prefixes are optional here, the encoding is any.
    """
    texts = given_signatures(scheme, {scheme.header: value})
    texts += [value, *re.split(r"[,;\s]+", value[:_MOST_CHARS])]
    found = [
        one
        for text in texts[:_MOST_ITEMS]
        for bare in dict.fromkeys((text, _LABEL.sub("", text, count=1)))
        for one in _decoded(bare.strip(" \t\"'"), scheme.encoding)
    ]
    return tuple(dict.fromkeys(found))


def _decoded(text: str, expected: str) -> Iterator[Given]:
    ways = [Given(raw, way) for raw, way in _readings(text) if len(raw) in ALGORITHMS]
    yield from sorted(ways, key=lambda one: one.encoding != expected)


def _readings(text: str) -> Iterator[tuple[bytes, str]]:
    if len(text) > _MOST_CHARS:
        return
    if _HEX.fullmatch(text):
        yield bytes.fromhex(text), "hex"
    if _BASE64.fullmatch(text):
        padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
        try:
            raw = base64.b64decode(padded.translate(_STANDARD), validate=True)
        except ValueError:
            return
        yield raw, "base64url" if set(text) & set("-_") else "base64"
        inner = raw.decode("latin-1")
        if _HEX.fullmatch(inner):
            yield bytes.fromhex(inner), "base64 of hex"


_STANDARD = str.maketrans("-_", "+/")


def what_is_wrong(scheme: Scheme, value: str) -> tuple[str, str] | None:
    """
    What keeps this header's value from being a signature of the scheme's, and what to
    do; None where nothing does.  Nothing of the value is repeated.
    """
    if not value.strip():
        return (
            "it is empty",
            "something on the way emptied it, or the sender's code did",
        )
    if MASK in value:
        return (
            "its value is masked with stars",
            "take the request as it came, from before it was masked",
        )
    items = given_signatures(scheme, {scheme.header: value})
    if not items:
        return _about_prefix(scheme, value)
    if any(_is_whole(scheme, item) for item in items):
        return None
    return _about_form(scheme, items[0])


def _about_prefix(scheme: Scheme, value: str) -> tuple[str, str]:
    prefix = scheme.prefix
    found = f"no signature in it begins with {prefix}"
    if prefix.lower() in value.lower():
        hint = (
            f"{prefix} is there in other case, or behind something else: it must begin "
            "an item exactly so"
        )
    elif possible_signatures(scheme, value):
        hint = (
            f"it holds a signature without {prefix}: something strips the prefix, or "
            "the sender signs in another way than this provider (see `provider`; of hmac `prefix`)"
        )
    else:
        hint = "is it the right header, and the whole of it?"
    return found, hint


def _is_whole(scheme: Scheme, item: str) -> bool:
    size = _SIZES.get(scheme.algorithm, 64)
    return any(
        way == scheme.encoding and len(raw) == size for raw, way in _readings(item)
    )


_SIZES = {name: size for size, name in ALGORITHMS.items()}


def _about_form(scheme: Scheme, item: str) -> tuple[str, str]:
    if item != item.strip("\"'") or any(c.isspace() for c in item):
        return (
            "there are quotes or spaces in the signature",
            "something on the way, or a copy, added them: it must be bare",
        )
    encoding, algorithm = scheme.encoding, scheme.algorithm
    size = _SIZES.get(algorithm, 64)
    sizes = {way: len(raw) for raw, way in _readings(item)}
    others = [way for way in sizes if way != encoding and sizes[way] == size]
    if others:
        return (
            f"the signature is written in {others[0]}, expected is {encoding}",
            f"{ANOTHER_WAY} (of hmac `encoding`)",
        )
    if encoding not in sizes:
        return (
            f"the signature is not {encoding}",
            "it was changed on the way or copied in part, or is of another kind",
        )
    found = f"the signature is {sizes[encoding]} bytes long"
    other = ALGORITHMS.get(sizes[encoding])
    if other is not None and algorithm != "ed25519":
        return (
            f"{found}, as those of {other} are",
            f"let the sender use {algorithm}; with hmac `algorithm` can be {other}",
        )
    return (
        f"{found}; {algorithm} makes {size}",
        "it was cut or added to on the way, or copied in part",
    )


def signature_like(headers: Headers) -> list[str]:
    """Names of headers that seem to carry signatures."""
    return [name for name in headers if any(word in name for word in SIGNING_WORDS)]
