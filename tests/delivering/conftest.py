"""A dispatcher on a real store, and where it delivers to."""

from collections.abc import AsyncIterator

import pytest

from tests.dispatching import Bench, benching
from tests.sinks import Sink, sink


@pytest.fixture
async def bench(tmp_path) -> AsyncIterator[Bench]:
    async with benching(tmp_path) as found:
        yield found


@pytest.fixture
async def target() -> AsyncIterator[Sink]:
    async with sink() as found:
        yield found
