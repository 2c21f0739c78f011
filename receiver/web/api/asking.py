"""Asking senders: subjects that must exist, and what became of them."""

import asyncio
from dataclasses import asdict

from receiver.reconciler import Asked
from receiver.web.api.changing import Done, change
from receiver.web.api.operation import Call, Operation
from receiver.web.api.schemas import (
    COUNT,
    EVENT,
    NAME,
    SUBJECT,
    TEXT,
    YES_OR_NO,
    asked,
    many,
    maybe,
    one_of,
    record,
)

MOST_SUBJECTS = 1_000

ANSWER_S = 25.0
"""For one subject, its turn included: commands wait no longer than 30."""

_EVENT_MADE = record(type=TEXT, status=TEXT, event_id=maybe(EVENT))
_OUTCOMES = ("ended", "open", "unknown", "unanswered", "key_refused")


@change("subjects.registered")
async def register_subjects(call: Call) -> Done:
    source, subjects = call.body["source"], call.body["subjects"]
    new = await call.parts.reconciler.register(source, subjects)
    details = {"source": source, "asked": len(subjects), "new": new}
    return Done({"registered": new}, details)


@change("subject.reconciled")
async def ask_about_subject(call: Call) -> Done:
    source, subject = call.body["source"], call.body["subject"]
    try:
        async with asyncio.timeout(ANSWER_S):
            found = await call.parts.reconciler.ask(
                source, subject, dry_run=call.body["dry_run"]
            )
    except TimeoutError:
        note = f"the API was not asked, or gave no answer, within {ANSWER_S:.0f} s"
        found = Asked(subject, "unanswered", note=note)
    made = [one.event_id for one in found.events if one.status == "accepted"]
    details = {"source": source, "subject": subject, "events": made}
    return Done(asdict(found), details, bool(made))


OPERATIONS = (
    Operation(
        "POST",
        "/subjects",
        register_subjects,
        "These batches, tasks or jobs exist: they are asked for if nothing comes.",
        record(registered=COUNT),
        body=asked(
            "source",
            "subjects",
            source=NAME,
            subjects={**many(SUBJECT), "minItems": 1, "maxItems": MOST_SUBJECTS},
        ),
        refusals=(404,),
    ),
    Operation(
        "POST",
        "/subjects/ask",
        ask_about_subject,
        "Ask the sender's API about one now, and make the events that are missing.",
        record(
            subject=TEXT,
            outcome=one_of(_OUTCOMES),
            word=TEXT,
            note=TEXT,
            events=many(_EVENT_MADE),
        ),
        body=asked(
            "source",
            "subject",
            source=NAME,
            subject=NAME,
            dry_run={**YES_OR_NO, "default": False},
        ),
        refusals=(404, 409),
    ),
)
