"""Child processes, with real ones."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from receiver.child import Child, Ending, Pool, kill_all
from receiver.frames import Frame
from tests.processes import Fifo, ended

WORKER = """
import os, signal, subprocess, sys, time
from receiver import frames
from receiver.frames import Frame

fd = int(sys.argv[-1])
stream = open(fd, "wb", buffering=0)
answered = 0
while (frame := frames.read(open(fd, "rb", closefd=False))) is not None:
    do = frame.head.get("do", "")
    answered += 1
    if do == "exit":
        os._exit(frame.head["status"])
    if do == "kill":
        os.kill(os.getpid(), frame.head["signal"])
    if do == "babble":
        stream.write(b"what a lovely day it is today")
        time.sleep(1000)
    if do == "detach":
        away = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        with open(frame.head["fifo"], "w") as fifo:
            print(away.pid, file=fifo)
        time.sleep(1000)
    if do == "fork" and os.fork() == 0:
        time.sleep(1000)
    if do == "fork":
        os._exit(7)
    head = {"pid": os.getpid(), "answered": answered, "last": do == "last"}
    answer = Frame(head, frame.body[:1000])
    stream.write(frames.pack(answer) + answer.body)
"""


@asynccontextmanager
async def pool(size: int = 1, idle_s: float = 60.0) -> AsyncIterator[Pool]:
    made = Pool((sys.executable, "-c", WORKER), size, idle_s)
    try:
        yield made
    finally:
        await made.close()


async def asked(made: Pool, **head: object) -> Frame:
    answer = await made.ask(Frame(head))
    assert isinstance(answer, Frame)
    return answer


async def test_a_process_tells_how_it_ended():
    child = Child.start([sys.executable, "-c", "raise SystemExit(3)"])

    ending = await child.ending

    assert ending == Ending(3)
    assert not child.alive


async def test_a_killed_process_takes_its_group_along(tmp_path: Path):
    fifo = Fifo(tmp_path / "fifo")
    child = Child.start(["sh", "-c", f"sleep 1000 & echo $! > {fifo.path}; wait"])
    started = int(await fifo.told())

    child.kill()

    assert await child.ending == Ending(-signal.SIGKILL)
    await ended(started)


async def test_what_a_process_leaves_in_its_group_ends_with_it(tmp_path: Path):
    fifo = Fifo(tmp_path / "fifo")
    child = Child.start(["sh", "-c", f"sleep 1000 & echo $! > {fifo.path}"])
    started = int(await fifo.told())

    await child.ending

    await ended(started)


async def test_a_process_that_ended_can_be_killed_in_vain():
    child = Child.start(["true"])
    await child.ending

    child.kill()

    assert await child.ending == Ending(0)


async def test_a_child_reads_nothing_from_our_standard_input():
    child = Child.start(
        [sys.executable, "-c", "import sys; sys.exit(len(sys.stdin.read()))"]
    )

    assert await child.ending == Ending(0)


async def test_what_a_child_prints_goes_to_our_standard_error(
    capfd: pytest.CaptureFixture[str],
):
    child = Child.start(["sh", "-c", "echo out; echo err >&2"])
    await child.ending

    printed = capfd.readouterr()

    assert (printed.out, printed.err) == ("", "out\nerr\n")


async def test_a_process_that_is_stopped_may_end_by_itself(tmp_path: Path):
    fifo = Fifo(tmp_path / "fifo")
    script = f"trap 'exit 5' TERM; echo > {fifo.path}; while :; do sleep 0.01; done"
    child = Child.start(["sh", "-c", script])
    await fifo.told()

    await child.stop(20)

    assert await child.ending == Ending(5)


async def test_a_process_that_does_not_stop_is_killed(tmp_path: Path):
    fifo = Fifo(tmp_path / "fifo")
    script = f"trap '' TERM; echo > {fifo.path}; while :; do sleep 0.01; done"
    child = Child.start(["sh", "-c", script])
    await fifo.told()

    await child.stop(0.1)

    assert await child.ending == Ending(-signal.SIGKILL)


async def test_a_process_that_ended_can_be_stopped_in_vain():
    child = Child.start(["true"])
    await child.ending

    await child.stop(20)

    assert await child.ending == Ending(0)


async def test_all_processes_can_be_killed_at_once():
    children = [Child.start(["sleep", "1000"]) for _ in range(3)]

    kill_all()

    endings = [await child.ending for child in children]
    assert endings == [Ending(-signal.SIGKILL)] * 3


async def test_when_memory_is_short_a_child_is_ended_before_us(tmp_path: Path):
    go = Fifo(tmp_path / "go")
    child = Child.start(["sh", "-c", f"read _ < {go.path}"])

    score = int(Path(f"/proc/{child.pid}/oom_score_adj").read_text())

    go.tell()
    await child.ending
    assert score == 500


async def test_a_child_has_the_environment_and_the_folder_it_is_given(tmp_path: Path):
    program = (
        "import os, sys; "
        "sys.exit((os.environ.get('A'), 'PATH' in os.environ, os.getcwd())"
        " != ('b', False, sys.argv[1]))"
    )

    child = Child.start(
        [sys.executable, "-c", program, str(tmp_path)],
        environment={"A": b"b"},
        folder=tmp_path,
    )

    assert await child.ending == Ending(0)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit status 0"),
        (-9, "signal 9 SIGKILL"),
        (-11, "signal 11 SIGSEGV"),
        (-40, "signal 40"),
    ],
)
def test_an_ending_is_told_in_words(status: int, words: str):
    assert str(Ending(status)) == words


async def test_a_worker_is_kept_for_the_next_question():
    async with pool(size=2) as made:
        first = await asked(made)
        second = await asked(made)

    assert second.head["pid"] == first.head["pid"]
    assert second.head["answered"] == 2


async def test_a_large_body_reaches_the_worker():
    body = os.urandom(4 * 1024 * 1024)

    async with pool() as made:
        answer = await made.ask(Frame({}, body))

    assert isinstance(answer, Frame)
    assert answer.body == body[:1000]


async def test_as_many_workers_as_allowed_are_started_and_no_more():
    async with pool(size=2) as made:
        answers = await asyncio.gather(*(asked(made) for _ in range(6)))

    assert len({answer.head["pid"] for answer in answers}) == 2


async def test_a_worker_that_ends_instead_of_answering_is_replaced():
    async with pool() as made:
        ending = await made.ask(Frame({"do": "exit", "status": 5}))
        answer = await asked(made)

    assert ending == Ending(5)
    assert answer.head["answered"] == 1


async def test_a_worker_that_ended_while_idle_is_not_asked():
    async with pool() as made:
        first = await asked(made)
        (worker,) = made._workers
        os.kill(first.head["pid"], signal.SIGKILL)
        await worker.child.ending
        second = await asked(made)

    assert second.head["answered"] == 1


async def test_an_end_is_seen_though_a_forked_copy_holds_the_socket():
    async with pool() as made:
        ending = await made.ask(Frame({"do": "fork"}))

    assert ending == Ending(7)


async def test_a_worker_that_answers_nonsense_is_killed():
    async with pool() as made:
        answer = await made.ask(Frame({"do": "babble"}))

        assert answer == Ending(-signal.SIGKILL)
        assert not made.pids


async def test_a_worker_that_said_it_was_the_last_is_replaced():
    async with pool() as made:
        first = await asked(made, do="last")
        second = await asked(made)

    assert first.head["pid"] != second.head["pid"]


async def test_an_idle_worker_ends_after_a_while():
    async with pool(idle_s=0.01) as made:
        answer = await asked(made)
        await ended(answer.head["pid"])


async def test_closing_ends_idle_workers():
    async with pool() as made:
        answer = await asked(made)

    await ended(answer.head["pid"])
    assert not made.pids


async def test_closing_ends_workers_that_run(tmp_path: Path):
    fifo = Fifo(tmp_path / "fifo")
    async with pool() as made:
        asking = asyncio.create_task(
            made.ask(Frame({"do": "detach", "fifo": str(fifo.path)}))
        )
        started = int(await fifo.told())

    assert await asking == Ending(-signal.SIGKILL)
    await ended(started)


async def test_a_program_that_cannot_be_started_is_an_error():
    made = Pool(("/nowhere/to/be/found",), 1)

    with pytest.raises(FileNotFoundError):
        await made.ask(Frame({}))


async def cancelling_kills_what_went_into_another_session(tmp_path: Path) -> None:
    fifo = Fifo(tmp_path / "fifo")
    async with pool() as made:
        asking = asyncio.create_task(
            made.ask(Frame({"do": "detach", "fifo": str(fifo.path)}))
        )
        started = int(await fifo.told())
        (pid,) = made.pids

        asking.cancel()

        await asyncio.wait({asking})
        assert asking.cancelled()
        await ended(pid)
        await ended(started)
        assert (await asked(made)).head["pid"] != pid


async def a_dying_worker_is_replaced(_: Path) -> None:
    async with pool() as made:
        for number in (signal.SIGSEGV, signal.SIGKILL):
            ending = await made.ask(Frame({"do": "kill", "signal": number}))
            assert ending == Ending(-number)
        assert (await asked(made)).head["answered"] == 1


@pytest.mark.parametrize(
    "loop",
    [asyncio.new_event_loop, uvloop.new_event_loop],
    ids=["asyncio", "uvloop"],
)
@pytest.mark.parametrize(
    "true",
    [cancelling_kills_what_went_into_another_session, a_dying_worker_is_replaced],
)
def test_it_is_the_same_on_every_event_loop(
    loop: Callable[[], asyncio.AbstractEventLoop],
    true: Callable[[Path], Awaitable[None]],
    tmp_path: Path,
):
    async def main() -> None:
        await true(tmp_path)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
