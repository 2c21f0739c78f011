"""Refused requests: found, shown, verified again."""

from receiver.errors import Conflict, Rejected
from receiver.shown import shown_rejection
from receiver.web.api.changing import Done, change
from receiver.web.api.operation import Call, Operation
from receiver.web.api.responses import download
from receiver.web.api.schemas import (
    BODY,
    EVENT,
    LIMIT,
    NAME,
    NOUNS,
    REJECTION,
    TEXT,
    YES_OR_NO,
    asked,
    ids,
    many,
    maybe,
    page,
    record,
)


async def list_rejections(call: Call) -> object:
    limit, senders = call.query["limit"], call.parts.senders
    found = await call.parts.reader.rejections(
        source=call.query.get("source"),
        code=call.query.get("code"),
        limit=limit + 1,
        after=call.query.get("after"),
    )
    items = [shown_rejection(senders, one, body=False) for one in found[:limit]]
    more = found[limit - 1].id if len(found) > limit else None
    return {"items": items, "next": more, "searched_to": None}


async def show_rejection(call: Call) -> object:
    found = await call.parts.reader.rejection(call.path["id"])
    return shown_rejection(call.parts.senders, found, body=True)


async def download_rejection(call: Call) -> object:
    found = await call.parts.reader.rejection(call.path["id"])
    return download(found.body, f"{found.id}.body")


@change("rejections.reverified")
async def reverify_rejections(call: Call) -> Done:
    parts, dry_run = call.parts, call.body["dry_run"]
    results: list[dict[str, object]] = []
    for rejection_id in dict.fromkeys(call.body["ids"]):
        rejection = await parts.store.rejection(rejection_id)
        status, event_id, message = "", None, ""
        try:
            answer = await parts.accept_again(rejection, dry_run=dry_run)
            status, event_id = answer.word, answer.id
        except Rejected as error:
            status, message = error.code, error.message
        except Conflict as error:
            status, message = "not_possible", str(error)
        found = {"status": status, "event_id": event_id, "message": message}
        results.append({"id": rejection_id, **found})
    accepted = sum(result["status"] == "accepted" for result in results)
    details = {"asked": len(results), "accepted": accepted}
    return Done({"results": results}, details, accepted > 0)


_IN_FULL = record(**{**NOUNS["Rejection"]["properties"], "body": BODY})

OPERATIONS = (
    Operation(
        "GET",
        "/rejections",
        list_rejections,
        "Refused requests, the newest first.",
        page("Rejection"),
        query={"source": NAME, "code": NAME, "limit": LIMIT, "after": REJECTION},
    ),
    Operation(
        "GET",
        "/rejections/{id}",
        show_rejection,
        "One refused request with as much of its body as was kept.",
        _IN_FULL,
        refusals=(404,),
    ),
    Operation(
        "GET",
        "/rejections/{id}/body",
        download_rejection,
        "As much of the body as was kept, byte for byte.",
        "application/octet-stream",
        refusals=(404,),
    ),
    Operation(
        "POST",
        "/rejections/reverify",
        reverify_rejections,
        "Verify them again by today's configuration, as of their arrival.",
        record(
            results=many(
                record(id=REJECTION, status=TEXT, event_id=maybe(EVENT), message=TEXT)
            )
        ),
        body=asked("ids", ids=ids(REJECTION), dry_run={**YES_OR_NO, "default": False}),
        refusals=(404,),
    ),
)
