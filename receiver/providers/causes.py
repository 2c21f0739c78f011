"""
The likely cause of a signature that does not fit, found by trying.

Other ways to write the body, to copy the secret, to put together what is signed, and
other providers' ways as a whole.  What fits is certain: nothing else gives the same
digest.  Never part of the intake, which takes one way and no other.  Pure, and bounded
by the bytes it hashes.
"""

import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from receiver.errors import Rejected
from receiver.models import Request
from receiver.providers.base import Provider
from receiver.providers.copies import Key, configured, other_keys
from receiver.providers.given import (
    ALGORITHMS,
    Given,
    possible_signatures,
    signature_like,
)
from receiver.providers.known import every_provider
from receiver.providers.spellings import Spelling, spellings
from receiver.schemes import (
    Scheme,
    check,
    known_ids,
    moment_from,
    signed_bytes,
    timestamp_text,
)

MOST_HASHED = 384 * 1024 * 1024
"""Bytes for all tries together: a second or so."""

EACH_TRY = 512
"""What a try costs beside its bytes, in bytes; for ed25519 much more."""

EACH_ED25519 = 200_000

MOST_IDS = 200
MOST_TEXT = 200

OTHER_WAY = (
    "the sender puts together what it signs in another way than this provider: is "
    "`provider` the right one, and with hmac what `signatures` say?"
)

_TEMPLATES = (
    "{body}",
    "{timestamp}.{body}",
    "{timestamp}{body}",
    "{timestamp}:{body}",
    "{timestamp}\n{body}",
    "v0:{timestamp}:{body}",
    "{body}.{timestamp}",
    "{body}{timestamp}",
    "{id}.{timestamp}.{body}",
    "{timestamp}.{id}.{body}",
    "{id}.{body}",
    "{id}{timestamp}{body}",
    "{id}.{timestamp}",
    "{id}",
    "{sha256}",
)
_TIME = "\0timestamp"  # a header of ours, which no request can have


@dataclass(frozen=True, slots=True)
class Cause:
    """What would make the signature fit, and what to do about it."""

    found: str
    advice: str

    def __str__(self) -> str:
        return f"{self.found}. {self.advice[:1].upper()}{self.advice[1:]}"


@dataclass(frozen=True, slots=True)
class _Way:
    """One way to put together what is signed."""

    template: str
    timestamp: str
    id: str
    words: str = ""
    advice: str = ""


@dataclass(slots=True)
class _Tries:
    """Holds keys and messages against what the header gives, until it costs too much."""

    scheme: Scheme
    request: Request
    given: Sequence[Given]
    left: int = MOST_HASHED

    def fits(self, key: bytes, message: bytes) -> Given | None:
        """Which of the given signatures this key makes for the message."""
        if self.left < 0:
            return None
        if self.scheme.algorithm == "ed25519":
            return self._verified(key, message)
        digests: dict[int, bytes] = {}
        for one in self.given:
            size = len(one.raw)
            if size not in digests:
                self.left -= len(message) + EACH_TRY
                digests[size] = hmac.digest(key, message, ALGORITHMS[size])
            if hmac.compare_digest(digests[size], one.raw):
                return one
        return None

    def message(self, way: _Way, body: bytes) -> bytes:
        headers = {**self.request.headers, _TIME: way.timestamp}
        as_written = Scheme(header="", signed=way.template, timestamp_header=_TIME)
        request = replace(self.request, headers=headers, body=body)
        return signed_bytes(as_written, request, way.id)

    def _verified(self, key: bytes, message: bytes) -> Given | None:
        plain = Scheme(header="s", algorithm="ed25519", encoding="hex")
        for one in self.given:
            self.left -= len(message) + EACH_ED25519
            asked = replace(self.request, headers={"s": one.raw.hex()}, body=message)
            if len(one.raw) == 64 and _holds(plain, asked, [key]):
                return one
        return None


def likely_cause(
    provider: Provider,
    scheme: Scheme,
    request: Request,
    elsewhere: Mapping[str, Sequence[str]],
) -> Cause | None:
    """
    Why the signature in the scheme's header does not fit; None if no try fits.

    `elsewhere` are the secrets of other sources, by their names.
    """
    found = as_another_provider(provider, request)
    if found is not None:
        return found
    value = request.headers.get(scheme.header, "")
    given = possible_signatures(scheme, value)
    tries = _Tries(scheme, request, given)
    keys = configured(provider, scheme)
    strangers = other_keys(scheme, provider.source.secrets, elsewhere)
    if scheme.algorithm == "ed25519":
        strangers = [key for key in strangers if len(key.raw) == 32]
    return _searched(tries, provider, keys, strangers) if given else None


def under_another_name(
    provider: Provider, scheme: Scheme, request: Request
) -> Cause | None:
    """The scheme's header is missing; another that holds its signature."""
    for name in signature_like(request.headers):
        asked = replace(
            request,
            headers={**request.headers, scheme.header: request.headers[name]},
        )
        given = possible_signatures(scheme, request.headers[name])
        tries = _Tries(scheme, asked, given)
        found = _searched(tries, provider, configured(provider, scheme), [], quick=True)
        if found is not None:
            advice = f"something renames {scheme.header}, or the sender is another kind"
            return Cause(f"{name} holds a signature: {found.found}", advice)
    return None


def as_another_provider(provider: Provider, request: Request) -> Cause | None:
    """Another provider's whole way of signing, with the secrets of this source."""
    fitting: dict[str, None] = {}
    for other in every_provider(provider.source.secrets):
        for scheme in other.schemes:
            present = scheme.header in request.headers
            if not present or scheme in provider.schemes or other.name == provider.name:
                continue
            if _holds(scheme, request, other.keys(scheme), other.ids(request)):
                fitting[other.name] = None
    if not fitting:
        return None
    names = " or ".join(list(fitting)[:4])
    found = f"this is signed as {names} signs, with a secret of this source"
    advice = f'set provider = "{next(iter(fitting))}", if that is who sends here'
    return Cause(found, advice)


def _holds(
    scheme: Scheme, request: Request, keys: Sequence[bytes], ids: Sequence[str] = ()
) -> bool:
    try:
        check(scheme, request, keys, ids)
    except (Rejected, ValueError, ModuleNotFoundError):
        return False
    return True


# -- trying


def _searched(
    tries: _Tries,
    provider: Provider,
    keys: Sequence[Key],
    strangers: Sequence[Key],
    *,
    quick: bool = False,
) -> Cause | None:
    """The first that fits, those first that differ in the fewest things."""
    for way, spelling, chosen in _candidates(tries, provider, keys, strangers, quick):
        body = tries.request.body if spelling is None else spelling.body
        message = tries.message(way, body)
        for key in chosen:
            fitting = tries.fits(key.raw, message)
            if fitting is not None:
                return _told(tries.scheme, fitting, way, spelling, key)
        if tries.left < 0:
            return None
    return None


def _candidates(
    tries: _Tries,
    provider: Provider,
    keys: Sequence[Key],
    strangers: Sequence[Key],
    quick: bool,
) -> Iterator[tuple[_Way, Spelling | None, Sequence[Key]]]:
    own = list(_own_ways(tries, provider))
    yield from _each(own, [None], keys)
    if quick:
        return
    bodies = list(spellings(tries.request.body))
    others = list(_other_ways(tries, provider))
    yield from _each(own, bodies, keys)
    yield from _each(own, [None], strangers)
    yield from _each(others, [None], keys)
    yield from _each(own, bodies, strangers)
    yield from _each(others, bodies, keys)
    yield from _each(others, [None], strangers)


def _each(
    ways: Sequence[_Way], bodies: Sequence[Spelling | None], keys: Sequence[Key]
) -> Iterator[tuple[_Way, Spelling | None, Sequence[Key]]]:
    for way in ways:
        signs_body = "{body}" in way.template or "{sha256}" in way.template
        for spelling in bodies:
            if signs_body or spelling is None:
                yield way, spelling, keys


def _told(
    scheme: Scheme, given: Given, way: _Way, spelling: Spelling | None, key: Key
) -> Cause:
    conditions = [way.words] if way.words else []
    advice = [way.advice]
    if spelling is not None:
        conditions.append(f"the body is {_taken(spelling.words)}")
        advice.append(spelling.advice)
    if key.words:
        conditions.append(f"the secret is {_taken(key.words)}")
        advice.append(key.advice)
    made_by = ALGORITHMS[len(given.raw)]
    if scheme.algorithm not in (made_by, "ed25519"):
        conditions.append(f"the algorithm is {made_by} and not {scheme.algorithm}")
        advice.append(f"let the sender use {scheme.algorithm}")
    if given.encoding != scheme.encoding:
        conditions.append(f"it is read as {given.encoding} and not {scheme.encoding}")
        advice.append(OTHER_WAY)
    if not conditions:
        conditions.append(f"it begins with {scheme.prefix}, and nothing is around it")
        advice.append("something on the way, or a copy, changed how it is written")
    whole = dict.fromkeys(one for one in advice if one)
    which = f"it fits {key.label}" if key.label else "it fits"
    return Cause(f"{which} if {' and '.join(conditions)}", "; ".join(whole))


def _taken(words: str) -> str:
    return f"taken {words}" if words.startswith(("with", "in ")) else words


# -- what may have been signed


def _own_ways(tries: _Tries, provider: Provider) -> Iterator[_Way]:
    scheme, request = tries.scheme, tries.request
    written = timestamp_text(scheme, request) or ""
    for one in known_ids(scheme, request, provider.ids(request)) or ("",):
        yield _Way(scheme.signed, written, one)


def _other_ways(tries: _Tries, provider: Provider) -> Iterator[_Way]:
    scheme, request = tries.scheme, tries.request
    times = list(_timestamps(scheme, request))
    ids = list(_ids(scheme, request, provider))
    for template in dict.fromkeys((scheme.signed, *_TEMPLATES)):
        own = template == scheme.signed
        chosen = ids if own else ids[:3]
        for written, about_time in times if "{timestamp}" in template else [("", "")]:
            for one, about_id in chosen if "{id}" in template else [("", "")]:
                shown = template.encode("unicode_escape").decode()
                words = ["" if own else f"what is signed is {shown}"]
                words += [about_time, about_id]
                told = " and ".join(word for word in words if word)
                yield _Way(template, written, one, told, OTHER_WAY)


def _timestamps(scheme: Scheme, request: Request) -> Iterator[tuple[str, str]]:
    """Texts that may be the signed timestamp, and what that says of it."""
    own = timestamp_text(scheme, request)
    if own is not None:
        yield own, ""
        yield from _rewritten(own)
    for name, value in request.headers.items():
        if "timestamp" in name and name != scheme.timestamp_header:
            yield value[:MOST_TEXT], f"the timestamp is that in {name}"
    for item in request.headers.get(scheme.header, "")[:4096].split(","):
        if item.strip().startswith("t="):
            yield item.strip()[2:], f"the timestamp is t= in {scheme.header}"


def _rewritten(text: str) -> Iterator[tuple[str, str]]:
    digits = text.isascii() and text.isdigit() and len(text) <= 16
    if digits:
        yield f"{text}000", "the timestamp is signed in milliseconds"
        yield text[:-3], "the timestamp is signed in seconds"
    moment = None if digits else moment_from(text)
    if moment is not None:
        seconds = int(moment.timestamp())
        yield str(seconds), "the timestamp is signed in Unix seconds"
        milliseconds = round(moment.timestamp() * 1000)
        yield str(milliseconds), "the timestamp is signed in Unix milliseconds"


def _ids(
    scheme: Scheme, request: Request, provider: Provider
) -> Iterator[tuple[str, str]]:
    """Texts that may be the signed id, and where each is."""
    for one in known_ids(scheme, request, provider.ids(request)):
        yield one, ""
    for name, value in request.headers.items():
        if name.endswith("id") and name != scheme.id_header:
            yield value[:MOST_TEXT], f"the id is that in {name}"
    if "{id}" in scheme.signed:
        try:
            data = json.loads(request.body)
        except (ValueError, RecursionError):
            return
        yield from _texts_in(data)


def _texts_in(data: Any) -> Iterable[tuple[str, str]]:
    """Texts and whole numbers in a body, the outer ones first, with their places."""
    found: list[tuple[str, str]] = []
    level: list[tuple[str, Any]] = [("", data)]
    while level and len(found) < MOST_IDS:
        inner: list[tuple[str, Any]] = []
        for place, value in level:
            if isinstance(value, dict):
                inner += [
                    (f"{place}.{name}".lstrip("."), v) for name, v in value.items()
                ]
            elif isinstance(value, list):
                inner += [(f"{place}[{i}]", v) for i, v in enumerate(value[:20])]
            elif isinstance(value, str) and len(value) <= MOST_TEXT:
                found.append((value, f"the id is {place[:MOST_TEXT]} in the body"))
            elif isinstance(value, int) and abs(value) < 2**63:
                found.append((str(value), f"the id is {place[:MOST_TEXT]} in the body"))
        level = inner[: 20 * MOST_IDS]
    return found[:MOST_IDS]
