"""SOPHON's webhooks, over a real socket."""

import json
from pathlib import Path

import httpx

from tests.making import signed
from tests.serving import command, config, serving

KEY = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
SOURCE = f'[sources.sophon]\nprovider = "sophon"\nsecrets = ["{KEY}"]\n'
SAMPLES = sorted((Path(__file__).parents[1] / "samples").glob("sophon-job-*.json"))


async def test_jobs_that_ended_are_kept_once_and_forgeries_are_not(tmp_path: Path):
    async with (
        serving(tmp_path, config() + SOURCE) as running,
        httpx.AsyncClient(base_url=running.url) as client,
    ):
        answers = []
        for body in [sample.read_bytes() for sample in SAMPLES for _ in range(2)]:
            headers = signed(body, KEY, "sophon")
            answers.append(
                await client.post("/webhooks/sophon", content=body, headers=headers)
            )
        headers = signed(b"{}", "another", "sophon")
        forged = await client.post("/webhooks/sophon", content=b"{}", headers=headers)
        _, out, _ = await command(tmp_path, "events", "list", "--json")

    words = [answer.json()["status"] for answer in answers]
    assert words == ["accepted", "duplicate"] * len(SAMPLES)
    assert forged.status_code == 401
    kept = {
        (event["type"], event["state"], event["final"]) for event in json.loads(out)
    }
    assert kept == {
        ("job.canceled", "cancelled", True),
        ("job.completed", "succeeded", True),
        ("job.failed", "failed", True),
    }
