"""
Whether a request may come in: who asks, how it is signed, and when that was.

    address -> token -> basic, bearer, headers -> signature -> age
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network

from receiver.errors import Rejected
from receiver.models import Headers, Request
from receiver.providers.base import Provider
from receiver.schemes import Scheme, check, given_signatures, timestamp_of
from receiver.settings import Source
from receiver.signatures import within

DIGEST = "sha256:"
"""What a digest of a credential begins with."""


def verify(provider: Provider, request: Request) -> None:
    """
    Check the signature that a request carries, and its age.

    Raises:
        Rejected: it is not from a holder of one of the secrets, or cannot be known to
            be; the code says why.  503 `keys_unavailable`: it could not be verified.
    """
    source = provider.source
    scheme = None
    if provider.schemes and (source.secrets or not provider.needs_secret):
        scheme = _fitting(provider, request)
        provider.check_sender(request)
    tolerance = tolerance_of(provider, scheme)
    if tolerance is not None:
        moment = moment_of(provider, scheme, request)
        check_age(moment, request.received_at, tolerance)


def tolerance_of(provider: Provider, scheme: Scheme | None) -> timedelta | None:
    """How old or early a request with this signature may be; None if nobody asks."""
    signed = scheme is not None and "timestamp" in scheme.covers
    return provider.source.tolerance or (provider.tolerance if signed else None)


def moment_of(
    provider: Provider, scheme: Scheme | None, request: Request
) -> datetime | None:
    """
    When a request was sent, by its signed timestamp or else its body.

    A header that is not signed can be made young again by whoever has the request.
    """
    if scheme is not None and "timestamp" in scheme.covers:
        return timestamp_of(scheme, request)
    return provider.moment(request)


def without_signature(provider: Provider) -> str:
    """That none of the headers with its signatures is there."""
    names = sorted(provider.signature_headers)
    if len(names) == 1:
        return f"{names[0]} is not there"
    return f"neither {' nor '.join(names)} is there"


def _fitting(provider: Provider, request: Request) -> Scheme:
    """The scheme whose signature holds; of those in the request any may."""
    refused: Rejected | None = None
    for scheme in provider.schemes:
        if scheme.header not in request.headers:
            continue
        try:
            keys = _known_keys(provider, scheme)
            check(scheme, request, keys, provider.ids(request))
        except Rejected as error:
            # A signature that does not fit says more than one that is of another kind.
            given = given_signatures(scheme, request.headers)
            if refused is None or (given and error.code == "signature_mismatch"):
                refused = error
        else:
            return scheme
    raise refused or Rejected(401, "signature_missing", without_signature(provider))


def _known_keys(provider: Provider, scheme: Scheme) -> Sequence[bytes]:
    keys = provider.keys(scheme)
    if not keys and provider.keys_url:
        message = "the sender's public keys could not be fetched yet; send it again"
        raise Rejected(503, "keys_unavailable", message)
    return keys


def check_conditions(
    source: Source, request: Request, *, digested: bool = False
) -> None:
    """
    Check what the source asks of every request, before and beside any signature.

    `digested` is for a request that was kept: of its credentials only digests are.

    Raises:
        Rejected: 401, or 403 for an address that may not send.
    """
    if source.allow_ips:
        _check_address(source.allow_ips, request.client)
    if source.token is not None:
        expected = digest(source.token) if digested else source.token
        _check_secret("token", request.query.get("token"), expected, "the URL")
    if source.basic is None and source.bearer is None and not source.require_headers:
        return  # as most; quickly
    for name, value in authorization_of(source).items():
        expected = digest(value) if digested else value
        _check_secret(name, request.headers.get(name), expected)


def check_age(moment: datetime | None, now: datetime, tolerance: timedelta) -> None:
    """
    Hold a request's time against the clock.

    Raises:
        Rejected: it has none, or it is too old or too early; the message says by how
            much.
    """
    if moment is None:
        message = "there is no timestamp, or it is not one that can be read"
        raise Rejected(401, "timestamp_missing", message)
    if not within(moment, now, tolerance):
        off = (now - moment).total_seconds()
        words = f"{abs(off):.0f} s {'old' if off > 0 else 'in the future'}"
        limit = f"{tolerance.total_seconds():.0f} s"
        message = f"the timestamp is {words}, tolerated are {limit}"
        raise Rejected(401, "timestamp_out_of_range", message)


def _check_secret(
    name: str, given: str | None, expected: str, where: str = "the request"
) -> None:
    code = name if name in ("token", "authorization") else "header"
    if given is None:
        raise Rejected(401, f"{code}_missing", f"{where} has no {name}")
    raw = given.encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(raw, expected.encode()):
        message = f"{where}'s {name} is not the configured one"
        raise Rejected(401, f"{code}_mismatch", message)


def _check_address(allowed: tuple[str, ...], client: str) -> None:
    try:
        address = ip_address(client)
    except ValueError:
        address = None
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address is None or not any(address in ip_network(net) for net in allowed):
        message = f"requests from {client or 'an unknown address'} are not allowed"
        raise Rejected(403, "address_not_allowed", message)


def digest(credential: str) -> str:
    """What is kept of a credential somebody gave with a refused request."""
    raw = credential.encode("utf-8", "surrogateescape")
    return DIGEST + hashlib.sha256(raw).hexdigest()


def authorization_of(source: Source) -> Headers:
    """The headers that satisfy the conditions."""
    headers = {name.lower(): str(v) for name, v in source.require_headers.items()}
    if source.basic is not None:
        basic = b64encode(source.basic.encode()).decode()
        headers["authorization"] = f"Basic {basic}"
    if source.bearer is not None:
        headers["authorization"] = f"Bearer {source.bearer}"
    return headers
