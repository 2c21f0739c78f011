"""SIGTERM under load: what was answered is kept, what was begun is finished."""

import time
from pathlib import Path

import pytest

from receiver.crashtest.plan import Plan
from receiver.crashtest.processes import witnesses
from tests.faults.lives import LONG, accepted, alive, broken, finished

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300 * LONG)]

GRACE_S = 20.0
"""As `plan` has it in its configuration."""


async def test_stopped_under_load_it_keeps_all_and_delivers_nothing_twice(
    folder: Path, seed: int
):
    """Three stops, each in the middle of hundreds of attempts; the sink dawdles."""
    plan = Plan.new(seed, failing=0, resetting=0, slow=0.3, rate=300)
    ended, took = [], []
    async with witnesses(folder, plan) as there:
        for _ in range(3 * LONG):
            async with alive(there) as life:
                await accepted(there, 150)
                started = time.monotonic()
                ended.append(await life.stop())
                took.append(time.monotonic() - started)
        async with alive(there) as life:
            verdict = await finished(there, life)

    assert set(ended) == {0}
    assert max(took) < GRACE_S / 2
    assert broken(verdict) == {}
    assert verdict.counts["taken more than once"] == 0


async def test_what_does_not_end_within_the_grace_is_given_back(
    folder: Path, seed: int
):
    """The sink answers nothing in time: nothing is lost, and it ends all the same."""
    plan = Plan.new(seed, failing=0, resetting=0, slow=1, dawdling=3.0, rate=100)
    async with witnesses(folder, plan) as there:
        file = folder / "receiver.toml"
        file.write_text(file.read_text().replace('grace = "20s"', 'grace = "1s"'))
        async with alive(there) as life:
            await accepted(there, 60)
            started = time.monotonic()
            code = await life.stop()
            took = time.monotonic() - started
        await there.stop_sending()
        async with alive(there) as life:
            verdict = await finished(there, life)

    assert code == 0
    assert took < 1 + 5
    assert broken(verdict) == {}
