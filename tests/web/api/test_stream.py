"""The stream of events, where no socket is needed to see what it does."""

import asyncio
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from receiver import shown
from receiver.app import App
from receiver.settings import Server, Settings, StoreSettings
from receiver.web.api import stream
from receiver.web.api.access import CONTROL
from receiver.web.api.operation import Call
from tests.stores.making import decision, event


async def test_a_stream_that_nothing_on_a_busy_server_is_for_is_kept_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.0)
    monkeypatch.setattr(shown, "A_STEP", 1)  # every look finds something
    store = StoreSettings(url=f"sqlite:///{tmp_path}/receiver.db", min_free_bytes=0)
    app = await App.open(Settings("t", Server(), store, {}, {}, ()))
    for subject in ("one", "two", "three", "mine"):
        await app.store.add(event(subject=subject), decision(), {})
    first = "evt_" + "0" * 16
    query = {"subject": "mine", "after": first, "body": False, "raw": False}
    request = Request({"type": "http", "headers": []})
    call = Call(app.parts, CONTROL, {}, query, {}, request)

    answer = await stream.stream_events(call)
    assert isinstance(answer, StreamingResponse)
    parts = aiter(answer.body_iterator)
    async with asyncio.timeout(60):
        said = [str(await anext(parts)) for _ in range(6)]
    await app.close()

    assert said[0] == f": connected\nid: {first}\n\n"
    assert [text.partition("\n")[0] for text in said[1:5]] == [": still here"] * 4
    assert len(set(said[1:5])) == 4  # each says how far was looked
    assert said[5].startswith("id: evt_")
