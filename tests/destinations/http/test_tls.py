"""HTTP: certificates, and who is who."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from receiver.models import Outcome, Result
from tests.destinations.http.making import built, http
from tests.making import parcel
from tests.sinks import sink


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
