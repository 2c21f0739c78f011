"""The `command` destination, with real programs in real processes."""

import asyncio
import errno
import gc
import json
import os
import resource
import shlex
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvloop

from receiver import delivery
from receiver.destinations import Parcel
from receiver.destinations.command import (
    KEPT_CHARS,
    Command,
    CommandSettings,
    not_started,
)
from receiver.models import Claim, Event, Outcome, Result, Secret
from receiver.settings import Argv
from tests import making
from tests.processes import Fifo, ended

SECRET = "s3cret-of-the-bucket"

Make = Callable[..., Command]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A destination whose program is this script."""

    def make(script: str, *arguments: str, **options: Any) -> Command:
        return Command(settings(program(tmp_path, script), *arguments, **options))

    return make


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    return Fifo(tmp_path / "fifo")


def program(folder: Path, script: str) -> Path:
    file = folder / "program"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o700)
    return file


def settings(file: Path | str, *arguments: str, **options: Any) -> CommandSettings:
    argv = Argv((str(file), *arguments))
    return CommandSettings("run", type="command", command=argv, **options)


def parcel(body: bytes | str | dict[str, Any] = b"{}", **changes: Any) -> Parcel:
    return making.parcel(making.event(body, **changes))


async def given(command: Command, sent: Parcel, folder: Path) -> dict[str, Any]:
    """What a program that copies its input to `given` was given."""
    assert (await command.send(sent)).ok
    found: dict[str, Any] = json.loads((folder / "given").read_text())
    return found


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


async def attempt(command: Command, sent: Parcel | None = None) -> Outcome:
    """The outcome with the settings' time limit, as a lane sees it."""
    sent = sent or parcel()

    async def read(event: Event) -> Event:
        return event

    claim = Claim(0, sent.delivery, sent.event)
    return (await delivery.attempt(command, command._settings, claim, read)).outcome


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


# -- what it is given


async def test_it_is_given_the_event_and_its_delivery(make: Make, tmp_path: Path):
    sent = making.parcel(
        making.event(
            {"credits": 90},
            result_urls=("https://results.example/1.mp4",),
            query={"tenant": "acme"},
        ),
        number=2,
    )

    document = await given(make("cat > given", folder=tmp_path), sent, tmp_path)

    assert document == {
        "event": {
            "id": "evt_0000000000000001",
            "source": "sora2",
            "provider": "sora2",
            "type": "batch.completed",
            "subject": "bat_1",
            "state": "partial",
            "final": True,
            "occurred_at": "2026-01-24T10:02:07.000Z",
            "received_at": "2026-01-24T10:02:07.000Z",
            "key": "k",
            "origin": "webhook",
            "result_urls": ["https://results.example/1.mp4"],
            "expires_at": None,
            "headers": {"content-type": "application/json"},
            "query": {"tenant": "acme"},
        },
        "delivery": {
            "id": "dlv_0000000000000001",
            "destination": "crm",
            "attempt": 2,
        },
        "data": {"credits": 90},
    }


async def test_the_body_is_passed_on_as_it_came(make: Make, tmp_path: Path):
    body = '{ "a": 1.10, "b": 123456789012345678901234567890, "c": 1e400, "d": "✓" }'

    await make("cat > given", folder=tmp_path).send(parcel(body))

    written = (tmp_path / "given").read_text()
    assert written.endswith(f', "data": {body}}}\n')


@pytest.mark.parametrize(
    "body", [b"", b"a=b", b"\xff", b"\xef\xbb\xbf{}", '{"a": 1}'.encode("utf-16")]
)
async def test_a_body_that_is_not_json_is_null(make: Make, tmp_path: Path, body: bytes):
    command = make("cat > given", folder=tmp_path)

    assert (await given(command, parcel(body), tmp_path))["data"] is None


async def test_a_body_of_four_mebibytes_is_given_whole(make: Make):
    body = '"' + "x" * (4 * 1024 * 1024 - 2) + '"'

    outcome = await make("tr -d -c x | wc -c").send(parcel(body))

    assert int(outcome.response) >= 4 * 1024 * 1024 - 2


async def test_a_program_need_not_read(make: Make):
    body = '"' + "x" * (4 * 1024 * 1024 - 2) + '"'

    assert (await make("exec <&-; exit 0").send(parcel(body))).ok


async def test_arguments_are_given_as_they_are_and_no_shell_reads_them(make: Make):
    arguments = ("", "$HOME; exit 1", "*", "`id`", "a b")

    outcome = await make(r'printf "<%s>" "$@"', *arguments).send(parcel())

    assert outcome.response == "<><$HOME; exit 1><*><`id`><a b>"


async def test_it_runs_in_the_configured_folder(make: Make, tmp_path: Path):
    (tmp_path / "there").mkdir()

    outcome = await make("pwd", folder=tmp_path / "there").send(parcel())

    assert outcome.response == str(tmp_path / "there")


# -- its environment


async def variables(**options: Any) -> dict[str, str]:
    """All the variables that a program has."""
    body = {"order": {"id": "o-7", "paid": True, "sum": 1.5, "of": [1]}, "none": None}
    sent = parcel(options.pop("body", body), subject=options.pop("subject", "bat_1"))
    command = Command(settings("env", "-0", **options))
    outcome = await command.send(sent)
    assert outcome.ok, outcome
    pairs = outcome.response.split("\0")
    found = dict(pair.split("=", 1) for pair in pairs if pair)
    found.pop("PYTEST_CURRENT_TEST", None)
    return found


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's environment that is known."""
    for name in os.environ:
        monkeypatch.delenv(name)
    known = {"HOME": "/srv", "LC_TIME": "C", "TZ": "UTC", "SORA2_SECRET": "hush"}
    for name, value in {**known, "PATH": "/usr/bin:/bin"}.items():
        monkeypatch.setenv(name, value)


KNOWN = {"HOME": "/srv", "LC_TIME": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"}


@pytest.mark.usefixtures("ours")
async def test_of_the_servers_environment_it_has_only_what_is_harmless():
    assert await variables() == KNOWN


@pytest.mark.usefixtures("ours")
async def test_the_servers_environment_is_passed_on_when_that_is_wanted():
    found = await variables(inherit_environment=True)

    assert found == {**KNOWN, "SORA2_SECRET": "hush"}


@pytest.mark.usefixtures("ours")
async def test_chosen_fields_are_variables():
    chosen = {
        "BATCH": "event.subject",
        "STATE": "event.state",
        "FINAL": "event.final",
        "AT": "event.received_at",
        "TRY": "delivery.attempt",
        "ORDER": "data.order.id",
        "SUM": "data.order.sum",
        "PAID": "data.order.paid",
        "OF": "data.order.of",
    }

    found = await variables(environment=chosen, variables={"BUCKET": Secret("b")})

    assert found == KNOWN | {
        "BATCH": "bat_1",
        "STATE": "partial",
        "FINAL": "true",
        "AT": "2026-01-24T10:02:07.000Z",
        "TRY": "1",
        "ORDER": "o-7",
        "SUM": "1.5",
        "PAID": "true",
        "OF": "[1]",
        "BUCKET": "b",
    }


@pytest.mark.usefixtures("ours")
async def test_a_field_that_is_missing_makes_no_variable_and_hides_one_of_ours():
    chosen = {"HOME": "data.none", "A": "data.no.such", "B": "data.order.id.further"}

    found = await variables(environment=chosen)

    assert found == {k: v for k, v in KNOWN.items() if k != "HOME"}


@pytest.mark.usefixtures("ours")
async def test_text_that_no_variable_can_hold_is_marked():
    found = await variables(
        environment={"A": "event.subject", "B": "data.b"},
        subject="a\0b",
        body='{"b": "\\ud800✓"}',
    )

    assert (found["A"], found["B"]) == ("a?b", "?✓")


async def test_an_event_that_makes_too_large_variables_is_not_tried_again(make: Make):
    command = make("exit 0", environment={"ALL": "data.all"})

    outcome = await command.send(parcel({"all": "x" * 200_000}))

    assert outcome.permanent
    assert "too large" in outcome.detail


# -- secrets


async def test_a_secret_that_a_program_shows_is_not_shown(make: Make):
    script = 'echo "key is $KEY" >&2; exit 1'

    outcome = await make(script, variables={"KEY": Secret(SECRET)}).send(parcel())

    assert outcome.response == "key is ***"
    assert outcome.detail == "exit status 1: key is ***"


async def test_no_part_of_a_secret_is_left_where_the_output_was_cut(make: Make):
    script = 'yes "$KEY" | tr -d "\\n" | head -c 1000003'

    outcome = await make(script, variables={"KEY": Secret(SECRET)}).send(parcel())

    said = outcome.response.removesuffix(SECRET[: 1_000_003 % len(SECRET)])
    assert "*" in said
    assert not set(said) & set(SECRET)


def test_what_it_is_called_with_is_not_shown(tmp_path: Path):
    made = settings(
        program(tmp_path, ""), "--key", SECRET, variables={"KEY": Secret(SECRET)}
    )

    assert SECRET not in repr(made)
    assert made.described() == f"run {tmp_path / 'program'}"


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


# -- cutting it off


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


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def zombies() -> list[str]:
    """Children of ours that have ended and that nobody waited for."""
    ours = str(os.getpid())
    stats = [file.read_text() for file in Path("/proc").glob("[0-9]*/stat")]
    found = [stat.rpartition(")")[2].split()[:2] for stat in stats]
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
