"""The course of a crash test: start, let it work for a moment, kill; again and again."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from receiver import clock
from receiver.crashtest.plan import Plan
from receiver.crashtest.processes import Failed, Life, Witnesses, witnesses
from receiver.crashtest.verdict import Promise, Verdict

EARLY = 0.25
"""The share of lives that may end before they are ready."""

LONGEST_START_S = 1.0
LONGEST_LIFE_S = 1.5


@dataclass(frozen=True, slots=True)
class Until:
    """After how many kills, or after how much time, the last life begins."""

    rounds: int | None = None
    time: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """What was done, and what came of it."""

    seed: int
    kills: int
    early: int
    """Kills before it was ready."""
    verdict: Verdict


async def crashtest(
    folder: Path,
    plan: Plan,
    until: Until,
    told: Callable[[int, float], object] = lambda _kills, _share: None,
) -> Course:
    """
    Kill receivers in this empty folder; `told` hears of each kill and how far it is.

    Raises:
        Failed: a process of the test itself does not work.
    """
    chance = random.Random(plan.seed + 2)  # noqa: S311 (no secret)
    async with witnesses(folder, plan) as there:
        kills = early = 0
        started = clock.monotonic()
        try:
            while _share(until, kills, clock.monotonic() - started) < 1:
                early += await _short_life(there, chance)
                kills += 1
                told(kills, _share(until, kills, clock.monotonic() - started))
            verdict = await _last_life(there)
        except Failed as failed:
            broken = Promise("it starts again, and is done in time", [str(failed)])
            verdict = Verdict([broken], {})
    return Course(plan.seed, kills, early, verdict)


def _share(until: Until, kills: int, seconds: float) -> float:
    if until.time is not None:
        return seconds / until.time.total_seconds()
    return kills / until.rounds if until.rounds else 1


async def _short_life(there: Witnesses, chance: random.Random) -> bool:
    """Start it and kill it; whether it was not ready by then."""
    early, moment = chance.random() < EARLY, chance.random()
    async with Life(there.folder) as life:
        if early:
            await asyncio.sleep(moment * LONGEST_START_S)
        else:
            there.receiver_is_at(await life.ready())
            await asyncio.sleep(moment * LONGEST_LIFE_S)
        await life.kill()
    return early


async def _last_life(there: Witnesses) -> Verdict:
    """Let it finish everything, stop it, and look."""
    async with Life(there.folder) as life:
        there.receiver_is_at(await life.ready())
        await asyncio.sleep(LONGEST_LIFE_S)
        await there.stop_sending()
        await there.drained()
        exit_code = await life.stop()
    return await there.judge(exit_code)
