"""What must not bring the server down: odd values, and a log nobody can write."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from pathlib import Path

import httpx
import pytest

from tests.making import signed
from tests.serving import SECRET, command, config, serving
from tests.sinks import sink

pytestmark = pytest.mark.e2e

ODD_TIMES = (
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+14:00",
    "1969-12-31T23:59:59Z",
    2**53,
    -1,
)


async def post(url: str, **fields: object) -> httpx.Response:
    body = json.dumps({"event": "batch.running", **fields}).encode()
    headers = signed(body, SECRET)
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.post(f"{url}/webhook/sora2", content=body, headers=headers)


async def test_times_beyond_the_calendar_are_kept_as_no_time(tmp_path: Path):
    async with sink() as there:
        toml = config(destinations={"app": f'type = "http"\nurl = "{there.url}/"'})
        async with serving(tmp_path, toml) as running:
            for i, moment in enumerate(ODD_TIMES):
                answer = await post(running.url, batch_id=f"bat_{i}", timestamp=moment)
                assert answer.status_code == 200, answer.text
            await there.wait_for(len(ODD_TIMES))
            code = await running.stop()
        _, out, _ = await command(tmp_path, "events", "list", "--json")

    assert code == 0
    assert [event["occurred_at"] for event in json.loads(out)] == [None] * len(
        ODD_TIMES
    )


async def test_a_log_whose_reader_is_gone_changes_no_answer(tmp_path: Path):
    async with sink() as there:
        toml = config(destinations={"app": f'type = "http"\nurl = "{there.url}/"'})
        (tmp_path / "receiver.toml").write_text(toml.replace("port = 0", "port = 0"))
        reader, writer = os.pipe()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "receiver", "serve", cwd=tmp_path, stderr=writer
        )
        os.close(writer)
        url = await asyncio.to_thread(_url, reader)
        os.close(reader)  # from here on every line is a broken pipe

        answers = [await post(url, batch_id=f"bat_{i}") for i in range(5)]
        await there.wait_for(5)
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 60)

    assert [answer.status_code for answer in answers] == [200] * 5
    assert code == 0


def _url(descriptor: int) -> str:
    text = b""
    while b"receiver.ready" not in text or not text.endswith(b"\n"):
        text += os.read(descriptor, 65_536)
    line = next(part for part in text.splitlines() if b"receiver.ready" in part)
    return str(json.loads(line)["url"])


async def test_the_ledger_notices_an_event_that_vanished_with_its_deliveries(
    tmp_path: Path,
):
    toml = config(destinations={"app": 'type = "http"\nurl = "http://127.0.0.1:9/"'})
    async with serving(tmp_path, toml) as running:
        await post(running.url, batch_id="bat_1")
        await post(running.url, batch_id="bat_2")
        await running.stop()
    connection = sqlite3.connect(tmp_path / "receiver.db")
    connection.execute(
        "DELETE FROM deliveries WHERE event_id = (SELECT min(id) FROM events)"
    )
    connection.execute("DELETE FROM events WHERE id = (SELECT min(id) FROM events)")
    connection.commit()
    connection.close()

    code, out, _ = await command(tmp_path, "status", "--json")

    assert code == 1
    assert json.loads(out)["difference"] == 1
