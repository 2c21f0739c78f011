"""HTTP: certificates, private addresses, and how long each phase may take."""

import asyncio
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from receiver.delivery import attempt
from receiver.destinations.addresses import Guard, Refused, is_public, matches
from receiver.destinations.http import Http
from receiver.models import Claim, Outcome, Result
from tests.destinations.test_http_request import built, http, settings
from tests.making import parcel
from tests.sinks import Sink, sink

# -- TLS


@dataclass(frozen=True)
class Files:
    """An authority and what it issued, as files."""

    folder: Path
    ca: Path
    cert: Path
    key: Path
    both: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    found = Files(folder, *(folder / n for n in ("ca", "cert", "key", "both")))
    authority.cert_pem.write_to_path(found.ca)
    client = authority.issue_cert("client@example.com")
    client.cert_chain_pems[0].write_to_path(found.cert)
    client.private_key_pem.write_to_path(found.key)
    client.private_key_and_cert_chain_pem.write_to_path(found.both)
    server = authority.issue_cert("127.0.0.1", "localhost")
    server.private_key_and_cert_chain_pem.write_to_path(folder / "server")
    stranger = trustme.CA().issue_cert("client@example.com")
    stranger.private_key_and_cert_chain_pem.write_to_path(folder / "stranger")
    stranger.private_key_pem.write_to_path(folder / "stranger-key")
    (folder / "empty").touch()
    return found


def server_side(files: Files, wants: ssl.VerifyMode = ssl.CERT_NONE) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.ca)
    context.load_cert_chain(files.folder / "server")
    context.verify_mode = wants
    return context


@contextmanager
def refusing(files: Files, most: ssl.TLSVersion) -> Iterator[str]:
    """A server whose handshakes fail; asyncio's would not say why, as real ones do."""
    context = server_side(files, ssl.CERT_REQUIRED)
    context.maximum_version = most

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection.dup() as raw, suppress(OSError):
                    try:
                        context.wrap_socket(connection, server_side=True)
                    finally:  # or a reset could overtake the alert
                        raw.shutdown(socket.SHUT_WR)
                        while raw.recv(65_536):
                            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


async def test_another_authority_can_be_trusted_and_connections_are_kept(files):
    async with (
        sink(server_side(files)) as target,
        http(url=target.url, ca_file=str(files.ca)) as destination,
    ):
        outcomes = [await destination.send(parcel(number=n)) for n in (1, 2)]

    assert [outcome.ok for outcome in outcomes] == [True, True]
    assert len({seen.connection for seen in target.seen}) == 1


async def test_without_that_authority_the_certificate_is_not_trusted(files):
    async with sink(server_side(files)) as target, http(url=target.url) as destination:
        outcome = await destination.send(parcel())

    assert outcome.result is Result.TLS
    assert "its certificate is not trusted: " in outcome.detail
    assert not outcome.permanent
    assert target.seen == []


@pytest.mark.parametrize("one_file", [True, False])
async def test_our_certificate_is_shown_to_who_wants_it(files, one_file):
    shown = (
        {"client_cert": str(files.both)}
        if one_file
        else {"client_cert": str(files.cert), "client_key": str(files.key)}
    )
    table = {"ca_file": str(files.ca), "bearer": "a-token", **shown}

    async with (
        sink(server_side(files, ssl.CERT_REQUIRED)) as target,
        http(url=target.url, **table) as destination,
    ):
        outcomes = [await destination.send(parcel(number=n)) for n in (1, 2)]

    assert [outcome.ok for outcome in outcomes] == [True, True]
    assert len({seen.connection for seen in target.seen}) == 1


VERSIONS = pytest.mark.parametrize(
    "most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
)
LOOPS = pytest.mark.parametrize(
    "run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"]
)
"""What a loop tells of an alert differs; the server's is uvloop."""

Run = Callable[[Coroutine[Any, Any, Outcome]], Outcome]


async def one(**table: Any) -> Outcome:
    async with http(**table) as destination:
        return await destination.send(parcel())


@VERSIONS
@LOOPS
def test_a_handshake_refused_for_want_of_a_certificate_says_so(
    files: Files, most: ssl.TLSVersion, run: Run
):
    with refusing(files, most) as url:
        outcome = run(one(url=url, ca_file=str(files.ca)))

    assert outcome.result is Result.TLS, outcome
    assert "wants a certificate" in outcome.detail
    assert not outcome.permanent


@VERSIONS
@LOOPS
def test_a_certificate_that_is_not_liked_is_named(
    files: Files, most: ssl.TLSVersion, run: Run
):
    stranger = str(files.folder / "stranger")

    with refusing(files, most) as url:
        outcome = run(one(url=url, ca_file=str(files.ca), client_cert=stranger))

    assert outcome.result is Result.TLS, outcome
    assert "client_cert" in outcome.detail


async def test_plain_http_where_tls_is_expected_is_a_matter_of_tls(files):
    async with sink() as target:
        url = target.url.replace("http:", "https:")
        async with http(url=url) as destination:
            outcome = await destination.send(parcel())

    assert outcome.result is Result.TLS


async def test_files_that_are_gone_pause_the_destination(files, tmp_path):
    copy = tmp_path / "both"
    copy.write_bytes(files.both.read_bytes())
    async with http(url="https://127.0.0.1:1", client_cert=str(copy)) as destination:
        copy.unlink()

        outcome = await destination.send(parcel())

    assert outcome.result is Result.BAD_CONFIG
    assert "correct `client_cert`" in outcome.pause


@pytest.mark.parametrize(
    ("names", "field", "said"),
    [
        ({"client_cert": "nowhere"}, "client_cert", "cannot be read"),
        ({"client_key": "key"}, "client_key", "of no use without a client_cert"),
        ({"client_cert": "cert"}, "client_cert", "set client_key"),
        ({"client_cert": "empty"}, "client_cert", "cannot be used alone"),
        ({"client_cert": "cert", "client_key": "ca"}, "client_cert", "client_key"),
        (
            {"client_cert": "cert", "client_key": "stranger-key"},
            "client_key",
            "is not the key of client_cert",
        ),
        ({"ca_file": "."}, "ca_file", "cannot be read"),
        ({"ca_file": "key"}, "ca_file", "holds no certificates"),
        ({"ca_file": "empty"}, "ca_file", "holds no certificates"),
    ],
)
def test_files_that_cannot_be_used_are_problems(files, names, field, said):
    table = {name: str(files.folder / file) for name, file in names.items()}

    _, problems = built(**table)

    assert [problem.key for problem in problems] == [field]
    assert said in str(problems[0])


# -- private addresses

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


# -- how long each phase may take


@pytest.fixture
def backlog() -> Iterator[int]:
    """The port of a socket that lets nobody in: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        full = []
        for _ in range(3):
            waiting = socket.socket()
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
            full.append(waiting)
        yield listener.getsockname()[1]
        for waiting in full:
            waiting.close()


async def test_connecting_has_a_limit_of_its_own(backlog):
    url = f"http://127.0.0.1:{backlog}"

    async with http(url=url, connect_timeout="100ms") as destination:
        outcome = await destination.send(parcel())

    assert outcome == Outcome(Result.TIMEOUT, "no connection within 0.1 s")


async def test_silence_before_the_answer_has_a_limit_of_its_own(target):
    target.respond = never
    async with http(url=target.url, read_timeout="100ms") as destination:
        outcome = await destination.send(parcel())

    assert outcome == Outcome(
        Result.TIMEOUT, "nothing came for 0.1 s while waiting for the answer"
    )


async def test_an_answer_that_stalls_after_its_status_counts(target):
    async def stall(_: Any) -> Any:
        target.say(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        await asyncio.sleep(60)

    target.respond = stall
    async with http(url=target.url, read_timeout="100ms") as destination:
        outcome = await destination.send(parcel())

    assert outcome == Outcome(Result.OK, status_code=200, response="half")


@pytest.mark.parametrize("phase", ["connecting", "waiting for the answer"])
async def test_the_limit_for_all_says_what_took_so_long(target, backlog, phase):
    target.respond = never
    url = target.url if "answer" in phase else f"http://127.0.0.1:{backlog}"
    table = {"url": url, "timeout": "200ms"}

    async with http(**table) as destination:
        outcome = await attempted(destination, **table)

    assert outcome == Outcome(Result.TIMEOUT, f"no answer within 0.2 s while {phase}")


async def test_a_slow_answer_is_no_silence(target):
    async def slow(_: Any) -> Any:
        target.say(b"HTTP/1.1 200 OK\r\n")
        for _n in range(4):
            await asyncio.sleep(0.1)
            target.say(b"x: y\r\n")
        target.say(b"content-length: 0\r\n\r\n")
        await asyncio.sleep(60)

    target.respond = slow
    async with http(url=target.url, read_timeout="250ms") as destination:
        outcome = await destination.send(parcel())

    assert outcome.ok


async def never(_: Any) -> Any:
    await asyncio.sleep(60)


async def attempted(destination: Http, **table: Any) -> Outcome:
    """The outcome of an attempt, as a lane makes it."""
    given = parcel()

    async def read(event: Any) -> Any:
        return event

    claim = Claim(0, given.delivery, given.event)
    made = await attempt(destination, settings(**table), claim, read)
    assert made.duration_ms < timedelta(seconds=5) / timedelta(milliseconds=1)
    return made.outcome


@pytest.fixture
async def target() -> AsyncIterator[Sink]:
    async with sink() as found:
        yield found
