"""What `check` finds by trying a configuration on the providers' samples."""

import json
from pathlib import Path

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
