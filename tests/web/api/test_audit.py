"""A change and the note of who asked for it: never one without the other."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from receiver.stores import Store, open_store
from tests.faults.lives import trapped
from tests.making import NOW, sample
from tests.serving import config, serving
from tests.sinks import sink
from tests.web.api.conftest import ADMIN, ROUTES, TOKENS, client
from tests.web.dashboard.conftest import running
from tests.web.wire import post

BEGUN, ENDED = "BEFORE INSERT ON audit", "BEFORE UPDATE ON audit"


@contextmanager
def full(store: Path, when: str) -> Iterator[None]:
    """SQLite itself refuses this, as it does when there is no room."""
    refuse = "SELECT RAISE(ABORT, 'database or disk is full')"
    with closing(sqlite3.connect(store)) as connection:
        connection.execute(f"CREATE TRIGGER no_room {when} BEGIN {refuse}; END")
        connection.commit()
    yield
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("DROP TRIGGER no_room")
        connection.commit()


async def asked(http: httpx.AsyncClient, event_id: str) -> httpx.Response:
    return await http.post("/replays", json={"events": [event_id], "to": ["app"]})


async def listed(http: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await http.get(path)).json()["items"]
    return found


def toml(url: str) -> str:
    app = f'type = "http"\nurl = "{url}"'
    return config(destinations={"app": app}, server=TOKENS, routes=ROUTES)


@pytest.mark.parametrize("when", [BEGUN, ENDED])
async def test_a_change_that_was_made_is_never_answered_as_if_it_was_not(
    tmp_path: Path, when: str
):
    async with sink() as there, serving(tmp_path, toml(there.url)) as server:
        sent = await post(server.url, sample("batch.completed"))
        async with client(server.url, ADMIN) as http:
            with full(tmp_path / "receiver.db", when):
                answer = await asked(http, str(sent.json["id"]))
                made = await listed(http, "/replays")
                noted = await listed(http, "/audit")

    if when == BEGUN:
        assert answer.status_code == 503
        assert (made, noted) == ([], [])
    else:
        assert answer.status_code == 201
        assert [one["id"] for one in made] == [answer.json()["id"]]
        [entry] = noted
        assert (entry["what"], entry["who"]) == ("replay.created", "admin token")
        assert entry["details"] == {
            "unfinished": True,
            "asked": {"events": 1, "to": 1},
        }
        assert await server.line("audit.unfinished")


@pytest.mark.parametrize(
    ("point", "replays"),
    [
        ("before-noting-a-change", 0),
        ("after-noting-a-change", 0),
        ("before-noting-its-outcome", 1),
        ("after-noting-its-outcome", 1),
    ],
)
@pytest.mark.e2e
async def test_killed_while_it_changes_something_no_change_is_without_its_note(
    tmp_path: Path, point: str, replays: int
):
    program = trapped(POINT=f"{point}:1")
    async with sink() as there:
        config_ = toml(there.url)
        async with serving(tmp_path, config_, program=program) as server:
            sent = await post(server.url, sample("batch.completed"))
            async with client(server.url, ADMIN) as http:
                with pytest.raises(httpx.HTTPError):
                    await asked(http, str(sent.json["id"]))
            assert await server.ended() == -9
        async with (
            serving(tmp_path, None) as server,
            client(server.url, ADMIN) as http,
        ):
            made = await listed(http, "/replays")
            noted = await listed(http, "/audit")

    assert len(made) == replays
    assert len(noted) == (point != "before-noting-a-change")
    unfinished = [entry["details"].get("unfinished", False) for entry in noted]
    assert unfinished == [point != "after-noting-its-outcome"] * len(noted)


async def test_a_form_whose_change_was_made_says_so_though_its_note_stays_unfinished(
    tmp_path: Path,
):
    async with running(tmp_path) as place:
        with full(tmp_path / "receiver.db", ENDED):
            answer = await place.admin.send("/ui/destinations/app/pause")

            page = await place.admin.see("/ui/destinations")
            audit = await place.admin.see("/ui/audit")

    assert answer.status_code == 200
    assert "paused" in page
    assert "unfinished" in audit


async def test_what_changes_nothing_leaves_no_entry(tmp_path: Path):
    async with (
        sink() as there,
        serving(tmp_path, toml(there.url)) as server,
        client(server.url, ADMIN) as http,
    ):
        resumed = await http.post("/destinations/app/resume", json={})
        unknown = await http.post("/destinations/nobody/pause", json={})

        noted = await listed(http, "/audit")

    assert resumed.json() == {"changed": False}
    assert unknown.status_code == 404
    assert noted == []


async def test_entries_that_are_made_together_are_each_ended(tmp_path: Path):
    store: Store = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    try:
        entries = await asyncio.gather(
            *(store.begin_audit("me", "x", {"n": n}, NOW) for n in range(4))
        )
        await asyncio.gather(
            *(store.end_audit(e, None if e % 2 else {"e": e}) for e in entries)
        )

        found = await store.audit(limit=10)
    finally:
        await store.close()

    assert len(set(entries)) == 4
    assert [(one.id, one.details) for one in found] == [
        (e, {"e": e}) for e in sorted(entries, reverse=True) if e % 2 == 0
    ]
