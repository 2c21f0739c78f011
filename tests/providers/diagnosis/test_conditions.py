"""What is right, what a source asks for besides, and anything at all."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.models import Request, Secret
from receiver.providers import Provider
from receiver.providers.copies import fingerprint
from receiver.providers.diagnosis import accepted, diagnose
from receiver.providers.kept import digested_headers, digested_query
from receiver.providers.samples import Sample
from tests import making
from tests.providers.cases import CASES, NOW, SIGNING, TOKEN, Case
from tests.providers.diagnosis.damage import (
    OURS,
    PROVIDER,
    by_hmac,
    every_signed,
    every_signing,
    first,
    look,
    refused,
    scheme_of,
    sora2,
    steps,
    with_header,
    would,
)

every_provider = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

# -- what is right


@every_signed
def test_a_right_request_has_nothing_wrong_with_it(case, sample):
    checks = diagnose(case.provider(), case.sent(sample), NOW)

    assert {check.verdict for check in checks} == {"ok"}
    assert accepted(checks)
    assert [check.name for check in checks][-3:] == ["signature", "body", "event"]


@every_signing
def test_it_says_which_of_several_secrets_signed(case):
    sample = first(case)
    by_hmac(scheme_of(case, sample))

    found = look(case, case.sent(sample, case.secrets[1]))

    assert found["signature"].verdict == "ok"
    assert f"secrets[1] ({fingerprint(case.secrets[1])})" in found["signature"].words
    assert "keep both while rotating" in found["signature"].hint


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.schemes], ids=lambda case: case.name
)
def test_a_sender_that_does_not_sign_is_judged_by_its_token(case):
    asked = case.sent(first(case))

    checks = diagnose(case.provider(), asked, NOW)

    assert accepted(checks)
    assert "none is asked for" in steps(checks)["signature"].words
    wrong = replace(asked, query={"token": "another"})
    assert "register the URL again" in refused(case, wrong, "token").hint


# -- the conditions


def guarded(**more: Any) -> Provider:
    return making.provider("sora2", OURS, **more)


CONDITIONS: dict[str, Any] = {
    "allow_ips": ("192.0.2.0/24",),
    "token": Secret(TOKEN),
    "basic": Secret("user:a password for tests"),
    "require_headers": {"X-Gate": Secret("a value for the gate")},
}


def asking(**more: Any) -> Request:
    basic = base64.b64encode(CONDITIONS["basic"].encode()).decode()
    asked = sora2(b'{"event":"batch.running","batch_id":"b"}')
    headers = {"authorization": f"Basic {basic}", "x-gate": "a value for the gate"}
    known = replace(asked, query={"token": TOKEN}, client="192.0.2.7")
    return replace(known, headers={**asked.headers, **headers}, **more)


def test_each_condition_is_a_step():
    found = steps(diagnose(guarded(**CONDITIONS), asking(), NOW))

    names = ["address", "token", "authorization (basic)", "header x-gate"]
    assert list(found)[:4] == names
    assert accepted(tuple(found.values()))


@pytest.mark.parametrize(
    ("step", "change"),
    [
        ("address", {"client": "198.51.100.1"}),
        ("token", {"query": {}}),
        ("authorization (basic)", {"headers": {"authorization": "Bearer x"}}),
        ("header x-gate", {"headers": {"x-gate": "closed"}}),
    ],
)
def test_a_condition_that_is_not_met_fails_alone(step, change):
    asked = asking()
    if "headers" in change:
        change = {"headers": {**asked.headers, **change["headers"]}}

    checks = diagnose(guarded(**CONDITIONS), replace(asked, **change), NOW)

    assert [check.name for check in checks if check.verdict == "failed"] == [step]
    assert steps(checks)[step].hint


def test_what_was_masked_cannot_be_repeated_and_does_not_count():
    asked = asking(query={"token": "***"}, client="")
    masked = {**asked.headers, "authorization": "***", "x-gate": "***"}

    checks = diagnose(guarded(**CONDITIONS), replace(asked, headers=masked), NOW)

    assert [check.verdict for check in checks[:4]] == ["skipped"] * 4
    assert "cannot be repeated" in checks[0].words
    assert accepted(checks)


def test_of_a_kept_request_the_digests_of_credentials_are_enough():
    provider, asked = guarded(**CONDITIONS), asking()
    kept = replace(
        asked,
        headers=digested_headers(provider.source, asked.headers),
        query=digested_query(asked.query),
    )
    other = guarded(**{**CONDITIONS, "token": Secret("another token")})

    assert accepted(diagnose(provider, kept, NOW, digested=True))
    wrong = steps(diagnose(other, kept, NOW, digested=True))
    assert wrong["token"].verdict == "failed"


def test_the_provider_s_own_test_is_recognised():
    asked = Request({}, {}, b'{"event":"test"}', NOW)

    checks = diagnose(PROVIDER, asked, NOW)

    assert [check.name for check in checks] == ["test"]
    assert accepted(checks)


# -- anything at all


def headers_for(case: Case) -> st.SearchStrategy[dict[str, str]]:
    provider = case.provider()
    own = {name for scheme in provider.schemes for name in scheme.headers}
    names = sorted(own | {"content-length", "x-hub-signature", "authorization", "x-id"})
    values = (
        st.text(st.characters(max_codepoint=255), max_size=80)
        | st.sampled_from(
            [
                *case.secrets,
                "sha256=" + "0" * 64,
                "t=1,v1=" + "0" * 64,
                "v1," + "A" * 43 + "=",
                "1769000000",
                "***",
            ]
        )
        if case.schemes
        else st.text(max_size=10)
    )
    return st.dictionaries(st.sampled_from(names), values, max_size=6)


bodies = st.binary(max_size=60) | st.recursive(
    st.none() | st.floats() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
).map(lambda data: json.dumps(data).encode())


@every_provider
@given(data=st.data())
def test_it_says_of_anything_what_the_intake_does_and_nothing_that_is_secret(
    case, data
):
    provider = case.provider()
    asked = Request(data.draw(headers_for(case)), {}, data.draw(bodies), NOW)

    checks = diagnose(provider, asked, NOW)

    told = "\n".join(f"{check.name} {check.words} {check.hint}" for check in checks)
    if "content-length" not in asked.headers and not provider.is_test_ping(asked):
        assert accepted(checks) == would(provider, asked)
    for secret in (*provider.source.secrets, TOKEN):
        raw = secret.encode()
        for form in (secret, raw.hex(), base64.b64encode(raw).decode()):
            assert form not in told


@every_signed
@given(data=st.data())
def test_of_a_damaged_request_it_says_what_the_intake_does(case, sample, data):
    provider, asked = case.provider(), case.sent(sample)
    name = data.draw(st.sampled_from(sorted(asked.headers)))
    value = asked.headers[name]
    at = data.draw(st.integers(0, len(value)))
    changed = value[:at] + data.draw(st.text("0a=,. Z", max_size=2)) + value[at + 1 :]
    late = timedelta(seconds=data.draw(st.integers(-400, 400)))
    damaged = with_header(asked, name, changed)

    checks = diagnose(provider, damaged, NOW + late)

    told = "\n".join(f"{check.words} {check.hint}" for check in checks)
    assert accepted(checks) == would(provider, replace(damaged, received_at=NOW + late))
    for scheme in provider.schemes:
        given_ = asked.headers.get(scheme.header)
        assert given_ is None or given_ not in told


def test_an_authentic_request_of_another_account_is_told():
    case = next(case for case in SIGNING if case.name == "fal")
    ours = case.provider(users=("user_2",))

    checks = diagnose(ours, case.sent(first(case)), NOW)

    assert steps(checks)["signature"].verdict == "ok"
    assert "an account that is not in users" in steps(checks)["sender"].words
    assert not accepted(checks)


@every_signing
def test_without_a_published_key_nothing_can_be_verified(case):
    if not case.publishes:
        pytest.skip("its key is a secret of ours")

    checks = diagnose(making.provider(case.name), case.sent(first(case)), NOW)

    assert steps(checks)["secrets"].verdict == "failed"
    assert "fetched by `receiver serve`" in steps(checks)["secrets"].hint


def test_what_says_itself_what_to_do_has_no_other_hint():
    case = next(case for case in CASES if case.name == "kie")
    linked = Sample("evil", b'{"taskId":"t","url":"https://evil.test/a"}', {})

    found = refused(case, case.sent(linked), "event")

    assert "add it there" in found.words
    assert not found.hint
