"""Starting, reloading and stopping the real process."""

import asyncio
import json
import signal
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from tests.making import signed
from tests.serving import SECRET, Serving, command, config, serving
from tests.sinks import Seen, sink

pytestmark = pytest.mark.e2e


async def post(
    running: Serving, kind: str = "batch.created", batch: str = "bat_1"
) -> str:
    body = json.dumps({"event": kind, "batch_id": batch}).encode()
    headers = signed(body, SECRET)
    async with httpx.AsyncClient() as client:
        answer = await client.post(
            f"{running.url}/webhook/sora2", content=body, headers=headers
        )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def to(url: str, *, concurrency: int = 8) -> str:
    return f'type = "http"\nurl = "{url}/"\nconcurrency = {concurrency}'


async def test_new_routes_apply_to_new_events_after_a_reload(tmp_path: Path):
    async with (
        sink() as old,
        sink() as new,
        serving(tmp_path, config(destinations={"old": to(old.url)})) as running,
    ):
        first = await post(running, batch="bat_1")
        await old.wait_for(1)

        (tmp_path / "receiver.toml").write_text(
            config(destinations={"new": to(new.url)})
        )
        running.process.send_signal(signal.SIGHUP)
        await running.line("reload.done")
        second = await post(running, batch="bat_2")
        await new.wait_for(1)

    assert [seen.headers["webhook-id"] for seen in old.seen] == [first]
    assert [seen.headers["webhook-id"] for seen in new.seen] == [second]


async def test_a_template_file_that_changed_is_used_after_a_reload(tmp_path: Path):
    async with sink() as there:
        slack = f'type = "slack"\nurl = "{there.url}/"\ntemplate_file = "own.txt"'
        (tmp_path / "own.txt").write_text("first {{ event.subject }}")
        async with serving(tmp_path, config(destinations={"ops": slack})) as running:
            await post(running, batch="bat_1")
            await there.wait_for(1)

            (tmp_path / "own.txt").write_text("second {{ event.subject }}")
            running.process.send_signal(signal.SIGHUP)
            await running.line("reload.done")
            await post(running, batch="bat_2")
            await there.wait_for(2)

    texts = [json.loads(seen.body)["text"] for seen in there.seen]
    assert texts == ["first bat_1", "second bat_2"]


async def test_a_bad_new_file_leaves_the_old_one_running_and_says_why(tmp_path: Path):
    async with (
        sink() as there,
        serving(tmp_path, config(destinations={"app": to(there.url)})) as running,
    ):
        bad = config(destinations={"app": to(there.url)}).replace(
            'to = ["app"]', 'to = ["ap"]'
        )
        (tmp_path / "receiver.toml").write_text(bad)
        running.process.send_signal(signal.SIGHUP)
        refused = await running.line("reload.refused")
        await post(running)
        await there.wait_for(1)

    assert 'did you mean "app"?' in refused["problem"]


async def test_port_and_store_need_a_restart_and_it_says_so(tmp_path: Path):
    async with serving(tmp_path, config()) as running:
        (tmp_path / "receiver.toml").write_text(config(server="max_body_bytes = 100"))
        running.process.send_signal(signal.SIGHUP)
        line = await running.line("reload.partial")
        await running.line("reload.done")

    assert "restart" in line["advice"]


async def test_deliveries_to_a_removed_destination_wait_and_can_be_moved(
    tmp_path: Path,
):
    async with sink() as there:
        gone = config(destinations={"gone": to("http://127.0.0.1:9")})
        async with serving(tmp_path, gone) as running:
            event = await post(running)
            await running.line("delivery.attempted")
            (tmp_path / "receiver.toml").write_text(
                config(destinations={"app": to(there.url)})
            )
            running.process.send_signal(signal.SIGHUP)
            orphaned = await running.line("deliveries.orphaned")
            _, status, _ = await command(tmp_path, "status")
            code, out, err = await command(
                tmp_path,
                "deliveries",
                "move",
                "--destination",
                "gone",
                "--to",
                "app",
                "--yes",
            )
            [arrived] = await there.wait_for(1)
            _, ledger, _ = await command(tmp_path, "status", "--json")

    assert "receiver deliveries move --destination gone" in orphaned["advice"]
    assert "receiver deliveries cancel --destination gone" in status
    assert code == 0, out + err
    assert arrived.headers["webhook-id"] == event
    assert json.loads(ledger)["difference"] == 0


async def test_a_stop_finishes_what_runs_and_exits_with_0(tmp_path: Path):
    release = asyncio.Event()

    async def slow(_: Seen) -> web.StreamResponse:
        await release.wait()
        return web.Response(text="ok")

    async with sink() as there:
        there.respond = slow
        async with serving(
            tmp_path, config(destinations={"app": to(there.url)})
        ) as running:
            await post(running)
            await there.wait_for(1)
            running.process.send_signal(signal.SIGTERM)
            await running.line("receiver.stopping")
            release.set()
            code = await running.ended()
            await running.line("delivery.attempted", status="delivered")
        _, out, _ = await command(tmp_path, "deliveries", "list", "--json")

    assert code == 0
    assert [d["status"] for d in json.loads(out)] == ["delivered"]


async def test_what_does_not_finish_in_the_grace_period_is_delivered_after_the_restart(
    tmp_path: Path,
):
    stuck = asyncio.Event()

    async def hang(_: Seen) -> web.StreamResponse:
        await stuck.wait()
        return web.Response(text="ok")

    toml = "grace = '1s'"
    async with sink() as there:
        there.respond = hang
        conf = config(destinations={"app": to(there.url)}, server=toml)
        async with serving(tmp_path, conf) as running:
            event = await post(running)
            await there.wait_for(1)
            code = await running.stop()
        there.respond = None
        async with serving(tmp_path, None) as running:
            await there.wait_for(2)
            await running.line("delivery.attempted", status="delivered")
        stuck.set()

    assert code == 0
    assert [seen.headers["webhook-id"] for seen in there.seen] == [event, event]
    assert [seen.headers["receiver-attempt"] for seen in there.seen] == ["1", "1"]


async def test_a_second_server_on_the_same_store_exits_with_2_and_names_the_first(
    tmp_path: Path,
):
    async with (
        serving(tmp_path, config()) as first,
        serving(tmp_path, None, wait=False) as second,
    ):
        code = await second.ended()

    assert code == 2
    assert str(first.process.pid) in "\n".join(second.raw)
    assert "Traceback" not in "\n".join(second.raw)


async def test_commands_write_through_the_server_and_alone(tmp_path: Path):
    async with serving(
        tmp_path, config(destinations={"app": to("http://127.0.0.1:9")})
    ):
        through = await command(tmp_path, "destinations", "pause", "app")
        mode = (tmp_path / "receiver.db.sock").stat().st_mode & 0o777
    alone = await command(tmp_path, "destinations", "resume", "app")

    assert through[:2] == (0, "app: paused\n")
    assert alone[:2] == (0, "app: resumed\n")
    assert mode == 0o600
