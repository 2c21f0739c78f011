"""Refused requests: found, explained, verified again."""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from receiver.models import Rejection
from receiver.offload import LARGE_BYTES
from receiver.providers.diagnosis import Check, accepted, diagnose_kept, summary
from receiver.shown import shown_rejection
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.api.rejections import download_rejection, reverify_rejections
from receiver.web.api.schemas import MOST_IDS
from receiver.web.dashboard.events import raw_text
from receiver.web.dashboard.gate import action, page
from receiver.web.dashboard.visit import Visit

A_PAGE = 50

_explaining = asyncio.Semaphore(1)


def routes(parts: Parts) -> list[Route]:
    """The list, one of them, and verifying again."""
    return [
        page(parts, "/ui/rejections", show_all),
        action(parts, "/ui/rejections/reverify", reverify),
        page(parts, "/ui/rejections/{id}", show),
        page(parts, "/ui/rejections/{id}/body", download),
    ]


async def show_all(visit: Visit) -> Response:
    asked = visit.asked("source", "code")
    after = visit.asked("after").get("after")
    found = await visit.parts.reader.rejections(
        source=asked.get("source"),
        code=asked.get("code"),
        limit=A_PAGE + 1,
        after=after,
    )
    return visit.page(
        "rejections.html",
        asked=asked,
        found=found[:A_PAGE],
        next=found[A_PAGE - 1].id if len(found) > A_PAGE else None,
        first=after is None,
        sources=[provider.source.name for provider in visit.parts.senders],
    )


async def show(visit: Visit) -> Response:
    parts = visit.parts
    found = await parts.reader.rejection(visit.request.path_params["id"])
    checks = None
    if len(found.body) <= LARGE_BYTES or visit.asked("explain"):
        checks = await _explained(visit, found)
    return visit.page(
        "rejection.html",
        rejection=found,
        configured=parts.senders.of(found.source) is not None,
        checks=checks,
        summary=summary(checks or ()),
        accepted=accepted(checks or ()),
        shown=shown_rejection(parts.senders, found, body=False),
        raw=raw_text(found.body),
    )


async def _explained(visit: Visit, found: Rejection) -> Sequence[Check] | None:
    """
    Each step that the request had to take; None: its source is not there any more.

    Many causes are tried, which takes a while: in a thread, and one at a time.
    """
    parts = visit.parts
    provider = parts.senders.of(found.source)
    if provider is None:
        return None
    elsewhere = {
        other.name: other.secrets
        for other in parts.settings.sources.values()
        if other.name != found.source
    }
    async with _explaining:
        return await asyncio.to_thread(diagnose_kept, provider, found, elsewhere)


async def download(visit: Visit) -> Response:
    rejection_id = visit.request.path_params["id"]
    found: Response = await visit.ask(download_rejection, id=rejection_id)
    return found


async def reverify(visit: Visit) -> Response:
    """Try it, or do it; either way what came of each is shown."""
    ids = list(dict.fromkeys(visit.form.get("id", [])))[:MOST_IDS]
    if not ids:
        raise Problem(400, "invalid_parameter", "choose at least one of them")
    only_try = visit.sent("how") != "keep"
    done: Any = await visit.do(reverify_rejections, {"ids": ids, "dry_run": only_try})
    return visit.page(
        "reverified.html", results=done["results"], ids=ids, only_try=only_try
    )
