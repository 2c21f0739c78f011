"""
Work on a body, beside the event loop when the body is large.

A few megabytes take milliseconds to hash, compress or parse; for that long nobody
else would be answered.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LARGE_BYTES = 64 * 1024
"""A body of more is worked on in a thread, or in another process."""


async def beside(size: int, work: Callable[..., T], *arguments: object) -> T:
    """The result of `work`, from a thread if `size` bytes are too many to wait for."""
    if size > LARGE_BYTES:
        return await asyncio.to_thread(work, *arguments)
    return work(*arguments)
