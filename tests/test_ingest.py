"""The intake without a socket: what is understood, compared, kept and counted."""

import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from receiver.alerts import Alerts
from receiver.errors import Rejected, StoreBusy, StoreError
from receiver.ingest import (
    Intake,
    understand,
)
from receiver.metrics import Metrics
from receiver.models import Reading, Rejection, Request, Secret, State
from receiver.providers import provider_of
from receiver.providers.body import LONGEST_NAME
from receiver.providers.keys import PublicKeys
from receiver.providers.senders import Senders
from receiver.refusals import (
    KEPT_HEADER_CHARS,
    KEPT_QUERY_CHARS,
    KEPT_SIGNED_BYTES,
    KEPT_UNSIGNED_BYTES,
    KEPT_VALUE_CHARS,
    WAITING,
    WAITING_BYTES,
    pieces,
)
from receiver.repeats import compare
from receiver.routing import Router
from receiver.settings import Route, Server, Settings, Source, StoreSettings
from receiver.stores import EventFilter, Store, open_store
from receiver.stores.confirming import Held
from tests import making

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
SECRET = Secret("the secret")
SOURCE = Source("sora2", provider="sora2", secrets=(SECRET,), path="/here")
SENDER = provider_of(SOURCE)
ROUTES = (
    Route(name="all", source="*", to=("app",)),
    Route(name="big", source="sora2", when="data.total_count > 5", to=("big", "app")),
    Route(name="other", source="other", to=("never",)),
    Route(name="typed", source="sora2", types=("batch.f*",), to=("failures",)),
    Route(name="broken", source="sora2", when="data.lost.field", to=("never",)),
)


def settings(*routes: Route) -> Settings:
    return Settings("t", Server(), StoreSettings(), {"sora2": SOURCE}, {}, routes)


class Desk:
    """An intake on a real store, and whom it woke."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.woken: list[tuple[str, ...]] = []
        self.held: list[Held] = []
        self.metrics = Metrics()
        self.alerts = Alerts(settings(), store, self.woken.append)
        self.intake = Intake(
            settings(*ROUTES),
            store,
            self.metrics,
            self.woken.append,
            Senders((SOURCE,)),
            PublicKeys(store),
            self.alerts,
            self.held.append,
        )

    async def count(self) -> int:
        return await self.store.count_events(EventFilter())


@pytest.fixture
async def desk(tmp_path) -> AsyncIterator[Desk]:
    store = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    found = Desk(store)
    yield found
    await found.intake.close()
    await store.close()


def body(**more: Any) -> bytes:
    counts = {"total_count": 10, "success_count": 9, "failed_count": 1}
    return json.dumps({"batch_id": "b", "status": "partial", **counts, **more}).encode()


def signed(sent: bytes, headers: Mapping[str, str] | None = None) -> Request:
    signature = making.signed(sent, SECRET, now=NOW)
    return Request({**signature, **(headers or {})}, {}, sent, NOW)


async def test_an_event_is_kept_with_what_was_decided_and_wakes_who_gets_it(desk):
    sent = body()

    answer = await desk.intake.accept(SENDER, signed(sent))

    stored = await desk.store.event(answer.id)
    assert answer.word == "accepted"
    assert stored.event.body == sent
    assert (stored.event.source, stored.event.origin) == ("sora2", "webhook")
    assert stored.event.state is State.PARTIAL
    assert stored.decision.destinations == ("app", "big")
    assert dict(stored.decision.routes) == {
        "all": "matched",
        "big": "matched",
        "typed": "type",
        "broken": "failed",
    }
    assert desk.woken == [("app", "big")]


async def test_a_repeat_wakes_nobody(desk):
    first = await desk.intake.accept(SENDER, signed(body()))
    again = await desk.intake.accept(SENDER, signed(body(note="other")))

    assert again.word == "duplicate"
    assert again.id == first.id
    assert len(desk.woken) == 1
    [variant] = await desk.store.variants(first.id)
    assert variant.kind == "repeat"


async def test_what_must_not_be_kept_is_replaced(desk):
    private = {"authorization": "Bearer x", "cookie": "a=b", "x-other": "kept"}
    request = replace(signed(body(), private), query={"token": "t0ken", "a": "1"})

    answer = await desk.intake.accept(SENDER, request)

    event = (await desk.store.event(answer.id)).event
    assert event.headers["authorization"] == event.headers["cookie"] == "***"
    assert event.headers["x-other"] == "kept"
    assert event.query == {"token": "***", "a": "1"}


async def test_a_large_body_is_understood_as_a_small_one_would_be(desk):
    large = body(padding="x" * 100_000)

    answer = await desk.intake.accept(SENDER, signed(large))
    with pytest.raises(Rejected) as caught:
        await desk.intake.accept(SENDER, signed(b"[" * 100_000))

    stored = await desk.store.event(answer.id)
    assert stored.decision.destinations == ("app", "big")
    assert stored.event.body == large
    assert (caught.value.status, caught.value.code) == (400, "malformed_body")


async def test_a_helper_that_dies_costs_one_answer_and_is_replaced(desk):
    large = body(padding="x" * 100_000)
    await desk.intake.accept(SENDER, signed(large))
    pool = desk.intake._pool
    assert pool is not None
    for process in pool._processes.values():
        process.kill()
        process.join()

    with pytest.raises(StoreError):
        await desk.intake.accept(SENDER, signed(large))
    answer = await desk.intake.accept(SENDER, signed(large))

    assert answer.word == "duplicate"


async def test_a_helper_that_hangs_costs_one_answer_and_is_replaced(desk, monkeypatch):
    large = body(padding="x" * 100_000)
    await desk.intake.accept(SENDER, signed(large))
    pool = desk.intake._pool
    assert pool is not None
    for process in pool._processes.values():
        os.kill(process.pid, signal.SIGSTOP)

    monkeypatch.setattr("receiver.ingest.HELPER_S", 0.2)
    with pytest.raises(StoreError):
        await desk.intake.accept(SENDER, signed(large))
    monkeypatch.undo()
    answer = await desk.intake.accept(SENDER, signed(large))

    assert answer.word == "duplicate"


async def test_only_the_helper_that_died_is_replaced(desk):
    large = body(padding="x" * 100_000)
    await desk.intake.accept(SENDER, signed(large))
    died = desk.intake._pool
    desk.intake.reload(settings(*ROUTES))
    await desk.intake.accept(SENDER, signed(large))
    current = desk.intake._pool

    desk.intake._end_pool(died)

    assert current is not died
    assert desk.intake._pool is current


async def test_the_headers_and_query_of_a_forgery_are_kept_in_part(desk):
    headers = {f"h{n}": "z" * 5_000 for n in range(20)}
    query = {f"q{n}": "z" * 500 for n in range(20)}

    with pytest.raises(Rejected):
        await desk.intake.accept(SENDER, Request(headers, query, b"", NOW))
    await desk.intake.close()

    [kept] = await desk.store.rejections(source=None, limit=10)
    assert len(str(dict(kept.headers))) <= KEPT_HEADER_CHARS + 200
    assert len(str(dict(kept.query))) <= KEPT_QUERY_CHARS + 200
    assert {len(value) for value in kept.headers.values()} == {KEPT_VALUE_CHARS}


def test_rejections_are_kept_in_pieces():
    def rejection(size: int) -> Rejection:
        return Rejection("", "s", "c", "m", NOW, {}, {}, b"x" * size, size)

    small = [len(piece) for piece in pieces([rejection(1)] * 120)]
    large = [len(piece) for piece in pieces([rejection(400 * 1024)] * 5)]

    assert small == [50, 50, 20]
    assert large == [2, 2, 1]


async def test_a_forged_body_is_kept_only_in_part_and_soon(desk):
    forged = Request({}, {}, b"x" * (2 * KEPT_UNSIGNED_BYTES), NOW)

    with pytest.raises(Rejected):
        await desk.intake.accept(SENDER, forged)
    await desk.intake.close()

    [kept] = await desk.store.rejections(source=None, limit=10)
    assert kept.code == "signature_missing"
    assert kept.carried == "unsigned"
    assert kept.body == b"x" * KEPT_UNSIGNED_BYTES
    assert kept.body_bytes == 2 * KEPT_UNSIGNED_BYTES


async def test_a_signed_body_is_kept_whole_up_to_a_limit(desk):
    signature = {"x-sora2-signature": "sha256=00"}
    sizes = (KEPT_SIGNED_BYTES, KEPT_SIGNED_BYTES + 1)

    for size in sizes:
        with pytest.raises(Rejected):
            await desk.intake.accept(SENDER, Request(signature, {}, bytes(size), NOW))
    await desk.intake.close()

    larger, whole = await desk.store.rejections(source=None, limit=10)
    assert (whole.carried, len(whole.body)) == ("signed", KEPT_SIGNED_BYTES)
    assert (len(larger.body), larger.body_bytes) == (KEPT_UNSIGNED_BYTES, sizes[1])


async def test_what_waits_to_be_kept_of_forgeries_is_bounded_in_bytes(desk):
    signature = {"x-sora2-signature": "sha256=00"}
    large = Request(signature, {}, bytes(KEPT_SIGNED_BYTES), NOW)

    for _ in range(20):
        with pytest.raises(Rejected):
            await desk.intake.accept(SENDER, large)
    waiting = desk.intake._refusals.waiting
    await desk.intake.close()

    assert 1 <= waiting <= WAITING_BYTES // KEPT_SIGNED_BYTES


async def test_only_what_comes_now_is_a_sign_that_a_source_is_alive(desk):
    sent, earlier = body(), NOW - timedelta(days=1)
    headers, known = signed(sent).headers, len(sent)
    refused = Rejection("", "sora2", "code", "why", earlier, headers, {}, sent, known)
    await desk.store.add_rejections([refused])
    [kept] = await desk.store.rejections(source=None, limit=1)

    again = await desk.intake.accept_again(kept, dry_run=False)
    heard = dict(desk.alerts.heard_at)
    await desk.intake.accept(SENDER, signed(body(batch_id="another")))

    assert again.word == "accepted"
    assert heard == {}
    assert desk.alerts.heard_at == {"sora2": NOW}


async def test_a_flood_of_forgeries_is_counted_but_only_some_are_kept(desk):
    for _ in range(WAITING + 50):
        with pytest.raises(Rejected):
            await desk.intake.accept(SENDER, Request({}, {}, b"x", NOW))
    waiting = desk.intake._refusals.waiting
    await desk.intake.close()

    kept = await desk.store.rejections(source=None, limit=10_000)
    counted = desk.metrics.rejected.labels("sora2", "signature_missing")
    assert waiting <= WAITING
    assert len(kept) <= WAITING + 50
    assert counted._value.get() == WAITING + 50


async def test_a_signed_body_that_cannot_be_read_is_kept_whole_at_once(desk):
    sent = b"[" + b"1," * KEPT_SIGNED_BYTES

    with pytest.raises(Rejected):
        await desk.intake.accept(SENDER, signed(sent))

    [kept] = await desk.store.rejections(source="sora2", limit=10)
    assert kept.body == sent


async def test_without_space_nothing_is_accepted(tmp_path):
    store = await open_store(f"sqlite:///{tmp_path}/receiver.db", min_free_bytes=2**62)
    desk = Desk(store)

    with pytest.raises(StoreBusy, match="nearly full"):
        await desk.intake.accept(SENDER, signed(body()))

    assert await desk.count() == 0
    await desk.intake.close()
    await store.close()


async def test_new_routes_are_for_the_events_to_come(desk):
    first = await desk.intake.accept(SENDER, signed(body(batch_id="a")))
    desk.intake.reload(settings(Route(name="new", source="*", to=("new",))))
    second = await desk.intake.accept(SENDER, signed(body(batch_id="c")))
    large = body(batch_id="d", padding="x" * 100_000)
    third = await desk.intake.accept(SENDER, signed(large))

    decided = [
        (await desk.store.event(a.id)).decision.destinations
        for a in (first, second, third)
    ]
    assert decided == [("app", "big"), ("new",), ("new",)]


@pytest.mark.parametrize("name", ["batch_id", "event"])
def test_an_identifier_has_an_end(name):
    def read(length: int) -> None:
        sent = {"event": "a", "batch_id": "b", name: "x" * length}
        request = Request({}, {}, json.dumps(sent).encode(), NOW)
        understand(SENDER, request, Router(()))

    read(LONGEST_NAME - 10)
    with pytest.raises(Rejected) as caught:
        read(LONGEST_NAME + 1)

    assert caught.value.code == "malformed_body"


def reading(urls: tuple[str, ...] = (), **facts: Any) -> Reading:
    return Reading(
        key="k", type="t", subject="s", state=State.PARTIAL, final=True,
        facts=facts, result_urls=urls, occurred_at=NOW + timedelta(hours=1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("first", "first_urls", "again", "kind"),
    [
        ({"a": 1}, (), reading(a=1), "repeat"),
        ({"a": 1, "b": 2}, (), reading(a=1), "repeat"),
        ({"a": 1}, (), reading(a=2), "conflict"),
        ({"a": 1}, (), reading(a=2, b=3), "conflict"),
        ({"a": 1}, (), reading(a=1, b=3), "supplement"),
        ({"a": 1}, (), reading(("u",), a=1), "supplement"),
        ({"a": 1}, ("u", "v"), reading(("u",), a=1), "repeat"),
        ({}, (), reading(), "repeat"),
    ],
)
def test_a_repeat_conflicts_supplements_or_says_the_same(
    first, first_urls, again, kind
):
    assert compare(first, again, first_urls) == kind


def test_half_a_surrogate_pair_elsewhere_does_not_keep_an_event_from_its_route():
    body = rb'{"batch_id":"b","status":"failed","prompt":"cut \ud83d"}'
    request = Request({}, {}, body, NOW)
    route = Route(name="r", source="*", when='data.status == "failed"', to=("a",))

    understood = understand(SENDER, request, Router((route,)))

    assert [o.verdict for o in understood.opinions] == ["matched"]


async def test_half_a_surrogate_pair_in_a_fact_does_not_keep_an_event_out(desk):
    sender = making.configured("hmac", token="t", facts={"prompt": "prompt"})
    sent = rb'{"id": "1", "prompt": "cut \ud83d"}'

    answer = await desk.intake.accept(sender, Request({}, {"token": "t"}, sent, NOW))

    stored = await desk.store.event(answer.id)
    assert stored.event.body == sent
    assert stored.facts["prompt"] == "cut \ufffd"
