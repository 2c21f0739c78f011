"""Programs that the real server runs, and that it ends when it ends."""

import json
import signal
from pathlib import Path

import httpx
import pytest

from tests.making import signed
from tests.processes import Fifo, ended
from tests.serving import SECRET, Serving, command, config, serving

pytestmark = pytest.mark.e2e

KEY = "s3cret-of-the-bucket"


async def post(running: Serving, batch: str = "bat_1") -> None:
    body = json.dumps({"event": "batch.created", "batch_id": batch}).encode()
    headers = signed(body, SECRET)
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{running.url}/webhook/sora2", content=body, headers=headers
        )
    assert answer.status_code == 200, answer.text


def runs(folder: Path, script: str, options: str = "") -> dict[str, str]:
    """A destination that runs this, named by a path that starts at the folder."""
    (folder / "bin").mkdir(exist_ok=True)
    file = folder / "bin" / "on-batch"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o700)
    return {"run": f'type = "command"\ncommand = ["bin/on-batch"]\n{options}'}


async def test_why_a_run_failed_is_shown_and_its_secrets_are_not(tmp_path: Path):
    script = 'echo "no bucket for $BATCH with $KEY" >&2; exit 3'
    options = (
        'environment = { BATCH = "event.subject" }\nvariables = { KEY = "${THE_KEY}" }'
    )
    toml = config(destinations=runs(tmp_path, script, options))
    environment = {"THE_KEY": KEY}

    async with serving(tmp_path, toml, environment=environment) as running:
        await post(running)
        line = await running.line("delivery.attempted", code=3)
        _, checked, _ = await command(tmp_path, "check", environment=environment)
        _, shown, _ = await command(
            *(tmp_path, "deliveries", "show", line["id"]), environment=environment
        )
        code, tried, _ = await command(
            *(tmp_path, "destinations", "test", "run"), environment=environment
        )

    detail = "exit status 3: no bucket for bat_1 with ***"
    assert (line["result"], line["detail"]) == ("error", detail)
    assert f"run {tmp_path}/bin/on-batch" in checked
    assert detail in shown
    assert shown.endswith("no bucket for bat_1 with ***\n")
    assert (code, "no bucket for test with ***" in tried) == (1, True)
    assert KEY not in "\n".join((*running.raw, checked, shown, tried))


async def test_no_more_run_at_a_time_than_configured(tmp_path: Path):
    fifo, go = Fifo(tmp_path / "fifo"), Fifo(tmp_path / "go")
    script = f"mkdir busy || exit 1; echo > {fifo.path}; read _ < {go.path}; rmdir busy"
    toml = config(destinations=runs(tmp_path, script, "concurrency = 1"))

    async with serving(tmp_path, toml) as running:
        for i in range(3):
            await post(running, f"bat_{i}")
        for _ in range(3):
            await fifo.told()
            go.tell()
        results = [
            (await running.line("delivery.attempted", subject=f"bat_{i}"))["result"]
            for i in range(3)
        ]

    assert results == ["ok"] * 3


def stubborn(fifo: Fifo) -> str:
    """A program that ignores SIGTERM, and so does its child; both say who they are."""
    inner = f"echo $PPID $$ > {fifo.path}; while :; do sleep 0.01; done"
    return f"trap '' TERM; sh -c '{inner}' & wait; wait"


async def test_a_stop_ends_what_runs_with_all_it_started_and_it_is_tried_again(
    tmp_path: Path,
):
    fifo = Fifo(tmp_path / "fifo")
    toml = config(destinations=runs(tmp_path, stubborn(fifo)), server='grace = "100ms"')

    async with serving(tmp_path, toml) as running:
        await post(running)
        pids = [int(pid) for pid in (await fifo.told()).split()]
        code = await running.stop()
    for pid in pids:
        await ended(pid)
    async with serving(tmp_path, None) as running:
        again = await fifo.told()
        await running.stop()

    assert code == 0
    assert again


async def test_a_second_signal_ends_everything_at_once(tmp_path: Path):
    fifo = Fifo(tmp_path / "fifo")
    toml = config(destinations=runs(tmp_path, stubborn(fifo)), server='grace = "100s"')

    async with serving(tmp_path, toml) as running:
        await post(running)
        pids = [int(pid) for pid in (await fifo.told()).split()]
        running.process.send_signal(signal.SIGTERM)
        await running.line("receiver.stopping")
        code = await running.stop()

        for pid in pids:
            await ended(pid)
    assert code == 1


async def test_a_program_that_vanished_pauses_until_it_is_back_and_resumed(
    tmp_path: Path,
):
    toml = config(destinations=runs(tmp_path, "exit 0"))
    file = tmp_path / "bin" / "on-batch"

    async with serving(tmp_path, toml) as running:
        file.rename(tmp_path / "away")
        await post(running)
        paused = await running.line("destination.paused")
        code, _, said = await command(tmp_path, "destinations", "resume", "run")
        (tmp_path / "away").rename(file)
        await command(tmp_path, "destinations", "resume", "run")
        await running.line("delivery.attempted", result="ok")

    why = f"{file}: No such file or directory"
    assert paused["reason"] == f"the program cannot be run: {why}"
    assert code == 2
    assert f"destinations.run.command: {why}" in said
