"""A wrong secret is found in a minute: every damage is named, for every provider."""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.errors import Rejected
from receiver.models import Reading, Request, Secret
from receiver.providers import Provider
from receiver.providers.body import check_names, parse
from receiver.providers.copies import fingerprint
from receiver.providers.diagnosis import Check, accepted, diagnose
from receiver.providers.kept import digested_headers, digested_query
from receiver.providers.samples import Sample
from receiver.schemes import Algorithm, Encoding, Scheme, key_of, sign, timestamp_text
from receiver.signatures import hmac_sha256_hex
from tests import making
from tests.providers.cases import CASES, NOW, SIGNING, TOKEN, Case, accept

SAMPLES = [
    pytest.param(case, sample, id=f"{case.name}-{sample.name}")
    for case in SIGNING
    for sample in case.samples().values()
]
every_signed = pytest.mark.parametrize(("case", "sample"), SAMPLES)
every_signing = pytest.mark.parametrize("case", SIGNING, ids=lambda case: case.name)
every_provider = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

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


def over_body(scheme: Scheme) -> None:
    if "body" not in scheme.covers:
        pytest.skip("its signature is not over the body")


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


def with_body(request: Request, change: Callable[[bytes], bytes]) -> Request:
    return replace(request, body=change(request.body))


def with_header(request: Request, name: str, value: str) -> Request:
    return replace(request, headers={**request.headers, name: value})


def without(request: Request, *names: str) -> Request:
    headers = {n: v for n, v in request.headers.items() if n not in names}
    return replace(request, headers=headers)


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


# -- the header


@every_signed
def test_a_signature_that_is_missing_is_named(case, sample):
    asked = without(case.sent(sample), *case.provider().signature_headers)

    found = refused(case, asked, "signature header")

    assert scheme_of(case, sample).header in found.words
    assert ("is not there" in found.words) != found.words.startswith("neither ")
    assert found.hint
    assert look(case, asked)["signature"].verdict == "skipped"


@every_signing
def test_a_signature_under_another_name_is_found(case):
    sample = first(case)
    scheme = scheme_of(case, sample)
    if scheme.timestamp_header == scheme.header:
        pytest.skip("its timestamp is in the same header")
    asked = case.sent(sample)
    value = asked.headers[scheme.header]
    names = case.provider().signature_headers
    moved = with_header(without(asked, *names), "x-renamed-signature", value)

    found = refused(case, moved, "signature header")

    assert "x-renamed-signature holds a signature: it fits" in found.hint


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x-hub-signature", "the older form with SHA-1"),
        ("x-turbo-signature-256", "in which sophon signs"),
        ("x-sora2-signatures", "was it renamed on the way?"),
        ("x-acme-sig", "is another kind of sender behind it?"),
        ("x-our-hmac", "is another kind of sender behind it?"),
        ("content-type", "nothing like a signature is there"),
    ],
)
def test_a_header_that_could_be_meant_is_pointed_at(name, says):
    checks = diagnose(
        making.provider("sora2", OURS), Request({name: "x"}, {}, b"{}", NOW), NOW
    )

    assert says in steps(checks)["signature header"].hint


@every_signing
def test_a_prefix_that_was_stripped_is_named(case):
    sample = first(case)
    scheme = scheme_of(case, sample)
    if not scheme.prefix or scheme.timestamp_header == scheme.header:
        pytest.skip("it has none, or other things beside it")
    asked = case.sent(sample)
    bare = asked.headers[scheme.header].removeprefix(scheme.prefix)

    form = refused(case, with_header(asked, scheme.header, bare), "signature form")
    found = refused(case, with_header(asked, scheme.header, bare), "signature")

    assert f"begins with {scheme.prefix}" in form.words
    assert f"if it begins with {scheme.prefix}" in found.hint


@every_signing
def test_a_signature_in_another_encoding_is_named(case):
    sample = first(case)
    scheme = scheme_of(case, sample)
    by_hmac(scheme)
    other: Encoding = "hex" if scheme.encoding == "base64" else "base64"
    key = key_of(scheme.key, case.secrets[0])
    asked = signed(case, sample, key, replace(scheme, encoding=other))

    form = refused(case, asked, "signature form")
    found = refused(case, asked, "signature")

    assert f"written in {other}, expected is {scheme.encoding}" in form.words
    assert f"it is read as {other} and not {scheme.encoding}" in found.hint


@every_signing
def test_a_signature_that_was_cut_is_named(case):
    scheme = scheme_of(case, first(case))
    asked = case.sent(first(case))
    cut = asked.headers[scheme.header][:-8]

    found = refused(case, with_header(asked, scheme.header, cut), "signature form")

    assert "bytes long" in found.words


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "it is empty"),
        ("***", "masked with stars"),
        ("SHA256=" + "0" * 64, "in other case"),
        ("sha256=" + "0" * 40, "as those of sha1 are"),
        ("sha256=" + "0" * 62 + ' "', "quotes or spaces"),
        ("sha256=nonsense!", "is not hex"),
        ("nonsense", "is it the right header"),
    ],
)
def test_a_signature_that_is_none_is_described(value, says):
    asked = Request({"x-sora2-signature": value}, {}, b"{}", NOW)

    found = steps(diagnose(making.provider("sora2", OURS), asked, NOW))

    form = found["signature form"]
    assert says in f"{form.words}: {form.hint}"


# -- the body


def reindented(body: bytes) -> bytes:
    return json.dumps(json.loads(body), indent=2, ensure_ascii=False).encode()


def spaced(body: bytes) -> bytes:
    return json.dumps(json.loads(body), sort_keys=True).encode()


DAMAGE: Mapping[str, tuple[Callable[[bytes], bytes], str]] = {
    "indented": (reindented, "the body is compact JSON"),
    "a newline more": (lambda body: body + b"\n", "without the newline at its end"),
    "a byte order mark": (lambda body: b"\xef\xbb\xbf" + body, "byte order mark"),
}


@every_signed
@pytest.mark.parametrize("damage", ["indented", "a newline more", "a byte order mark"])
def test_a_body_that_was_written_anew_is_found_again(case, sample, damage):
    over_body(scheme_of(case, sample))
    change, says = DAMAGE[damage]

    found = refused(case, with_body(case.sent(sample), change), "signature")

    assert says in found.hint
    assert "pass on" in found.hint


ORIGINALS = {
    "compact, sorted": b'{"a":"x","b":[1,{"c":2}]}',
    "spaced": b'{"b": [1, {"c": 2}], "a": "x"}',
    "indented by 4": b'{\n    "b": [\n        1\n    ],\n    "a": "x"\n}',
    "indented by tabs": b'{\n\t"b": 1\n}',
    "escaped": b'{"b":"\\u00e9"}',
    "not escaped": '{"b":"é"}'.encode(),
    "slashes escaped": b'{"b":"https:\\/\\/example.com"}',
    "as Go does": b'{"b":"\\u003ca href=1\\u003e\\u0026"}\n',
    "numbers as written": b'{"b":1.50,"c":12345678901234567890,"d":1e3}',
    "a newline at the end": b'{"b":1}\n',
    "CR LF": b'{\r\n  "b": 1\r\n}',
    "a form": b"payload=%7B%22b%22%3A+1%7D",
    "empty": b"",
    "UTF-8": '{"b": "é"}'.encode(),
}


def rewritten(original: bytes) -> bytes:
    """What a framework makes of it; of what is no JSON something else."""
    try:
        data = json.loads(original)
    except ValueError:
        return b'{"b": 1}'
    return json.dumps(dict(sorted(data.items(), reverse=True))).encode() + b" "


@pytest.mark.parametrize("name", ORIGINALS)
def test_an_original_is_found_behind_what_became_of_it(name):
    original = ORIGINALS[name]
    asked = sora2(original)
    damaged = {
        "numbers as written": b'{ "b":1.50,"c":12345678901234567890,"d":1e3 }',
        "UTF-8": '{"b": "é"}'.encode().decode("latin-1").encode(),
        "CR LF": original.replace(b"\r\n", b"\n"),
    }.get(name) or rewritten(original)

    checks = diagnose(PROVIDER, replace(asked, body=damaged), NOW)

    assert "it fits secrets[0]" in steps(checks)["signature"].hint, checks


PROVIDER = making.provider("sora2", OURS)


def sora2(body: bytes, key: bytes = OURS.encode()) -> Request:
    value = f"sha256={hmac_sha256_hex(key, body)}"
    return Request({"x-sora2-signature": value}, {}, body, NOW)


@pytest.mark.parametrize(
    ("received", "original"),
    [
        ("1.0", "1"),
        ("1e21", "1e+21"),
        ("0.0000001", "1e-7"),
        ("0.00001", "0.00001"),
        ("-0.0", "0"),
        ("12345678901234567890", "12345678901234567000"),
        ("1e400", "null"),
        ("0.10", "0.1"),
    ],
)
def test_numbers_as_javascript_writes_them_are_known(received, original):
    asked = sora2(b'{"a":%s}' % original.encode())

    checks = diagnose(
        PROVIDER, replace(asked, body=b'{"a": %s}' % received.encode()), NOW
    )

    assert "it fits" in steps(checks)["signature"].hint, original


def test_a_large_body_is_searched_in_bounded_time():
    body = json.dumps({"items": [{"n": i / 7} for i in range(200_000)]}).encode()

    checks = diagnose(PROVIDER, replace(sora2(b"other"), body=body), NOW)

    assert "no try explains it" in steps(checks)["signature"].hint


def test_of_a_body_that_is_kept_in_part_nothing_is_claimed():
    asked = replace(sora2(b"whole"), body=b"wh")

    checks = diagnose(PROVIDER, asked, NOW, body_bytes=5)
    announced = diagnose(PROVIDER, with_header(asked, "content-length", "5"), NOW)

    assert checks == (
        Check(
            "signature",
            "skipped",
            "only the first 2 of 5 bytes of the body are there: it cannot be verified",
            "have it sent again, and take the whole of it",
        ),
        Check("body", "skipped", "only the first 2 of 5 bytes of the body are there"),
    )
    assert announced == checks
    assert not accepted(checks)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "it is empty"),
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"payload=1", "looks like a form"),
        (b'{"a":', "was it cut"),
    ],
)
def test_a_signed_body_that_cannot_be_read_is_described(body, says):
    found = steps(diagnose(PROVIDER, sora2(body), NOW))

    assert found["signature"].verdict == "ok"
    assert found["body"].verdict == "failed"
    assert says in found["body"].hint
    assert found["event"].verdict == "skipped"


def test_a_signed_body_without_its_id_is_no_event():
    checks = diagnose(PROVIDER, sora2(b'{"event":"batch.running"}'), NOW)

    assert steps(checks)["event"].words == "the body has no batch_id"
    assert not accepted(checks)


# -- the secret


@every_signing
def test_a_stranger_s_signature_is_not_explained(case):
    found = refused(case, case.sent(first(case), case.stranger), "signature")

    assert "no try explains it" in found.hint


@every_signing
@pytest.mark.parametrize(
    ("copy", "says"),
    [
        (lambda secret: b"", "the secret is empty"),
        (lambda secret: b"undefined", "the secret is the word undefined"),
        (lambda secret: secret + b"\n", "with a line break at its end"),
        (lambda secret: b'"' + secret + b'"', "with double quotes around it"),
        (lambda secret: secret + b" ", "with a space at its end"),
        (base64.b64encode, "encoded in base64 once more"),
        (lambda secret: secret.hex().encode(), "encoded in hex once more"),
        (lambda secret: b"whsec_" + secret, "written with whsec_ before it"),
    ],
)
def test_a_secret_that_was_copied_wrongly_is_found(case, copy, says):
    sample = first(case)
    scheme = scheme_of(case, sample)
    by_hmac(scheme)
    asked = signed(case, sample, copy(case.secrets[0].encode()), scheme)

    assert says in refused(case, asked, "signature").hint


@pytest.mark.parametrize(
    ("configured", "key", "says"),
    [
        ("MDEyMzQ1Njc4OWFiY2RlZg==", b"0123456789abcdef", "taken as base64"),
        ("30313233343536373839", b"0123456789", "taken as hex digits"),
        ("whsec_MDEyMzQ1Njc4OWFiY2RlZg==", b"0123456789abcdef", "base64 without whsec"),
        ("whsec_0123456789", b"0123456789", "taken as text without whsec_"),
        (" our secret\n", b"our secret", "without the white space around it"),
        ("'our secret'", b"our secret", "without the quotes around it"),
        ("our%20secret", b"our secret", "without its %-escapes"),
        ("Our Secret", b"our secret", "in lower case"),
    ],
)
def test_a_secret_that_is_taken_in_another_way_is_found(configured, key, says):
    checks = diagnose(making.provider("sora2", configured), sora2(b"{}", key), NOW)

    assert says in steps(checks)["signature"].hint


def test_the_secret_of_another_source_is_found():
    elsewhere = {"staging": ("the secret of the other source",)}
    asked = sora2(b"{}", b"the secret of the other source")

    found = steps(diagnose(PROVIDER, asked, NOW, elsewhere=elsewhere))["signature"]

    number = fingerprint("the secret of the other source")
    assert f"secrets[0] ({number}) of the source staging" in found.hint


def test_a_secret_that_is_sent_instead_of_a_signature_is_told():
    asked = Request({"x-sora2-signature": OURS}, {}, b"{}", NOW)

    found = steps(diagnose(PROVIDER, asked, NOW))["signature"]

    assert "holds the secret itself" in found.words
    assert "make a new one" in found.hint


# -- the way of signing


@every_signing
def test_another_algorithm_is_named(case):
    sample = first(case)
    scheme = scheme_of(case, sample)
    by_hmac(scheme)
    other: Algorithm = "sha512" if scheme.algorithm == "sha1" else "sha1"
    key = key_of(scheme.key, case.secrets[0])

    asked = signed(case, sample, key, replace(scheme, algorithm=other))

    assert f"the algorithm is {other}" in refused(case, asked, "signature").hint


@every_signing
@pytest.mark.parametrize(
    "template",
    ["{body}", "{timestamp}{body}", "{timestamp}:{body}", "{body}.{timestamp}"],
)
def test_another_way_to_put_together_what_is_signed_is_named(case, template):
    sample = first(case)
    scheme = scheme_of(case, sample)
    by_hmac(scheme)
    if template == scheme.signed or not scheme.timestamp_header:
        pytest.skip("that is its own, or it has no timestamp")
    key = key_of(scheme.key, case.secrets[0])

    asked = signed(case, sample, key, replace(scheme, signed=template))

    found = refused(case, asked, "signature")
    assert f"what is signed is {template}" in found.hint or "is signed as" in found.hint


@every_signing
def test_an_id_from_another_place_is_found(case):
    sample = first(case)
    scheme = scheme_of(case, sample)
    by_hmac(scheme)
    if "{id}" not in scheme.signed or scheme.id_header:
        pytest.skip("it signs no id out of the body")
    body = json.dumps({**json.loads(sample.body), "elsewhere": {"no": "id_2"}}).encode()
    key = key_of(scheme.key, case.secrets[0])
    made = sign(scheme, body, key, NOW, message_id="id_2")

    found = refused(case, Request(made, {}, body, NOW), "signature")

    assert "the id is elsewhere.no in the body" in found.hint


class Tasks(Provider):
    """A sender that signs an id out of the body, and a time, but not the body."""

    schemes = (
        Scheme(
            header="x-task-signature",
            signed="{id}.{timestamp}",
            encoding="base64",
            timestamp_header="x-task-timestamp",
        ),
    )

    def ids(self, request: Request) -> list[str]:
        found = json.loads(request.body).get("task")
        return [found] if found else []

    def read(self, request: Request, data: Any) -> Reading:
        raise Rejected(400, "malformed_body", "nothing is read here")


def test_which_id_of_a_body_is_signed_is_found():
    provider = Tasks(making.provider("sora2", OURS).source)
    [scheme] = provider.schemes
    body = b'{"task":"t_1","data":{"list":[1,{"id":"t_2"}]}}'
    made = sign(scheme, body, OURS.encode(), NOW, message_id="t_2")
    asked = Request({**made, "x-request-id": "t_3"}, {}, body, NOW)
    in_header = sign(scheme, body, OURS.encode(), NOW, message_id="t_3")

    found = steps(diagnose(provider, asked, NOW))
    other = steps(
        diagnose(provider, replace(asked, headers={**asked.headers, **in_header}), NOW)
    )
    none = steps(diagnose(provider, replace(asked, body=b"{}"), NOW))

    assert "the id is data.list[1].id in the body" in found["signature"].hint
    assert "the id is that in x-request-id" in other["signature"].hint
    assert none["id"].words == "the body has no id"


def test_another_provider_s_way_is_recognised():
    body = making.sample("batch.completed")
    as_sophon = making.signed(body, OURS, "sophon", NOW)

    missing = diagnose(PROVIDER, Request(as_sophon, {}, body, NOW), NOW)
    both = {**as_sophon, "x-sora2-signature": "sha256=" + "0" * 64}
    wrong = diagnose(PROVIDER, Request(both, {}, body, NOW), NOW)

    for found in (steps(missing)["signature header"], steps(wrong)["signature"]):
        assert "this is signed as sophon signs, with a secret of this" in found.hint
        assert 'Set provider = "sophon"' in found.hint


# -- the timestamp


def timed(case: Case) -> Scheme:
    scheme = scheme_of(case, first(case))
    if "timestamp" not in case.provider().signs:
        pytest.skip("it signs no time")
    return scheme


@every_signing
@pytest.mark.parametrize(
    ("late", "says"),
    [
        (timedelta(days=3, minutes=11), "it would have been right at that time (--at "),
        (timedelta(hours=2, seconds=5), "the offset of a time zone"),
        (-timedelta(minutes=20), "the sender's clock is ahead"),
    ],
)
def test_a_timestamp_that_is_off_is_explained(case, late, says):
    timed(case)
    asked = case.sent(first(case))

    checks = diagnose(case.provider(), asked, NOW + late)

    assert steps(checks)["timestamp"].verdict == "failed"
    assert says in steps(checks)["timestamp"].hint
    assert steps(checks)["signature"].verdict == "ok"
    assert accepted(diagnose(case.provider(), asked, NOW))


@every_signing
def test_a_timestamp_that_is_missing_is_named(case):
    scheme = timed(case)
    if scheme.timestamp_header == scheme.header:
        pytest.skip("it is in the same header")
    asked = without(case.sent(first(case)), scheme.timestamp_header)

    found = refused(case, asked, "timestamp")

    assert found.words == f"{scheme.timestamp_header} is not there"


@every_signing
@pytest.mark.parametrize("form", ["unix", "unix_ms", "iso"])
def test_a_timestamp_in_another_form_is_named(case, form):
    scheme = timed(case)
    by_hmac(scheme)
    if form == scheme.timestamp_format:
        pytest.skip("that is its own")
    key = key_of(scheme.key, case.secrets[0])
    made = signed(case, first(case), key, replace(scheme, timestamp_format=form))
    if would(case.provider(), made):
        pytest.skip("it is understood all the same")

    found = refused(case, made, "timestamp")

    words = {"unix": "seconds", "unix_ms": "milliseconds", "iso": "ISO 8601"}
    assert words[form] in found.hint
    assert "expected is" in found.hint


@every_signing
def test_a_timestamp_that_was_changed_is_found(case):
    scheme = timed(case)
    by_hmac(scheme)
    if scheme.timestamp_format != "unix" or scheme.timestamp_header == scheme.header:
        pytest.skip("it is of another form")
    asked = case.sent(first(case))
    text = timestamp_text(scheme, asked)
    changed = with_header(asked, scheme.timestamp_header, f"{text}000")

    assert "signed in seconds" in refused(case, changed, "signature").hint


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


def would(provider: Provider, asked: Request) -> bool:
    """What the intake says."""
    try:
        accept(provider, asked)
        check_names(provider.read(asked, parse(asked.body)))
    except Rejected:
        return False
    return True


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
