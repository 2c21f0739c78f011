"""`receiver crashtest`: what it says, what it leaves behind, and how it is stopped."""

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from receiver.cli.crashing import _show
from receiver.crashtest.killing import Course
from receiver.crashtest.verdict import Promise, Verdict
from tests.processes import ended
from tests.serving import command

pytestmark = pytest.mark.e2e


async def test_a_crash_test_keeps_every_promise_and_leaves_nothing(tmp_path: Path):
    code, out, err = await command(
        tmp_path, "crashtest", "--rounds", "2", "--seed", "7", "--json"
    )

    assert code == 0, out + err
    told = json.loads(out)
    assert (told["kept"], told["kills"], told["seed"]) == (True, 2, 7)
    assert told["counts"]["accepted"] > 0
    assert all(one["kept"] and one["broken"] == [] for one in told["promises"])
    assert list(tmp_path.iterdir()) == []


async def test_a_receiver_that_does_not_start_is_a_broken_promise(tmp_path: Path):
    folder = tmp_path / ("f" * 120)  # no Unix socket beside the store fits into this

    code, out, err = await command(
        tmp_path, "crashtest", "--rounds", "1", "--folder", str(folder), "--seed", "7"
    )
    [kept] = folder.iterdir()

    assert code == 1, err
    assert "a Unix socket has to fit beside it" in out
    assert str(kept) in out
    names = {file.name for file in kept.iterdir()}
    assert {"sent.jsonl", "received.jsonl", "receiver.log"} <= names


def test_what_was_lost_is_named_with_where_to_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    lost = [f"evt_{number} (a:{number})" for number in range(9)]
    promises = [Promise("what was answered 2xx is stored", lost), Promise("other", [])]
    course = Course(42, 3, 1, Verdict(promises, {"accepted": 1_234}))

    _show(course, tmp_path)
    said = capsys.readouterr().out

    assert "what was answered 2xx is stored: it was not" in said
    assert "evt_0 (a:0)" in said
    assert "and 4 more" in said
    assert "1,234" in said
    assert "crashtest --seed 42" in said
    assert f"{tmp_path}/receiver.toml status" in said
    assert "every promise was kept" not in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rounds", "1", "--for", "1m"],
        ["--for", "soon"],
        ["--rounds", "0"],
        ["--folder", "/proc/nowhere"],
    ],
    ids=" ".join,
)
async def test_what_cannot_be_done_is_refused_with_a_sentence(
    tmp_path: Path, arguments: list[str]
):
    code, _, err = await command(tmp_path, "crashtest", *arguments)

    assert code in (1, 2)
    assert "Error: " in err
    assert "Traceback" not in err


async def test_an_interrupted_crash_test_leaves_no_process_and_no_file(tmp_path: Path):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", "crashtest", "--for", "10m",
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        while not list(tmp_path.glob("*/receiver.url")):  # noqa: ASYNC110 (a file tells nobody)
            await asyncio.sleep(0.05)

    process.send_signal(signal.SIGINT)
    _, err = await asyncio.wait_for(process.communicate(), 60)

    assert process.returncode == 130, err
    assert list(tmp_path.iterdir()) == []
    for pid in _working_in(tmp_path):  # it may be ending
        await ended(pid)


def _working_in(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            there = str((process / "cwd").readlink())
        except OSError:
            continue
        if str(folder) in there or str(folder).encode() in b" ".join(words):
            found.append(int(process.name))
    return found
