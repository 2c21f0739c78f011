"""A wrong secret is found in a minute: requests, their damage, and what is said of it."""

from dataclasses import replace
from typing import Any

import pytest

from receiver.errors import Rejected
from receiver.models import Request
from receiver.providers import Provider
from receiver.providers.body import check_names, parse
from receiver.providers.diagnosis import Check, accepted, diagnose
from receiver.providers.samples import Sample
from receiver.schemes import Scheme, sign
from receiver.signatures import hmac_sha256_hex
from tests import making
from tests.providers.cases import NOW, SIGNING, Case, accept

SAMPLES = [
    pytest.param(case, sample, id=f"{case.name}-{sample.name}")
    for case in SIGNING
    for sample in case.samples().values()
]
every_signed = pytest.mark.parametrize(("case", "sample"), SAMPLES)
every_signing = pytest.mark.parametrize("case", SIGNING, ids=lambda case: case.name)
OURS = "the one secret of this source"


def first(case: Case) -> Sample:
    return next(iter(case.samples().values()))


def scheme_of(case: Case, sample: Sample) -> Scheme:
    scheme = case.provider().scheme_for(sample.body)
    assert scheme is not None
    return scheme


def by_hmac(scheme: Scheme) -> None:
    if scheme.algorithm == "ed25519":
        pytest.skip("it has no shared secret")


def steps(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def look(case: Case, request: Request, **more: Any) -> dict[str, Check]:
    return steps(diagnose(case.provider(), request, NOW, **more))


def refused(case: Case, request: Request, step: str, **more: Any) -> Check:
    """The step that failed, which the intake agrees with."""
    checks = diagnose(case.provider(), request, NOW, **more)
    found = steps(checks)[step]
    assert not accepted(checks)
    assert found.verdict == "failed", checks
    return found


def signed(case: Case, sample: Sample, key: bytes, scheme: Scheme) -> Request:
    """The sample as this scheme would sign it with this key, other headers added."""
    usual = case.sent(sample)
    ids = case.provider().ids(usual)
    message_id = usual.headers.get(scheme.id_header) or (ids[0] if ids else "msg_1")
    headers = {n: v for n, v in usual.headers.items() if n != scheme.header}
    made = sign(scheme, sample.body, key, NOW, message_id=message_id, headers=headers)
    return Request(made, usual.query, sample.body, NOW)


def with_header(request: Request, name: str, value: str) -> Request:
    return replace(request, headers={**request.headers, name: value})


def without(request: Request, *names: str) -> Request:
    headers = {n: v for n, v in request.headers.items() if n not in names}
    return replace(request, headers=headers)


PROVIDER = making.provider("sora2", OURS)


def sora2(body: bytes, key: bytes = OURS.encode()) -> Request:
    value = f"sha256={hmac_sha256_hex(key, body)}"
    return Request({"x-sora2-signature": value}, {}, body, NOW)


def would(provider: Provider, asked: Request) -> bool:
    """What the intake says."""
    try:
        accept(provider, asked)
        check_names(provider.read(asked, parse(asked.body)))
    except Rejected:
        return False
    return True
