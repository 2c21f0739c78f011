"""
Why a request gets in, or does not: each step of the intake, with a verdict and a hint.

    conditions -> signature (see examining) -> body -> event

For people who set a source up, never for the intake; it agrees with the intake on what
is accepted, and knows more words.  Pure.
"""

import base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from receiver.errors import Rejected
from receiver.models import Rejection, Request
from receiver.providers.base import Provider
from receiver.providers.body import check_names, parse
from receiver.providers.examining import Check, examine
from receiver.providers.given import MASK
from receiver.providers.verification import check_conditions
from receiver.settings import Source

__all__ = ["Check", "accepted", "diagnose", "diagnose_kept", "summary"]

LEAST_SCRUBBED = 8
"""Shorter secrets are words like any other."""

CONDITIONS = ("address", "token", "authorization", "header ")
"""What the names of conditions' steps begin with."""


def diagnose(
    provider: Provider,
    request: Request,
    now: datetime,
    *,
    digested: bool = False,
    body_bytes: int = 0,
    elsewhere: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Check, ...]:
    """
    Look at a request as the intake would at `now`, and at every step even after one
    that failed.

    Credentials that are `***` are not known, nor is a client's address that is empty;
    `digested` is for a request that was kept, of which credentials are digests.
    `body_bytes` is how long the body was, if only its beginning is here.  `elsewhere`
    are the secrets of other sources, by their names.

    No text in it holds a secret of the source's or a signature that could be used.
    """
    asked = replace(request, received_at=now)
    checks = [*_conditions(provider.source, asked, digested=digested)]
    if provider.is_test_ping(asked):
        words = "the provider's unsigned test: answered, and not kept"
        checks.append(Check("test", "ok", words))
    elif max(body_bytes, _announced(asked)) > len(asked.body):
        checks += _in_part(asked, max(body_bytes, _announced(asked)))
    else:
        checks += examine(provider, asked, elsewhere or {})
        checks += _understood(provider, asked)
    secrets = list(_spelled([*_secrets(provider.source), *_all(elsewhere)]))
    return tuple(_without(check, secrets) for check in checks)


def diagnose_kept(
    provider: Provider, kept: Rejection, elsewhere: Mapping[str, Sequence[str]]
) -> tuple[Check, ...]:
    """The same of a request that was refused, as of the moment it came."""
    request = Request(
        kept.headers, kept.query, kept.body, kept.received_at, kept.client
    )
    return diagnose(
        provider,
        request,
        kept.received_at,
        digested=True,
        body_bytes=kept.body_bytes,
        elsewhere=elsewhere,
    )


def summary(checks: Collection[Check]) -> str:
    """What it would come to, in a line."""
    if not accepted(checks):
        wrong = [check.name for check in checks if check.verdict == "failed"]
        names = ", ".join(wrong)
        return f"it would be refused: {names}" if wrong else "it cannot be told"
    left = [check.name for check in checks if check.verdict == "skipped"]
    rest = f", if what could not be looked at is right: {', '.join(left)}"
    return f"it would be accepted{rest if left else ''}"


def accepted(checks: Collection[Check]) -> bool:
    """
    Whether the request would be accepted, as far as can be told.

    Conditions that cannot be repeated do not count against it.
    """
    return not any(
        check.verdict == "failed"
        or (check.verdict == "skipped" and not check.name.startswith(CONDITIONS))
        for check in checks
    )


def _announced(request: Request) -> int:
    said = request.headers.get("content-length", "")
    return int(said) if len(said) < 16 and said.isascii() and said.isdigit() else 0


# -- conditions


def _conditions(source: Source, request: Request, *, digested: bool) -> Iterator[Check]:
    for name, part, known in _parts(source, request):
        if not known:
            yield Check(name, "skipped", "cannot be repeated: its value is not known")
            continue
        try:
            check_conditions(part, request, digested=digested)
        except Rejected as error:
            yield Check(name, "failed", error.message, _advice(name, request))
        else:
            yield Check(name, "ok", "as configured")


def _parts(source: Source, request: Request) -> Iterator[tuple[str, Source, bool]]:
    """Each condition alone: its name, a source with no other, whether it is known."""
    bare = replace(
        source, allow_ips=(), token=None, basic=None, bearer=None, require_headers={}
    )
    headers = request.headers
    if source.allow_ips:
        part = replace(bare, allow_ips=source.allow_ips)
        yield "address", part, bool(request.client)
    if source.token is not None:
        part = replace(bare, token=source.token)
        yield "token", part, request.query.get("token") != MASK
    given = headers.get("authorization") != MASK
    if source.basic is not None:
        yield "authorization (basic)", replace(bare, basic=source.basic), given
    if source.bearer is not None:
        yield "authorization (bearer)", replace(bare, bearer=source.bearer), given
    for name, value in source.require_headers.items():
        part = replace(bare, require_headers={name: value})
        yield f"header {name.lower()}", part, headers.get(name.lower()) != MASK


def _advice(name: str, request: Request) -> str:
    if name == "address":
        return "add the address to `allow_ips`; behind a proxy see `trusted_proxies`"
    if name == "token":
        return "register the URL again: `receiver url SOURCE --show-token`"
    if name.startswith("authorization"):
        there = request.headers.get("authorization", "")
        scheme = there.partition(" ")[0].lower()
        known = scheme if scheme in ("basic", "bearer") else "of another kind"
        return f"what is there is {known}" if there else "the sender must send it"
    return "the sender must send it with the configured value"


# -- the body


def _in_part(request: Request, whole: int) -> Iterator[Check]:
    there = len(request.body)
    words = f"only the first {there:,} of {whole:,} bytes of the body are there"
    hint = "have it sent again, and take the whole of it"
    yield Check("signature", "skipped", f"{words}: it cannot be verified", hint)
    yield Check("body", "skipped", words)


def _understood(provider: Provider, request: Request) -> Iterator[Check]:
    try:
        data = parse(request.body)
    except Rejected as error:
        yield Check("body", "failed", error.message, _about(request.body))
        yield Check("event", "skipped", "the body cannot be read")
        return
    yield Check("body", "ok", f"JSON, {len(request.body):,} bytes")
    try:
        reading = provider.read(request, data)
        check_names(reading)
    except Rejected as error:
        unread = error.code == "malformed_body"  # others say what to do themselves
        hint = f"is it a webhook of {provider.name}'s, and the whole of it?" * unread
        yield Check("event", "failed", error.message, hint)
    else:
        words = f"{reading.type[:80]} about {reading.subject[:80]}"
        yield Check("event", "ok", words)


def _about(body: bytes) -> str:
    if not body:
        return "it is empty: something on the way read it, or a redirect lost it"
    if body.startswith(b"\x1f\x8b"):
        return "it is compressed with gzip: switch that off at the sender"
    if body.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark, which JSON must not have"
    if b"=" in body[:50] and body.lstrip()[:1] not in b"{[":
        return "it looks like a form: let the sender post application/json"
    return "was it cut, or changed on the way?"


# -- nothing secret


def _secrets(source: Source) -> Iterator[str]:
    yield from source.secrets
    yield from filter(None, (source.token, source.basic, source.bearer))
    yield from source.require_headers.values()


def _all(elsewhere: Mapping[str, Sequence[str]] | None) -> Iterator[str]:
    for secrets in (elsewhere or {}).values():
        yield from secrets


def _spelled(secrets: Collection[str]) -> Iterator[str]:
    """The secrets that are long enough to be told from words, in their usual forms."""
    for secret in secrets:
        raw = secret.encode("utf-8", "replace")
        for text in (
            str(secret),
            secret.strip(),
            secret.removeprefix("whsec_"),
            raw.hex(),
            base64.b64encode(raw).decode().rstrip("="),
        ):
            if len(text) >= LEAST_SCRUBBED:
                yield text


def _without(check: Check, secrets: Collection[str]) -> Check:
    """Parts of a request are in the texts, and a sender may have put secrets there."""
    words, hint = check.words, check.hint
    for secret in secrets:
        words, hint = words.replace(secret, MASK), hint.replace(secret, MASK)
    return replace(check, words=words, hint=hint)
