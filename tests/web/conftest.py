"""Servers for the tests of the intake; one is enough where state does not matter."""

from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from tests.serving import SECRET, Serving, config, serving

OTHER_SECRET = "the next secret, rotated in"
MAX_BODY = 200_000

_numbers = count()


@pytest.fixture
def batch() -> str:
    """A batch id that no other test uses."""
    return f"bat_{next(_numbers):06}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    folder = tmp_path_factory.mktemp("server")
    toml = config(server=f"max_body_bytes = {MAX_BODY}").replace(
        f'["{SECRET}"]', f'["{SECRET}", "{OTHER_SECRET}"]'
    )
    async with serving(folder, toml) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hurried(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Serving]:
    """A server with little patience."""
    folder = tmp_path_factory.mktemp("hurried")
    toml = config(server='header_timeout = "1s"\nbody_timeout = "1s"')
    async with serving(folder, toml) as running:
        yield running
