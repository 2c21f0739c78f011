"""Whose links they are: nothing that two programs could read differently is known."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.providers.hosts import host_of, is_link, is_pattern, strangers

ALLOWED = ("files.example.com", "*.cdn.example.com")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://files.example.com/a.mp4", "files.example.com"),
        ("HTTPS://Files.EXAMPLE.com:8443/a?b=http://x/#c", "files.example.com"),
        ("http://files.example.com.", "files.example.com"),
        ("http://files.example.com:/a b".replace(" ", "%20"), "files.example.com"),
        ("https://files.example.com?x@evil.test", "files.example.com"),
        ("https://files.example.com#@evil.test", "files.example.com"),
        ("https://files.example.com/@evil.test", "files.example.com"),
        ("https://files.example.com/動画.mp4", "files.example.com"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("http://127.0.0.1/", "127.0.0.1"),
    ],
)
def test_the_host_is_told_where_everybody_reads_the_same(url, host):
    assert host_of(url) == host


@pytest.mark.parametrize(
    "url",
    [
        "https://files.example.com@evil.test/",
        "https://user:pw@files.example.com/",
        "https://evil.test\\@files.example.com/",
        "https://evil.test\\.files.example.com/",
        "https:\\\\files.example.com/",
        "https:/files.example.com/",
        "https:files.example.com",
        "https:///files.example.com/",
        "//files.example.com/",
        "https://files.example.com../",
        "https://.files.example.com/",
        "https://files%2eexample.com/",
        "https://files\uff0eexample.com/",
        "https://\uff46iles.example.com/",
        "https://b\u00fccher.example/",
        "https://files.example.com\u3002/",
        "https://ev\til.test/",
        "https://files.example.com\n.evil.test/",
        " https://files.example.com/",
        "https://files.example.com/\x00",
        "https://files.example.com/a b",
        "https://[::1]/",
        "https://files.example.com:80a/",
        "https://files.example.com:99:99/",
        "https://\u212aie.ai/",
        "ftp://files.example.com/",
        "file:///etc/passwd",
        "https://",
        "",
    ],
)
def test_no_host_is_told_where_somebody_could_read_another(url):
    assert host_of(url) is None
    assert list(strangers([url], ALLOWED))
    assert not list(strangers([url], ("*",)))


@given(st.text(alphabet="hts:/\\@.?#[]%aé0\t\u3002", max_size=30))
def test_a_host_that_is_told_is_the_one_the_standard_library_finds(rest):
    url = f"https://{rest}"

    host = host_of(url)

    assert host is None or urlsplit(url).hostname in (host, f"{host}.")


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("files.example.com", True),
        ("FILES.example.com", True),
        ("a.files.example.com", False),
        ("example.com", False),
        ("evilfiles.example.com", False),
        ("files.example.com.evil.test", False),
        ("a.cdn.example.com", True),
        ("a.b.cdn.example.com", True),
        ("cdn.example.com", False),
        ("evilcdn.example.com", False),
    ],
)
def test_a_pattern_is_a_host_or_all_below_one(host, known):
    assert list(strangers([f"https://{host}/"], ALLOWED)) == [host.lower()] * (
        not known
    )


def test_patterns_are_hosts_without_anything_around_them():
    right = ("*", "example.com", "*.example.com", "EXAMPLE.com", "a_b.example")
    wrong = (
        *("", "https://example.com", "example.com/", "example.com:80", "**"),
        *(
            "*example.com",
            "a.*.com",
            "*.",
            ".com",
            "exa mple.com",
            "b\u00fccher.example",
        ),
    )

    assert all(map(is_pattern, right))
    assert not any(map(is_pattern, wrong))


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("https://a/", True),
        ("HTTP:a", True),
        ("\t//a", True),
        ("\\\\a\\b", True),
        ("gopher://a", True),
        ("a cat", False),
        ("Note: a cat", False),
        ("see https://a/", False),
        ("", False),
    ],
)
def test_a_link_is_a_text_that_is_an_address_as_a_whole(text, link):
    assert is_link(text) is link
