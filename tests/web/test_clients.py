"""Who a request is from: only what trusted proxies vouch for is believed."""

from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.web.clients import client_address, networks

PROXIES = networks(["127.0.0.1", "10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", "", "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "203.0.113.7, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1,10.1.2.3", "198.51.100.1"),
        ("127.0.0.1", "203.0.113.7, 198.51.100.1, 10.1.2.3,fd00::5", "198.51.100.1"),
        ("127.0.0.1", "10.1.2.3", "10.1.2.3"),
        ("::ffff:127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "198.51.100.1, ::ffff:10.1.2.3", "198.51.100.1"),
        ("fd00::1", "2001:db8::7", "2001:db8::7"),
        ("127.0.0.1", "203.0.113.7, ", ""),
        ("127.0.0.1", "203.0.113.7,,10.1.2.3", ""),
        ("127.0.0.1", "203.0.113.7, unknown", "unknown"),
        ("127.0.0.1", "203.0.113.7, 10.1.2.3:8080", "10.1.2.3:8080"),
        ("", "203.0.113.7", ""),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_is(peer, forwarded, client):
    assert client_address(peer, forwarded, PROXIES) == client


def test_without_trusted_proxies_the_header_says_nothing():
    assert client_address("127.0.0.1", "203.0.113.7", ()) == "127.0.0.1"


anything = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60)
addresses = st.ip_addresses().map(str)
trusted = st.sampled_from(
    ["127.0.0.1", "10.9.8.7", "fd00::1", "::ffff:10.0.0.1", "::ffff:7f00:1"]
)
strangers = st.ip_addresses().filter(
    lambda ip: (
        not any((getattr(ip, "ipv4_mapped", None) or ip) in net for net in PROXIES)
    )
)


@given(
    forged=anything | addresses,
    client=strangers.map(str),
    between=st.lists(trusted, max_size=3),
    peer=trusted,
)
def test_what_a_client_writes_itself_never_decides_who_it_is(
    forged, client, between, peer
):
    seen = ", ".join([forged, client, *between])

    assert client_address(peer, seen, PROXIES) == client


@given(forged=anything | addresses, peer=strangers.map(str))
def test_who_is_no_trusted_proxy_is_who_it_is(forged, peer):
    assert client_address(peer, forged, PROXIES) == peer


@given(forged=anything, peer=trusted, blank=st.sampled_from(["", " ", "\t", "unknown"]))
def test_where_a_proxy_names_nobody_what_is_before_that_does_not_decide(
    forged, peer, blank
):
    assert client_address(peer, f"{forged},{blank}", PROXIES) in (
        blank.strip(),
        peer,  # nothing was there at all
    )


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_on_a_socket_for_both_kinds_is_the_same_address(address):
    mapped = str(IPv6Address(f"::ffff:{address}"))

    plain, other = (
        client_address(peer, "203.0.113.7", PROXIES) for peer in (str(address), mapped)
    )

    assert (plain == "203.0.113.7") == (other == "203.0.113.7")
