"""What a destination would be sent, shown and not sent."""

import json
from pathlib import Path
from typing import Any

import pytest

from receiver.internal import INTERNAL_TYPES
from tests.cli.conftest import Place
from tests.serving import config, serving

SLACK = 'type = "slack"\nurl = "https://hooks.slack.com/services/T/B/secretsecret"'
MAIL = """
type = "email"
smtp = "smtp://ann:s3cret@mail.example.com"
from = "receiver@example.com"
to = ["ops@example.com"]
"""
OWN = f'{SLACK}\ntemplate_file = "own.txt"'
CRM = """
type = "http"
url = "'https://crm.test/' + event.type + '?key=' + vars.key"
headers = { X-Key = "s3cret-of-ours" }
body = "{'batch': event.subject, 'key': vars.key, 'failed': data.summary.failed}"
vars = { key = "s3cret-of-ours" }
"""
DESTINATIONS = {
    "ops": SLACK,
    "mail": MAIL,
    "own": OWN,
    "crm": CRM,
    "app": 'type = "python"\nhandler = "a:b"',
}
ROUTES = '[[routes]]\nsource = "sora2"\ntypes = ["nothing"]\nto = ["ops"]'


@pytest.fixture
def shown(tmp_path: Path, target: Any) -> Place:
    """With a configuration, and neither a server nor a store."""
    toml = config(destinations=DESTINATIONS, routes=ROUTES)
    (tmp_path / "receiver.toml").write_text(toml)
    (tmp_path / "own.txt").write_text("own text of {{ event.type }}: {{ data.total }}")
    return Place(tmp_path, target)


async def test_a_sample_is_previewed_for_slack(shown):
    out, _ = await shown.run("preview", "ops", "--source", "sora2")
    payload = await shown.json("preview", "ops", "--type", "batch.failed")

    assert "Slack at hooks.slack.com" in out
    assert "[header]\n⚠️ Batch bat_" in out
    assert "*What went wrong*\n• *item_010*: Model timeout (timeout)" in out
    assert payload["blocks"][0]["text"]["text"].endswith(" failed")
    assert "secretsecret" not in out + json.dumps(payload)


async def test_a_sample_is_previewed_for_email_with_its_page(shown):
    out, err = await shown.run("preview", "mail", "--html", "mail.html")
    _, hint = await shown.run("preview", "mail")
    payload = await shown.json("preview", "mail")

    assert "To                        ops@example.com" in out
    assert "- item_010: Model timeout (timeout)" in out
    assert "the HTML part: mail.html" in err
    assert "--html FILE writes it" in hint
    page = (shown.folder / "mail.html").read_text()
    assert "<strong>Partly succeeded.</strong>" in page
    assert payload["headers"]["From"] == "receiver@example.com"
    assert "s3cret" not in out + err + page + json.dumps(payload)


async def test_a_request_is_previewed_without_its_secrets(shown):
    out, _ = await shown.run("preview", "crm", "--type", "batch.failed")
    payload = await shown.json("preview", "crm", "--type", "batch.failed")

    assert "s3cret" not in out + json.dumps(payload)
    assert payload["method"] == "POST"
    assert payload["url"] == "https://crm.test/batch.failed?key=***"
    assert payload["headers"]["x-key"] == "***"
    assert json.loads(payload["body"])["key"] == "***"
    assert "webhook-timestamp" in out


async def test_a_request_that_cannot_be_made_is_said(shown):
    (shown.folder / "short.json").write_text('{"event": "x", "batch_id": "b"}')

    _, err = await shown.run("preview", "crm", "--file", "short.json", code=1)

    assert '`body`: NOT_FOUND: Key not found in map : "summary"' in err


async def test_a_body_in_a_file_is_previewed(shown):
    body = {"event": "batch.completed", "batch_id": "b", "total": 7}
    (shown.folder / "body.json").write_text(json.dumps(body))
    (shown.folder / "odd.json").write_text("{}")

    out, _ = await shown.run("preview", "own", "--file", "body.json")
    _, err = await shown.run("preview", "own", "--file", "odd.json", code=2)

    assert out.endswith("[section]\nown text of batch.completed: 7\n")
    assert "sora2 would refuse it: the body has no batch_id" in err


async def test_each_of_our_own_alerts_is_previewed(shown):
    several = [
        ("preview", "ops", "--source", "receiver", "--type", kind)
        for kind in INTERNAL_TYPES
    ]

    said = await shown.each(several)

    assert all(":\n`receiver " in out for out, _ in said)


async def test_a_template_that_fails_is_said_and_ends_with_1(shown):
    (shown.folder / "own.txt").write_text("{{ event.type }}\n{{ data.nope + 1 }}")

    out, err = await shown.run("preview", "own", code=1)

    assert "template: line 2: " in out
    assert "the template failed, so this is the built-in text" in err


async def test_what_cannot_be_previewed_is_said(shown):
    invented, python, page, both, nobody = await shown.each(
        [
            ("preview", "ops", "--type", "batch.lost"),
            ("preview", "app"),
            ("preview", "ops", "--html", "x.html"),
            ("preview", "ops", "--source", "receiver", "--type", "x"),
            ("preview", "ops", "--source", "receiver", "--type", "batch.completed"),
        ],
        code=1,
    )
    usage = await shown.each(
        [
            ("preview", "ops", "evt_0123456789abcdef", "--source", "sora2"),
            ("preview", "nobody"),
            ("preview", "ops", "--source", "nobody"),
        ],
        code=2,
    )

    assert "no sample 'batch.lost'; there are: " in invented[1]
    assert "app: a destination of type python has no preview" in python[1]
    assert "what ops is sent has no HTML part" in page[1]
    assert "no sample 'x'; there are: delivery.dead" in both[1]
    assert "no sample 'batch.completed'; there are: delivery.dead" in nobody[1]
    assert "Name an event, or make one up" in usage[0][1]
    assert "there is no destination 'nobody'" in usage[1][1]
    assert "there is no source 'nobody'" in usage[2][1]


async def test_a_stored_event_is_previewed_beside_the_server(tmp_path, target):
    toml = config(destinations=DESTINATIONS, routes=ROUTES)
    (tmp_path / "own.txt").write_text("own text of {{ event.subject }}")
    async with serving(tmp_path, toml) as server:
        place = Place(tmp_path, target, server)
        event_id = await place.accepted(subject="bat_stored")

        out, _ = await place.run("preview", "own", event_id)
        _, err = await place.run("preview", "own", "evt_00000000000000ff", code=1)

    assert out.endswith("own text of bat_stored\n")
    assert "evt_00000000000000ff" in err
    assert target.seen == []
