"""A stand-in for Slack, and what posts to it."""

from collections.abc import AsyncIterator

import pytest

from receiver.destinations.slack import Slack, SlackSettings
from receiver.models import Secret
from tests.slack_stand_in import StandIn, slack_stand_in


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with slack_stand_in() as found:
        yield found


@pytest.fixture
async def slack(stand_in: StandIn) -> AsyncIterator[Slack]:
    made = Slack(SlackSettings(name="ops", type="slack", url=Secret(stand_in.url)))
    yield made
    await made.close()
