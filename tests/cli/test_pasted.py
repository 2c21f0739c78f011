"""Requests as people paste them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.cli.pasted import parse_head, parse_request

BODY = b'{"a": 1}'


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize(
    "line", [b"POST /x?token=t&a= HTTP/1.1", b"POST /x?token=t&a="]
)
def test_a_request_is_taken_apart(end, line):
    raw = end.join([line, b"Host: x", b"X-A:  1 ", b"x-a: 2", b"", BODY])

    pasted = parse_request(raw)

    assert pasted.headers == {"host": "x", "x-a": "1, 2"}
    assert pasted.query == {"token": "t", "a": ""}
    assert pasted.body == BODY
    assert pasted.notes == ()


def test_the_request_line_may_be_missing():
    pasted = parse_request(b"\n\nX-A: 1\n\n" + BODY)

    assert pasted.headers == {"x-a": "1"}
    assert pasted.query is None


def test_the_body_ends_where_its_length_says():
    head = b"X-A: 1\r\nContent-Length: 8\r\n\r\n"

    exact = parse_request(head + BODY)
    newline = parse_request(head + BODY + b"\n")
    more = parse_request(head + BODY + b" and more")
    less = parse_request(head + BODY[:5])

    assert (exact.body, exact.notes) == (BODY, ())
    assert (newline.body, newline.notes) == (BODY, ())
    assert more.body == BODY
    assert more.notes == ("9 bytes after Content-Length's are left out",)
    assert less.body == BODY[:5]
    assert less.notes == ("Content-Length says 8 bytes, 5 are there",)


def test_without_a_length_a_newline_at_the_end_is_noted():
    pasted = parse_request(b"X-A: 1\n\n" + BODY + b"\n")

    assert pasted.body == BODY + b"\n"
    assert "a newline may be too much" in pasted.notes[0]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_chunks_are_put_together(end):
    head = b"Transfer-Encoding: chunked" + end * 2
    chunks = [b"3", BODY[:3], b"5;x=y", BODY[3:], b"0", b"", b""]

    pasted = parse_request(head + end.join(chunks))

    assert (pasted.body, pasted.notes) == (BODY, ())


@pytest.mark.parametrize("body", [BODY, b"", b"5\r\nab", b"3\r\nabc\r\n"])
def test_what_is_not_in_chunks_is_taken_as_it_is(body):
    pasted = parse_request(b"Transfer-Encoding: chunked\r\n\r\n" + body)

    assert pasted.body == body
    assert "taken as it is" in pasted.notes[0]


def test_what_curl_says_it_sent_is_understood():
    raw = b"""* Connected to example.com port 443
* using HTTP/1.1
> POST /webhook/sora2?token=t HTTP/1.1
> Host: example.com
> X-Sora2-Signature: sha256=00
>
} [8 bytes data]
* upload completely sent off: 8 bytes
< HTTP/1.1 401 Unauthorized
< content-type: application/json
<
{"a": 1}"""

    pasted = parse_request(raw)

    assert pasted.headers == {"host": "example.com", "x-sora2-signature": "sha256=00"}
    assert pasted.query == {"token": "t"}
    assert pasted.body == BODY


def test_headers_as_mitmproxy_aligns_them_and_http_2_has_them_are_understood():
    raw = b":method:  POST\n:path:    /x?token=t\nX-A:      1\n continued\n\n" + BODY

    pasted = parse_request(raw)

    assert pasted.headers == {"x-a": "1 continued"}
    assert pasted.query == {"token": "t"}


@pytest.mark.parametrize("raw", [b"", b"hello", BODY, b"POST / HTTP/1.1\n\n" + BODY])
def test_what_is_no_request_is_refused_with_a_sentence(raw):
    with pytest.raises(ValueError, match="header"):
        parse_request(raw)


def test_what_is_beyond_ascii_is_as_on_the_wire():
    headers, _ = parse_head("X-A: é".encode())

    assert headers == {"x-a": "é".encode().decode("latin-1")}


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_are_refused(raw):
    try:
        pasted = parse_request(raw)
    except ValueError:
        return

    assert pasted.headers
