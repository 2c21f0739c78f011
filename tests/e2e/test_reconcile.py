"""
Webhooks that are lost while nothing runs, and the events all the same.

The oracle is what the destination got, and what the sender was answered.
"""

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from receiver.stores import open_reader
from receiver.subjects import SubjectFilter
from tests.apis import KEY, Sora2Api, batch, items
from tests.making import sample, signed
from tests.serving import SECRET, Serving, command, config, serving
from tests.sinks import Sink, sink

pytestmark = pytest.mark.e2e

BATCHES = [f"bat_{i:03}" for i in range(200)]
ENDED, BEGUN, UNHEARD = BATCHES[:50], BATCHES[50:100], BATCHES[100:]
"""Those that ended before it stopped, that began, and of which nothing ever came."""

KINDS = ("batch.completed", "batch.refunded")


def toml(api: Sink, to: Sink, more: str = "") -> str:
    source = f'api_key = "{KEY}"\napi_url = "{api.url}"\napi_rate = "1000/s"\n{more}'
    return config(
        destinations={"app": f'type = "http"\nurl = "{to.url}/"'}, source=source
    )


def ended(name: str, number: int) -> dict[str, Any]:
    """What the API says of a batch that ended: some of each kind."""
    failed = number % 3
    status = "partial" if failed else "succeeded"
    refunded = 10 * failed
    counts = {"succeeded_count": 10 - failed, "failed_count": failed}
    settled = {"credits_settled": 100 - refunded, "credits_refunded": refunded}
    return batch(batch_id=name, status=status, **counts, **settled)


def webhook(kind: str, detail: dict[str, Any]) -> dict[str, Any]:
    """The real webhook about a batch, as the sender documents it."""
    body = {"event": kind, **{n: detail[n] for n in ("batch_id", "request_id")}}
    ledger = {n: detail[f"credits_{n}"] for n in ("reserved", "settled", "refunded")}
    if kind == "batch.refunded":
        return {**body, "refund_reason": "failed_items", "ledger": ledger}
    begun = kind == "batch.created"
    summary = {
        "total": 10,
        "succeeded": 0 if begun else detail["succeeded_count"],
        "failed": 0 if begun else detail["failed_count"],
        "pending": 10 if begun else 0,
    }
    status = "pending" if begun else detail["status"]
    more = {"summary": summary, "status": status}
    return {**body, **more, **({} if begun else {"ledger": ledger, "extra": "more"})}


async def post(
    client: httpx.AsyncClient, running: Serving, kind: str, detail: dict[str, Any]
) -> dict[str, Any]:
    body = json.dumps(webhook(kind, detail)).encode()
    answer = await client.post(
        f"{running.url}/webhook/sora2", content=body, headers=signed(body, SECRET)
    )
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def kinds_of(detail: dict[str, Any]) -> tuple[str, ...]:
    return KINDS if detail["credits_refunded"] else KINDS[:1]


def got(to: Sink) -> Counter[tuple[str, str]]:
    """Under how many ids each event about the end of a batch was delivered."""
    found: dict[tuple[str, str], set[str]] = {}
    for seen in to.seen:
        body = json.loads(seen.body)
        if body["event"] in KINDS:
            about = (body["batch_id"], body["event"])
            found.setdefault(about, set()).add(seen.headers["webhook-id"])
    return Counter({about: len(ids) for about, ids in found.items()})


async def still_open(folder: Path) -> int:
    reader = await open_reader(f"sqlite:///{folder}/receiver.db")
    try:
        return len(await reader.subjects(SubjectFilter(final=False), limit=1000))
    finally:
        await reader.close()


async def test_every_batch_ends_though_its_webhooks_were_lost(tmp_path: Path):
    api = Sora2Api()
    for number, name in enumerate(BATCHES):
        api.batches[name] = ended(name, number)
        api.items[name] = items(10, failed=number % 3)
    wanted = {(n, kind) for n in BATCHES for kind in kinds_of(api.batches[n])}
    async with sink() as there, sink() as app, httpx.AsyncClient() as client:
        there.respond = api.respond
        async with serving(tmp_path, toml(there, app)) as running:
            for name in ENDED + BEGUN:
                await post(client, running, "batch.created", api.batches[name])
            for name in ENDED:
                for kind in kinds_of(api.batches[name]):
                    await post(client, running, kind, api.batches[name])
            await running.kill()
        # Nothing runs: all that is sent now is lost, and the program that begins more
        # batches only notes their ids.
        code, _, err = await command(tmp_path, "watch", "sora2", *UNHEARD)
        assert code == 0, err

        async with serving(tmp_path, toml(there, app, 'reconcile = "1s"')) as running:
            async with asyncio.timeout(90):
                while got(app).keys() != wanted:
                    await app.wait_for(len(app.seen) + 1)
            async with asyncio.timeout(60):
                while await still_open(tmp_path):  # noqa: ASYNC110 (another process)
                    await asyncio.sleep(0.1)
            answers = [
                await post(client, running, kind, api.batches[name])
                for name in BEGUN + UNHEARD
                for kind in kinds_of(api.batches[name])
            ]
            _, status, _ = await command(tmp_path, "status", "--json")
            _, life, _ = await command(tmp_path, "batches", "show", UNHEARD[0])
            _, shown, _ = await command(
                tmp_path, "events", "show", answers[0]["id"], "--json"
            )

    assert got(app) == dict.fromkeys(wanted, 1)
    assert {answer["status"] for answer in answers} == {"duplicate"}
    assert json.loads(status)["difference"] == 0
    assert "watched  since" in life
    assert "asked    1 time: the API said partial" in life
    event = json.loads(shown)
    assert event["origin"] == "reconciled"
    assert [variant["kind"] for variant in event["variants"]] == ["repeat"]
    asked = Counter(path.split("?")[0] for path in api.asked)
    assert not any(asked[f"/batches/{name}"] for name in ENDED)
    assert not [line for line in running.log if line.get("event") == "reconcile.fault"]
    assert KEY not in "\n".join(running.raw)


async def test_what_the_real_webhook_says_more_than_the_api_is_told_of_once(
    tmp_path: Path,
):
    """What runs is made without counters, which are others by then."""
    api = Sora2Api({"bat_1": batch(status="running", succeeded_count=3)})
    bell = 'source = "receiver"\ntypes = ["event.*"]\nto = ["bell"]'
    async with sink() as there, sink() as app:
        there.respond = api.respond
        where = f'type = "http"\nurl = "{app.url}'
        given = config(
            destinations={"app": f'{where}/"', "bell": f'{where}/bell"'},
            routes=f'[[routes]]\nsource = "sora2"\nto = ["app"]\n[[routes]]\n{bell}',
            source=f'api_key = "{KEY}"\napi_url = "{there.url}"',
        )
        async with serving(tmp_path, given) as running:
            await command(tmp_path, "reconcile", "sora2", "--subject", "bat_1")
            [first] = await app.wait_for(1)
            for note in ("", "sent again"):
                real = {**json.loads(sample("batch.running")), "note": note}
                raw = json.dumps(real).encode()
                async with httpx.AsyncClient() as client:
                    answer = await client.post(
                        f"{running.url}/webhook/sora2",
                        content=raw,
                        headers=signed(raw, SECRET),
                    )
                assert answer.json()["status"] == "duplicate"
            await app.wait_for(2)
            await running.stop()

    [told] = [json.loads(seen.body) for seen in app.seen if seen.path == "/bell"]
    assert told["type"] == "event.supplemented"
    assert told["event_id"] == first.headers["webhook-id"]
    assert {"succeeded", "failed"} <= set(told["facts"])
    assert len(app.seen) == 2


async def test_an_api_that_is_down_is_asked_again_until_it_answers(tmp_path: Path):
    api = Sora2Api({"bat_1": ended("bat_1", 0)})
    trouble = iter([web.Response(status=500), web.Response(text="<html>")])
    api.refuse = lambda _: next(trouble, None)
    async with sink() as there, sink() as app:
        there.respond = api.respond
        async with serving(tmp_path, toml(there, app, 'reconcile = "1s"')) as running:
            await command(tmp_path, "watch", "sora2", "bat_1")

            await app.wait_for(1)
            lines = await running.lines("subject.asked", 3)

    assert [line["outcome"] for line in lines] == ["unanswered", "unanswered", "ended"]
    assert got(app) == {("bat_1", "batch.completed"): 1}


async def test_reconcile_asks_about_all_that_has_not_ended(tmp_path: Path):
    api = Sora2Api(
        {
            "bat_1": ended("bat_1", 1),
            "bat_2": batch(batch_id="bat_2", status="running"),
        }
    )
    async with sink() as there, sink() as app, httpx.AsyncClient() as client:
        there.respond = api.respond
        async with serving(tmp_path, toml(there, app)) as running:
            await post(client, running, "batch.created", api.batches["bat_1"])
            names = ["bat_2", "bat_3"]
            code, out, err = await command(tmp_path, "watch", "sora2", *names)
            assert (code, "2 of them new" in out) == (0, True), err
            assert "reconcile" in err

            await app.wait_for(1)
            while await still_open(tmp_path) < 3:  # noqa: ASYNC110 (another process)
                await asyncio.sleep(0.05)
            dry = await command(tmp_path, "reconcile", "--dry-run", "--json")
            real = await command(tmp_path, "reconcile", "sora2")
            await app.wait_for(4)
            one = await command(
                tmp_path, "reconcile", "sora2", "--subject", "bat_9", "--json"
            )

    found = {r["subject"]: r for r in json.loads(dry[1])["results"]}
    assert {name: r["outcome"] for name, r in found.items()} == {
        "bat_1": "ended",
        "bat_2": "open",
        "bat_3": "unknown",
    }
    assert dry[0] == real[0] == one[0] == 0
    assert "3 events made" in real[1]
    assert "partial" in real[1]
    assert json.loads(one[1])["counts"] == {"unknown": 1}
    assert got(app) == {("bat_1", kind): 1 for kind in KINDS}


async def test_a_key_that_is_refused_is_said_by_status_and_by_reconcile(tmp_path: Path):
    async with sink() as there, sink() as app:
        there.respond = Sora2Api().respond
        wrong = toml(there, app, 'reconcile = "1s"').replace(KEY, "another key")
        async with serving(tmp_path, wrong) as running:
            await command(tmp_path, "watch", "sora2", "bat_1", "bat_2")
            await running.line("api.key_refused")

            _, status, _ = await command(tmp_path, "status")
            code, out, _ = await command(tmp_path, "reconcile")
            text = "\n".join(running.raw)

    assert "does not take its key" in status
    assert "receiver.toml" not in status
    assert code == 1
    assert "key_refused" in out
    assert "another key" not in text + status + out
    assert text.count("api.key_refused") == 1
    assert len(there.seen) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reconcile", "sora2"], "no api_key"),
        (["reconcile"], "no source has an api_key"),
        (["reconcile", "--subject", "x"], "needs the source"),
        (["reconcile", "sora3"], "no source"),
        (["watch", "sora3", "x"], "no source"),
    ],
)
async def test_what_cannot_be_asked_is_said(tmp_path: Path, arguments, words):
    (tmp_path / "receiver.toml").write_text(config())

    code, _, err = await command(tmp_path, *arguments)

    assert code == 2
    assert words in err
