"""Senders that expect something particular, over a real socket."""

from pathlib import Path

import httpx

from receiver import clock
from receiver.providers.samples import samples
from tests.serving import config, serving

SOURCES = """
[sources.transcripts]
provider = "assemblyai"
require_headers = { X-Hook-Key = "the key" }

[sources.avatars]
provider = "heygen"
secrets = ["whsec_x"]

[sources.shop]
provider = "hmac"
token = "t"
key = "{order}:{state}"
answer = { code = 200, received = true }
"""


async def test_senders_get_the_answers_they_understand(tmp_path: Path):
    [body, *_] = samples("assemblyai", "tr_1", clock.now()).values()
    async with (
        serving(tmp_path, config() + SOURCES) as running,
        httpx.AsyncClient(base_url=running.url) as client,
    ):
        stranger = await client.post("/webhooks/transcripts", content=body.body)
        known = await client.post(
            "/webhooks/transcripts",
            content=body.body,
            headers={"X-Hook-Key": "the key"},
        )
        asked = await client.options("/webhooks/avatars")
        ours = await client.post(
            "/webhooks/shop?token=t", json={"order": 1, "state": "a"}
        )
        again = await client.post(
            "/webhooks/shop?token=t", json={"state": "a", "order": 1}
        )
        wrong = await client.post("/webhooks/shop?token=t", json={"order": 1})

    assert (stranger.status_code, known.status_code) == (503, 200)
    assert stranger.json()["error"]["code"] == "header_missing"
    assert asked.status_code == 200
    assert ours.json() == {
        "status": "accepted",
        "outcome": "accepted",
        "id": ours.json()["id"],
        "code": 200,
        "received": True,
    }
    assert again.json()["outcome"] == "duplicate"
    assert wrong.status_code == 400
    assert wrong.json()["error"]["message"].startswith("key: {order}:{state} is not")
