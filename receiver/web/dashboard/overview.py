"""The first page: what needs somebody, where everything goes, how it does."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from starlette.responses import Response
from starlette.routing import Route

from receiver.ledger import Standing
from receiver.messages import words
from receiver.models import Status
from receiver.stores import DeliveryFilter
from receiver.subjects import SubjectFilter, Trouble
from receiver.web.api.destinations import standings_now
from receiver.web.api.events import LONGEST_S
from receiver.web.api.parts import AddedUp, Parts
from receiver.web.dashboard.beginning import first_steps
from receiver.web.dashboard.charts import charts
from receiver.web.dashboard.flow import GIVEN_NOTHING, flow_of
from receiver.web.dashboard.gate import page
from receiver.web.dashboard.rendering import address
from receiver.web.dashboard.visit import Visit

LOOKED_AT = 100
"""Of each kind of trouble; where there is more, that is said."""

NEWS = timedelta(days=1)
OLDEST = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Wanted:
    """
    Something that needs somebody: how bad, what, and where to go on; `until` when it is
    tried again by itself.
    """

    kind: str
    text: str
    path: str
    until: datetime | None = None


def routes(parts: Parts) -> list[Route]:
    """The first page, and the ledger, which is only added up for who asks."""
    return [
        page(parts, "/", show),
        page(parts, "/ui/ledger", show_ledger),
    ]


async def show(visit: Visit) -> Response:
    parts = visit.parts
    found = await standings_now(parts)
    samples = parts.trends.samples()
    return visit.page(
        "overview.html",
        wanted=[
            *_of_destinations(found),
            *_of_the_ledger(parts.added_up),
            *await _of_the_store(visit),
        ],
        beginning=await first_steps(visit),
        flow=flow_of(
            [provider.source.name for provider in parts.senders],
            parts.settings.routes,
            found,
            samples,
            parts.alerts.heard_at,
        ),
        table=_table(parts),
        added_up=parts.added_up,
        standings=found,
        settings=parts.settings,
        trends=parts.trends,
        charts=charts(samples),
    )


async def show_ledger(visit: Visit) -> Response:
    """Only the question, until somebody asks to have it added up."""
    asked = visit.asked("add")
    ledger = await visit.parts.add_up() if asked else None
    return visit.page("ledger.html", ledger=ledger, last=visit.parts.added_up)


def _table(parts: Parts) -> list[dict[str, object]]:
    heard = parts.alerts.heard_at
    return [
        {
            "source": provider.source,
            "heard_at": heard.get(provider.source.name),
            "received": parts.trends.received(provider.source.name),
            "routes": [
                route
                for route in parts.settings.routes
                if route.source in ("*", provider.source.name)
            ],
        }
        for provider in parts.senders
    ]


def _of_destinations(found: list[Standing]) -> list[Wanted]:
    wanted: list[Wanted] = []
    for one in found:
        name, state = one.queue.destination, one.state
        path = f"/ui/destinations/{quote(name, safe='')}"
        waits = f"{one.queue.pending:,} waiting"
        if state in GIVEN_NOTHING:
            kind = "bad" if state in ("orphaned", "breaker open") else "warn"
            until = one.held_back.until if one.held_back and not one.pause else None
            wanted.append(Wanted(kind, f"{_standstill(one)} ({waits})", path, until))
        elif one.queue.failing:
            failing = f"/ui/deliveries/{one.queue.failing}"
            text = f"{name}: a delivery failed and is tried again ({waits})"
            wanted.append(Wanted("warn", text, failing))
        if one.queue.blocking:
            blocking = f"/ui/deliveries/{one.queue.blocking}"
            text = f"{name}: a dead delivery holds back its subject"
            wanted.append(Wanted("bad", text, blocking))
    return wanted


def _standstill(one: Standing) -> str:
    """Why it is given nothing, or next to nothing."""
    name = one.queue.destination
    if one.orphaned:
        return f"{name} is not configured any more"
    if one.pause:
        return f"{name} is paused: {one.pause.reason}"
    return (
        f"{name} is given next to nothing: {one.held_back.why if one.held_back else ''}"
    )


def _of_the_ledger(last: AddedUp | None) -> list[Wanted]:
    if last is None or not last.ledger.difference:
        return []
    text = f"the ledger does not add up: {last.ledger.difference:,} too many or too few"
    return [Wanted("bad", text, "/ui/ledger")]


async def _of_the_store(visit: Visit) -> list[Wanted]:
    reader, since = visit.parts.reader, visit.now - OLDEST
    wanted: list[Wanted] = []
    dead = await reader.search_deliveries(
        DeliveryFilter(Status.DEAD, since=since),
        limit=LOOKED_AT,
        after=None,
        longest_s=LONGEST_S,
    )
    by_name = Counter(delivery.destination for delivery in dead.items)
    more = " or more" if dead.next else ""
    for name, count in by_name.most_common():
        path = address("/ui/deliveries", status="dead", destination=name)
        many = words.counted(count, "dead delivery", "dead deliveries")
        text = f"{many}{more} to {name} in the last week"
        wanted.append(Wanted("bad", text, path))
    for trouble, problem in (
        (Trouble.LEDGER, "credits that do not add up"),
        (Trouble.STALLED, "no end, and nothing heard for long"),
    ):
        where = SubjectFilter(trouble=trouble, since=since)
        count = await reader.count_subjects(where, most=LOOKED_AT)
        if count:
            path = address("/ui/batches", trouble=trouble)
            more = " or more" if count == LOOKED_AT else ""
            many = words.counted(count, "batch", "batches")
            wanted.append(
                Wanted("warn", f"{many}{more} of the last week with {problem}", path)
            )
    return [*wanted, *await _refused(visit)]


async def _refused(visit: Visit) -> list[Wanted]:
    found = await visit.parts.reader.rejections(source=None, limit=LOOKED_AT)
    recent = [one for one in found if one.received_at > visit.now - NEWS]
    counts = Counter((one.source, one.code) for one in recent if not one.event_id)
    return [
        Wanted(
            "warn",
            f"{words.counted(count, 'refused request')} to {source} in the last day: {code}",
            address("/ui/rejections", source=source, code=code),
        )
        for (source, code), count in counts.most_common(5)
    ]
