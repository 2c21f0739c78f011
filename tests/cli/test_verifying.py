"""`receiver verify` as people use it: on kept rejections, files, and what they paste."""

import asyncio
import base64
import json
import signal
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from receiver import clock
from receiver.providers.copies import fingerprint
from receiver.providers.fal import KEYS_URL
from receiver.providers.jwks import written
from receiver.providers.samples import samples
from receiver.providers.sending import outgoing
from receiver.stores import open_store
from tests import making
from tests.cli.conftest import Place
from tests.serving import SECRET, config
from tests.web.wire import event, post, request, signed

OTHER = "the secret the provider really has"
GUARDED = """
[sources.guarded]
provider = "sora2"
secrets = ["a secret for tests"]
token = "a token for the address"
basic = "user:a password for tests"
allow_ips = ["192.0.2.0/24"]

[sources.timed]
provider = "sophon"
secrets = ["a secret of sophon's", "the next secret of sophon's"]
"""


@pytest.fixture
def files(alone: Place) -> Place:
    """A configuration with three sources; nothing runs."""
    (alone.folder / "receiver.toml").write_text(config() + GUARDED)
    return alone


async def rejected(
    place: Place, body: bytes, headers: Mapping[str, str], path: str = "/webhook/sora2"
) -> str:
    """Have a request refused; the id of the rejection once it is kept."""
    assert place.server is not None
    before = await place.json("rejections", "list")
    answer = await post(place.server.url, body, headers, path=path)
    assert answer.status == 401, answer
    async with asyncio.timeout(60):
        while len(found := await place.json("rejections", "list")) == len(before):
            pass
    return str(found[0]["id"])


async def reloaded(place: Place) -> None:
    assert place.server is not None
    place.server.log.clear()  # of the reloads before
    place.server.process.send_signal(signal.SIGHUP)
    await place.server.line("reload.done")


def step(found: Any, name: str) -> Any:
    return next(check for check in found["checks"] if check["name"] == name)


def nothing_secret(text: str) -> None:
    for secret in (SECRET, OTHER, "a token for the address", "a password for tests"):
        raw = secret.encode()
        for form in (secret, raw.hex(), base64.b64encode(raw).decode()):
            assert form not in text


# -- a rejection


async def test_why_a_kept_request_was_refused_is_found(place):
    sent = event("bat_1")
    rewritten = json.dumps(json.loads(sent), indent=2).encode()
    rejection = await rejected(place, rewritten, signed(sent))

    out, _ = await place.run("verify", "sora2", "--rejection", rejection, code=1)
    found = await place.json("verify", "--rejection", rejection, code=1)

    assert "signature_mismatch, no configured secret gives this" in out
    assert "it would be refused: signature\n" in out
    assert "the body is JSON with spaces after , and :" in " ".join(out.split())
    assert signed(sent)["x-sora2-signature"] not in out
    assert found["accepted"] is False
    assert found["source"] == "sora2"
    assert "Something on the way parsed the JSON" in step(found, "signature")["hint"]
    nothing_secret(out)


async def test_a_rejection_is_judged_by_the_configuration_of_today(place):
    sent = event("bat_1")
    rejection = await rejected(place, sent, signed(sent, OTHER))
    before, _ = await place.run("verify", "--rejection", rejection, code=1)
    status, _ = await place.run("status", "--quick")
    doctor, _ = await place.run("doctor", "--offline")
    toml = place.folder / "receiver.toml"
    toml.write_text(toml.read_text().replace(SECRET, OTHER))

    out, _ = await place.run("verify", "--rejection", rejection)
    reverified, _ = await place.run(
        "rejections", "reverify", rejection, "--dry-run", code=1
    )

    assert "no try explains it" in before
    assert f"receiver verify --rejection {rejection}" in status
    assert f"receiver verify --rejection {rejection}" in doctor
    assert f"secrets[0] ({fingerprint(OTHER)}) gives it" in out
    assert "it would be accepted" in out
    assert f"receiver rejections reverify {rejection}" in out
    assert "signature_mismatch" in reverified  # the server was not told yet
    assert "first: receiver reload" in reverified


async def test_what_was_accepted_since_is_not_to_be_accepted_again(place):
    toml = place.folder / "receiver.toml"
    toml.write_text(toml.read_text().replace(SECRET, OTHER))
    await reloaded(place)
    sent = event("bat_1")
    rejection = await rejected(place, sent, signed(sent))
    toml.write_text(toml.read_text().replace(OTHER, SECRET))
    await reloaded(place)

    before, _ = await place.run("verify", "--rejection", rejection)
    await place.run("rejections", "reverify", rejection)
    after, _ = await place.run("verify", "--rejection", rejection)

    assert "accept it: receiver rejections reverify" in before
    assert "it was verified again, and is evt_" in after
    assert "accept it" not in after


async def test_of_a_long_unsigned_request_only_the_beginning_is_there(place):
    rejection = await rejected(place, event("bat_1", more="x" * 10_000), {})

    found = await place.json("verify", "--rejection", rejection, code=1)

    assert step(found, "signature")["verdict"] == "skipped"
    assert "only the first 4,096 of" in step(found, "signature")["words"]


async def test_credentials_of_a_rejection_can_be_repeated(place):
    toml = place.folder / "receiver.toml"
    toml.write_text(toml.read_text() + GUARDED.replace("192.0.2.0/24", "127.0.0.0/8"))
    await reloaded(place)
    sent = event("bat_1")
    basic = base64.b64encode(b"user:a password for tests").decode()
    headers = {**signed(sent), "authorization": f"Basic {basic}"}
    rejection = await rejected(
        place, sent, headers, path="/webhooks/guarded?token=another"
    )

    found = await place.json("verify", "--rejection", rejection, code=1)

    verdicts = {check["name"]: check["verdict"] for check in found["checks"]}
    assert verdicts.pop("token") == "failed"
    assert set(verdicts) >= {"address", "authorization (basic)", "signature"}
    assert set(verdicts.values()) == {"ok"}
    nothing_secret(json.dumps(found))


# -- files, and what is pasted


async def test_a_body_and_its_headers_come_from_files_and_options(files):
    body = event("bat_1")
    (files.folder / "body.json").write_bytes(body)
    (files.folder / "saved.json").write_bytes(body + b"\n")
    [(name, value)] = signed(body).items()
    (files.folder / "headers").write_text(f"{name.title()}: {value}\n")
    header = ("--header", f"{name}:{value}")

    right, _ = await files.run("verify", "sora2", "--file", "body.json", *header)
    both, _ = await files.run(
        "verify", "sora2", "--file", "body.json", "--headers", "headers"
    )
    saved, _ = await files.run(
        "verify", "sora2", "--file", "saved.json", *header, code=1
    )

    assert right.splitlines()[4:] == both.splitlines()[4:]
    assert right.endswith("it would be accepted\n")
    assert "without the newline at its end" in " ".join(saved.split())


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
async def test_a_request_is_pasted(files, end):
    body = event("bat_1")
    head, _, _ = request(body).partition(b"\r\n\r\n")
    raw = head.replace(b"\r\n", end) + end * 2 + body + b"\n"

    out, _ = await files.run("verify", "sora2", stdin=raw)

    assert "batch.completed about bat_1" in out


async def test_an_old_request_would_have_been_right_at_its_time(files):
    body = making.sample("job.completed", "job_1", "sophon")
    then = clock.now() - timedelta(days=2, minutes=10)
    headers = making.signed(body, "the next secret of sophon's", "sophon", then)
    raw = request(body, headers, path="/webhooks/timed")

    now, _ = await files.run("verify", "timed", stdin=raw, code=1)
    out, _ = await files.run("verify", "timed", "--at", then.isoformat(), stdin=raw)

    assert "it would be refused: timestamp\n" in now
    assert "it would have been right at that time (--at 2" in " ".join(now.split())
    assert "it would be accepted\n" in out
    assert "secrets[1]" in out


async def test_public_keys_that_the_server_fetched_last_are_used(files):
    private, public = making.key_pair("theirs")
    toml = files.folder / "receiver.toml"
    toml.write_text(toml.read_text() + '[sources.fal]\nprovider = "fal"\n')
    sample = samples("fal", "r_1", clock.now())["request.completed"]
    made = outgoing(making.provider("fal"), sample.body, clock.now(), secret=private)
    raw = request(sample.body, made.headers, path="/webhooks/fal")

    before, _ = await files.run("verify", "fal", stdin=raw, code=1)
    store = await open_store(f"sqlite:///{files.folder}/receiver.db")
    kept = written([making.raw_key(public)])
    await store.remember(f"keys at {KEYS_URL}", kept, clock.now())
    await store.close()
    after, _ = await files.run("verify", "fal", stdin=raw)

    assert "no key is known to verify with" in before
    assert "public key 1 (" in after
    assert "it would be accepted" in after


async def test_what_nobody_said_is_not_judged(files):
    (files.folder / "body.json").write_bytes(event("bat_1"))
    [(name, value)] = signed(event("bat_1")).items()
    given = ["--header", f"{name}: {value}", "--header", "Authorization: ***"]

    out, _ = await files.run("verify", "guarded", "--file", "body.json", *given)

    assert "cannot be repeated" in out
    skipped = "address, token, authorization (basic)"
    assert f"accepted, if what could not be looked at is right: {skipped}" in out


async def test_a_body_that_is_too_large_is_told(files):
    body = event("bat_1")
    toml = files.folder / "receiver.toml"
    toml.write_text(
        toml.read_text().replace("port = 0", "port = 0\nmax_body_bytes = 9")
    )

    found = json.loads(
        (await files.run("verify", "sora2", "--json", stdin=request(body), code=1))[0]
    )

    assert step(found, "size")["words"] == f"{len(body)} bytes, taken are 9"
    assert step(found, "signature")["verdict"] == "ok"


@pytest.mark.parametrize(
    ("arguments", "stdin", "says"),
    [
        (("sora2",), b"", "No request: give --rejection or --file, or paste one."),
        (("sora2",), b"hello\n", "That is no HTTP request: 'hello'... is no header"),
        ((), b"X-A: 1\n\n{}", "At which source?"),
        (("sora",), b"X-A: 1\n\n{}", "there is no source 'sora' (did you mean"),
        (("sora2", "--header", "nonsense"), b"X-A: 1\n\n{}", "is no header"),
        (("sora2", "--at", "noon"), b"X-A: 1\n\n{}", "is no time"),
        (("sora2", "--file", "lost.json"), b"", "does not exist"),
        (("--rejection", "rej_1", "--header", "a: b"), b"", "its own body and headers"),
    ],
)
async def test_what_cannot_be_looked_at_ends_with_2(files, arguments, stdin, says):
    _, err = await files.run("verify", *arguments, stdin=stdin, code=2)

    assert says in err


async def test_control_characters_of_a_sender_do_not_reach_the_terminal(files):
    body = event("bat_\u001b[31m1")
    raw = request(body, {**signed(body), "x-\u00e9": "1"})

    _, err = await files.run("verify", "sora2", stdin=raw, code=2)
    out, _ = await files.run("verify", "sora2", stdin=request(body))

    assert "is no header" in err
    assert "\ufffd[31m1" in out
