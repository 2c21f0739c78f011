"""
The clock jumps by an hour, forwards or back: nothing is lost, and nothing stays behind.

The receiver's clock, and only that, adds what a file says.
"""

from pathlib import Path

import pytest

from receiver.crashtest.plan import Plan
from receiver.crashtest.processes import witnesses
from tests.faults.lives import LONG, accepted, alive, broken, finished, trapped

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300 * LONG)]

HOUR = 3600


@pytest.fixture
def shift(folder: Path) -> Path:
    made = folder / "shift"
    made.write_text("0")
    return made


@pytest.mark.parametrize(
    "jumps",
    [(HOUR,), (-HOUR,), (HOUR, 0)],
    ids=["forwards", "back", "forwards and back again"],
)
async def test_a_clock_that_jumps_loses_nothing_and_leaves_nothing_behind(
    folder: Path, shift: Path, seed: int, jumps: tuple[int, ...]
):
    plan = Plan.new(seed, failing=0.4, rate=200)  # much waits to be tried again
    command = trapped(CLOCK=str(shift))
    async with witnesses(folder, plan) as there, alive(there, command) as life:
        await accepted(there, 60)
        for seconds in jumps * LONG:
            _set(shift, seconds)
            await accepted(there, 60)
        verdict = await finished(there, life, patience_s=10)

    assert broken(verdict) == {}


async def test_a_receiver_killed_while_the_clock_is_set_back_goes_on_with_its_queue(
    folder: Path, shift: Path, seed: int
):
    plan = Plan.new(seed, failing=0.4, rate=200)
    command = trapped(CLOCK=str(shift))
    async with witnesses(folder, plan) as there:
        async with alive(there, command) as life:
            await accepted(there, 100)
            await life.kill()
        _set(shift, -HOUR)
        async with alive(there, command) as life:
            await accepted(there, 50)
            verdict = await finished(there, life, patience_s=10)

    assert broken(verdict) == {}


def _set(shift: Path, seconds: int) -> None:
    draft = shift.with_name("draft")
    draft.write_text(str(seconds))
    draft.replace(shift)
