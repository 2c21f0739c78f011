"""How it is doing as a whole, and who changed what."""

import os
from pathlib import Path

import receiver
from receiver import clock
from receiver.ids import LARGEST
from receiver.plain import plain
from receiver.web.api.destinations import standings_now
from receiver.web.api.operation import Call, Operation
from receiver.web.api.parts import Parts
from receiver.web.api.schemas import (
    COUNT,
    LIMIT,
    TEXT,
    TEXTS,
    TIME,
    YES_OR_NO,
    many,
    maybe,
    record,
    ref,
)


async def show_status(call: Call) -> object:
    parts = call.parts
    held_back = {
        name: {"by": held.by, "why": held.why, "until": clock.iso(held.until)}
        for name, held in parts.dispatcher.held_back().items()
    }
    ledger = None
    if call.query["ledger"]:
        found = await parts.add_up()
        ledger = {
            "difference": found.difference,
            "tallies": [
                {
                    "source": tally.source,
                    "destination": tally.destination,
                    "decided": tally.decided,
                    "by_status": tally.by_status,
                    "difference": tally.difference,
                }
                for tally in found.tallies
            ],
        }
    return {
        "version": receiver.__version__,
        "pid": os.getpid(),
        "started_at": parts.started_at,
        "now": clock.now(),
        "configuration": {"file": _file(parts), **plain(parts.reread)},
        "held_back": held_back,
        "keys_refused": parts.reconciler.refused(),
        "queues": [standing.queue for standing in await standings_now(parts)],
        "ledger": ledger,
    }


def _file(parts: Parts) -> str:
    """Where the configuration was read; the built-in one is no file."""
    file = Path(parts.settings.file)
    return str(file.absolute()) if file.exists() else parts.settings.file


async def list_audit(call: Call) -> object:
    limit = call.query["limit"]
    found = await call.parts.reader.audit(
        limit=limit + 1, after=call.query.get("after")
    )
    more = found[limit - 1].id if len(found) > limit else None
    return {"items": found[:limit], "next": more}


OPERATIONS = (
    Operation(
        "GET",
        "/status",
        show_status,
        "What runs, what waits; with `ledger` the proof that nothing was lost, which"
        " reads everything there is.",
        record(
            version=TEXT,
            pid=COUNT,
            started_at=TIME,
            now=TIME,
            configuration=record(
                file=TEXT, times=COUNT, problems=many(TEXT), needs_restart=YES_OR_NO
            ),
            held_back={
                "type": "object",
                "additionalProperties": record(by=TEXT, why=TEXT, until=TIME),
            },
            keys_refused=TEXTS,
            queues=many(ref("Queue")),
            ledger=maybe(record(difference=COUNT, tallies=many(ref("Tally")))),
        ),
        query={"ledger": {**YES_OR_NO, "default": False}},
    ),
    Operation(
        "GET",
        "/audit",
        list_audit,
        "What was changed by hand, the newest first.",
        record(items=many(ref("AuditEntry")), next=maybe(COUNT)),
        query={"limit": LIMIT, "after": {**COUNT, "maximum": LARGEST}},
    ),
)
