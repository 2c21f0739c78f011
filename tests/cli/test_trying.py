"""What `check` finds by trying a configuration on the providers' samples."""

import json
from pathlib import Path

import pytest

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


async def test_check_notes_a_type_of_alert_that_there_is_not(tmp_path: Path):
    route = '[[routes]]\nsource = "receiver"\ntypes = ["delivery.dad", "source.*"]\n'
    toml = config(
        destinations={"app": 'type = "http"\nurl = "https://a.test"'},
        routes=f'{route}to = ["app"]\n',
    )
    (tmp_path / "receiver.toml").write_text(toml)

    _, found, _ = await command(tmp_path, "check", "--json")

    (note,) = json.loads(found)["notes"]
    assert note["key"] == "routes[0].types"
    assert 'did you mean "delivery.dead"?' in note["message"]


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("s3cret-of-ours\n", "begins or ends with white space"),
        ("'s3cret-of-ours'", "has quotes around it"),
        ("$SECRET_OF_OURS", "looks like the name of a variable"),
    ],
)
async def test_check_notes_a_secret_that_was_copied_wrongly(
    tmp_path: Path, secret: str, says: str
):
    source = f'[sources.s]\nprovider = "sora2"\nsecrets = [{json.dumps(secret)}]\n'
    (tmp_path / "receiver.toml").write_text(source)

    code, out, err = await command(tmp_path, "check", "--json")

    (note,) = json.loads(out)["notes"]
    assert (code, note["key"]) == (0, "sources.s.secrets[0]")
    assert says in note["message"]
    assert secret.strip() not in out + err
