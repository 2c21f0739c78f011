"""
Growth: a store that has kept much, against an empty one, under the same load.
"""

from contextlib import AsyncExitStack
from functools import partial

from receiver.bench.delivering import to_all
from receiver.bench.filling import CHUNK, fill
from receiver.bench.measured import Row
from receiver.bench.running import Bench, Delivered, Once, Plan, Target
from receiver.bench.server import STORE

NAMES = ("a", "b", "c")
ROOM_PER_EVENT = 4_000
"""Bytes of disk asked for each event that is put there, its log included."""


def fill_steps(plan: Plan) -> int:
    """Of the progress bar."""
    return -(-(plan.kept - 1) // CHUNK)


def needed_bytes(plan: Plan) -> int:
    """Of disk, while it runs."""
    return plan.kept * ROOM_PER_EVENT


async def growth(bench: Bench) -> list[Row]:
    """Everything to three destinations, with and without a past."""
    folder, kept = bench.new_folder(), bench.plan.kept
    async for _ in fill(folder / STORE, kept, NAMES):
        bench.step("growth: filling")
    size = (folder / STORE).stat().st_size
    async with AsyncExitStack() as stack:
        setup = to_all(bench, *NAMES)
        empty = await stack.enter_async_context(bench.receiver(setup))
        full = await stack.enter_async_context(bench.receiver(setup, folder))

        def once(target: Target) -> Once:
            wanted = Delivered([f"/{name}" for name in NAMES], NAMES)
            return partial(bench.loaded, target, delivered=wanted)

        name = f"{kept:,} kept"
        return await bench.alternate(
            "growth",
            "closed",
            {"empty": once(empty), name: once(full)},
            {name: round(size / kept, 1)},
        )
