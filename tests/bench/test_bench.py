"""`receiver bench`, every scenario for a moment."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from receiver.bench.running import Plan
from receiver.bench.scenarios import SCENARIOS
from tests.processes import ended
from tests.serving import command, config, serving

pytestmark = pytest.mark.e2e

TINY = ("--rounds", "1", "--count", "30", "--connections", "4", "--rate", "300")
LATENCY = {"p50_ms", "p99_ms", "p999_ms", "max_ms"}
ROW = {
    *("scenario", "case", "loop", "events", "rounds", "per_second", "ratio", "answer"),
    *("arrival", "cpu_us", "written_bytes", "commits", "late_ms", "generator_busy"),
    "store_bytes",
}
CASES = {
    "intake": [
        *("baseline", "log_level warning", "a log line each"),
        *("baseline", "log_level warning"),
    ],
    "delivered": [*("baseline", "to three", "to one") * 2],
    "drain": ["baseline", "a backlog"],
    "duplicates": ["baseline", "one event again"],
    "dead": ["both paused", "one dead, one hanging"] * 2,
    "growth": ["empty", "300 kept"],
}


async def benched(folder: Path, *arguments: str) -> Any:
    code, out, err = await command(folder, "bench", *TINY, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_scenario_measures_all_its_cases(tmp_path: Path, name: str):
    found = await benched(tmp_path, name, "--events", "300")

    rows = found["rows"]
    assert [row["case"] for row in rows] == CASES[name]
    for row in rows:
        assert row.keys() == ROW
        assert row["scenario"] == name
        assert row["per_second"] > 0
        assert row["ratio"] > 0
        for times in filter(None, (row["answer"], row["arrival"])):
            assert times.keys() == LATENCY
            assert 0 < times["p50_ms"] <= times["p99_ms"] <= times["max_ms"]
    assert rows[0]["ratio"] == 1
    assert found["generator"]["per_second"] > 0
    assert found["plan"]["count"] == 30
    CHECKS.get(name, lambda _: None)(rows)


def check_delivered(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["case"] == "baseline":
            assert row["arrival"] is None
            assert row["commits"] is None
        else:
            assert row["arrival"]["max_ms"] > row["answer"]["p50_ms"]
            assert row["events"] == 30
            assert 0 < row["commits"] <= 5
    assert [row["loop"] for row in rows] == ["closed"] * 3 + ["300/s"] * 3


def check_growth(rows: list[dict[str, Any]]) -> None:
    empty, full = rows
    assert empty["store_bytes"] is None
    assert 1_000 < full["store_bytes"] < 10_000


def check_duplicates(rows: list[dict[str, Any]]) -> None:
    assert rows[1]["commits"] <= 1


CHECKS = {
    "delivered": check_delivered,
    "growth": check_growth,
    "duplicates": check_duplicates,
}


async def test_people_get_a_table_and_a_file_gets_the_json(tmp_path: Path):
    arguments = ("duplicates", "drain", *TINY, "--json", "found.json")

    code, out, err = await command(tmp_path, "bench", *arguments)

    assert code == 0, err
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["SCENARIO", "CASE", "EVENTS/S", "RATIO"]
    names = ["duplicates"] * 2 + ["drain"] * 2
    assert [line.split()[0] for line in lines[1:5]] == names
    assert "the load alone" in out
    written = json.loads((tmp_path / "found.json").read_text())
    assert [row["scenario"] for row in written["rows"]] == names


async def test_a_scenario_behind_json_is_a_scenario(tmp_path: Path):
    code, out, err = await command(tmp_path, "bench", *TINY, "--json", "drain")

    assert code == 0, err
    assert {row["scenario"] for row in json.loads(out)["rows"]} == {"drain"}


async def test_a_scenario_nobody_knows_is_refused(tmp_path: Path):
    code, _, err = await command(tmp_path, "bench", "intak")

    assert code == 2
    assert "there is no scenario 'intak'" in err
    assert "intake" in err


async def test_a_server_that_runs_is_measured_with_its_sources_secret(tmp_path: Path):
    source = 'token = "a token"\nbearer = "known"'
    server = 'log_level = "info"'
    toml = config(source=source, server=server)
    async with serving(tmp_path, toml) as running:
        url = f"{running.url}/webhook/sora2"
        found = await benched(tmp_path, "--url", url)
        refused = await command(tmp_path, "bench", "drain", "--url", url)

    rows = [row for row in found["rows"] if row["case"] == "the server"]
    assert [row["scenario"] for row in rows] == ["intake", "intake", "duplicates"]
    assert all(row["per_second"] > 0 and row["cpu_us"] is None for row in rows)
    assert refused[0] == 2


async def test_a_server_that_refuses_is_no_result(tmp_path: Path):
    async with serving(tmp_path, config()) as running:
        (tmp_path / "other.toml").write_text(
            '[sources.other]\nprovider = "sora2"\nsecrets = ["another secret"]\n'
        )
        code, out, err = await command(
            tmp_path,
            *("-c", "other.toml", "bench", "intake", *TINY),
            *("--url", f"{running.url}/webhook/sora2"),
        )

    assert code == 1
    assert "401" in err
    assert out == ""


async def test_ended_early_it_leaves_no_process_and_no_folder(tmp_path: Path):
    (tmp_path / "stores").mkdir()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "receiver", "bench", "intake", "--rate", "1"),
        *("--rounds", "100", "--dir", str(tmp_path / "stores")),
        cwd=tmp_path,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    children: set[int] = set()
    async with asyncio.timeout(60):
        while len(children) < 5:  # load, sink, baseline and two servers
            await asyncio.sleep(0.02)
            children |= children_of(process.pid)

    process.send_signal(signal.SIGTERM)
    code = await process.wait()

    assert code == 130
    for child in children:
        await ended(child)
    assert list((tmp_path / "stores").iterdir()) == []


def children_of(pid: int) -> set[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {int(child) for child in text.split()}


async def test_nothing_is_measured_where_there_is_no_room(tmp_path: Path):
    free = os.statvfs(tmp_path)
    events = free.f_bavail * free.f_frsize // 4_000 + 1_000_000

    code, _, err = await command(
        tmp_path, "bench", "growth", "--events", str(events), "--dir", str(tmp_path)
    )

    assert code == (1 if events <= 100_000_000 else 2)
    assert "free" in err or "range" in err


def test_the_steps_of_the_progress_bar_are_rounds_of_cases_and_what_is_filled_in():
    plan = Plan(rounds=2, kept=50_000)

    steps = {name: scenario.steps(plan) for name, scenario in SCENARIOS.items()}

    cases = {name: 2 * len(cases) for name, cases in CASES.items()}
    assert steps == {**cases, "growth": cases["growth"] + 3}
