"""What strangers send is shown as what it is: text."""

import json
from html.parser import HTMLParser

import httpx
import pytest

from tests.making import sample, signed
from tests.serving import SECRET
from tests.web.dashboard.conftest import Place

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]

EVIL = "\"'><script>evil()</script><img src=x onerror=evil()>{{7*7}}</pre></title>"
NASTY = "javascript:evil()"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def harmless(text: str) -> None:
    """There is nothing in the page but what we put there."""
    tags = _Tags()
    tags.feed(text)
    assert tags.found
    for tag, attributes in tags.found:
        assert tag not in ("iframe", "object", "style", "base"), tag
        if tag == "script":
            assert str(attributes["src"]).startswith("/ui/static/")
        if tag in ("img", "svg"):
            assert "onerror" not in attributes
        assert not [name for name in attributes if name.startswith("on")], attributes
        for name in ("href", "src", "action"):
            target = attributes.get(name) or ""
            assert target.startswith(("/", "#", "https://", "http://")) or not target
        if str(attributes.get("href", "")).startswith("http"):
            assert attributes["rel"] == "noopener noreferrer nofollow"


def evil(value: object) -> object:
    """Each text of a body made hostile, each name as well."""
    if isinstance(value, dict):
        return {**{k: evil(v) for k, v in value.items()}, EVIL: {EVIL: EVIL}}
    if isinstance(value, list):
        return [evil(one) for one in value]
    return f"{value}{EVIL}" if isinstance(value, str) else value


async def sent(place: Place, body: bytes, **headers: str) -> str:
    async with httpx.AsyncClient() as http:
        answer = await http.post(
            f"{place.server.url}/webhook/sora2",
            params={"q": EVIL},
            content=body,
            headers={**signed(body, SECRET), **headers},
        )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def test_whatever_is_in_a_body_or_a_header_is_only_text(shared: Place):
    body = json.loads(sample("batch.completed", "bat_evil"))
    body = {**evil(body), "event": "batch.completed", "status": "partial"}  # type: ignore[dict-item]
    body["batch_id"] = f"bat{EVIL}"
    for item in body["items"]:
        item["status"] = EVIL
        item["video_url"] = NASTY
        item["thumbnail_url"] = f"https://x/{EVIL}"
    body["timestamp"] = json.loads(sample("batch.completed"))["timestamp"]
    event_id = await sent(
        shared, json.dumps(body).encode(), **{"x-evil": EVIL, "user-agent": EVIL}
    )
    delivery_id = await shared.attempted(event_id)

    paths = [f"/ui/deliveries/{delivery_id}"]
    paths += [
        "/",
        f"/ui/events/{event_id}",
        "/ui/events",
        "/ui/deliveries",
        "/ui/audit",
    ]
    paths += ["/ui/batches", "/ui/batches/credits", "/ui/rejections", "/ui/replays"]
    for path in paths:
        harmless(await shared.admin.see(path))
    shown = await shared.admin.see(f"/ui/events/{event_id}")
    assert "&lt;script&gt;evil()" in shown


@pytest.mark.parametrize(
    "path",
    [
        "/ui/events?{0}={1}",
        "/ui/deliveries?{0}={1}",
        "/ui/batches?{0}={1}",
        "/ui/rejections?{0}={1}",
        "/ui/deliveries/change?action=retry&status=dead&{0}={1}",
        "/ui/replays/new?{0}={1}",
        "/ui/sign-in?next=/ui/{1}",
    ],
)
@pytest.mark.parametrize(
    "name",
    ["text", "type", "subject", "source", "destination", "code", "said", "since"],
)
async def test_an_address_brings_nothing_into_a_page(
    shared: Place, path: str, name: str
):
    wanted = path.format(name, httpx.QueryParams({"x": EVIL})["x"])
    answer = await shared.admin.http.get(wanted)

    assert answer.status_code < 500
    harmless(answer.text)


@pytest.mark.parametrize(
    "extra",
    [
        '{"a":' * 400 + "1" + "}" * 400,
        json.dumps(list(range(20_000))),
        json.dumps({f"k{i}": {"x": [1, 2]} for i in range(5_000)}),
        json.dumps("x" * 300_000),
        json.dumps("\u202eevil\u2066\x00\ud800"),
    ],
    ids=["deep", "long", "wide", "large", "invisible"],
)
async def test_a_body_of_any_shape_has_a_page(shared: Place, extra: str):
    body = sample("batch.completed", f"bat_{len(extra)}")
    body = body[:-1] + b',"extra":' + extra.encode() + b"}"
    event_id = await sent(shared, body)

    text = await shared.admin.see(f"/ui/events/{event_id}")

    assert len(text) < 2_000_000
    assert "\u202e" not in text
    harmless(text)
