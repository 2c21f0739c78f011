"""Every page of the dashboard, and what stands around them."""

from starlette.responses import Response
from starlette.routing import Route

from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.dashboard import (
    assets,
    audit,
    batches,
    deliveries,
    destinations,
    events,
    joins,
    live,
    many,
    overview,
    rejections,
    replays,
    signing_in,
)
from receiver.web.dashboard.gate import page
from receiver.web.dashboard.visit import Visit


def routes(parts: Parts) -> list[Route]:
    """All of them; what is not there is said to whoever is signed in."""
    things = (overview, events, many, deliveries, destinations, replays, rejections)
    nouns = (*things, batches, joins)
    return [
        *assets.ROUTES,
        *signing_in.routes(parts),
        *(route for noun in nouns for route in noun.routes(parts)),
        *audit.routes(parts),
        page(parts, "/ui/live", live.changes),
        page(parts, "/ui/{rest:path}", _nothing),
    ]


async def _nothing(_: Visit) -> Response:
    raise Problem(404, "not_found", "there is no such page")
