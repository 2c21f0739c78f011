"""Reloads that meet each other, or a stop; with a real store."""

import asyncio
from pathlib import Path

import pytest

from receiver.app import App
from receiver.destinations.http import HttpSettings
from receiver.models import Secret
from receiver.reloading import reload
from receiver.settings import Server, Settings, StoreSettings


def settings(folder: Path, *destinations: str, ordering: str = "") -> Settings:
    return Settings(
        "t",
        Server(),
        StoreSettings(url=f"sqlite:///{folder}/receiver.db", min_free_bytes=0),
        {},
        {
            name: HttpSettings(
                name,
                type="http",
                url=Secret("http://127.0.0.1:9/"),
                ordering="subject" if ordering else "none",
            )
            for name in destinations
        },
        (),
    )


@pytest.fixture
async def app(tmp_path):
    found = await App.open(settings(tmp_path))
    yield found
    await found.dispatcher.stop(0.1)
    await found.close()


async def test_of_two_reloads_at_once_the_later_is_what_holds(app, tmp_path):
    ordered = settings(tmp_path, "app", "old", ordering="subject")
    plain = settings(tmp_path, "app", "new")

    await asyncio.gather(reload(app, lambda: ordered), reload(app, lambda: plain))

    assert app.settings == plain
    assert set(app.dispatcher.paused()) == {"app", "new"}


async def test_a_reload_begins_nothing_once_a_stop_has_begun(app, tmp_path):
    await asyncio.gather(app.stop(), reload(app, lambda: settings(tmp_path, "app")))

    assert app.dispatcher.paused() == {}
