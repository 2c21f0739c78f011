"""The life of every batch is followed, and what is wrong with it is told once."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from receiver.alerts import Alerts
from receiver.batches import MOST_STEPS, SETTLES, Batches
from receiver.follower import Folded
from receiver.models import Decision, Event, Request, State, event_of
from receiver.providers.body import parse
from receiver.providers.samples import samples
from receiver.providers.senders import Senders
from receiver.providers.sora2 import Sora2Source
from receiver.settings import Route, Server, Settings, Source, StoreSettings
from receiver.stores import EventFilter, Store, open_store
from receiver.subjects import Credits, CreditsBy, Subject, SubjectFilter, Trouble
from tests.making import provider

NOW = datetime(2026, 1, 24, 10, 0, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
STALL = timedelta(hours=2)
COST = 10
ALERTS = (Route(name="alerts", source="receiver", to=("ops",)),)
SOURCES: Mapping[str, Source] = {
    "sora2": Sora2Source("sora2", provider="sora2", stall_after=STALL),
    "priced": Sora2Source("priced", provider="sora2", credits_per_item=COST),
    "kie": Source("kie", provider="kie"),
}


class Firm:
    """A store, what follows it, and what a provider sends."""

    def __init__(self, store: Store) -> None:
        self.store = store
        settings = Settings("t", Server(), StoreSettings(), SOURCES, {}, ALERTS)
        self.alerts = Alerts(settings, store, lambda _: None)
        self.batches = Batches(settings, store, Senders(SOURCES.values()))

    async def sent(
        self, kind: str, at: datetime = NOW, *, source: str = "sora2", **changes: Any
    ) -> str:
        """Store a sample of sora2 with other values as it came at that time; its id."""
        body = json.loads(samples("sora2", "bat_1", at)[kind].body)
        for name, value in changes.items():
            part = body.get(name)
            body[name] = {**part, **value} if isinstance(part, dict) else value
        raw = json.dumps(body).encode()
        request = Request({}, {}, raw, at)
        reading = provider("sora2").read(request, parse(raw))
        event = event_of(source, "sora2", request, reading, origin="webhook")
        return await self.stored(event, reading.facts)

    async def stored(self, event: Event, facts: Mapping[str, Any]) -> str:
        added = await self.store.add(event, Decision((), ()), facts)
        return added.event_id

    async def follow(self, now: datetime = NOW) -> None:
        """Fold what has come, as the follower does."""
        cursor = await self.store.cursor("f")
        while (stretch := await self.store.follow(cursor, 3)).upto is not None:
            folded = await self.batches.fold(stretch.events, now)
            cursor = stretch.upto
            await self._keep(folded, cursor)

    async def look(self, now: datetime) -> None:
        await self._keep(await self.batches.look(now), None)

    async def _keep(self, folded: Folded, upto: str | None) -> None:
        for one in folded.raises:
            await self.alerts.tell(one.body, one.key)
        await self.store.advance("f", upto, folded.changes)

    async def told(self) -> list[dict[str, Any]]:
        """The bodies of all alerts so far."""
        where = EventFilter(source="receiver")
        found = await self.store.events(where, limit=100, newest_first=False)
        return [json.loads(stored.event.body) for stored in found]

    async def batch(self) -> Subject:
        [found] = await self.store.subjects(SubjectFilter(), limit=10)
        return found


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(f"sqlite:///{tmp_path}/receiver.db")
    yield opened
    await opened.close()


@pytest.fixture
def firm(store: Store) -> Firm:
    return Firm(store)


async def test_a_batch_is_followed_from_its_beginning_to_its_refund(firm: Firm):
    ids = [
        await firm.sent("batch.created", NOW),
        await firm.sent("batch.running", NOW + MINUTE),
        await firm.sent("batch.completed", NOW + 2 * MINUTE),
        await firm.sent("batch.refunded", NOW + 3 * MINUTE),
    ]

    await firm.follow()

    found = await firm.batch()
    assert (found.source, found.subject, found.kind) == ("sora2", "bat_1", "batch")
    assert (found.state, found.final, found.events) == (State.PARTIAL, True, 4)
    assert (found.begun_at, found.ended_at) == (NOW, NOW + 2 * MINUTE)
    assert found.heard_at == NOW + 3 * MINUTE
    assert found.request_id == "order-bat_1"
    assert found.credits == Credits(100, 90, 10)
    assert found.facts["succeeded"] == 9
    assert found.troubles == ()
    steps = await firm.store.subject_steps(found.id)
    assert [step.event_id for step in steps] == ids
    assert [step.state for step in steps] == ["pending", "running"] + ["partial"] * 2
    assert await firm.told() == []


async def test_what_is_missing_before_the_end_is_a_problem_until_it_comes(firm: Firm):
    await firm.sent("batch.completed", NOW + 2 * MINUTE)
    await firm.follow()
    assert (await firm.batch()).troubles == (Trouble.NO_START, Trouble.NO_RUNNING)

    await firm.sent("batch.created", NOW)
    await firm.sent("batch.running", NOW + MINUTE)
    await firm.follow()

    assert (await firm.batch()).troubles == (Trouble.OUT_OF_ORDER,)


async def test_the_form_that_is_really_sent_misses_nothing(firm: Firm):
    await firm.sent("as-sent")

    await firm.follow()

    found = await firm.batch()
    assert (found.state, found.troubles) == (State.PARTIAL, ())
    assert found.credits == Credits(None, 90, None)


async def test_credits_that_exceed_what_was_held_are_told_of_once(firm: Firm):
    await firm.sent("batch.completed", ledger={"settled": 95})
    await firm.follow()
    await firm.sent("batch.refunded", ledger={"settled": 95})
    await firm.follow()

    [told] = await firm.told()
    assert told["type"] == "batch.ledger_mismatch"
    assert (told["source"], told["batch"]) == ("sora2", "bat_1")
    assert (told["reserved"], told["settled"], told["refunded"]) == (100, 95, 10)
    assert "more than the 100 that were held" in told["problem"]
    assert Trouble.LEDGER in (await firm.batch()).troubles


async def test_a_refund_that_comes_before_its_end_is_no_mismatch(firm: Firm):
    for kind in ("batch.running", "batch.refunded", "batch.completed"):
        await firm.sent(kind)
        await firm.follow()

    assert await firm.told() == []


async def test_an_alert_is_not_raised_again_after_a_crash_before_the_commit(
    firm: Firm,
):
    await firm.sent("batch.completed", ledger={"settled": 95})
    stretch = await firm.store.follow(None, 10)
    for _ in range(2):
        folded = await firm.batches.fold(stretch.events, NOW)
        for one in folded.raises:
            await firm.alerts.tell(one.body, one.key)

    assert len(await firm.told()) == 1


async def test_a_wrong_charge_is_told_of_where_the_cost_is_known(firm: Firm):
    await firm.sent("as-sent", source="priced", credits_spent=100)

    await firm.follow()

    [told] = await firm.told()
    assert told["problem"] == (
        "100 credits were charged for 9 items that succeeded; at 10 each that is 90"
    )
    assert (told["reserved"], told["settled"]) == (None, 100)


async def test_missing_credits_are_told_of_when_they_do_not_come_back(firm: Firm):
    await firm.sent("batch.completed", ledger={"refunded": 0})
    await firm.follow()
    await firm.look(NOW + SETTLES - MINUTE)
    assert await firm.told() == []

    for minutes in (0, 1, 2):
        await firm.look(NOW + SETTLES + minutes * MINUTE)

    [told] = await firm.told()
    assert told["problem"] == "10 of 100 credits were neither charged nor given back"
    assert Trouble.LEDGER in (await firm.batch()).troubles


async def test_missing_credits_that_come_back_in_time_are_not_told_of(firm: Firm):
    await firm.sent("batch.completed", ledger={"refunded": 0})
    await firm.follow()
    await firm.sent("batch.refunded", NOW + MINUTE)
    await firm.follow()

    await firm.look(NOW + 2 * SETTLES)

    assert await firm.told() == []
    assert Trouble.LEDGER not in (await firm.batch()).troubles


async def test_credits_that_come_back_too_late_mend_the_problem(firm: Firm):
    await firm.sent("batch.completed", ledger={"refunded": 0})
    await firm.follow()
    await firm.look(NOW + SETTLES)

    await firm.sent("batch.refunded", NOW + 2 * SETTLES)
    await firm.follow()

    assert Trouble.LEDGER not in (await firm.batch()).troubles
    assert len(await firm.told()) == 1


async def test_nobody_is_woken_for_what_is_long_past(firm: Firm):
    """After an upgrade all that was ever stored is looked through."""
    await firm.sent("batch.completed", ledger={"settled": 95})

    await firm.follow(NOW + timedelta(days=30))

    assert await firm.told() == []
    assert Trouble.LEDGER in (await firm.batch()).troubles


async def test_a_batch_of_which_nothing_is_heard_is_told_of_once(firm: Firm):
    await firm.sent("batch.created", NOW - MINUTE)
    await firm.sent("batch.running", NOW)
    await firm.follow()
    await firm.look(NOW + STALL - MINUTE)
    assert await firm.told() == []

    await firm.look(NOW + STALL)
    await firm.look(NOW + STALL + MINUTE)

    [told] = await firm.told()
    assert told == {
        "type": "batch.stalled",
        "subject": "bat_1",
        "command": "receiver batches show bat_1 --source sora2",
        "source": "sora2",
        "batch": "bat_1",
        "state": "running",
        "since": "2026-01-24T10:00:00.000Z",
    }
    assert (await firm.batch()).troubles == (Trouble.STALLED,)


async def test_a_batch_that_goes_on_after_all_is_not_told_of_again(firm: Firm):
    await firm.sent("batch.created", NOW)
    await firm.follow()
    await firm.look(NOW + STALL)
    await firm.sent("batch.running", NOW + STALL + MINUTE)
    await firm.follow()
    await firm.look(NOW + 3 * STALL)

    assert len(await firm.told()) == 1

    await firm.sent("batch.completed", NOW + 4 * STALL)
    await firm.follow()
    assert Trouble.STALLED not in (await firm.batch()).troubles


async def test_what_ended_or_has_no_limit_does_not_stall(firm: Firm):
    await firm.sent("batch.completed", NOW)
    await firm.sent("batch.running", NOW, source="priced")
    await firm.follow()

    await firm.look(NOW + 10 * STALL)

    assert await firm.told() == []


async def test_what_must_exist_and_is_not_heard_of_at_all_stalls(firm: Firm):
    await firm.store.register_subjects("sora2", "sora2", ["bat_1"], NOW)

    await firm.look(NOW + STALL)

    [told] = await firm.told()
    assert (told["batch"], told["state"]) == ("bat_1", "unknown")


async def test_who_should_have_ended_long_ago_is_noted_without_waking_anybody(
    firm: Firm,
):
    await firm.sent("batch.running", NOW)
    await firm.follow()

    await firm.look(NOW + timedelta(days=60))

    assert await firm.told() == []
    assert (await firm.batch()).troubles == (Trouble.STALLED,)


async def test_alerts_have_no_life_that_is_followed(firm: Firm):
    await firm.sent("batch.completed", ledger={"settled": 95})
    await firm.follow()
    await firm.follow()

    assert (await firm.batch()).subject == "bat_1"


async def test_a_busy_subject_keeps_few_steps_and_its_end(firm: Firm):
    for number in range(MOST_STEPS + 20):
        await firm.sent(
            "batch.running", NOW + number * timedelta(seconds=1), event=f"p.{number}"
        )
    last = await firm.sent("batch.completed", NOW + timedelta(hours=1))

    await firm.follow()

    found = await firm.batch()
    steps = await firm.store.subject_steps(found.id)
    assert found.events == MOST_STEPS + 21
    assert len(steps) == MOST_STEPS + 1
    assert steps[-1].event_id == last


async def test_a_life_outlives_its_events_and_its_source(
    firm: Firm, store: Store, tmp_path: Path
):
    await firm.sent("batch.created")
    await firm.sent("batch.completed", NOW + MINUTE, source="gone")
    await firm.follow()

    found = await store.subjects(SubjectFilter(source="gone"), limit=10)

    assert [one.state for one in found] == [State.PARTIAL]
    assert found[0].troubles == ()  # nobody knows any more what it should have sent


async def test_credits_add_up_by_day_and_source(firm: Firm):
    days: dict[str, Any] = {"one": NOW, "two": NOW + timedelta(days=1)}
    for batch, at in days.items():
        await firm.sent("batch.completed", at, batch_id=batch)
    await firm.sent("batch.completed", batch_id="odd", ledger={"settled": 80})
    much = {"reserved": 100, "settled": 95, "refunded": 10}
    await firm.sent("batch.completed", days["two"], batch_id="much", ledger=much)
    await firm.sent("as-sent", source="priced", batch_id="flat")
    await firm.sent("batch.running", batch_id="open")
    await firm.follow()

    async def lines(*by: CreditsBy, **where: Any) -> list[tuple[Any, ...]]:
        times = (where.pop("since", None), where.pop("until", None))
        found = await firm.store.credits(*times, by=frozenset(by), **where)
        return [
            (
                *(str(one.day or ""), one.source or "", one.subjects),
                *(one.reserved, one.settled, one.refunded, one.missing, one.over),
            )
            for one in found
        ]

    assert await lines() == [("", "", 5, 400, 445, 40, 10, 5)]
    assert await lines("day") == [
        ("2026-01-24", "", 3, 200, 260, 20, 10, 0),
        ("2026-01-25", "", 2, 200, 185, 20, 0, 5),
    ]
    assert await lines("source", source="priced") == [
        ("", "priced", 1, 0, 90, 0, 0, 0),
    ]
    assert await lines("day", "source", since=NOW + MINUTE) == [
        ("2026-01-25", "sora2", 2, 200, 185, 20, 0, 5),
    ]
    assert await lines(until=NOW) == []
