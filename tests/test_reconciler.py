"""Asking senders what became of subjects: a real store, a stand-in for the API."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from receiver import clock
from receiver.app import App
from receiver.errors import Conflict, NotFound
from receiver.models import Rate, Secret, State
from receiver.providers import source_of
from receiver.reconciler import (
    GIVEN_UP_AFTER,
    LONGEST_GAP,
    UNKNOWN_OFTEN,
    Asked,
    _is_further,
    _next,
)
from receiver.settings import Route, Server, Settings, StoreSettings
from receiver.stores import DeliveryFilter, EventFilter
from receiver.stores.asking import Waiting
from receiver.stores.pruning import Cutoffs
from receiver.subjects import SubjectFilter
from tests.apis import KEY, Sora2Api, batch, items
from tests.sinks import Sink, sink

NOW = datetime(2026, 1, 24, 10, 2, 7, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def there() -> AsyncIterator[Sink]:
    async with sink() as found:
        yield found


@pytest.fixture
async def app(tmp_path, there) -> AsyncIterator[App]:
    source = replace(
        source_of("sora2", "sora2"),
        secrets=(Secret("a secret for tests"),),
        path="/here",
        api_key=Secret(KEY),
        api_url=there.url,
        api_rate=Rate(1000, 1),
    )
    routes = (Route(name="all", source="*", to=("app",)),)
    store = StoreSettings(url=f"sqlite:///{tmp_path}/receiver.db")
    silent = replace(source, name="silent", api_key=None, path="/there")
    sources = {"sora2": source, "silent": silent}
    found = await App.open(Settings("t", Server(), store, sources, {}, routes))
    await found.follower.start()
    yield found
    await found.follower.stop()
    await found.close()


async def test_a_batch_of_which_nothing_came_is_made_of_what_its_api_says(app, there):
    api = Sora2Api({"bat_1": batch()}, {"bat_1": items(10, failed=1)})
    there.respond = api.respond

    asked = await app.reconciler.ask("sora2", "bat_1")

    assert (asked.outcome, asked.word) == ("ended", "partial")
    assert [event.type for event in asked.events] == [
        "batch.completed",
        "batch.refunded",
    ]
    [refunded, completed] = await app.store.events(EventFilter(), limit=5)
    assert completed.event.origin == refunded.event.origin == "reconciled"
    assert completed.event.state is State.PARTIAL
    assert completed.decision.destinations == ("app",)


async def test_what_was_made_is_made_once(app, there):
    there.respond = Sora2Api({"bat_1": batch()}).respond
    await app.reconciler.ask("sora2", "bat_1")

    again = await app.reconciler.ask("sora2", "bat_1")

    assert [event.status for event in again.events] == ["duplicate", "duplicate"]
    assert await app.store.count_events(EventFilter()) == 2


async def test_a_dry_run_only_says_what_would_be_made(app, there):
    there.respond = Sora2Api({"bat_1": batch()}).respond

    asked = await app.reconciler.ask("sora2", "bat_1", dry_run=True)

    assert [event.status for event in asked.events] == ["accepted", "accepted"]
    assert await app.store.count_events(EventFilter()) == 0


async def test_a_dry_run_knows_what_is_there_already(app, there):
    there.respond = Sora2Api({"bat_1": batch()}).respond
    made = await app.reconciler.ask("sora2", "bat_1")

    asked = await app.reconciler.ask("sora2", "bat_1", dry_run=True)

    assert {event.status for event in asked.events} == {"duplicate"}
    assert [e.event_id for e in asked.events] == [e.event_id for e in made.events]


async def test_a_dry_run_knows_what_was_there_and_was_pruned(app, there):
    there.respond = Sora2Api({"bat_1": batch()}).respond
    await app.reconciler.ask("sora2", "bat_1")
    pending = await app.store.deliveries(DeliveryFilter(), limit=5)
    await app.store.cancel([one.id for one in pending], clock.now())
    soon = clock.now() + MINUTE
    while not (
        await app.store.prune(Cutoffs(bodies=soon, events=soon), limit=100, now=soon)
    ).done:
        pass
    left = await app.store.count_events(EventFilter())

    asked = await app.reconciler.ask("sora2", "bat_1", dry_run=True)
    again = await app.reconciler.ask("sora2", "bat_1")

    assert left == 0
    assert asked == again
    assert {event.status for event in asked.events} == {"duplicate"}


async def test_what_goes_on_makes_news_of_a_subject_only_once(app, there):
    api = Sora2Api({"bat_1": batch(status="running")})
    there.respond = api.respond
    first = await app.reconciler.ask("sora2", "bat_1")
    await app.follower.stop()
    await app.follower.start()
    while not await app.store.subjects(SubjectFilter(state=State.RUNNING), limit=1):
        app.follower.wake()
        await app.store.ping()

    second = await app.reconciler.ask("sora2", "bat_1")

    assert [event.type for event in first.events] == ["batch.running"]
    assert (second.outcome, list(second.events)) == ("open", [])


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(404, "unanswered"), (500, "unanswered"), (401, "key_refused")],
)
async def test_no_answer_makes_nothing(app, there, status, outcome):
    async def respond(_):
        return web.Response(status=status)

    there.respond = respond

    asked = await app.reconciler.ask("sora2", "bat_1")

    assert asked.outcome == outcome
    assert asked.note
    assert await app.store.count_events(EventFilter()) == 0


async def test_what_the_api_does_not_know_is_said_so(app, there):
    there.respond = Sora2Api().respond

    assert (await app.reconciler.ask("sora2", "bat_1")).outcome == "unknown"


async def test_only_sources_with_a_key_can_be_asked_for(app):
    with pytest.raises(Conflict, match="api_key"):
        await app.reconciler.ask("silent", "bat_1")
    with pytest.raises(NotFound, match="sora2, silent"):
        await app.reconciler.ask("another", "bat_1")


async def test_watching_tells_how_many_are_new(app):
    assert await app.reconciler.register("sora2", ["a", "b", "a"]) == 2
    assert await app.reconciler.register("sora2", ["b", "c"]) == 1


# -- when to ask again


def waiting(asked: int = 0, silent: timedelta = MINUTE) -> Waiting:
    return Waiting("bat_1", NOW - silent, asked)


def gap(one: Waiting, outcome: str = "open") -> timedelta | None:
    found = _next(one, Asked("bat_1", outcome), MINUTE, NOW)  # type: ignore[arg-type]
    return None if found is None else found - NOW


def test_gaps_grow_up_to_a_bound():
    gaps = [gap(waiting(asked)) for asked in range(12)]

    assert gaps[:3] == [2 * MINUTE, 4 * MINUTE, 8 * MINUTE]
    assert gaps[-1] == LONGEST_GAP


def test_an_api_that_does_not_answer_is_asked_again_at_the_next_round():
    assert gap(waiting(7), "unanswered") == MINUTE


def test_what_an_api_does_not_know_is_given_up_after_a_while():
    asked = [gap(waiting(n), "unknown") for n in range(UNKNOWN_OFTEN)]

    assert None not in asked[:-1]
    assert asked[-1] is None


def test_what_is_silent_for_a_month_is_given_up():
    assert gap(waiting(3, GIVEN_UP_AFTER + MINUTE)) is None


@pytest.mark.parametrize(
    ("state", "known", "further"),
    [
        (State.RUNNING, State.UNKNOWN, True),
        (State.RUNNING, State.PENDING, True),
        (State.RUNNING, State.RUNNING, False),
        (State.PENDING, State.RUNNING, False),
        (State.RUNNING, State.FAILED, False),
    ],
)
def test_only_what_goes_further_is_news(state, known, further):
    assert _is_further(state, known) is further
