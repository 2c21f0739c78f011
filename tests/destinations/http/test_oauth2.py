"""HTTP: who we say we are, and tokens of OAuth 2.0 in particular."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from receiver.destinations.http import Http
from receiver.destinations.request import render
from receiver.models import Outcome, Result
from tests.destinations.http.making import built, http, settings
from tests.making import NOW, parcel
from tests.sinks import Seen, Sink, sink

SECRET = "client-secret-of-ours"


@dataclass
class Issuer:
    """A token endpoint: `answer` is what it says next, tokens count up."""

    endpoint: Sink
    expires_in: Any = 3600
    answer: web.Response | None = None
    issued: int = 0
    hold: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def asked(self) -> list[Seen]:
        return self.endpoint.seen

    async def respond(self, _: Seen) -> web.StreamResponse:
        await self.hold.wait()
        if self.answer is not None:
            return self.answer
        self.issued += 1
        token = {"access_token": self.token, "token_type": "Bearer"}
        if self.expires_in is not None:
            token["expires_in"] = self.expires_in
        return web.json_response(token)

    @property
    def token(self) -> str:
        return f"access-token-{self.issued}-" + "x" * 4000


@dataclass
class Scene:
    """A destination that wants tokens, and the endpoint that gives them."""

    destination: Http
    target: Sink
    issuer: Issuer

    def authorizations(self) -> list[str]:
        return [seen.headers["authorization"][:21] for seen in self.target.seen]


@asynccontextmanager
async def scene(**oauth2: str) -> AsyncIterator[Scene]:
    async with sink() as target, sink() as endpoint:
        issuer = Issuer(endpoint)
        issuer.hold.set()
        endpoint.respond = issuer.respond
        table = {
            "token_url": endpoint.url + "/token",
            "client_id": "us",
            "client_secret": SECRET,
            **oauth2,
        }
        async with http(url=target.url, oauth2=table) as destination:
            yield Scene(destination, target, issuer)


def first(n: int) -> str:
    return f"Bearer access-token-{n}"[:21]


# -- the same for every request


async def test_a_bearer_token_is_sent():
    async with sink() as target, http(url=target.url, bearer="abc=") as destination:
        await destination.send(parcel())

    assert target.seen[0].headers["authorization"] == "Bearer abc="


async def test_a_user_and_password_are_sent():
    table = {"basic": "ann:pass:wörd"}

    async with sink() as target, http(url=target.url, **table) as destination:
        await destination.send(parcel())

    scheme, encoded = target.seen[0].headers["authorization"].split()
    assert scheme == "Basic"
    assert base64.b64decode(encoded).decode() == "ann:pass:wörd"


@pytest.mark.parametrize(
    "table", [{"bearer": "b-token"}, {"basic": "ann:password"}, {"oauth2": {}}]
)
def test_what_authorizes_is_not_shown(table):
    if "oauth2" in table:
        table = {"oauth2": {"token_url": "http://a.test", "client_id": "us"}}
        table["oauth2"]["client_secret"] = SECRET
    made = settings(**table)

    request = render(made, parcel())

    assert request.masked().headers["authorization"] == "***"
    shown = repr(made) + repr(request) + repr(request.masked())
    hidden = ("b-token", "password", base64.b64encode(b"ann:password").decode())
    assert [text for text in (*hidden, SECRET) if text in shown] == []


@pytest.mark.parametrize(
    ("table", "field", "said"),
    [
        ({"bearer": "a b"}, "bearer", "a character that no token can"),
        ({"basic": "ann"}, "basic", "is not user:password"),
        ({"basic": "a:b\n"}, "basic", "is not user:password"),
        ({"bearer": "a", "basic": "a:b"}, "basic", "there is bearer already"),
        (
            {"bearer": "a", "headers": {"Authorization": "b"}},
            "headers.Authorization",
            "there is bearer already",
        ),
        (
            {"bearer": "a", "url": "http://u:p@crm.test"},
            "bearer",
            "the url has a user already",
        ),
        ({"oauth2": {"client_id": "a"}}, "here.oauth2.client_secret", "is required"),
    ],
)
def test_what_cannot_authorize_is_a_problem(table, field, said):
    _, problems = built(**table)

    assert field in [problem.key for problem in problems]
    assert said in " ".join(map(str, problems))


def test_the_address_of_tokens_must_be_one():
    table = {"token_url": "a.test", "client_id": "us", "client_secret": SECRET}

    _, problems = built(oauth2=table, bearer="a")

    assert [problem.key for problem in problems] == ["oauth2", "oauth2.token_url"]
    assert "there is bearer already" in str(problems[0])


async def test_computed_headers_cannot_replace_what_authorizes():
    table = {"bearer": "a", "headers": "{'Authorization': 'b'}"}

    async with http(**table) as destination:
        outcome = await destination.send(parcel())

    assert outcome.result is Result.BAD_CONFIG
    assert "authorization" in outcome.detail


# -- tokens


async def test_a_token_is_fetched_once_and_used_again():
    async with scene() as here:
        outcomes = [await here.destination.send(parcel(number=n)) for n in (1, 2)]

    assert [outcome.ok for outcome in outcomes] == [True, True]
    assert here.authorizations() == [first(1), first(1)]
    assert len(here.issuer.asked) == 1
    assert len({seen.connection for seen in here.target.seen}) == 1


async def test_id_and_secret_are_sent_as_http_basic():
    async with scene(
        client_id="a b", client_secret="s:é", scope="x y", audience="z"
    ) as here:
        await here.destination.send(parcel())

    asked = here.issuer.asked[0]
    assert (asked.method, asked.path) == ("POST", "/token")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    encoded = asked.headers["authorization"].removeprefix("Basic ")
    assert base64.b64decode(encoded).decode() == "a+b:s%3A%C3%A9"
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "scope": ["x y"],
        "audience": ["z"],
    }


async def test_id_and_secret_are_sent_in_the_body_if_that_is_wanted():
    async with scene(style="body") as here:
        await here.destination.send(parcel())

    asked = here.issuer.asked[0]
    assert "authorization" not in asked.headers
    assert parse_qs(asked.body.decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["us"],
        "client_secret": [SECRET],
    }


async def test_deliveries_at_the_same_time_fetch_one_token():
    async with scene() as here:
        here.issuer.hold.clear()
        sending = [
            asyncio.create_task(here.destination.send(parcel(number=n)))
            for n in range(1, 9)
        ]
        await here.issuer.endpoint.wait_for(1)
        here.issuer.hold.set()
        outcomes = await asyncio.gather(*sending)

    assert all(outcome.ok for outcome in outcomes)
    assert len(here.issuer.asked) == 1


async def test_deliveries_at_the_same_time_share_a_refusal():
    async with scene() as here:
        here.issuer.hold.clear()
        here.issuer.answer = web.Response(status=500)
        sending = [
            asyncio.create_task(here.destination.send(parcel(number=n)))
            for n in range(1, 9)
        ]
        await here.issuer.endpoint.wait_for(1)
        here.issuer.hold.set()
        outcomes = await asyncio.gather(*sending)

    assert not any(outcome.ok for outcome in outcomes)
    assert len(here.issuer.asked) == 1


async def test_one_that_gives_up_waiting_leaves_the_fetching_to_another():
    async with scene() as here:
        here.issuer.hold.clear()
        one = asyncio.create_task(here.destination.send(parcel(number=1)))
        await here.issuer.endpoint.wait_for(1)
        other = asyncio.create_task(here.destination.send(parcel(number=2)))
        one.cancel()
        with suppress(asyncio.CancelledError):
            await one
        here.issuer.hold.set()
        outcome = await other

    assert outcome.ok


@pytest.mark.parametrize(
    ("expires_in", "fetched"),
    [(0, 2), ("0", 2), (-5, 2), (3600, 1), ("3600", 1), (None, 1), ("soon", 1)],
    ids=repr,
)
async def test_a_token_is_used_until_shortly_before_it_expires(expires_in, fetched):
    async with scene() as here:
        here.issuer.expires_in = expires_in
        for n in (1, 2):
            await here.destination.send(parcel(number=n))

    assert len(here.issuer.asked) == fetched
    assert here.authorizations()[1] == first(fetched)


async def test_a_token_that_is_refused_is_renewed_within_the_attempt():
    async with scene() as here:
        await here.destination.send(parcel())
        here.target.respond = refuse_first_token
        outcome = await here.destination.send(parcel(number=2))

    assert outcome.ok
    assert here.authorizations() == [first(1), first(1), first(2)]
    assert here.target.seen[1].body == here.target.seen[2].body


async def refuse_first_token(seen: Seen) -> web.StreamResponse:
    refused = seen.headers["authorization"].startswith(first(1))
    return web.Response(status=401 if refused else 200)


async def test_many_that_are_refused_at_once_renew_the_token_once():
    async with scene() as here:
        await here.destination.send(parcel())
        here.target.respond = refuse_first_token
        outcomes = await asyncio.gather(
            *(here.destination.send(parcel(number=n)) for n in range(2, 8))
        )

    assert all(outcome.ok for outcome in outcomes)
    assert len(here.issuer.asked) == 2


async def test_a_new_token_that_is_refused_too_is_the_outcome():
    async def refuse(seen: Seen) -> web.StreamResponse:
        return web.Response(status=401, text=seen.headers["authorization"] + " no")

    async with scene() as here:
        here.target.respond = refuse
        outcome = await here.destination.send(parcel())

    assert (outcome.result, outcome.status_code) == (Result.HTTP_STATUS, 401)
    assert not outcome.permanent
    assert not outcome.pause
    assert len(here.target.seen) == 2
    assert "access-token" not in repr(outcome)


# -- endpoints that give none


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503, 302])
async def test_an_endpoint_that_fails_is_tried_again(status):
    when = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    async with scene() as here:
        here.issuer.answer = web.Response(
            status=status, text=SECRET, headers={"retry-after": when}
        )
        outcome = await here.destination.send(parcel())
        here.issuer.answer = None
        after = await here.destination.send(parcel(number=2))

    assert outcome.result is Result.HTTP_STATUS
    assert outcome.detail.startswith(f"the token endpoint answered {status} ")
    assert outcome.retry_after_s == (90 if status in (429, 503) else None)
    assert not outcome.permanent
    assert not outcome.pause
    assert SECRET not in repr(outcome)
    assert len(here.target.seen) == 1
    assert after.ok


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "x"),
        (401, json.dumps({"error": "invalid_client"})),
        (400, json.dumps({"error": "invalid_client", "error_description": SECRET})),
        (400, json.dumps({"error": "invalid_scope"})),
        (400, json.dumps({"error": "unauthorized_client"})),
    ],
)
async def test_an_endpoint_that_does_not_know_us_pauses_the_destination(status, said):
    async with scene() as here:
        here.issuer.answer = web.Response(status=status, text=said)
        outcome = await here.destination.send(parcel())

    assert outcome.result is Result.REJECTED
    assert f"the token endpoint answered {status}" in outcome.pause
    assert "correct `oauth2`" in outcome.pause
    assert SECRET not in repr(outcome)
    assert here.target.seen == []


@pytest.mark.parametrize(
    "said", ["", "no", "[]", "{}", '{"access_token": 1}', '{"access_token": "a\\nb"}']
)
async def test_an_answer_without_a_token_is_tried_again(said):
    async with scene() as here:
        here.issuer.answer = web.Response(text=said)
        outcome = await here.destination.send(parcel())

    assert outcome == Outcome(Result.ERROR, "the token endpoint gave no usable token")


async def test_an_endpoint_that_cannot_be_reached_is_named():
    async with scene(token_url="http://nobody.invalid/T0KEN") as here:
        outcome = await here.destination.send(parcel())

    assert outcome.result is Result.DNS
    assert outcome.detail.startswith("the token endpoint: the name nobody.invalid")
    assert "T0KEN" not in repr(outcome)
