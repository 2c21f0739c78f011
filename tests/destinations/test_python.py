"""The `python` destination, with real handlers in real processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from receiver.destinations import Parcel
from receiver.destinations.python import Python, PythonSettings
from receiver.models import Delivery, Event, Outcome, Result, State, Status, Trigger
from tests.processes import Fifo, ended

HERE = Path(__file__).parent
NOW = datetime(2026, 1, 24, 10, 2, 5, 123456, UTC)

Make = Callable[..., Python]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    made: list[Python] = []

    def make(handler: str, path: Path = HERE, concurrency: int = 1) -> Python:
        if ":" not in handler:
            handler = f"handlers:{handler}"
        settings = PythonSettings(
            "bill",
            type="python",
            handler=handler,
            path=(path,),
            concurrency=concurrency,
        )
        made.append(Python(settings))
        return made[-1]

    yield make
    for python in made:
        await python.close()


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    return Fifo(tmp_path / "fifo")


def parcel(body: bytes = b"{}", **query: object) -> Parcel:
    event = Event(
        id="evt_1",
        source="sora2",
        provider="sora2",
        key="batch-7:completed",
        type="batch.completed",
        subject="batch-7",
        state=State.PARTIAL,
        final=True,
        occurred_at=NOW.replace(microsecond=0),
        received_at=NOW,
        origin="webhook",
        headers={"content-type": "application/json", "x-sender": "Zoë ✓"},
        query={name: str(value) for name, value in query.items()},
        body=body,
        result_urls=("https://results.example/1.mp4", "https://results.example/2.mp4"),
        expires_at=None,
    )
    delivery = Delivery(
        id="dlv_1",
        event_id="evt_1",
        destination="bill",
        status=Status.PENDING,
        attempts=0,
        created_at=NOW,
        due_at=NOW,
        settled_at=None,
        replay_id=None,
        sent_as="evt_1",
        trigger=Trigger.SCHEDULED,
        round_attempts=0,
        round_started_at=NOW,
        progress="",
    )
    return Parcel(event, delivery, 1, Trigger.SCHEDULED, NOW)


async def heard(python: Python, fifo: Fifo, **query: object) -> tuple[str, Outcome]:
    """What the handler told, and what came of it."""
    return await fifo.told_by(python.send(parcel(b"{}", fifo=fifo.path, **query)))


@pytest.mark.parametrize(
    "handler", ["tell_pid", "tell_pid_async", "run_a_loop_of_its_own"]
)
async def test_a_handler_is_called_in_a_process_of_its_own(
    make: Make, fifo: Fifo, handler: str
):
    python = make(handler)

    told, outcome = await heard(python, fifo)

    assert outcome == Outcome(Result.OK)
    assert int(told) != os.getpid()
    assert python.pool.pids == {int(told)}


async def test_a_handler_is_given_the_event_as_it_is(make: Make, fifo: Fifo):
    python = make("tell_event")

    told, _ = await heard(python, fifo)

    assert told == repr(parcel(fifo=fifo.path).event)


async def test_a_body_that_is_not_json_is_given_as_bytes(make: Make, fifo: Fifo):
    python = make("tell_event")
    body = bytes(range(256))

    told, outcome = await fifo.told_by(python.send(parcel(body, fifo=fifo.path)))

    assert outcome.ok
    assert repr(body) in told


async def test_a_body_of_four_mebibytes_is_given_whole(make: Make, fifo: Fifo):
    python = make("tell_data")
    body = b'"' + b"x" * (4 * 1024 * 1024 - 2) + b'"'

    told, outcome = await fifo.told_by(python.send(parcel(body, fifo=fifo.path)))

    assert outcome.ok
    assert len(told) == len(body)


async def test_what_a_handler_returns_is_ignored(make: Make):
    assert (await make("return_something").send(parcel())).ok


async def test_an_exception_is_an_error_that_is_tried_again(make: Make):
    outcome = await make("fail").send(parcel())

    assert outcome.result is Result.ERROR
    assert not outcome.permanent
    assert outcome.detail == "ValueError: no such thing"
    assert 'raise ValueError("no' in outcome.response
    assert "child_main" not in outcome.response


@pytest.mark.parametrize(
    ("handler", "detail"),
    [
        ("fail_behind_a_decorator", "ValueError: reached"),
        ("an_object", "ValueError: called"),
        ("Callables.method", "ValueError: method called"),
    ],
)
async def test_whatever_can_be_called_may_be_a_handler(
    make: Make, handler: str, detail: str
):
    outcome = await make(handler).send(parcel())

    assert outcome.detail == detail


async def test_a_long_exception_is_kept_in_part(make: Make):
    outcome = await make("fail_at_length").send(parcel())

    assert outcome.detail.startswith("ValueError: xxx")
    assert len(outcome.detail) == 500
    assert len(outcome.response) == 2000


@pytest.mark.parametrize(
    ("handler", "detail"),
    [
        ("fail_unspeakably", "Unspeakable: (its text cannot be shown)"),
        ("fail_with_half_a_character", "ValueError: file ?"),
        ("read_input", "EOFError: EOF when reading a line"),
        ("use_up_memory", "MemoryError"),
        ("leave", "SystemExit: 4"),
        ("leave_async", "SystemExit: 4"),
        ("cancel_itself", "CancelledError: the handler cancelled itself"),
    ],
)
async def test_a_strange_exception_is_an_error_like_any_other(
    make: Make, handler: str, detail: str
):
    outcome = await make(handler).send(parcel())

    assert (outcome.result, outcome.permanent) == (Result.ERROR, False)
    assert outcome.detail == detail


@pytest.mark.parametrize("handler", ["refuse", "refuse_async"])
async def test_permanent_means_that_it_is_not_tried_again(make: Make, handler: str):
    outcome = await make(handler).send(parcel())

    assert (outcome.result, outcome.permanent) == (Result.REJECTED, True)
    assert outcome.detail == "Permanent: no such customer"


@pytest.mark.parametrize(
    ("handler", "why"),
    [
        ("nowhere:f", "nowhere:f cannot be imported: ModuleNotFoundError"),
        ("handlers:nothing", "handlers:nothing cannot be imported: AttributeError"),
        ("handlers:not_callable", "handlers:not_callable cannot be called"),
        ("handlers:yields", "handlers:yields yields"),
    ],
)
async def test_a_handler_that_is_not_there_is_a_fault_of_the_configuration(
    make: Make, handler: str, why: str
):
    outcome = await make(handler).send(parcel())

    assert (outcome.result, outcome.permanent) == (Result.BAD_CONFIG, False)
    assert outcome.detail.startswith(why)
    assert outcome.pause.startswith(f"the handler cannot be used: {why}")


@pytest.mark.parametrize("broken", ["def on_event(", "import sys; sys.exit(1)", ""])
async def test_a_handler_that_was_mended_is_imported_anew(
    make: Make, tmp_path: Path, broken: str
):
    module = tmp_path / "mended.py"
    module.write_text(broken)
    python = make("mended:on_event", path=tmp_path)

    before = await python.send(parcel())
    module.write_text("def on_event(event): pass  # mended")
    after = await python.send(parcel())

    assert before.result is Result.BAD_CONFIG
    assert after == Outcome(Result.OK)


@pytest.mark.parametrize(
    ("handler", "how"),
    [
        ("crash", "signal 11 SIGSEGV"),
        ("leave_at_once", "exit status 6"),
        ("leave_from_a_task", "exit status 4"),
        ("close_everything", "signal 9 SIGKILL"),
    ],
)
async def test_a_process_that_ends_is_an_error_that_is_tried_again_in_a_new_one(
    make: Make, handler: str, how: str
):
    python = make(handler)

    outcomes = [await python.send(parcel()), await python.send(parcel())]

    ending = Outcome(Result.ERROR, f"the handler's process ended ({how})")
    assert outcomes == [ending, ending]


async def test_a_process_is_kept_after_an_exception(make: Make):
    python = make("fail")

    await python.send(parcel())
    before = python.pool.pids
    await python.send(parcel())

    assert python.pool.pids == before


async def test_what_a_handler_prints_harms_nothing(
    make: Make, capfd: pytest.CaptureFixture[str]
):
    python = make("print_megabytes")

    outcomes = [await python.send(parcel()), await python.send(parcel())]

    printed = capfd.readouterr()
    assert outcomes == [Outcome(Result.OK)] * 2
    assert printed.err.count("out of the handler\n") == 400_000
    assert printed.out == ""


@pytest.mark.parametrize("handler", ["fork_and_return", "fork_and_terminate"])
async def test_a_copy_that_a_handler_forks_does_not_go_on(make: Make, handler: str):
    python = make(handler)

    outcomes = [await python.send(parcel()), await python.send(parcel())]

    assert outcomes == [Outcome(Result.OK)] * 2


async def test_a_handler_that_blocks_and_ignores_signals_is_killed(
    make: Make, fifo: Fifo
):
    python = make("loop_for_ever")
    sending = asyncio.create_task(python.send(parcel(fifo=fifo.path)))
    pid = int(await fifo.told())

    sending.cancel()

    await asyncio.wait({sending})
    await ended(pid)
    assert sending.cancelled()


@pytest.mark.parametrize(
    "handler", ["start_and_block", "start_away_and_block", "block_async"]
)
async def test_what_a_handler_started_is_killed_with_it(
    make: Make, fifo: Fifo, handler: str
):
    python = make(handler)
    sending = asyncio.create_task(python.send(parcel(fifo=fifo.path)))
    child, started = map(int, (await fifo.told()).split())

    sending.cancel()

    await ended(started)
    await ended(child)


async def test_after_a_kill_the_next_parcel_gets_a_fresh_process(
    make: Make, fifo: Fifo, tmp_path: Path
):
    go = Fifo(tmp_path / "go")
    python = make("tell_twice")
    sending = asyncio.create_task(python.send(parcel(fifo=fifo.path, go=go.path)))
    first = int(await fifo.told())
    sending.cancel()
    await asyncio.wait({sending})

    sending = asyncio.create_task(python.send(parcel(fifo=fifo.path, go=go.path)))
    second = int(await fifo.told())
    go.tell()

    assert (await sending).ok
    assert second != first


async def test_as_many_handlers_run_at_once_as_configured(make: Make, tmp_path: Path):
    fifos = [Fifo(tmp_path / f"fifo{i}") for i in range(3)]
    go = [Fifo(tmp_path / f"go{i}") for i in range(3)]
    python = make("tell_twice", concurrency=3)
    sending = [
        asyncio.create_task(python.send(parcel(fifo=f.path, go=g.path)))
        for f, g in zip(fifos, go, strict=True)
    ]

    pids = {int(await fifo.told()) for fifo in fifos}
    for fifo in go:
        fifo.tell()

    assert len(pids) == 3
    assert all(outcome.ok for outcome in await asyncio.gather(*sending))


async def test_a_handler_that_blocks_does_not_hold_up_another(
    make: Make, tmp_path: Path
):
    blocked, free = Fifo(tmp_path / "blocked"), Fifo(tmp_path / "free")
    python = make("tell_twice", concurrency=2)
    blocking = asyncio.create_task(
        python.send(parcel(fifo=blocked.path, go=tmp_path / "go"))
    )
    os.mkfifo(tmp_path / "go")
    await blocked.told()

    go = Fifo(tmp_path / "go-free")
    sending = asyncio.create_task(python.send(parcel(fifo=free.path, go=go.path)))
    await free.told()
    go.tell()

    assert (await sending).ok
    assert not blocking.done()
    blocking.cancel()


async def test_async_handlers_share_one_loop_that_runs_between_events(
    make: Make, fifo: Fifo, tmp_path: Path
):
    ticked = Fifo(tmp_path / "ticked")
    python = make("tell_ticks")

    first = await heard(python, fifo, ticked=ticked.path)
    between = await ticked.told()
    second = await heard(python, fifo, ticked=ticked.path)

    assert between == "ticked"
    assert first == second == ("True", Outcome(Result.OK))


async def test_a_stop_that_reaches_all_processes_breaks_off_no_event(
    make: Make, fifo: Fifo, tmp_path: Path
):
    go = Fifo(tmp_path / "go")
    python = make("tell_twice")
    sending = asyncio.create_task(python.send(parcel(fifo=fifo.path, go=go.path)))
    pid = int(await fifo.told())

    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGINT)
    go.tell()

    assert (await sending).ok
    assert os.getsid(pid) == pid != os.getsid(0)


async def test_closing_leaves_no_process_behind(make: Make, fifo: Fifo):
    python = make("tell_pid")
    told, _ = await heard(python, fifo)

    await python.close()

    await ended(int(told))
    assert not python.pool.pids


async def test_a_process_that_cannot_be_started_is_an_error_that_is_tried_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "executable", "/nowhere/to/be/found")

    outcome = await make("tell_pid").send(parcel())

    reason = "the handler's process could not be started: No such file or directory"
    assert outcome == Outcome(Result.ERROR, reason)


@pytest.mark.parametrize(
    "handler", ["handlers", "handlers.f", "a-b:f", "a:", ":f", "a:b:c", "a:b()", "1:b"]
)
def test_a_handler_that_names_no_function_is_a_problem(handler: str):
    settings = PythonSettings("bill", type="python", handler=handler)

    ((field, message, hint),) = settings.problems()

    assert (field, message) == ("handler", f'"{handler}" does not name a function')
    assert "mycompany.handlers:on_batch" in hint


@pytest.mark.parametrize("handler", ["a:b", "a.b_1.c:d", "a:B.c", "paket:größe"])
def test_a_handler_that_names_a_function_is_none(handler: str):
    settings = PythonSettings("bill", type="python", handler=handler)

    assert list(settings.problems()) == []
    assert settings.described() == f"python {handler}"
