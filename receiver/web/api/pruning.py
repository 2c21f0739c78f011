"""Removing what is old, a while at a time."""

from dataclasses import asdict, replace
from datetime import datetime

from receiver import clock
from receiver.moments import moment
from receiver.retention import KINDS
from receiver.stores.pruning import Cutoffs
from receiver.web.api.changing import Done, change
from receiver.web.api.operation import Call, Operation
from receiver.web.api.problems import Problem
from receiver.web.api.schemas import COUNT, TIME, WHEN, YES_OR_NO, asked, maybe, record

A_WHILE_S = 1.0
"""One request prunes for so long; whoever wants more asks again."""


@change("store.pruned")
async def prune(call: Call) -> Done:
    parts, body = call.parts, call.body
    wanted = Cutoffs(
        _before(body, "bodies"), _before(body, "events"), _before(body, "rejections")
    )
    found = await parts.retention.prune(
        wanted, to_bytes=body.get("to_bytes"), seconds=A_WHILE_S
    )
    if found.done:
        done = await parts.retention.give_back(seconds=A_WHILE_S)
        found = replace(found, done=done)
    counts = asdict(found)
    del counts["changed"], counts["others"]
    used = (await parts.store.extent()).used_bytes
    details = {name: counts[name] for name in (*KINDS, "bytes")}
    return Done({**counts, "used_bytes": used}, details, found.anything)


def _before(body: object, name: str) -> datetime | None:
    text = body.get(name) if isinstance(body, dict) else None
    try:
        return None if text is None else moment(text, clock.now())
    except ValueError as error:
        raise Problem(400, "invalid_body", str(error)) from None


OPERATIONS = (
    Operation(
        "POST",
        "/prune",
        prune,
        "Remove what was accepted before these times (of `bodies` only the bodies), or"
        " the oldest events until no more than `to_bytes` is used. It goes on for about a"
        " second: ask again until it is `done`. Keys, and what waits, always stay.",
        record(
            events=COUNT,
            bodies=COUNT,
            deliveries=COUNT,
            rejections=COUNT,
            subjects=COUNT,
            bytes=COUNT,
            held=COUNT,
            reached=maybe(TIME),
            done=YES_OR_NO,
            used_bytes=COUNT,
        ),
        body=asked(bodies=WHEN, events=WHEN, rejections=WHEN, to_bytes=COUNT),
    ),
)
