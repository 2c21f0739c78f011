"""The `command` destination: how its program ends, and what comes of that."""

import errno
import gc
import os
import resource
import shlex
import signal
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.destinations.command import KEPT_CHARS, not_started
from receiver.models import Outcome, Result, Secret
from receiver.settings import Argv
from tests.destinations.command.making import (
    Make,
    attempt,
    open_files,
    parcel,
    program,
    settings,
)
from tests.processes import Fifo

# -- how it ends


async def test_exit_status_0_is_ok(make: Make):
    assert await make("exit 0").send(parcel()) == Outcome(Result.OK, status_code=0)


@pytest.mark.parametrize("status", [1, 2, 75, 127, 255])
async def test_any_other_exit_status_means_another_attempt(make: Make, status: int):
    outcome = await make(f"exit {status}").send(parcel())

    detail = f"exit status {status}"
    assert outcome == Outcome(Result.ERROR, detail, status_code=status)


async def test_a_permanent_exit_status_ends_the_delivery(make: Make):
    command = make("exit $1", "64", permanent_exit_codes=(2, 64))

    outcome = await command.send(parcel())

    assert (outcome.result, outcome.permanent) == (Result.REJECTED, True)
    assert outcome.status_code == 64


async def test_a_signal_means_another_attempt(make: Make):
    outcome = await make("kill -SEGV $$", permanent_exit_codes=(11,)).send(parcel())

    assert outcome == Outcome(Result.ERROR, "signal 11 SIGSEGV")


# -- what it says


async def test_the_last_line_on_standard_error_is_the_reason(make: Make):
    script = "echo progress; printf 'one\\nno such\\033[31m  bucket\\n\\n' >&2; exit 3"

    outcome = await make(script).send(parcel())

    assert outcome.detail == "exit status 3: no such [31m bucket"
    assert outcome.response == "one\nno such\033[31m  bucket"


async def test_standard_output_is_shown_when_nothing_else_was_said(make: Make):
    outcome = await make("echo uploaded; echo >&2").send(parcel())

    assert outcome.response == "uploaded"


async def test_of_much_output_the_end_is_kept(make: Make):
    script = "head -c 20000000 /dev/zero | tr '\\0' x >&2; echo '!' >&2; exit 1"

    outcome = await make(script).send(parcel())

    assert outcome.response == "..." + "x" * (KEPT_CHARS - 4) + "!"
    assert outcome.detail == "exit status 1: ..." + "x" * 197


async def test_text_that_is_not_utf_8_is_shown_as_far_as_it_is(make: Make):
    outcome = await make(r"printf '\377\376ok'").send(parcel())

    assert outcome.response == "\N{REPLACEMENT CHARACTER}" * 2 + "ok"


async def test_output_without_end_is_cut_off_and_shown(make: Make):
    command = make("yes", timeout=timedelta(milliseconds=300))

    outcome = await attempt(command)

    assert outcome.result is Result.TIMEOUT
    assert outcome.response.endswith("y\ny\ny")
    assert len(outcome.response) <= KEPT_CHARS


async def test_what_was_said_before_the_time_was_up_is_shown(make: Make):
    script = "echo waiting for the lock >&2; sleep 1000"

    outcome = await attempt(make(script, timeout=timedelta(milliseconds=300)))

    assert outcome == Outcome(
        Result.TIMEOUT, "no answer within 0.3 s", response="waiting for the lock"
    )


async def test_what_outlives_it_elsewhere_does_not_hold_up_the_outcome(
    make: Make, fifo: Fifo, tmp_path: Path
):
    away = Fifo(tmp_path / "away")
    daemon = f"echo > {away.path}; echo $$ > {fifo.path}; exec sleep 1000"
    script = f"echo done; setsid sh -c {shlex.quote(daemon)} & read _ < {away.path}"

    told, outcome = await fifo.told_by(make(script).send(parcel()))

    os.kill(int(told), signal.SIGKILL)  # it lives
    assert outcome.response == "done"


# -- what cannot be started


def unusable(outcome: Outcome) -> str:
    """Why the destination is paused."""
    assert (outcome.result, outcome.permanent) == (Result.BAD_CONFIG, False)
    assert outcome.pause == f"the program cannot be run: {outcome.detail}"
    return outcome.detail


async def test_a_program_that_vanished_pauses_the_destination_until_it_is_back(
    make: Make, tmp_path: Path
):
    command = make("exit 0")
    (tmp_path / "program").rename(tmp_path / "away")
    gone = await command.send(parcel())

    (tmp_path / "away").rename(tmp_path / "program")
    back = await command.send(parcel())

    assert unusable(gone) == f"{tmp_path}/program: No such file or directory"
    assert back.ok


async def test_a_program_that_cannot_run_here_pauses_the_destination(
    make: Make, tmp_path: Path
):
    command = make("exit 0")
    why = "no program for this machine, or its #! line is missing or wrong"

    for text in ("exit 0", "#!/no/where\n", "\x7fELF"):
        (tmp_path / "program").write_text(text)
        assert unusable(await command.send(parcel())) == f"{tmp_path}/program: {why}"


async def test_a_folder_that_vanished_pauses_the_destination(
    make: Make, tmp_path: Path
):
    folder = tmp_path / "gone"

    outcome = await make("exit 0", folder=folder).send(parcel())

    why = f"the folder {folder} cannot be entered: No such file or directory"
    assert unusable(outcome) == why


async def test_a_program_that_is_being_written_is_tried_again(
    make: Make, tmp_path: Path
):
    command = make("exit 0")

    with (tmp_path / "program").open("a"):
        outcome = await command.send(parcel())

    why = f"{tmp_path}/program could not be started: Text file busy"
    assert outcome == Outcome(Result.ERROR, why)


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE])
def test_a_machine_that_is_short_of_something_means_another_attempt(number: int):
    outcome = not_started(settings("/bin/true"), OSError(number, "short"))

    assert outcome == Outcome(Result.ERROR, "/bin/true could not be started: short")


async def test_too_many_open_files_mean_another_attempt_and_leave_none(make: Make):
    command = make("exit 0")
    await command.send(parcel())
    gc.collect()
    before = open_files()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    outcomes: list[Outcome] = []

    try:
        for room in (*range(12), 64):
            limit = (lowest_free + room, limits[1])
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            outcomes.append(await command.send(parcel()))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    file = command._settings.command[0]
    why = f"{file} could not be started: Too many open files"
    assert outcomes[0] == Outcome(Result.ERROR, why)
    assert outcomes[-1].ok
    assert all(outcome.ok or outcome.detail == why for outcome in outcomes)
    assert open_files() == before


# -- what is wrong with it


def wrong(**options: Any) -> dict[str, str]:
    return {field: why for field, why, _ in settings("sh", **options).problems()}


def test_a_program_that_is_not_there_or_not_executable_is_a_problem(tmp_path: Path):
    plain = tmp_path / "plain"
    plain.write_text("")

    found = {
        str(name): [(field, why) for field, why, _ in settings(name).missing()]
        for name in ("no-such-program", tmp_path / "none", tmp_path, plain, "sh")
    }

    assert found == {
        "no-such-program": [
            ("command", f"there is no program no-such-program in {os.environ['PATH']}")
        ],
        f"{tmp_path}/none": [
            ("command", f"{tmp_path}/none: No such file or directory")
        ],
        f"{tmp_path}": [("command", f"{tmp_path} is a folder")],
        f"{plain}": [("command", f"{plain} may not be executed: try chmod +x")],
        "sh": [],
    }


def test_a_bare_name_is_looked_up_in_the_path_that_the_program_gets(tmp_path: Path):
    program(tmp_path, "")

    path = settings("program", variables={"PATH": Secret(str(tmp_path))}).find()

    assert path == (str(tmp_path / "program"), "")


def test_a_path_among_the_variables_is_not_shown(tmp_path: Path):
    _, why = settings("program", variables={"PATH": Secret(str(tmp_path))}).find()

    assert why == "there is no program program in the PATH among its variables"


def test_a_field_that_no_event_has_is_a_problem():
    fields = ("event.subjct", "data", "data..a", "subject", "event.headers", "event")
    chosen = {f"V{i}": field for i, field in enumerate(fields)}

    assert wrong(environment=chosen) == {
        f"environment.V{i}": f'there is no field "{field}"'
        for i, field in enumerate(fields)
    }


def test_a_name_that_no_variable_can_have_is_a_problem():
    found = wrong(environment={"A-B": "event.id"}, variables={"1": Secret("x")})

    assert list(found) == ["environment.A-B", "variables.1"]


def test_a_variable_that_is_given_twice_is_a_problem():
    found = wrong(environment={"A": "event.id"}, variables={"A": Secret("x")})

    assert found == {"environment.A": "is among the variables, too"}


def test_what_no_process_can_be_given_is_a_problem(tmp_path: Path):
    found = [
        *settings("sh", "a\0b").problems(),
        *settings("sh", variables={"A": Secret("a\0b")}).problems(),
        *settings("sh", folder=tmp_path / "none").missing(),
        *settings("sh", folder=Path("a\0b")).missing(),
    ]

    assert [field for field, _, _ in found] == [
        *("command", "variables.A", "folder", "folder")
    ]


@pytest.mark.parametrize("code", [0, 75, 256, -9])
def test_an_exit_code_that_cannot_be_permanent_is_a_problem(code: int):
    found = wrong(permanent_exit_codes=(1, code))

    assert found == {"permanent_exit_codes[1]": f"{code} cannot be permanent"}


def test_settings_that_differ_in_a_secret_are_different():
    one = settings("sh", "a", variables={"A": Secret("x")})

    assert one != replace(one, variables={"A": Secret("y")})
    assert one != replace(one, command=Argv(("sh", "b")))
