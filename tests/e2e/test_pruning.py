"""Pruning beside intake, and SIGKILL in the middle of it."""

import asyncio
import json
import random
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import aiohttp
import httpx
import pytest

from receiver import clock
from receiver.models import Decision
from receiver.stores import EventFilter, open_reader, open_store
from tests.making import sample, signed
from tests.serving import SECRET, Serving, command, config, serving
from tests.sinks import sink
from tests.stores.making import assert_adds_up, event

OLD = 1_500
KILLS = 4
DAY = timedelta(days=1)
NOWHERE = Decision((), ())

pytestmark = [pytest.mark.e2e]


async def fill(folder: Path) -> list[str]:
    """A store with events of long ago; their ids."""
    store = await open_store(f"sqlite:///{folder}/receiver.db")
    now = clock.now()
    body = json.dumps({"note": "x" * 3_000}).encode()
    try:
        added = await asyncio.gather(
            *(
                store.add(event(f"old-{i}", body=body, at=now - 200 * DAY), NOWHERE, {})
                for i in range(OLD)
            )
        )
        await store.advance("events", added[-1].event_id, [])
    finally:
        await store.close()
    return [one.event_id for one in added]


async def send(url: str, accepted: dict[str, str], name: str) -> None:
    """Post events, one after the other, until the server is gone."""
    async with aiohttp.ClientSession() as session:
        while True:
            batch = f"bat_{name}_{len(accepted)}"
            body = sample("batch.running", batch)
            headers = dict(signed(body, SECRET))
            try:
                async with session.post(
                    f"{url}/webhook/sora2", data=body, headers=headers
                ) as answer:
                    if answer.status == 200:
                        accepted[batch] = (await answer.json())["id"]
            except (aiohttp.ClientError, OSError):
                return


async def prune(running: Serving) -> None:
    """Ask for it until it is done, or the server is gone."""
    before = (clock.now() - DAY).isoformat()
    transport = httpx.AsyncHTTPTransport(uds=str(running.folder / "receiver.db.sock"))
    async with httpx.AsyncClient(transport=transport, timeout=60) as client:
        done = False
        while not done:
            answer = await client.post(
                "http://receiver/api/v1/prune", json={"events": before}
            )
            done = answer.json()["done"]


async def test_pruning_that_is_killed_again_and_again_loses_nothing(tmp_path: Path):
    old = await fill(tmp_path)
    accepted: dict[str, str] = {}
    chance = random.Random(4)
    async with sink() as there:
        toml = config(destinations={"app": f'type = "http"\nurl = "{there.url}/"'})
        for life in range(KILLS):
            async with serving(tmp_path, toml) as running:
                sending = asyncio.create_task(send(running.url, accepted, str(life)))
                pruning = asyncio.create_task(prune(running))
                before = len(accepted)
                while len(accepted) < before + chance.randrange(5, 40):
                    await asyncio.wait([sending], timeout=0.005)
                while life == 0 and await events_left(tmp_path, old) == OLD:
                    pass  # it is killed in the middle of it
                await running.kill()
                await asyncio.gather(sending, pruning, return_exceptions=True)
        left = await events_left(tmp_path, old)
        await adds_up(tmp_path)
        async with serving(tmp_path, toml) as running:
            await prune(running)
            await there.wait_for(len(accepted))
            again = await asyncio.gather(
                *(duplicate(running.url, batch) for batch in list(accepted)[:20])
            )
            await running.stop()

    assert again == list(accepted.values())[:20]
    assert 0 <= left < OLD  # some had gone before the last life
    reader = await open_reader(f"sqlite:///{tmp_path}/receiver.db")
    kept = await reader.events(EventFilter(), limit=100_000)
    totals = await reader.totals()
    await reader.close()
    await adds_up(tmp_path)
    assert set(accepted.values()) <= {one.event.id for one in kept}
    assert not set(old) & {one.event.id for one in kept}
    assert totals.keys == totals.events == OLD + len(kept)


async def adds_up(folder: Path) -> None:
    reader = await open_reader(f"sqlite:///{folder}/receiver.db")
    try:
        await assert_adds_up(reader)
    finally:
        await reader.close()


async def events_left(folder: Path, old: list[str]) -> int:
    reader = await open_reader(f"sqlite:///{folder}/receiver.db")
    try:
        kept = await reader.events(EventFilter(), limit=100_000)
    finally:
        await reader.close()
    return len(set(old) & {one.event.id for one in kept})


async def duplicate(url: str, batch: str) -> str:
    body = sample("batch.running", batch)
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{url}/webhook/sora2", content=body, headers=signed(body, SECRET)
        )
    assert answer.json()["status"] == "duplicate"
    return str(answer.json()["id"])


async def test_what_is_old_goes_while_events_come_and_none_is_refused(tmp_path: Path):
    await fill(tmp_path)
    accepted: dict[str, str] = {}
    async with sink() as there:
        toml = config(destinations={"app": f'type = "http"\nurl = "{there.url}/"'})
        async with serving(tmp_path, toml) as running:
            sending = [
                asyncio.create_task(send(running.url, accepted, str(i)))
                for i in range(4)
            ]
            while not accepted:
                await asyncio.wait(sending, timeout=0.005)
            await prune(running)
            lines = await running.lines("store.pruned", 1)
            busy = len(accepted)
            await running.stop()
            with suppress(Exception):
                await asyncio.gather(*sending)
        code, out, err = await command(tmp_path, "status", "--json")

    assert code == 0, err
    assert busy > 0
    assert sum(line["events"] for line in lines) > 0
    status = json.loads(out)
    assert status["difference"] == 0
    assert status["totals"]["events"] >= OLD + len(accepted)
