"""Damage to a header or a body is named, for every provider."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from receiver.models import Request
from receiver.providers.diagnosis import Check, accepted, diagnose
from receiver.schemes import Encoding, Scheme, key_of
from tests import making
from tests.providers.cases import NOW
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
    signed,
    sora2,
    steps,
    with_header,
    without,
)


def over_body(scheme: Scheme) -> None:
    if "body" not in scheme.covers:
        pytest.skip("its signature is not over the body")


def with_body(request: Request, change: Callable[[bytes], bytes]) -> Request:
    return replace(request, body=change(request.body))


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
