"""The `command` destination: a program that does not end by itself."""

import asyncio
import gc
import os
import shlex
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from receiver.destinations.command import Command
from receiver.models import Result
from tests.destinations.command.making import Make, attempt, open_files, parcel
from tests.processes import Fifo, ended


async def cut_off(command: Command, fifo: Fifo) -> list[int]:
    """Start, wait for the process ids it tells, cancel, and wait until it is over."""
    sending = asyncio.create_task(command.send(parcel()))
    pids = [int(pid) for pid in (await fifo.told()).split()]
    sending.cancel()
    await asyncio.wait({sending})
    assert sending.cancelled()
    return pids


async def test_a_program_that_is_cut_off_is_asked_to_stop_first(
    make: Make, fifo: Fifo, tmp_path: Path
):
    script = f"trap 'echo tidy > tidied; exit 0' TERM; echo $$ > {fifo.path}\n"
    script += "while :; do sleep 0.01; done"

    (pid,) = await cut_off(make(script, folder=tmp_path), fifo)

    assert not Path(f"/proc/{pid}").exists()
    assert (tmp_path / "tidied").read_text() == "tidy\n"


async def test_what_a_script_started_may_tidy_up_although_the_script_has_ended(
    make: Make, fifo: Fifo, tmp_path: Path
):
    inner = tmp_path / "inner"
    inner.write_text(
        "trap 'sleep 0.2; echo tidy > tidied; exit 0' TERM\n"
        f"echo $PPID $$ > {fifo.path}; while :; do sleep 0.01; done"
    )

    pids = await cut_off(make(f"sh {inner}; true", folder=tmp_path), fifo)

    for pid in pids:
        await ended(pid)
    assert (tmp_path / "tidied").read_text() == "tidy\n"


@pytest.mark.parametrize("how", ["", "setsid "])
async def test_a_program_and_its_children_that_ignore_it_are_killed(
    make: Make, fifo: Fifo, how: str
):
    inner = f"trap '' TERM; echo $PPID $$ > {fifo.path}; while :; do sleep 0.01; done"
    script = f"trap '' TERM\n{how}sh -c {shlex.quote(inner)} & wait; wait"

    pids = await cut_off(make(script), fifo)

    for pid in pids:
        await ended(pid)


async def test_a_child_in_a_session_of_its_own_is_killed_though_its_parent_obeys(
    make: Make, fifo: Fifo
):
    inner = f"trap '' TERM; echo $PPID $$ > {fifo.path}; while :; do sleep 0.01; done"
    script = f"setsid sh -c {shlex.quote(inner)} & wait"

    pids = await cut_off(make(script), fifo)

    for pid in pids:
        await ended(pid)


async def test_what_a_program_leaves_behind_does_not_run_on(make: Make, fifo: Fifo):
    script = f"(trap '' TERM; sleep 1000) & echo $! > {fifo.path}"

    told, outcome = await fifo.told_by(make(script).send(parcel()))

    await ended(int(told))
    assert outcome.ok


async def test_a_second_cancellation_does_not_wait(
    make: Make, fifo: Fifo, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("receiver.destinations.programs.GRACE_S", 1000.0)
    script = f"trap 'echo $$ > {fifo.path}' TERM; echo $$ > {fifo.path}\n"
    script += "while :; do sleep 0.01; done"
    sending = asyncio.create_task(make(script).send(parcel()))
    pid = int(await fifo.told())

    sending.cancel()
    assert int(await fifo.told()) == pid
    sending.cancel()

    await asyncio.wait({sending})
    await ended(pid)


async def test_runs_leave_no_zombie_and_no_open_file(make: Make):
    command = make("sleep 0 & exit 0")
    await command.send(parcel())
    gc.collect()
    files = open_files()

    for _ in range(10):
        await command.send(parcel())

    assert zombies() == []
    assert open_files() == files


def zombies() -> list[str]:
    """Children of ours that have ended and that nobody waited for."""
    ours = str(os.getpid())
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(ProcessLookupError, FileNotFoundError):  # it ended just now
            found.append(file.read_text().rpartition(")")[2].split()[:2])
    return [state for state, parent in found if parent == ours and state == "Z"]


async def nothing_runs_on(make: Make, fifo: Fifo) -> None:
    script = f"trap '' TERM; echo said >&2; echo $$ > {fifo.path}; sleep 1000"
    command = make(script, timeout=timedelta(seconds=1))

    told, outcome = await fifo.told_by(attempt(command))

    assert (outcome.result, outcome.response) == (Result.TIMEOUT, "said")
    await ended(int(told))


async def output_is_read(make: Make, _: Fifo) -> None:
    outcome = await make("head -c 3000000 /dev/zero; echo end").send(parcel())

    assert outcome.response.endswith("end")


@pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize("true", [nothing_runs_on, output_is_read])
def test_it_is_the_same_on_every_event_loop(
    loop: Callable[[], asyncio.AbstractEventLoop], true: Any, make: Make, fifo: Fifo
):
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(true(make, fifo))
