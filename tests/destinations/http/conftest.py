"""Where things are delivered to."""

from collections.abc import AsyncIterator

import pytest

from tests.sinks import Sink, sink


@pytest.fixture
async def target() -> AsyncIterator[Sink]:
    async with sink() as found:
        yield found
