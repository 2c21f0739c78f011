"""
Keys as they are talked about, and as a wrong copy of a secret would have made them.

A secret is named by its place and its fingerprint: the first eight hex digits of the
SHA-256 of its text.  Two sides can compare those without showing the secret.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote

from receiver.providers.base import Provider
from receiver.schemes import Scheme, key_of

COPIED = (
    "a copy of the secret went wrong on one side: set the same characters, no more and "
    "no fewer, on both"
)
READ = (
    "sender and receiver take the secret in different ways (as text, as base64, as "
    "hex): is `provider` the right one, and with hmac the signature's `key`?"
)
UNSET = (
    "the sender has no secret to sign with: its setting or variable is not set where "
    "it runs"
)
ANOTHER = (
    "secrets were mixed up: register the URL of that source, or set the secret that "
    "belongs here"
)


@dataclass(frozen=True, slots=True)
class Key:
    """
    Something that may have signed: `label` is which secret of the source's it is,
    `words` how it differs from that (`the secret is ...`); either may be empty.
    """

    raw: bytes
    label: str
    words: str = ""
    advice: str = ""


def fingerprint(secret: str | bytes) -> str:
    """The first eight hex digits of the secret's SHA-256."""
    raw = secret if isinstance(secret, bytes) else secret.encode("utf-8", "replace")
    return hashlib.sha256(raw).hexdigest()[:8]


def label(place: str, secret: str | bytes) -> str:
    return f"{place} ({fingerprint(secret)})"


def configured(provider: Provider, scheme: Scheme) -> list[Key]:
    """The keys the provider tries: its secrets', or those of its key server."""
    labels: dict[bytes, str] = {}
    for i, secret in enumerate(provider.source.secrets):
        try:
            raw = key_of(scheme.key, secret)
        except ValueError:
            continue
        labels.setdefault(raw, label(f"secrets[{i}]", secret))
    return [
        Key(raw, labels.get(raw) or label(f"public key {n}", raw))
        for n, raw in enumerate(provider.keys(scheme), 1)
    ]


def unfit(provider: Provider, scheme: Scheme) -> Iterator[tuple[str, str]]:
    """Secrets that are no keys of this scheme: label, and why."""
    for i, secret in enumerate(provider.source.secrets):
        try:
            key_of(scheme.key, secret)
        except ValueError as error:
            yield label(f"secrets[{i}]", secret), str(error)


def other_keys(
    scheme: Scheme, secrets: Sequence[str], elsewhere: Mapping[str, Sequence[str]]
) -> list[Key]:
    """
    What a key may be when a secret was copied or read in another way.

    `elsewhere` are the secrets of other sources, by their names.
    """
    found = [
        Key(raw, label(f"secrets[{i}]", secret), words, advice)
        for i, secret in enumerate(secrets)
        for raw, words, advice in _variants(secret)
    ]
    for source, theirs in elsewhere.items():
        for i, secret in enumerate(theirs):
            words = f"{label(f'secrets[{i}]', secret)} of the source {source}"
            with suppress(ValueError):
                found.append(Key(key_of(scheme.key, secret), "", words, ANOTHER))
    for text in ("", "undefined", "null", "None"):
        words = f"the word {text}" if text else "empty"
        found.append(Key(text.encode(), "", words, UNSET))
    return found


def _variants(secret: str) -> Iterator[tuple[bytes, str, str]]:
    for text, words in _texts(secret):
        if text != secret:  # for then it says nothing about a copy
            yield text.encode("utf-8", "replace"), words, COPIED
    for form, text in (("", secret), (" without whsec_", _bare(secret))):
        yield text.encode("utf-8", "replace"), f"taken as text{form}", READ
        decoded = _base64(text)
        if decoded is not None:
            yield decoded, f"taken as base64{form}", READ
    raw = secret.encode("utf-8", "replace")
    with suppress(ValueError):
        yield bytes.fromhex(secret), "taken as hex digits", READ
    yield b"whsec_" + raw, "written with whsec_ before it", COPIED
    yield base64.b64encode(raw), "encoded in base64 once more", READ
    yield raw.hex().encode(), "encoded in hex once more", READ


def _texts(secret: str) -> Iterator[tuple[str, str]]:
    bare = secret.strip()
    yield bare, "without the white space around it"
    yield bare.strip("\"'"), "without the quotes around it"
    yield bare + "\n", "with a line break at its end"
    yield bare + "\r\n", "with CR LF at its end"
    yield bare + " ", "with a space at its end"
    yield " " + bare, "with a space before it"
    yield f'"{bare}"', "with double quotes around it"
    yield f"'{bare}'", "with single quotes around it"
    yield bare.lower(), "in lower case"
    yield bare.upper(), "in upper case"
    yield unquote(bare), "without its %-escapes"


def _bare(secret: str) -> str:
    return secret.strip().removeprefix("whsec_")


def _base64(text: str) -> bytes | None:
    padded = text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4)
    try:
        return base64.b64decode(padded.translate(_STANDARD), validate=True)
    except ValueError:
        return None


_STANDARD = str.maketrans("-_", "+/")
