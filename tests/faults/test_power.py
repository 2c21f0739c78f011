"""
The power fails: what was not synced is gone, and nothing that was promised with it.

A library loaded before the C library stands in for the disk: after each sync of one of
the store's files it keeps a copy, which is all that is left afterwards.
"""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from receiver.crashtest.plan import Plan
from receiver.crashtest.processes import Witnesses, witnesses
from tests.faults.lives import LONG, accepted, alive, broken, finished, trapped

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(300 * LONG),
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]

FILES = ("receiver.db", "receiver.db-wal")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("power") / "power.so"
    source = Path(__file__).with_name("power.c")
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O2", "-o", made, source, "-ldl"], check=True
    )
    return made


@pytest.fixture
def disk(folder: Path) -> Path:
    made = folder / "disk"
    made.mkdir()
    return made


def on(disk: Path, library: Path, **more: str) -> tuple[str, ...]:
    return trapped(LD_PRELOAD=str(library), POWER_DISK=str(disk), **more)


def lose_power(there: Witnesses, disk: Path) -> None:
    """What the files hold now is what was synced last; what never was is not there."""
    for file in there.folder.glob("receiver.db*"):
        file.unlink()
    for name in FILES:
        if (disk / name).exists():
            shutil.copy(disk / name, there.folder / name)


async def test_when_the_power_fails_what_was_answered_is_on_the_disk(
    folder: Path, disk: Path, library: Path, seed: int
):
    chance = random.Random(seed)
    command = on(disk, library, CHECKPOINT="40")  # often, and in the middle of it
    async with witnesses(folder, Plan.new(seed, rate=150, padding=3_000)) as there:
        for _ in range(4 * LONG):
            async with alive(there, command) as life:
                await accepted(there, chance.randrange(1, 200))
                await life.kill()
            lose_power(there, disk)
        async with alive(there) as life:
            verdict = await finished(there, life)

    assert broken(verdict) == {}


async def test_this_disk_forgets_what_a_store_does_not_sync(
    folder: Path, disk: Path, library: Path, seed: int
):
    """Else the test above would pass whatever is synced."""
    command = on(disk, library, LIE="no-sync")
    async with witnesses(folder, Plan.new(seed, rate=150)) as there:
        async with alive(there, command) as life:
            await accepted(there, 50)
            await life.kill()
        lose_power(there, disk)
        async with alive(there) as life:
            verdict = await finished(there, life)

    assert "what was answered 2xx is stored" in broken(verdict)
