"""Batches, tasks and jobs: what became of each, and what they cost."""

from typing import get_args

from receiver.models import State
from receiver.shown import shown_batch, shown_credits
from receiver.subjects import CreditsBy, SubjectFilter, Trouble
from receiver.web.api.events import LONGEST_S
from receiver.web.api.operation import Call, Operation
from receiver.web.api.schemas import (
    BATCH,
    LIMIT,
    NAME,
    WHEN,
    YES_OR_NO,
    many,
    one_of,
    page,
    record,
    ref,
)
from receiver.web.api.times import times


async def list_batches(call: Call) -> object:
    given, limit = call.query, call.query["limit"]
    since, until, silent_since = times(given, "since", "until", "older_than")
    where = SubjectFilter(
        source=given.get("source"),
        subject=given.get("subject"),
        state=State(given["state"]) if "state" in given else None,
        final=given.get("final"),
        trouble=Trouble(given["problem"]) if "problem" in given else None,
        request_id=given.get("request_id"),
        since=since,
        until=until,
        silent_since=silent_since,
    )
    found = await call.parts.reader.search_subjects(
        where, limit=limit, after=given.get("after"), longest_s=LONGEST_S
    )
    items, next_, to = found.items, found.next, found.searched_to
    return {"items": items, "next": next_, "searched_to": to}


async def show_batch(call: Call) -> object:
    parts = call.parts
    found = await parts.reader.subject(call.path["id"])
    return await shown_batch(parts.reader, parts.senders, found)


async def add_up_credits(call: Call) -> object:
    given, every = call.query, get_args(CreditsBy)
    since, until = times(given, "since", "until")
    by: frozenset[CreditsBy] = frozenset([given["by"]] if "by" in given else every)
    found = await call.parts.reader.credits(
        since, until, by=by, source=given.get("source")
    )
    return {"items": [shown_credits(line) for line in found]}


OPERATIONS = (
    Operation(
        "GET",
        "/batches",
        list_batches,
        "Batches, tasks and jobs, the newest first.",
        page("Batch"),
        query={
            "source": NAME,
            "subject": {**NAME, "description": "the id its provider gave it"},
            "state": one_of(State),
            "problem": one_of(Trouble),
            "final": {**YES_OR_NO, "description": "have ended, or have not"},
            "request_id": NAME,
            "older_than": {**WHEN, "description": "not heard of for so long: 2h, 3d"},
            "since": {**WHEN, "description": "first heard of from this time on"},
            "until": {**WHEN, "description": "first heard of before this time"},
            "limit": LIMIT,
            "after": BATCH,
        },
    ),
    Operation(
        "GET",
        "/batches/credits",
        add_up_credits,
        "What those that ended were held, charged and given back.",
        record(items=many(ref("CreditsLine"))),
        query={
            "since": {**WHEN, "description": "ended from this time on"},
            "until": {**WHEN, "description": "ended before this time"},
            "source": NAME,
            "by": {
                **one_of(get_args(CreditsBy)),
                "description": "a line for each of these; both where nothing is said",
            },
        },
    ),
    Operation(
        "GET",
        "/batches/{id}",
        show_batch,
        "One of them: its life, its credits, its results.",
        ref("BatchInFull"),
        refusals=(404,),
    ),
)
