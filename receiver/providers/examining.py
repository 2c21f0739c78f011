"""
The steps of verifying one signature, each looked at by itself, in the intake's order.

    header -> form -> secrets -> timestamp -> id -> signature

Whether a signature fits is asked of `schemes.check`, as the intake does; what is here
only finds words for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Literal

from receiver.clock import iso
from receiver.errors import Rejected
from receiver.models import Request
from receiver.providers.base import Provider
from receiver.providers.causes import (
    Cause,
    as_another_provider,
    likely_cause,
    under_another_name,
)
from receiver.providers.copies import Key, configured, unfit
from receiver.providers.given import MASK, signature_like, what_is_wrong
from receiver.providers.known import signers
from receiver.providers.verification import (
    check_age,
    moment_of,
    tolerance_of,
    without_signature,
)
from receiver.schemes import (
    Scheme,
    check,
    encoded,
    given_signatures,
    known_ids,
    moment_from,
    signature,
    signed_bytes,
    timestamp_text,
)

SHOWN = 8
"""Characters of a signature that are shown: enough to compare, too few to use."""

ZONE = timedelta(minutes=30)
LIKE_A_ZONE = timedelta(minutes=2)
"""Offsets of time zones are multiples of the one, give or take the other."""

MISREAD = timedelta(days=3650)
"""What is further off was not read as it was written."""

CLOCKS = "compare `date -u` on both sides"

_OLD_NAMES = {
    "x-hub-signature": (
        "x-hub-signature is the older form with SHA-1: let the sender send "
        "x-hub-signature-256"
    ),
}


@dataclass(frozen=True, slots=True)
class Check:
    """
    One step: what was found in words, and what to do about it.

    Neither a secret nor a whole signature is in the texts, but parts of the request
    may be, control characters included.
    """

    name: str
    verdict: Literal["ok", "failed", "skipped"]
    words: str
    hint: str = ""


def examine(
    provider: Provider, request: Request, elsewhere: Mapping[str, Sequence[str]]
) -> Iterator[Check]:
    """
    The steps for the signature of a request whose body is whole.

    `elsewhere` are the secrets of other sources, by their names.
    """
    source = provider.source
    if not provider.schemes or not (source.secrets or not provider.needs_secret):
        why = "the source has no secrets" if provider.schemes else "it does not sign"
        yield Check("signature", "ok", f"none is asked for: {why}")
        yield from _timestamp(provider, None, request)
        return
    present = [s for s in provider.schemes if s.header in request.headers]
    if not present:
        yield _missing(provider, request)
        yield from _timestamp(provider, None, request)
        yield Check("signature", "skipped", "there is none to look at")
        return
    fitting = next((s for s in present if holds(provider, s, request)), None)
    scheme = fitting or _best(present, request)
    yield Check("signature header", "ok", f"{scheme.header} is there")
    yield _form(scheme, request)
    yield from _secrets(provider, scheme)
    yield from _timestamp(provider, scheme, request)
    yield from _id(provider, scheme, request)
    if fitting is not None:
        yield _fits(provider, fitting, request)
        yield from _sender(provider, request)
    else:
        yield from _signed_headers(scheme, request)
        yield _does_not_fit(provider, scheme, request, elsewhere)


def holds(
    provider: Provider, scheme: Scheme, request: Request, keys: Sequence[Key] = ()
) -> bool:
    """Whether the request fits this scheme, with these keys or the provider's."""
    raw = [key.raw for key in keys] or provider.keys(scheme)
    try:
        check(scheme, request, raw, provider.ids(request))
    except Rejected:
        return False
    return True


def _best(present: Sequence[Scheme], request: Request) -> Scheme:
    """The one that the request seems to be meant for."""
    for scheme in present:
        if what_is_wrong(scheme, request.headers[scheme.header]) is None:
            return scheme
    return present[0]


# -- the header


def _missing(provider: Provider, request: Request) -> Check:
    causes = [under_another_name(provider, s, request) for s in provider.schemes]
    cause = as_another_provider(provider, request) or next(filter(None, causes), None)
    hint = str(cause) if cause else _similar(provider, request)
    return Check("signature header", "failed", without_signature(provider), hint)


def _similar(provider: Provider, request: Request) -> str:
    """Which headers there are that could be meant."""
    for name in request.headers:
        if name in _OLD_NAMES:
            return _OLD_NAMES[name]
        owners = {other.name: None for other, _ in signers(name)}
        if owners:
            whose = " or ".join(list(owners)[:4])
            return f"{name} is there, in which {whose} signs: is `provider` right?"
    for name in provider.signature_headers:
        close = get_close_matches(name, request.headers, n=1, cutoff=0.8)
        if close:
            return f"{close[0][:100]} is there: was it renamed on the way?"
    others = signature_like(request.headers)
    if others:
        return f"{others[0][:100]} is there: is another kind of sender behind it?"
    return (
        "nothing like a signature is there: senders sign once a secret is set on their "
        "side; if one is, a proxy on the way drops the header"
    )


def _form(scheme: Scheme, request: Request) -> Check:
    wrong = what_is_wrong(scheme, request.headers[scheme.header])
    if wrong is not None:
        return Check("signature form", "failed", *wrong)
    prefix = f"begins with {scheme.prefix} and is " if scheme.prefix else ""
    words = f"{prefix}{scheme.algorithm} in {scheme.encoding}"
    return Check("signature form", "ok", words)


def _secrets(provider: Provider, scheme: Scheme) -> Iterator[Check]:
    keys = configured(provider, scheme)
    odd = [f"{label} is not used: {why}" for label, why in unfit(provider, scheme)]
    if keys:
        words = "; ".join([", ".join(key.label for key in keys), *odd])
        yield Check("secrets", "ok", words)
    else:
        words = "; ".join(odd) or "no key is known to verify with"
        hint = "copy the secret again"
        if provider.keys_url:
            hint = (
                "its public keys are fetched by `receiver serve`, or pinned as `keys`"
            )
        yield Check("secrets", "failed", words, hint)


def _signed_headers(scheme: Scheme, request: Request) -> Iterator[Check]:
    covered = scheme.headers - {scheme.timestamp_header, scheme.id_header}
    gone = sorted(covered - request.headers.keys())
    if gone:
        words = f"signed, but not there: {', '.join(gone)}"
        yield Check("signed headers", "failed", words, "a proxy may drop them")


# -- the timestamp


def _timestamp(
    provider: Provider, scheme: Scheme | None, request: Request
) -> Iterator[Check]:
    signed = scheme is not None and "{timestamp}" in scheme.signed
    tolerance = tolerance_of(provider, scheme)
    text = timestamp_text(scheme, request) if scheme is not None else None
    if signed and scheme is not None and text is None:
        where = scheme.timestamp_header
        part = f" with {scheme.timestamp_prefix}" if scheme.timestamp_prefix else ""
        hint = "it is signed, so it must come through; a proxy may drop it"
        yield Check("timestamp", "failed", f"{where}{part} is not there", hint)
    elif tolerance is not None:
        moment = moment_of(provider, scheme, request)
        yield _age(moment, request.received_at, tolerance, _other_format(scheme, text))
    elif signed:
        words = "signed, and not held against the clock (see `tolerance`)"
        yield Check("timestamp", "ok", words)


def _age(
    moment: datetime | None, now: datetime, tolerance: timedelta, format_hint: str
) -> Check:
    try:
        check_age(moment, now, tolerance)
    except Rejected as error:
        near = moment is not None and abs(now - moment) < MISREAD
        hint = _off(moment, now) if moment is not None and near else format_hint
        return Check("timestamp", "failed", error.message, hint)
    off = (now - moment).total_seconds() if moment is not None else 0
    direction = "old" if off >= 0 else "in the future"
    limit = f"{tolerance.total_seconds():.0f} s"
    words = f"{abs(off):.0f} s {direction}, tolerated are {limit}"
    return Check("timestamp", "ok", words)


def _other_format(scheme: Scheme | None, text: str | None) -> str:
    """What the text is instead of what the scheme has; empty if nothing we know."""
    if scheme is None or text is None:
        return ""
    expected = {
        "unix": "Unix seconds",
        "unix_ms": "Unix milliseconds",
        "iso": "ISO 8601",
    }[scheme.timestamp_format]
    bare = text.strip()
    if bare.isascii() and bare.isdigit() and len(bare) < 20:
        found = "Unix milliseconds" if len(bare) >= 12 else "Unix seconds"
    elif moment_from(bare) is not None:
        found = "ISO 8601"
    elif bare.replace(".", "", 1).isdigit():
        found = "a number with a fraction"
    else:
        return f"expected is {expected}"
    if found == expected:
        return "" if bare == text else "there is white space around it"
    return f"it is {found}, expected is {expected}: see `provider`"


def _off(moment: datetime, now: datetime) -> str:
    off = now - moment
    apart = abs(off) % ZONE
    like_a_zone = min(apart, ZONE - apart) <= LIKE_A_ZONE and (
        ZONE - LIKE_A_ZONE <= abs(off) <= timedelta(hours=14, minutes=2)
    )
    if like_a_zone:
        return (
            "almost exactly the offset of a time zone: local time was sent as UTC, or "
            f"a clock is set so; {CLOCKS}"
        )
    if off < timedelta(0):
        return f"the sender's clock is ahead, or ours is behind: {CLOCKS}"
    return (
        f"it would have been right at that time (--at {iso(moment)}); if it came just "
        "now, it waited on the way, a retry kept its first timestamp, or a clock is "
        f"wrong: {CLOCKS}"
    )


# -- the id, the signature


def _id(provider: Provider, scheme: Scheme, request: Request) -> Iterator[Check]:
    if "{id}" not in scheme.signed:
        return
    where = scheme.id_header or "the body"
    found = known_ids(scheme, request, provider.ids(request))
    if found:
        yield Check("id", "ok", f"{where} has one")
    else:
        hint = "it is signed, so it must come through"
        yield Check("id", "failed", f"{where} has no id", hint)


def _fits(provider: Provider, scheme: Scheme, request: Request) -> Check:
    keys = configured(provider, scheme)
    fitting = [key for key in keys if holds(provider, scheme, request, [key])]
    labels = [key.label for key in fitting] or ["a key of this source"]
    words = f"{labels[0]} gives it"
    hint = ""
    if fitting and len(keys) > 1 and fitting[0] is not keys[0]:
        hint = "the sender does not sign with the first one: keep both while rotating"
    return Check("signature", "ok", words, hint)


def _sender(provider: Provider, request: Request) -> Iterator[Check]:
    try:
        provider.check_sender(request)
    except Rejected as error:
        hint = "it is authentic, but another account's: see the provider's settings"
        yield Check("sender", "failed", error.message, hint)


def _does_not_fit(
    provider: Provider,
    scheme: Scheme,
    request: Request,
    elsewhere: Mapping[str, Sequence[str]],
) -> Check:
    value = request.headers[scheme.header]
    if MASK in value:
        return Check("signature", "skipped", "its value is masked with stars")
    if any(secret and secret in value for secret in provider.source.secrets):
        words = f"{scheme.header} holds the secret itself, and no signature"
        hint = (
            "whoever saw this request has the secret now: make a new one; a sender that "
            "cannot sign can send another secret as `token`, `bearer` or `basic`"
        )
        return Check("signature", "failed", words, hint)
    cause = likely_cause(provider, scheme, request, elsewhere)
    words = _compared(provider, scheme, request)
    return Check("signature", "failed", words, _hint(cause))


def _hint(cause: Cause | None) -> str:
    if cause is not None:
        return str(cause)
    return (
        "no try explains it, so most likely the sender has another secret, or the "
        "body's content was changed: compare the fingerprint with the one of the "
        "sender's secret, and the body with what was sent"
    )


def _compared(provider: Provider, scheme: Scheme, request: Request) -> str:
    given = given_signatures(scheme, request.headers)
    words = f"given is {given[0][:SHOWN]}..." if given else "none is given"
    if scheme.algorithm == "ed25519":
        return f"{words}, which no key made for these bytes"
    ids = known_ids(scheme, request, provider.ids(request))
    message = signed_bytes(scheme, request, ids[0] if ids else "")
    made = [
        f"{key.label} gives "
        + encoded(scheme.encoding, signature(scheme.algorithm, key.raw, message))[
            :SHOWN
        ]
        + "..."
        for key in configured(provider, scheme)
    ]
    return ", ".join([words, *made])
