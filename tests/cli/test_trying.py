"""What `check` finds by trying a configuration on the providers' samples."""

import json
from pathlib import Path

from tests.making import sample
from tests.serving import command, config

ROUTES = """
[[routes]]
name = "good"
source = "sora2"
types = ["batch.*"]
when = 'event.state == "failed"'
to = ["app"]
[[routes]]
name = "misspelt"
source = "*"
types = ["batch.complete"]
to = ["app"]
[[routes]]
name = "fragile"
source = "sora2"
when = "data.summary.failed > 0"
to = ["app"]
"""


async def test_check_notes_conditions_that_fail_and_types_nobody_sends(tmp_path: Path):
    toml = config(
        destinations={"app": 'type = "http"\nurl = "https://a.test"'}, routes=ROUTES
    )
    (tmp_path / "receiver.toml").write_text(toml)

    code, out, err = await command(tmp_path, "check")
    _, found, _ = await command(tmp_path, "check", "--json")

    assert code == 0, err
    types, when = json.loads(found)["notes"]
    assert (types["key"], when["key"]) == ("routes[1].types", "routes[2].when")
    assert 'did you mean "batch.completed"?' in types["message"]
    assert "on the sample as-sent and 1 more" in when["message"]
    assert "note: routes[1].types" in out
    assert "note: routes[2].when" in out


DESTINATIONS = {
    "app": """type = "http"
url = '"https://a.test/" + data.request_id'
body = '{"id": event.id, "failed": data.summary.failed}'""",
    "crm": """type = "http"
url = "https://a.test/hook"
bearer = "a-secret-token"
body = '{"id": event.id}'""",
    "bill": """type = "command"
command = ["true"]""",
}
TO_ALL = """
[[routes]]
name = "ends"
source = "sora2"
types = ["batch.completed", "batch.refunded"]
to = ["app", "crm", "bill"]
"""


async def test_check_tries_what_would_be_sent_on_samples(tmp_path: Path):
    toml = config(destinations=DESTINATIONS, routes=TO_ALL)
    (tmp_path / "receiver.toml").write_text(toml)

    code, found, err = await command(tmp_path, "check", "--json")

    assert code == 0, err
    [note] = json.loads(found)["notes"]
    assert note["key"] == "destinations.app"
    assert "summary" in note["message"] or "request_id" in note["message"]
    assert "1 more" in note["message"]


async def test_an_explanation_shows_the_requests_and_no_secret(tmp_path: Path):
    toml = config(destinations=DESTINATIONS, routes=TO_ALL)
    (tmp_path / "receiver.toml").write_text(toml)
    body = sample("batch.completed", "bat_1")
    (tmp_path / "body.json").write_bytes(body)
    about = ("explain", "--source", "sora2", "--file", "body.json", "--show-request")

    code, out, err = await command(tmp_path, *about)
    _, found, _ = await command(tmp_path, *about, "--json")

    assert code == 0, err
    requests = json.loads(found)["requests"]
    assert requests["app"]["payload"]["url"] == "https://a.test/order-bat_1"
    sent = json.loads(requests["app"]["payload"]["body"])
    assert sent["failed"] == 1
    assert requests["crm"]["payload"]["headers"]["authorization"] == "***"
    assert "no preview" in requests["bill"]["note"]
    assert "crm would be sent" in out
    assert "a-secret-token" not in out + found
