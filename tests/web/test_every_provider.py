"""Every provider's samples at a real server: accepted once, answered as its sender expects."""

import json
from pathlib import Path

import httpx

from receiver import clock
from receiver.models import Request
from receiver.providers.samples import samples
from receiver.providers.sending import outgoing
from tests.providers.cases import CASES, Case
from tests.serving import command, serving
from tests.web.test_mutations import config


def sent(case: Case, name: str, subject: str) -> Request:
    sample = samples(case.name, subject, clock.now())[name]
    secret = case.secrets[0] if case.schemes else None
    made = outgoing(
        case.provider(),
        sample.body,
        clock.now(),
        secret=secret,
        headers=sample.headers,
        message_id=f"msg_{subject}",
    )
    return Request(made.headers, made.query, made.body, clock.now())


async def test_every_sample_is_accepted_once_and_its_repeat_is_a_duplicate(
    tmp_path: Path,
):
    words: dict[str, list[str]] = {}
    ids: dict[str, set[str]] = {}
    async with (
        serving(tmp_path, config()) as running,
        httpx.AsyncClient(base_url=running.url) as client,
    ):
        for case in CASES:
            for n, name in enumerate(case.samples()):
                label, asked = f"{case.name} {name}", sent(case, name, f"subject{n}")
                for _ in range(2):
                    answer = await client.post(
                        f"/webhooks/{case.name}",
                        content=asked.body,
                        headers=dict(asked.headers),
                        params=dict(asked.query),
                    )
                    assert answer.status_code == 200, (label, answer.text)
                    said = answer.json()
                    word = said.get("outcome") or said["status"]
                    words.setdefault(label, []).append(word)
                    ids.setdefault(label, set()).add(said["id"])
                    expected = case.provider().answer
                    assert expected.items() <= said.items(), label
        _, out, _ = await command(
            tmp_path, "events", "list", "--limit", "1000", "--json"
        )

    assert set(map(tuple, words.values())) == {("accepted", "duplicate")}
    assert all(len(found) == 1 for found in ids.values())
    events = json.loads(out)
    assert {event["id"] for event in events} == {
        i for found in ids.values() for i in found
    }
    assert all(event["subject"] and event["type"] for event in events)
