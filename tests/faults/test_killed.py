"""
SIGKILL at every point of an event's way, and at random moments: nothing is lost.

The witnesses are the sender's and the sink's own notes, made by processes of their own.
"""

import random
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from receiver.crashtest.killing import Until, crashtest
from receiver.crashtest.plan import Plan
from receiver.crashtest.processes import Failed, Life, witnesses
from tests.faults.lives import LONG, accepted, alive, broken, death, finished, trapped
from tests.faults.points import POINTS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300 * LONG)]

RELEASED = sorted((Path(__file__).parents[1] / "stores" / "released").glob("*.sql"))


async def test_killed_at_every_point_of_its_way_no_event_is_lost_or_out_of_order(
    folder: Path, seed: int
):
    chance = random.Random(seed)
    deaths = [(point, chance.randrange(1, 20)) for point in POINTS * LONG]
    chance.shuffle(deaths)
    codes = []
    async with witnesses(folder, Plan.new(seed)) as there:
        for point, nth in deaths:
            code = await death(there, trapped(POINT=f"{point}:{nth}"))
            codes.append((point, nth, code))
        async with alive(there) as life:
            await accepted(there, 50)
            verdict = await finished(there, life)

    assert codes == [(*death, -9) for death in deaths]
    assert broken(verdict) == {}
    assert verdict.counts["taken more than once"] > 0  # killed after the POST


@pytest.mark.parametrize("number", range(LONG))
async def test_killed_at_random_moments_no_event_is_lost_or_out_of_order(
    folder: Path, seed: int, number: int
):
    """With bodies so large that some are understood in a helper process."""
    plan = Plan.new(seed + number, padding=100_000, rate=150)

    course = await crashtest(folder, plan, Until(rounds=4))

    assert course.kills == 4
    assert broken(course.verdict) == {}


async def test_the_witnesses_notice_one_commit_that_never_was(folder: Path, seed: int):
    """Whoever answers 2xx for what is not on the disk is found out by these tests."""
    async with witnesses(folder, Plan.new(seed, rate=100)) as there:
        async with alive(there, trapped(LIE="lost-commit:5")) as life:
            await accepted(there, 40)
            await life.kill()
        async with alive(there) as life:
            verdict = await finished(there, life)

    assert "what was answered 2xx is stored" in broken(verdict)


@pytest.mark.parametrize("script", RELEASED, ids=lambda script: script.stem)
async def test_killed_while_it_brings_an_older_store_up_to_date_it_does_so_next_time(
    folder: Path, seed: int, script: Path
):
    chance = random.Random(seed)
    (folder / "receiver.toml").write_text(
        '[server]\nport = 0\nlog_format = "json"\n[sources.sora2]\n'
        'provider = "sora2"\nsecrets = ["x"]\n'
    )
    await _once_up_to_date(folder, script)
    whole = _dump(folder / "receiver.db")
    _release(folder / "receiver.db", script)
    kills = 0
    for nth in sorted(chance.sample(range(1, 60), 3 * LONG)):
        async with Life(folder, trapped(POINT=f"migration:{nth}")) as life:
            with suppress(Failed):
                await life.ready()
                await life.stop()
            kills += await life.ended() == -9

    await _once_up_to_date(folder)

    assert kills > 0
    assert _dump(folder / "receiver.db") == whole


async def _once_up_to_date(folder: Path, script: Path | None = None) -> None:
    if script is not None:
        _release(folder / "receiver.db", script)
    async with Life(folder) as life:
        await life.ready()
        assert await life.stop() == 0


def _release(path: Path, script: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    with sqlite3.connect(path) as connection:
        connection.executescript(script.read_text())
    connection.close()


def _dump(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    lines = list(connection.iterdump())
    connection.close()
    apart = ('INSERT INTO "heartbeat"', 'INSERT INTO "remembered"')  # they hold times
    return [line for line in lines if not line.startswith(apart)]
