"""Who gets in to the dashboard, and what is refused at its door."""

import re
from pathlib import Path

import httpx
import pytest

from receiver.web.attempts import FROM_ONE, WINDOW_S
from tests.serving import config, serving
from tests.web.dashboard.conftest import ADMIN, Person, Place, browser, running

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.e2e]

# -- over HTTP


async def test_a_wrong_token_is_told_and_gives_no_cookie(shared: Place):
    async with browser(shared.server.url) as http:
        answer = await Person(http).sign_in("wrong")

    assert answer.status_code == 401
    assert "this token is not known" in answer.text
    assert "set-cookie" not in answer.headers


async def test_too_many_wrong_tokens_are_refused_for_a_while(place: Place):
    async with browser(place.server.url) as http:
        statuses = [
            (await Person(http).sign_in(f"wrong {i}")).status_code
            for i in range(FROM_ONE)
        ]
        refused = await Person(http).sign_in(ADMIN)

    assert statuses == [401] * FROM_ONE
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= WINDOW_S
    assert "Overview" in await place.admin.see("/")


async def test_the_cookie_is_kept_from_scripts_and_other_sites(shared: Place):
    async with httpx.AsyncClient(base_url=shared.server.url) as http:
        answer = await http.post("/ui/sign-in", data={"token": ADMIN})
    cookie = answer.headers["set-cookie"]

    assert answer.status_code == 303
    assert cookie.startswith("receiver=")
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Max-Age=43200" in cookie
    assert "Secure" not in cookie
    assert ADMIN not in cookie


async def test_behind_a_trusted_proxy_with_https_the_cookie_is_for_https_only(
    tmp_path: Path,
):
    toml = config(server=f'admin_token = "{ADMIN}"\ntrusted_proxies = ["127.0.0.1"]')
    said = {"x-forwarded-proto": "https", "x-forwarded-for": "203.0.113.9"}
    async with (
        serving(tmp_path, toml) as started,
        httpx.AsyncClient(base_url=started.url, headers=said) as http,
    ):
        answer = await http.post("/ui/sign-in", data={"token": ADMIN})
        line = await started.line("dashboard.entered")

    assert answer.headers["set-cookie"].startswith("__Host-receiver=")
    assert "Secure" in answer.headers["set-cookie"]
    assert line["client"] == "203.0.113.9"


async def test_from_anybody_else_such_a_header_is_not_believed(shared: Place):
    async with httpx.AsyncClient(base_url=shared.server.url) as http:
        answer = await http.post(
            "/ui/sign-in",
            data={"token": ADMIN},
            headers={"x-forwarded-proto": "https"},
        )

    assert "Secure" not in answer.headers["set-cookie"]


async def test_whoever_is_not_signed_in_is_asked_and_then_goes_on(shared: Place):
    async with browser(shared.server.url) as http:
        asked = await http.get("/ui/events", params={"type": "batch.*"})
        wanted = re.search(r'name="next" value="([^"]+)"', asked.text)
        assert wanted is not None
        found = await Person(http).sign_in(ADMIN, next=wanted[1])

    assert asked.url.path == "/ui/sign-in"
    assert str(found.url).endswith("/ui/events?type=batch.%2A")
    assert found.status_code == 200


async def test_signing_in_leads_to_no_other_site(shared: Place):
    async with httpx.AsyncClient(base_url=shared.server.url) as http:
        answer = await http.post(
            "/ui/sign-in", data={"token": ADMIN, "next": "//evil.example"}
        )

    assert answer.headers["location"] == "/"


async def test_a_link_from_another_site_is_followed_by_a_page_of_ours(shared: Place):
    async with httpx.AsyncClient(base_url=shared.server.url) as http:
        answer = await http.get(
            "/ui/events?a=%22", headers={"sec-fetch-site": "cross-site"}
        )

    assert answer.status_code == 200
    assert 'content="0;url=/ui/events?a=%22"' in answer.text


async def test_after_signing_out_one_is_asked_again(shared: Place):
    async with browser(shared.server.url) as http:
        person = Person(http)
        await person.sign_in(ADMIN)
        await person.send("/ui/sign-out")
        found = await http.get("/")

    assert found.url.path == "/ui/sign-in"


async def test_another_site_can_neither_sign_in_nor_out(shared: Place):
    foreign = {"origin": "https://evil.example"}
    async with browser(shared.server.url) as http:
        entered = await http.post("/ui/sign-in", data={"token": ADMIN}, headers=foreign)
    left = await shared.admin.http.post("/ui/sign-out", headers=foreign)

    assert entered.status_code == 403
    assert left.status_code == 403
    assert "Overview" in await shared.admin.see("/")


# -- forms


@pytest.mark.parametrize("token", ["", "0" * 64])
async def test_a_form_that_is_not_ours_changes_nothing(shared: Place, token: str):
    answer = await shared.admin.http.post(
        "/ui/destinations/spare/pause", data={"form_token": token}
    )

    assert answer.status_code == 403
    assert "was not made here" in answer.text
    assert "Resume" not in await shared.admin.see("/ui/destinations/spare")


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}],
)
async def test_a_form_on_another_site_changes_nothing(
    shared: Place, headers: dict[str, str]
):
    token = await shared.admin.form_token()
    answer = await shared.admin.http.post(
        "/ui/destinations/spare/pause", data={"form_token": token}, headers=headers
    )

    assert answer.status_code == 403
    assert "Resume" not in await shared.admin.see("/ui/destinations/spare")


async def test_a_form_of_somebody_elses_session_changes_nothing(shared: Place):
    other = await shared.reader.form_token()
    answer = await shared.admin.http.post(
        "/ui/destinations/spare/pause", data={"form_token": other}
    )

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/ui/destinations/spare/pause",
        "/ui/destinations/spare/resume",
        "/ui/destinations/spare/test",
        "/ui/deliveries/change",
        "/ui/deliveries/dlv_0000000000000001/retry",
        "/ui/replays/new",
        "/ui/replays/rpl_0000000000000001/cancel",
        "/ui/rejections/reverify",
    ],
)
async def test_a_read_token_changes_nothing(shared: Place, path: str):
    answer = await shared.reader.send(path, action="retry", id="x")

    assert answer.status_code == 403
    assert "may only look" in answer.text


async def test_what_is_too_large_or_no_form_is_refused(shared: Place):
    http, path = shared.admin.http, "/ui/deliveries/change"
    large = await http.post(path, data={"form_token": "x" * 200_000})
    many = await http.post(path, data={f"n{i}": "" for i in range(2_000)} | {"n": "1"})
    json = await http.post(path, json={})

    assert large.status_code == 413
    assert many.status_code in (400, 403)
    assert json.status_code == 415


async def test_every_answer_has_what_protects_it(shared: Place):
    for path in ("/", "/ui/events", "/ui/nothing", "/ui/sign-in", "/ui/static/app.js"):
        answer = await shared.admin.http.get(path)
        policy = answer.headers["content-security-policy"]

        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "https:" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        if "static" not in path:
            assert answer.headers["cache-control"] == "no-store"


async def test_pages_have_neither_script_nor_style_of_their_own(shared: Place):
    for path in ("/", "/ui/events", "/ui/deliveries"):
        text = await shared.admin.see(path)

        assert "style=" not in text
        assert not re.search(r"<script(?! src=)|<style|\son\w+=", text)


async def test_without_a_token_the_first_page_says_how_to_turn_it_on(tmp_path: Path):
    async with serving(tmp_path, config()) as started, browser(started.url) as http:
        first, other = await http.get("/"), await http.get("/ui/events")
        line = await started.line("dashboard.off")

    assert "admin_token" in first.text
    assert other.status_code == 404
    assert "admin_token" in line["advice"]


async def test_with_an_admin_port_the_public_one_has_no_dashboard(tmp_path: Path):
    async with running(tmp_path, "admin_port = 0") as place:
        ready = await place.server.line("receiver.ready")
        async with browser(str(ready["admin"])) as http:
            found = await Person(http).sign_in(ADMIN)
        public = [
            (await place.admin.http.get(path)).status_code
            for path in ("/", "/ui/sign-in", "/ui/static/app.css")
        ]

    assert found.status_code == 200
    assert public == [404, 404, 404]
