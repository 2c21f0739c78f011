"""Some servers answer with what they were asked: nothing secret of it is kept."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from aiohttp import web

from receiver.destinations.http import Http, HttpSettings
from receiver.models import Secret
from tests.making import parcel
from tests.sinks import Seen, sink


async def echo(seen: Seen) -> web.Response:
    said = "\n".join(f"{name}: {value}" for name, value in seen.headers.items())
    query = dict(parse_qsl(urlsplit(seen.path).query))
    return web.Response(status=400, text=f"{said}\nquery: {query}")


@pytest.mark.parametrize(
    ("user", "shown"),
    [
        ("ann:pass%3Dword", ["pass%3Dword", "pass=word", "YW5uOnBhc3M9d29yZA=="]),
        ("a-key-alone", ["a-key-alone", "YS1rZXktYWxvbmU6"]),
        ("a-key-alone:", ["a-key-alone", "YS1rZXktYWxvbmU6"]),
    ],
)
async def test_the_user_of_an_address_is_in_no_answer(user: str, shown: list[str]):
    async with sink() as target:
        target.respond = echo
        url = Secret(target.url.replace("//", f"//{user}@"))
        destination = Http(HttpSettings("crm", type="http", url=url))

        outcome = await destination.send(parcel())
        await destination.close()

    assert shown[-1] in target.seen[0].headers["authorization"]
    assert "Basic ***" in outcome.response
    assert [text for text in shown if text in outcome.response] == []


async def test_a_token_in_the_query_is_in_no_answer_however_that_is_written():
    async with sink() as target:
        target.respond = echo
        url = Secret(f"{target.url}/hooks?wait=true&token=a%20long-token")
        destination = Http(HttpSettings("crm", type="http", url=url))

        outcome = await destination.send(parcel())
        await destination.close()

    assert "a long-token" not in outcome.response
    assert "true" in outcome.response
