"""Joins: which wait, for how many, and what came of the others."""

from receiver.plain import plain
from receiver.stores.joining import JoinState
from receiver.web.api.operation import Call, Operation
from receiver.web.api.schemas import JOIN, LIMIT, NAME, one_of, page, ref


async def list_joins(call: Call) -> object:
    given, limit = call.query, call.query["limit"]
    reader = call.parts.reader
    states = [JoinState(given["state"])] if "state" in given else list(JoinState)
    if "key" in given:
        names = [(name, given["key"]) for name in call.parts.settings.joins]
        found = await reader.find_joins(names)
        items = [one for one in found if one.state in states]
        return {"items": items, "next": None, "searched_to": None}
    found = await reader.list_joins(states, limit=limit + 1, after=given.get("after"))
    more = found[limit - 1].id if len(found) > limit else None
    return {"items": found[:limit], "next": more, "searched_to": None}


async def show_join(call: Call) -> object:
    found, parts = await call.parts.reader.join_parts(call.path["id"])
    return {**plain(found), "events": parts}


OPERATIONS = (
    Operation(
        "GET",
        "/joins",
        list_joins,
        "Joins of which a part has come, the newest first.",
        page("Join"),
        query={
            "state": one_of(JoinState),
            "key": {
                **NAME,
                "maxLength": 400,
                "description": "those with this key, of the joins that are configured",
            },
            "limit": LIMIT,
            "after": JOIN,
        },
    ),
    Operation(
        "GET",
        "/joins/{id}",
        show_join,
        "One join, with the events that are its parts.",
        ref("JoinInFull"),
        refusals=(404,),
    ),
)
