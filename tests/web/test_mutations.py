"""Thousands of damaged requests to every provider: none gets in, none breaks anything."""

import asyncio
import copy
import itertools
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from receiver import clock
from receiver.models import Request
from receiver.providers.samples import Sample
from receiver.providers.sending import outgoing
from receiver.schemes import encoded, given_signatures
from tests.making import public_key
from tests.providers.cases import CASES, TOKEN, Case
from tests.serving import serving
from tests.web.wire import connected, request

EACH = 2_000
"""Damaged requests for each provider."""

AT_ONCE = 8
SEEDS = (20261121,)


@dataclass(frozen=True)
class Shot:
    """A request, and whether its sender could have made it."""

    sent: Request
    authentic: bool
    how: str


provider = cache(Case.provider)  # each is asked for tens of thousands of times

Damage = Callable[[random.Random, Case, Request], Request]


def no_signature(_: random.Random, case: Case, sent: Request) -> Request:
    names = provider(case).signature_headers
    return replace(
        sent, headers={n: v for n, v in sent.headers.items() if n not in names}
    )


def other_signature(rng: random.Random, case: Case, sent: Request) -> Request:
    """Every digit of the signatures replaced, their form kept."""
    headers = dict(sent.headers)
    for scheme in provider(case).schemes:
        for given in given_signatures(scheme, sent.headers):
            made = encoded(scheme.encoding, rng.randbytes(max(1, len(given) // 2)))
            headers[scheme.header] = headers[scheme.header].replace(given, made)
    return replace(sent, headers=headers)


def cut_signature(rng: random.Random, case: Case, sent: Request) -> Request:
    headers = dict(sent.headers)
    for name in provider(case).signature_headers & headers.keys():
        headers[name] = headers[name][: -rng.randint(3, 20)]
    return replace(sent, headers=headers)


def old(rng: random.Random, case: Case, sent: Request) -> Request:
    """Signed with the right secret, long ago or far ahead."""
    off = timedelta(seconds=rng.choice([-1, 1]) * rng.randint(400, 10**6))
    made = outgoing(
        provider(case),
        sent.body,
        sent.received_at + off,
        secret=case.secrets[0],
        headers=_named(sent),
    )
    return replace(sent, headers=made.headers)


def by_a_stranger(_: random.Random, case: Case, sent: Request) -> Request:
    made = outgoing(
        provider(case),
        sent.body,
        sent.received_at,
        secret=case.stranger,
        headers=_named(sent),
    )
    return replace(sent, headers=made.headers)


def other_body(rng: random.Random, _: Case, sent: Request) -> Request:
    """One to many bytes changed, added or removed after signing."""
    body = bytearray(sent.body)
    for _time in range(rng.choice([1, 1, 1, 5, 100])):
        i = rng.randrange(len(body))
        rng.choice(
            [
                lambda i=i: body.__setitem__(i, body[i] ^ (1 << rng.randrange(8))),
                lambda i=i: body.insert(i, rng.randrange(256)),
                lambda i=i: body.__delitem__(i) if len(body) > 1 else None,
            ]
        )()
    return replace(sent, body=bytes(body) + b" " * (bytes(body) == sent.body))


def no_token(_: random.Random, __: Case, sent: Request) -> Request:
    return replace(sent, query={})


def other_token(rng: random.Random, _: Case, sent: Request) -> Request:
    return replace(sent, query={"token": rng.choice(["", "x", TOKEN[1:], TOKEN + "x"])})


def _named(sent: Request) -> dict[str, str]:
    """The headers that say what the body does not: those a sample brings along."""
    return {n: v for n, v in sent.headers.items() if not n.startswith("content-")}


def damages(case: Case) -> tuple[Damage, ...]:
    if not case.schemes:
        return (no_token, other_token)
    signs = provider(case).signs
    return (
        *(no_signature, other_signature, cut_signature, by_a_stranger),
        *((other_body,) if "body" in signs else ()),
        *((old,) if "timestamp" in signs else ()),
    )


def mangled(rng: random.Random, sample: Sample) -> Sample:
    """A body as no sender makes it, which is then signed as it should be."""
    body = json.loads(sample.body)
    odd: tuple[Any, ...] = (
        None,
        True,
        -1,
        1e300,
        "",
        "\ud800",
        "x" * 10_000,
        [],
        {},
        [[]],
        {"": 0},
    )
    for _ in range(rng.randint(1, 4)):
        place = body
        while isinstance(place, dict) and place:
            key = rng.choice(sorted(place))
            if isinstance(place[key], dict) and rng.random() < 0.5:
                place = place[key]
                continue
            place[key] = copy.deepcopy(rng.choice(odd))
            break
    text = json.dumps(body).encode()
    tear = rng.random()
    if tear < 0.1:
        return replace(sample, body=text[: rng.randrange(len(text))])
    if tear < 0.2:
        return replace(sample, body=rng.randbytes(rng.randint(0, 500)))
    if tear < 0.25:
        return replace(sample, body=b"[" * rng.choice([100, 5_000]))
    return replace(sample, body=text)


def shots(case: Case, seed: int) -> Iterator[Shot]:
    rng = random.Random(f"{seed} {case.name}")
    samples = list(case.samples().values())
    ways = damages(case)
    for n in range(EACH):
        sample = rng.choice(samples)
        if n % 4 == 3:
            sent = _sent(case, mangled(rng, sample))
            yield Shot(sent, authentic=True, how="mangled")
            continue
        damage = ways[n % len(ways)]
        sent = damage(rng, case, _sent(case, sample))
        yield Shot(sent, authentic=False, how=damage.__name__)


def _sent(case: Case, sample: Sample) -> Request:
    now = clock.now()
    secret = case.secrets[0] if case.schemes else None
    made = outgoing(
        provider(case), sample.body, now, secret=secret, headers=sample.headers
    )
    return Request(made.headers, made.query, made.body, now)


def on_the_wire(case: Case, sent: Request) -> bytes:
    headers = {
        name: value.encode("latin-1", "replace").decode("latin-1")
        for name, value in sent.headers.items()
        if value.isprintable()
    }
    query = f"?{urlencode(sent.query)}" if sent.query else ""
    return request(sent.body, headers, path=f"/webhooks/{case.name}{query}")


def config() -> str:
    head = (
        '[server]\nport = 0\n[store]\nurl = "sqlite:///receiver.db"\nmin_free_bytes = 0'
    )
    return "\n".join([head, *map(source, CASES)])


def source(case: Case) -> str:
    """The source as it is written in the configuration."""
    lines = [f"[sources.{case.name}]", f'provider = "{case.name}"']
    if not case.schemes:
        lines.append(f'token = "{TOKEN}"')
    elif case.publishes:
        keys = json.dumps([public_key(secret) for secret in case.secrets])
        lines += ["fetch_keys = false", f"keys = {keys}"]
    else:
        lines.append(f"secrets = {json.dumps(case.secrets)}")
    return "\n".join(lines)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", SEEDS)
async def test_no_damaged_request_gets_in_and_none_breaks_anything(
    tmp_path: Path, seed: int
):
    wrong: list[str] = []
    async with serving(tmp_path, config()) as running:

        async def shoot(case: Case, some: list[Shot]) -> None:
            async with connected(running.url) as wire:
                for shot in some:
                    await wire.send(on_the_wire(case, shot.sent))
                    answer = await wire.answer()
                    refused = provider(case).refused_status
                    bad = answer.status >= 500 and answer.status != refused
                    if bad or (answer.status < 300 and not shot.authentic):
                        wrong.append(f"{case.name} {shot.how}: {answer}")
                    if answer.headers.get("connection") == "close":
                        raise AssertionError(f"{case.name} {shot.how}: {answer}")

        for case in CASES:
            every = list(shots(case, seed))
            size = len(every) // AT_ONCE
            parts = [every[i : i + size] for i in range(0, len(every), size)]
            await asyncio.gather(*(shoot(case, part) for part in parts))
        code = await running.stop()
        said = "\n".join(running.raw)

    assert wrong == []
    assert code == 0
    assert "Traceback" not in said
    assert "exception" not in said


def test_there_are_damages_for_every_provider():
    assert all(len(damages(case)) >= 2 for case in CASES)
    assert list(itertools.islice(shots(CASES[0], 1), 3))
