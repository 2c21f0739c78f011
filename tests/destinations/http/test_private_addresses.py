"""HTTP: private addresses are not asked unless that is allowed."""

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.destinations.addresses import Guard, Refused, is_public, matches
from receiver.models import Outcome, Result
from tests.destinations.http.making import built, http, settings
from tests.making import parcel

PRIVATE = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
    *("172.16.0.0/12", "192.0.0.0/29", "192.0.2.0/24", "192.168.0.0/16"),
    *("198.18.0.0/15", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
    *("::/127", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "100::/64"),
    *("2001:db8::/32", "2001::/32", "64:ff9b:1::/48"),
)
INNER = ("::ffff:0:0/96", "64:ff9b::/96", "2002::/16")


@st.composite
def private(draw: Callable[[Any], Any]) -> str:
    """An address of such a range, or one that holds such an IPv4 address."""
    network = ipaddress.ip_network(draw(st.sampled_from(PRIVATE)))
    size = network.num_addresses
    ip: Any = network[draw(st.integers(0, size - 1))]
    if ip.version == 4:
        around = draw(st.sampled_from([None, *INNER]))
        if around is not None:
            outer = ipaddress.IPv6Network(around)
            shift = 80 if outer.prefixlen == 16 else 0
            ip = outer[int(ip) << shift]
    return str(draw(st.sampled_from([ip, ip.exploded, ip.compressed.upper()])))


@given(private())
def test_no_private_address_is_public_in_any_spelling(address: str):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = (family, socket.SOCK_STREAM, 0, "", (address, 80))

    assert not is_public(address)
    with pytest.raises(Refused):
        Guard(deny_private=True).open(found)


@given(private())
def test_what_the_system_makes_of_a_private_address_is_not_public(address: str):
    found = socket.getaddrinfo(address, 80, flags=socket.AI_NUMERICHOST)

    assert [sockaddr for *_, sockaddr in found if is_public(str(sockaddr[0]))] == []


@pytest.mark.parametrize(
    "address",
    [
        "localhost",
        "",
        "2130706433",
        "fe80::1%eth0",
        "::1%lo",
        "::127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::1",
    ],
)
def test_what_is_odd_is_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "93.184.215.14",
        "1.1.1.1",
        "172.32.0.1",
        "100.128.0.1",
        "2606:4700::1111",
        "::ffff:1.1.1.1",
        "64:ff9b::101:101",
    ],
)
def test_what_is_public_is(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "localhost",
        "LOCALHOST.",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:0:1]",
        "169.254.169.254",
        "[64:ff9b::7f00:1]",
    ],
)
async def test_no_spelling_of_a_private_address_is_connected_to(host):
    connected = 0

    def count(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async with server, http(url=f"'http://{host}:{port}/x'") as destination:
        outcome = await destination.send(parcel())

    assert not outcome.ok
    assert outcome.result in (Result.BLOCKED, Result.BAD_CONFIG, Result.DNS)
    assert connected == 0


async def test_a_private_address_is_blocked_for_good(target):
    async with http(url=target.url, deny_private=True) as destination:
        outcome = await destination.send(parcel())

    assert outcome == Outcome(
        Result.BLOCKED,
        "127.0.0.1 has a private address, and `deny_private` forbids that",
        permanent=True,
    )
    assert target.seen == []


async def test_a_name_may_not_mean_a_private_address(target, monkeypatch):
    # As a rebinding name server would: public when first asked, then this machine.
    answers = iter(["93.184.215.14"])
    port = int(target.url.rpartition(":")[2])
    asked: list[str] = []

    def lookup(host: str, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        address = next(answers, "127.0.0.1")
        family = socket.AF_INET
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    assert lookup("rebinding.test")[0][4][0] == "93.184.215.14"

    async with http(
        url=f"http://rebinding.test:{port}/x", deny_private=True
    ) as destination:
        outcome = await destination.send(parcel())

    assert asked == ["rebinding.test"] * 2
    assert outcome.result is Result.BLOCKED
    assert outcome.detail.startswith("rebinding.test has a private address")
    assert target.seen == []


async def test_one_private_address_among_others_is_not_connected_to(
    target, monkeypatch
):
    port = int(target.url.rpartition(":")[2])

    def lookup(*_: Any, **__: Any) -> list[Any]:
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, ("10.0.0.1", port)), (*kind, ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    url = f"http://mixed.test:{port}/x"

    async with http(url=url, deny_private=True) as destination:
        outcome = await destination.send(parcel())

    assert outcome.result is Result.BLOCKED
    assert target.seen == []


async def test_a_configured_address_may_be_private(target):
    async with http(url=target.url) as destination:
        outcome = await destination.send(parcel())

    assert outcome.ok


@pytest.mark.parametrize(
    ("table", "denied"),
    [
        ({}, False),
        ({"deny_private": True}, True),
        ({"url": "data.url"}, True),
        ({"url": "data.url", "deny_private": False}, False),
    ],
)
def test_private_addresses_are_denied_unless_the_address_is_ours(table, denied):
    assert settings(**table).denies_private is denied


@pytest.mark.parametrize(
    ("host", "patterns", "found"),
    [
        ("api.example.com", ("api.example.com",), True),
        ("API.Example.COM.", ("api.example.com",), True),
        ("api.example.com", ("*.example.com",), True),
        ("a.b.example.com", ("*.example.com",), True),
        ("example.com", ("*.example.com",), False),
        ("badexample.com", ("*.example.com",), False),
        ("api.example.com.evil.test", ("*.example.com", "api.example.com"), False),
        ("127.0.0.1", ("127.0.0.1",), True),
        ("::1", ("::1",), True),
    ],
)
def test_hosts_are_compared_as_names(host, patterns, found):
    assert matches(host, patterns) is found


@pytest.mark.parametrize(
    ("url", "reached"),
    [
        ("http://127.0.0.1:{port}/", True),
        ("http://localhost:{port}/", False),
        ("http://127.0.0.1@localhost:{port}/", False),
        ("http://localhost:{port}/#@127.0.0.1", False),
        ("http://localhost:{port}/?127.0.0.1", False),
    ],
)
async def test_only_allowed_hosts_are_connected_to(target, url, reached):
    url = url.format(port=target.url.rpartition(":")[2])
    table = {"url": f"'{url}'", "allow_hosts": ["127.0.0.1"], "deny_private": False}

    async with http(**table) as destination:
        outcome = await destination.send(parcel())

    assert outcome.ok is reached
    assert bool(target.seen) is reached
    if not reached:
        assert outcome.result is Result.BLOCKED
        assert outcome.permanent
        assert outcome.detail == "`allow_hosts` does not name localhost"


@pytest.mark.parametrize(
    ("table", "field", "said"),
    [
        ({"allow_hosts": ["https://a.test"]}, "allow_hosts[0]", "is no host"),
        ({"allow_hosts": ["crm.test", "*"]}, "allow_hosts[1]", "is no host"),
        ({"allow_hosts": ["a.*.test"]}, "allow_hosts[0]", "is no host"),
        ({"allow_hosts": ["other.test"]}, "allow_hosts", "does not name crm.test"),
    ],
)
def test_hosts_that_cannot_be_are_problems(table, field, said):
    _, problems = built(**table)

    assert [problem.key for problem in problems] == [field]
    assert said in str(problems[0])
