"""
The fragments of docs/recipes.md, as they stand there, in the real server.

What is changed before they are loaded is said in `local`, and nowhere else.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.making import sample, signed
from tests.recipes.stand_ins import (
    Airtable,
    CloudEvents,
    Discord,
    Ntfy,
    PagerDuty,
    Seenn,
    Service,
    Teams,
    Telegram,
)
from tests.serving import SECRET, Serving, serving
from tests.sinks import Sink, sink

PAGE = Path(__file__).parents[2] / "docs/recipes.md"
_BLOCK = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)
RECIPES = {
    found[1]: block
    for block in _BLOCK.findall(PAGE.read_text())
    for found in re.finditer(r"^\[destinations\.(\w+)\]$", block, re.MULTILINE)
}

SOURCES = "\n".join(
    f'[sources.{name}]\nprovider = "{name}"\npath = "/{name}"\nsecrets = ["{SECRET}"]'
    for name in ("sora2", "kie")
)
SERVER = "[server]\nport = 0\n[store]\nmin_free_bytes = 0\n"

SERVICES: dict[str, type[Service]] = {
    "airtable": Airtable,
    "airtable_log": Airtable,
    "seenn": Seenn,
    "seenn_start": Seenn,
    "discord": Discord,
    "teams": Teams,
    "pagerduty": PagerDuty,
    "telegram": Telegram,
    "ntfy": Ntfy,
    "cloudevents": CloudEvents,
    "cloudevents_binary": CloudEvents,
}

PENALTY_S = 2.0


def local(recipe: str, origin: str) -> str:
    """
    A recipe that goes to a stand-in, and does not make tests wait for long.

    The origin of the address is the stand-in's.  It is on this machine, so an address
    that is computed needs leave to go there.  Waits after failures are short, rates for a
    minute are for a second, and the penalty of Airtable is 2 s long, as its stand-in's.
    """
    recipe = re.sub(
        r"https://[a-z.]+(?=/v\d/|/bot|/\"$)", origin, recipe, flags=re.MULTILINE
    )
    recipe = re.sub(
        r"^allow_hosts = .*$",
        'allow_hosts = ["127.0.0.1"]\ndeny_private = false',
        recipe,
        flags=re.MULTILINE,
    )
    recipe = re.sub(r'^(max_rate = "\d+)/m"', r'\1/s"', recipe, flags=re.MULTILINE)
    recipe = recipe.replace('wait = "30s"', f'wait = "{PENALTY_S:g}s"')
    retry = 'type = "http"\nretry = { waits = ["300ms"] }'
    return recipe.replace('type = "http"', retry)


def environment(origin: str) -> dict[str, str]:
    return {
        "AIRTABLE_BASE": "appBASE0000000000",
        "AIRTABLE_TABLE": "Videos",
        "AIRTABLE_TOKEN": Airtable.token,
        "SEENN_KEY": Seenn.token,
        "DISCORD_WEBHOOK_URL": f"{origin}/api/webhooks/1/hook-token-0123456789",
        "TEAMS_WORKFLOW_URL": origin + Teams.path.replace("\\", ""),
        "PAGERDUTY_ROUTING_KEY": PagerDuty.key,
        "TELEGRAM_TOKEN": "12345:telegram-token-0123456789",
        "TELEGRAM_CHAT_ID": "-100123",
        "NTFY_TOKEN": Ntfy.token,
        "NTFY_TOPIC": "videos",
    }


SECRETS = re.compile(r"0123456789")
"""In every token, key and secret address above, and in nothing else."""


class Run:
    """The server with one recipe, and what the service saw."""

    def __init__(self, server: Serving, sink: Sink) -> None:
        self.server = server
        self.sink = sink

    async def happens(self, name: str, body: bytes, query: str = "") -> None:
        """An event of this source."""
        headers = {"content-type": "application/json", **signed(body, SECRET, name)}
        url = f"{self.server.url}/{name}{query}"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=body, headers=headers) as answer,
        ):
            assert answer.status == 200, await answer.text()

    async def sora2(
        self, kind: str, subject: str, query: str = "", **more: Any
    ) -> None:
        body = json.loads(sample(kind, subject))
        await self.happens("sora2", json.dumps({**body, **more}).encode(), query)

    async def kie(self, kind: str, subject: str, query: str = "") -> None:
        await self.happens("kie", sample(kind, subject, "kie"), query)

    async def delivered(self, count: int) -> None:
        await self.server.lines("delivery.attempted", count, status="delivered")


@asynccontextmanager
async def running(folder: Path, name: str, service: Service) -> AsyncIterator[Run]:
    async with sink() as target:
        target.respond = service.respond
        toml = f"{SERVER}{SOURCES}\n{local(RECIPES[name], target.url)}"
        variables = environment(target.url)
        async with serving(folder, toml, environment=variables) as server:
            yield Run(server, target)
        assert not [line for line in server.raw if SECRETS.search(line)]


def test_every_recipe_is_tried_here():
    assert RECIPES.keys() == SERVICES.keys()


# -- Airtable


async def test_a_record_of_airtable_follows_its_task(tmp_path: Path):
    service = Airtable(rows={"recA": {"Subject": "kept"}, "recB": {}, "recC": {}})

    async with running(tmp_path, "airtable", service) as run:
        await run.kie("task.progress", "task-a", "?record=recA")
        await run.kie("task.succeeded", "task-a", "?record=recA")
        await run.kie("task.failed", "task-b", "?record=recB")
        await run.sora2("batch.running", "bat_c", "?record=recC")
        await run.sora2("batch.failed", "bat_of_nobody")
        await run.delivered(4)

    video = [{"url": "https://example.com/generated.mp4"}]
    kept = {"Subject": "kept", "Status": "Completed", "Video": video}
    assert service.rows["recA"] == kept
    assert service.rows["recB"] == {"Status": "Failed"}
    assert service.rows["recC"] == {"Status": "Processing"}
    assert (service.refused, len(service.taken)) == ([], 4)


async def test_an_event_whose_answer_was_lost_stays_one_row_of_airtable(
    tmp_path: Path,
):
    service = Airtable(loses_answer=True)

    async with running(tmp_path, "airtable_log", service) as run:
        await run.sora2("batch.completed", "bat_1")
        await run.delivered(1)
        await run.kie("task.failed", "task-1")
        await run.delivered(2)

    assert service.refused == ["500 lost"]
    first, second = service.rows.values()
    assert (first["Subject"], first["Status"]) == ("bat_1", "partial")
    assert len(first["Video"]) == 9
    assert (second["Type"], second["Video"]) == ("task.failed", [])


async def test_airtable_is_asked_five_times_a_second_at_most_and_not_in_its_penalty(
    tmp_path: Path,
):
    service = Airtable(penalty_s=PENALTY_S, angry_at=8)

    async with running(tmp_path, "airtable_log", service) as run:
        await asyncio.gather(*(run.sora2("batch.created", f"b{i}") for i in range(12)))
        await run.delivered(12)

    assert len(service.rows) == 12
    assert (service.penalties, service.asked_in_penalty) == (1, 0)
    assert service.refused == ["429 RATE_LIMIT_REACHED"]


# -- Seenn


async def test_a_job_of_seenn_is_told_of_progress_and_its_end(tmp_path: Path):
    service = Seenn(jobs={"job_a": [], "job_b": [], "job_c": [], "job_d": []})
    summary = {"total": 10, "succeeded": 3, "failed": 1, "pending": 6}

    async with running(tmp_path, "seenn", service) as run:
        await run.kie("task.progress", "task-a", "?job=job_a")
        await run.kie("task.succeeded", "task-a", "?job=job_a")
        await run.kie("task.failed", "task-b", "?job=job_b")
        await run.sora2("batch.running", "bat_c", "?job=job_c", summary=summary)
        await run.sora2("batch.completed", "bat_c", "?job=job_c")
        await run.sora2("batch.refunded", "bat_c", "?job=job_c")
        await run.sora2("batch.failed", "bat_d", "?job=job_d")
        await run.delivered(6)

    ends = {name: [one["step"] for one in jobs] for name, jobs in service.jobs.items()}
    assert ends["job_a"] == ["progress", "complete"]
    assert ends["job_b"] == ["fail"]
    assert ends["job_c"] == ["progress", "complete"]
    assert service.jobs["job_a"][1]["result"]["url"].endswith("/generated.mp4")
    assert service.jobs["job_b"][0]["error"]["message"] == "Playground task failed."
    assert service.jobs["job_c"][0]["progress"] == 40
    assert len(service.jobs["job_c"][1]["result"]["data"]["urls"]) == 9
    said = service.jobs["job_d"][0]["error"]["message"]
    assert said == "Not enough credits to process batch"
    assert service.refused == []


async def test_a_job_with_another_path_in_its_name_is_not_asked_for(tmp_path: Path):
    service = Seenn(jobs={"job_a": []})

    async with running(tmp_path, "seenn", service) as run:
        await run.sora2("batch.running", "bat_1", "?job=..%2F..%2Fadmin")
        await run.sora2("batch.running", "bat_2", "?job=job_a")
        await run.delivered(1)

    assert [seen.path for seen in run.sink.seen] == ["/v1/jobs/job_a/progress"]


async def test_a_job_of_seenn_is_started_by_the_first_event_of_its_batch(
    tmp_path: Path,
):
    service = Seenn()

    async with running(tmp_path, "seenn_start", service) as run:
        await run.sora2("batch.created", "bat_1", "?user=user_123")
        await run.sora2("batch.running", "bat_1", "?user=user_123")
        await run.sora2("batch.created", "bat_2" + 300 * "x", "?user=user_123")
        await run.delivered(2)

    assert len(service.jobs) == 2
    assert service.taken[0]["userId"] == "user_123"
    assert service.taken[0]["metadata"] == {"source": "sora2", "subject": "bat_1"}
    keys = {seen.headers["idempotency-key"] for seen in run.sink.seen}
    assert len(keys) == 2
    assert service.refused == []


# -- those that tell people


CHAT = ["discord", "telegram"]
TELLING = [*CHAT, "teams", "ntfy"]


@pytest.mark.parametrize("name", TELLING)
async def test_people_are_told_how_it_ended_and_only_that(tmp_path: Path, name: str):
    service = SERVICES[name]()

    async with running(tmp_path, name, service) as run:
        await run.sora2("batch.running", "bat_1")
        await run.kie("task.progress", "task-1")
        await run.sora2("batch.completed", "bat_1")
        await run.kie("task.failed", "task-2")
        await run.delivered(2)

    told = [json.dumps(payload) for payload in service.taken]
    assert ["bat_1" in text for text in told] == [True, False]
    assert ["-001.mp4" in text for text in told] == [True, False]
    assert ["failed" in text for text in told] == [False, True]
    assert service.refused == []


@pytest.mark.parametrize("name", TELLING)
async def test_a_text_that_is_too_long_is_shortened(tmp_path: Path, name: str):
    service = SERVICES[name]()
    links = [
        {"item_id": f"i{i}", "status": "succeeded", "video_url": f"https://x.test/{i}"}
        for i in range(400)
    ]

    async with running(tmp_path, name, service) as run:
        await run.sora2("batch.completed", "@everyone", items=links)
        await run.delivered(1)

    assert service.refused == []
    if name in CHAT:
        assert "…" in json.dumps(service.taken[0], ensure_ascii=False)


@pytest.mark.parametrize("name", [*TELLING, "pagerduty"])
async def test_a_429_is_waited_for_and_the_message_is_not_lost(
    tmp_path: Path, name: str
):
    service = SERVICES[name](refusals=[(429, {"Retry-After": "1"})])

    async with running(tmp_path, name, service) as run:
        await run.sora2("batch.failed", "bat_1")
        await run.delivered(1)

    first, second = run.sink.seen
    waited = int(second.headers["webhook-timestamp"]) - int(
        first.headers["webhook-timestamp"]
    )
    assert waited >= 1
    assert len(service.taken) == 1


# -- PagerDuty


async def test_an_incident_is_triggered_by_a_failure_and_resolved_by_its_success(
    tmp_path: Path,
):
    service = PagerDuty()
    all_well = {"total": 10, "succeeded": 10, "failed": 0, "pending": 0}

    async with running(tmp_path, "pagerduty", service) as run:
        await run.kie("task.failed", "task-1")
        await run.kie("task.progress", "task-2")
        await run.sora2("batch.failed", "bat_1", error_message=2000 * "x")
        await run.sora2(
            "batch.completed", "bat_1", status="succeeded", summary=all_well
        )
        await run.delivered(3)

    assert service.incidents == {"task-1": "trigger", "bat_1": "resolve"}
    assert service.refused == []


# -- CloudEvents


@pytest.mark.parametrize("name", ["cloudevents", "cloudevents_binary"])
async def test_a_cloudevent_says_the_same_in_either_mode(tmp_path: Path, name: str):
    service = CloudEvents()
    body = sample("batch.completed", "lot é 100%")

    async with running(tmp_path, name, service) as run:
        await run.happens("sora2", body)
        await run.delivered(1)
        await run.kie("task.failed", "task-1")
        await run.delivered(2)

    batch, task = service.taken
    event = run.sink.seen[0].headers["webhook-id"]
    assert (batch["id"], batch["type"]) == (event, "sora2.batch.completed")
    assert (batch["source"], batch["subject"]) == ("/receiver/sora2", "lot é 100%")
    assert batch["datacontenttype"] == "application/json"
    assert batch["data"] == json.loads(body)
    assert (task["type"], task["subject"]) == ("kie.task.failed", "task-1")
    assert service.refused == []


async def test_the_body_of_a_binary_cloudevent_is_the_providers(tmp_path: Path):
    body = b'{ "event":"batch.created" , "batch_id":"bat_1", "status":"pending" }'

    async with running(tmp_path, "cloudevents_binary", CloudEvents()) as run:
        await run.happens("sora2", body)
        await run.delivered(1)

    assert run.sink.seen[0].body == body
