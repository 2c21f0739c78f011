"""What a source asks of every request: each alone, with signatures, and never shown."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
import pytest_asyncio

from receiver.offload import LARGE_BYTES
from tests.serving import SECRET, Serving, command, config, serving
from tests.web.wire import Answer, connected, event, request, signed

TOKEN = "the t0ken & more"
PASSWORD = "the pa55word: more"
BEARER = "the-bearer-t0ken"
HEADER = "the header's value"

_numbers = count()


@dataclass(frozen=True)
class Condition:
    """A setting, what meets it, and what the refusals of others are called."""

    name: str
    toml: str
    code: str
    headers: dict[str, str] = field(default_factory=dict)
    query: str = ""
    wrong_headers: dict[str, str] = field(default_factory=dict)
    wrong_query: str = ""


def basic(user: str) -> dict[str, str]:
    return {"authorization": "Basic " + b64encode(user.encode()).decode()}


CONDITIONS = (
    Condition(
        "token",
        f'token = "{TOKEN}"',
        "token",
        query=f"?token={quote(TOKEN)}",
        wrong_query=f"?token={quote(TOKEN)}x",
    ),
    Condition(
        "basic",
        f'basic = "me:{PASSWORD}"',
        "authorization",
        basic(f"me:{PASSWORD}"),
        wrong_headers=basic(f"You:{PASSWORD}"),
    ),
    Condition(
        "bearer",
        f'bearer = "{BEARER}"',
        "authorization",
        {"authorization": f"Bearer {BEARER}"},
        wrong_headers={"authorization": f"Bearer {BEARER}x"},
    ),
    Condition(
        "header",
        f'require_headers = {{ "X-Webhook-Auth" = "{HEADER}" }}',
        "header",
        {"x-webhook-auth": HEADER},
        wrong_headers={"x-webhook-auth": HEADER.upper()},
    ),
)
SECRETS = (TOKEN, quote(TOKEN), PASSWORD, BEARER, HEADER, b64encode(
    f"me:{PASSWORD}".encode()
).decode())  # fmt: skip
ALL = "\n".join(c.toml for c in CONDITIONS if c.name != "basic")
ALLOWED = 'allow_ips = ["127.0.0.1"]'
DENIED = 'allow_ips = ["203.0.113.0/24", "2001:db8::/32"]'

each = pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: c.name)


def source(name: str, settings: str, *, signs: bool) -> str:
    secrets = f'secrets = ["{SECRET}"]\n' if signs else ""
    return f'[sources.{name}]\nprovider = "sora2"\n{secrets}{settings}\n'


def sources() -> str:
    alone = [source(f"{c.name}-alone", c.toml, signs=False) for c in CONDITIONS]
    both = [source(f"{c.name}-signed", c.toml, signs=True) for c in CONDITIONS]
    others = [
        source("all", f"{ALL}\n{ALLOWED}", signs=True),
        source("from-here", ALLOWED, signs=True),
        source("from-there", DENIED, signs=True),
    ]
    far = [
        source(f"{c.name}-far", f"{c.toml}\n{DENIED}", signs=True) for c in CONDITIONS
    ]
    return "\n".join([config(), *alone, *both, *far, *others])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    folder = tmp_path_factory.mktemp("conditions")
    async with serving(folder, sources()) as running:
        yield running


def body() -> bytes:
    return event(f"bat_{next(_numbers)}")


async def post(
    server: Serving,
    name: str,
    headers: dict[str, str],
    query: str = "",
    sent: bytes = b"",
) -> tuple[int, str]:
    """The status, and the code of a refusal."""
    url = f"{server.url}/webhooks/{name}{query}"
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(url, content=sent or body(), headers=headers)
    return answer.status_code, answer.json().get("error", {}).get("code", "")


@each
async def test_a_condition_alone_lets_in_who_meets_it_and_nobody_else(
    server, condition
):
    name = f"{condition.name}-alone"

    met = await post(server, name, condition.headers, condition.query)
    missing = await post(server, name, {})
    wrong = await post(server, name, condition.wrong_headers, condition.wrong_query)

    assert met == (200, "")
    assert missing == (401, f"{condition.code}_missing")
    assert wrong == (401, f"{condition.code}_mismatch")


@each
async def test_a_condition_and_a_signature_must_both_be_met(server, condition):
    name = f"{condition.name}-signed"
    sent = body()
    signature = signed(sent)

    met = {**condition.headers, **signature}
    right = await post(server, name, met, condition.query, sent)
    unsigned = await post(server, name, condition.headers, condition.query, sent)
    only_signed = await post(server, name, signature, "", sent)
    forged = {**condition.headers, **signed(sent, "a stranger's")}
    mismatch = await post(server, name, forged, condition.query, sent)

    assert right == (200, "")
    assert unsigned == (401, "signature_missing")
    assert only_signed == (401, f"{condition.code}_missing")
    assert mismatch == (401, "signature_mismatch")


async def test_of_several_conditions_each_is_asked(server):
    sent = body()
    chosen = [c for c in CONDITIONS if c.name != "basic"]
    headers = dict(signed(sent))
    for condition in chosen:
        headers |= condition.headers
    query = chosen[0].query

    met = await post(server, "all", headers, query, sent)
    refused = [
        await post(server, "all", without(headers, c), "" if c.query else query, sent)
        for c in chosen
    ]

    assert met == (200, "")
    assert refused == [(401, f"{c.code}_missing") for c in chosen]


def without(headers: dict[str, str], condition: Condition) -> dict[str, str]:
    return {n: v for n, v in headers.items() if n not in condition.headers}


async def test_the_same_header_twice_is_not_the_one_that_is_asked_for(server):
    sent = body()
    lines = request(sent, {"x-webhook-auth": HEADER}, path="/webhooks/header-alone")
    twice = lines.replace(b"x-webhook-auth", b"x-webhook-auth: x\r\nx-webhook-auth", 1)

    answer = await raw(server, twice)

    assert (answer.status, answer.code) == (401, "header_mismatch")


async def test_bytes_that_are_no_text_are_not_the_ones_that_are_asked_for(server):
    lines = request(body(), {"x-webhook-auth": "é\xff"}, path="/webhooks/header-alone")
    query = request(body(), {}, path="/webhooks/token-alone?token=%ff%00")

    answers = [await raw(server, lines), await raw(server, query)]

    assert [a.code for a in answers] == ["header_mismatch", "token_mismatch"]


async def raw(server: Serving, data: bytes) -> Answer:
    async with connected(server.url) as wire:
        await wire.send(data)
        return await wire.answer()


@each
async def test_who_does_not_meet_a_condition_is_told_before_all_of_a_long_body_is_there(
    server, condition
):
    sent = event("bat_long", padding="x" * 4 * LARGE_BYTES)
    name = f"/webhooks/{condition.name}-signed"
    wrong = {**condition.wrong_headers, **signed(sent)}
    whole = request(sent, wrong, path=name + condition.wrong_query)

    async with connected(server.url) as wire:
        await wire.send(whole[: 2 * LARGE_BYTES])
        answer = await wire.answer()

    assert (answer.status, answer.code) == (401, f"{condition.code}_mismatch")


async def test_who_comes_from_elsewhere_is_told_before_all_of_a_long_body_is_there(
    server,
):
    sent = event("bat_long", padding="x" * 4 * LARGE_BYTES)
    whole = request(sent, signed(sent), path="/webhooks/from-there")

    async with connected(server.url) as wire:
        await wire.send(whole[: 2 * LARGE_BYTES])
        answer = await wire.answer()

    assert (answer.status, answer.code) == (403, "address_not_allowed")


async def test_nothing_that_is_asked_for_is_kept_or_shown(tmp_path):
    async with serving(tmp_path, sources()) as server:
        for c in CONDITIONS:
            taken = await post(server, f"{c.name}-alone", c.headers, c.query)
            assert taken == (200, "")
            await post(server, f"{c.name}-alone", c.wrong_headers, c.wrong_query)
            await post(server, f"{c.name}-signed", c.headers, c.query)
            await post(server, f"{c.name}-far", c.headers, c.query)
        await server.stop()
        log = "\n".join(server.raw)
    on_disk = b"".join(file.read_bytes() for file in tmp_path.glob("receiver.db*"))
    events = await output(tmp_path, "events", "list", "--json")
    rejections = await output(tmp_path, "rejections", "list", "--json")
    ids = [("events", "show", e["id"]) for e in json.loads(events)]
    ids += [("rejections", "show", r["id"]) for r in json.loads(rejections)]
    shown = [await output(tmp_path, *one) for one in ids]
    shown += [await output(tmp_path, "url", f"{c.name}-alone") for c in CONDITIONS]
    shown += [
        await output(tmp_path, "check"),
        await output(tmp_path, "check", "--json"),
    ]

    assert len(json.loads(events)) == len(CONDITIONS)
    assert len(json.loads(rejections)) == 3 * len(CONDITIONS)
    for secret in (*SECRETS, *(quote(s) for s in SECRETS)):
        assert secret.encode() not in on_disk
        assert secret not in log
        assert secret not in "\n".join([events, rejections, *shown])


async def output(folder: Path, *arguments: str) -> str:
    code, out, err = await command(folder, *arguments)
    assert code == 0, err
    return out + err


async def test_what_has_to_be_set_at_the_provider_can_be_told(server):
    async def told(name: str, *more: str) -> str:
        base = ("--base", "https://hooks.example.com", *more)
        return await output(server.folder, "url", name, *base)

    address = (await told("token-alone", "--show-token")).strip()
    header = await told("header-alone")
    value = await told("header-alone", "--show-token")
    password = await told("basic-alone", "--show-token")
    guarded = await output(server.folder, "check")

    parts = urlsplit(address)
    assert await post(server, "token-alone", {}, f"?{parts.query}") == (200, "")
    assert "x-webhook-auth: ***" in header
    assert f"x-webhook-auth: {HEADER}" in value
    assert f"authorization: {basic('me:' + PASSWORD)['authorization']}" in password
    for words in ("basic", "bearer", "header X-Webhook-Auth", "URL token", "addresses"):
        assert words in guarded


# -- addresses


async def test_only_addresses_that_may_send_do(server):
    sent = body()

    here = await post(server, "from-here", signed(sent), "", sent)
    elsewhere = await post(server, "from-there", signed(sent), "", sent)

    assert here == (200, "")
    assert elsewhere == (403, "address_not_allowed")


async def test_without_a_trusted_proxy_the_forwarded_address_is_not_believed(server):
    sent = body()
    claimed = {**signed(sent), "x-forwarded-for": "203.0.113.7"}

    assert await post(server, "from-there", claimed, "", sent) == (
        403,
        "address_not_allowed",
    )


async def test_behind_a_trusted_proxy_what_it_adds_decides(tmp_path):
    toml = config(server='trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]') + source(
        "from-there", DENIED, signs=True
    )
    said = {
        "203.0.113.7": 200,
        "2001:db8::7": 200,
        "::ffff:203.0.113.7": 200,
        "198.51.100.1, 203.0.113.7": 200,
        "203.0.113.7, 10.1.2.3": 200,
        "198.51.100.1": 403,
        "203.0.113.7, 198.51.100.1": 403,
        "203.0.113.7, 198.51.100.1, 10.1.2.3": 403,
        "203.0.113.7, unknown": 403,
        "203.0.113.7,": 403,
        "": 403,
    }

    async with serving(tmp_path, toml) as server:
        found = {}
        for forwarded in said:
            sent = body()
            headers = {**signed(sent), "x-forwarded-for": forwarded}
            found[forwarded] = (await post(server, "from-there", headers, "", sent))[0]
        lines = request(
            body(),
            {"x-forwarded-for": "203.0.113.7\r\nx-forwarded-for: 198.51.100.1"},
            path="/webhooks/from-there",
        )
        two_lines = await raw(server, lines)

    assert found == said
    assert two_lines.status == 403


async def test_both_kinds_of_addresses_are_told_apart_on_a_socket_for_both(tmp_path):
    toml = config(server='host = "::"') + "\n".join(
        [
            source("four", 'allow_ips = ["127.0.0.0/8"]', signs=True),
            source("six", 'allow_ips = ["::1"]', signs=True),
        ]
    )

    async with serving(tmp_path, toml) as server:
        port = urlsplit(server.url).port
        found: dict[tuple[str, str], int] = {}
        async with httpx.AsyncClient(trust_env=False) as client:
            for host in ("127.0.0.1", "[::1]"):
                for name in ("four", "six"):
                    sent = body()
                    url = f"http://{host}:{port}/webhooks/{name}"
                    answer = await client.post(url, content=sent, headers=signed(sent))
                    found[host, name] = answer.status_code

    assert found == {
        ("127.0.0.1", "four"): 200,
        ("127.0.0.1", "six"): 403,
        ("[::1]", "four"): 403,
        ("[::1]", "six"): 200,
    }


async def test_a_reload_changes_who_may_send(tmp_path):
    async with serving(tmp_path, config(source=DENIED)) as server:
        toml = tmp_path / "receiver.toml"

        async def status() -> int:
            sent = body()
            url = f"{server.url}/webhook/sora2"
            async with httpx.AsyncClient(trust_env=False) as client:
                answer = await client.post(url, content=sent, headers=signed(sent))
            return answer.status_code

        before = await status()
        toml.write_text(toml.read_text().replace(DENIED, ALLOWED))
        server.process.send_signal(1)
        await server.line("reload.done")
        after = await status()

    assert (before, after) == (403, 200)
