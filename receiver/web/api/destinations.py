"""Sources and destinations: what there is, how it does, pausing, trying out."""

from receiver import clock
from receiver.errors import Conflict
from receiver.ledger import Standing, standings
from receiver.settings import DestinationSettings
from receiver.trial import tested
from receiver.web.api.changing import Done, change
from receiver.web.api.operation import Call, Operation
from receiver.web.api.parts import Parts
from receiver.web.api.schemas import YES_OR_NO, asked, many, record, ref


async def list_sources(call: Call) -> object:
    heard = call.parts.alerts.heard_at
    return {
        "items": [
            {
                "name": provider.source.name,
                "provider": provider.name,
                "path": provider.source.path,
                "signs": sorted(provider.signs),
                "heard_at": heard.get(provider.source.name),
            }
            for provider in call.parts.senders
        ]
    }


async def list_destinations(call: Call) -> object:
    found = await standings_now(call.parts)
    return {"items": [_shown(call.parts, one) for one in found]}


async def show_destination(call: Call) -> object:
    name = call.parts.destination(call.path["name"])
    found = await standings_now(call.parts)
    [one] = [one for one in found if one.queue.destination == name]
    return _shown(call.parts, one)


async def standings_now(parts: Parts) -> list[Standing]:
    """Every destination that is configured or still has something waiting."""
    return standings(
        await parts.store.queues(),
        await parts.store.pauses(),
        parts.settings.destinations,
        parts.dispatcher.held_back(),
    )


def _shown(parts: Parts, standing: Standing) -> object:
    name = standing.queue.destination
    declared = parts.settings.destinations.get(name)
    return {
        "name": name,
        "type": declared.type if declared else None,
        "described": declared.described() if declared else "not configured any more",
        "state": standing.state,
        "why": standing.why,
        "queue": standing.queue,
        "pace": _pace(declared) if declared else None,
    }


def _pace(declared: DestinationSettings) -> object:
    """How much it is given at most, and how long that is tried."""
    return {
        "concurrency": declared.concurrency,
        "max_rate": declared.max_rate and str(declared.max_rate),
        "ordering": declared.ordering,
        "timeout_s": declared.timeout.total_seconds(),
        "max_attempts": declared.retry.max_attempts,
        "max_age_s": declared.retry.max_age.total_seconds(),
    }


@change("destination.paused")
async def pause_destination(call: Call) -> Done:
    parts, reason = call.parts, call.body["reason"]
    name = parts.destination(call.path["name"])
    changed = await parts.store.pause(name, reason, clock.now())
    await parts.dispatcher.pauses_changed()
    if changed:
        parts.alerts.destination_paused(name, reason)
    details = {"destination": name, "reason": reason}
    return Done({"changed": changed}, details, changed)


@change("destination.resumed")
async def resume_destination(call: Call) -> Done:
    parts = call.parts
    name = parts.destination(call.path["name"])
    missing = [message for _, message, _ in parts.settings.destinations[name].missing()]
    if missing:  # or it would only pause itself again
        raise Conflict(f"{name} cannot be resumed yet: {'; '.join(missing)}")
    pauses = await parts.store.pauses()
    changed = await parts.store.resume(name, clock.now())
    await parts.dispatcher.pauses_changed()
    if changed:
        open_ = [p for p in pauses if p.destination == name and p.ended_at is None]
        since = open_[-1].started_at if open_ else None  # paused since we looked
        parts.alerts.destination_resumed(name, since)
    return Done({"changed": changed}, {"destination": name}, changed)


@change("destination.tested")
async def test_destination(call: Call) -> Done:
    parts = call.parts
    name = parts.destination(call.path["name"])
    made = await tested(parts.settings.destinations[name], parts.senders.read)
    details = {"destination": name, "result": made.outcome.result}
    return Done(made, details)


_CHANGED = record(changed=YES_OR_NO)
_REASON = {"type": "string", "maxLength": 500, "default": "paused by hand"}

OPERATIONS = (
    Operation(
        "GET",
        "/sources",
        list_sources,
        "Where webhooks come from.",
        record(items=many(ref("Source"))),
    ),
    Operation(
        "GET",
        "/destinations",
        list_destinations,
        "Where events go, and what waits for each.",
        record(items=many(ref("Destination"))),
    ),
    Operation(
        "GET",
        "/destinations/{name}",
        show_destination,
        "One of them.",
        ref("Destination"),
        refusals=(404,),
    ),
    Operation(
        "POST",
        "/destinations/{name}/pause",
        pause_destination,
        "Give it nothing more; its deliveries wait and do not age.",
        _CHANGED,
        body=asked(reason=_REASON),
        refusals=(404,),
    ),
    Operation(
        "POST",
        "/destinations/{name}/resume",
        resume_destination,
        "Go on delivering to it.",
        _CHANGED,
        body=asked(),
        refusals=(404, 409),
    ),
    Operation(
        "POST",
        "/destinations/{name}/test",
        test_destination,
        "Send it a made-up event now; nothing is stored.",
        ref("Attempt"),
        body=asked(),
        refusals=(404,),
    ),
)
