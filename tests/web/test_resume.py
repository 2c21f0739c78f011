"""A destination that is resumed at the moment in which it pauses itself."""

from datetime import datetime
from pathlib import Path

import httpx
import pytest

from receiver import clock
from receiver.app import App
from receiver.settings import Server, Settings, StoreSettings
from receiver.web.api import control_app
from tests.dispatching import to


async def test_what_is_paused_just_before_it_is_resumed_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = StoreSettings(url=f"sqlite:///{tmp_path}/receiver.db", min_free_bytes=0)
    destination = to("http://127.0.0.1:9/")
    app = await App.open(
        Settings("t", Server(), store, {}, {destination.name: destination}, ())
    )
    write = app.store.resume

    async def resume(name: str, now: datetime) -> bool:
        await app.store.pause(name, "answered 410 Gone", clock.now())
        return await write(name, now)

    monkeypatch.setattr(app.store, "resume", resume)
    transport = httpx.ASGITransport(control_app(app.parts), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        answer = await client.post("/api/v1/destinations/app/resume", json={})
    await app.close()

    assert (answer.status_code, answer.json()) == (200, {"changed": True})
