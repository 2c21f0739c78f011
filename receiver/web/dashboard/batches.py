"""Batches, tasks and jobs: found, the life of one, and whether credits add up."""

from collections.abc import Mapping
from datetime import timedelta
from typing import get_args

from starlette.responses import Response
from starlette.routing import Route

from receiver.credits import mismatch
from receiver.messages import words
from receiver.models import State
from receiver.moments import moment
from receiver.shown import MEANINGS, items_of, last_event, lasted
from receiver.stores import Page
from receiver.subjects import CreditsBy, Subject, SubjectFilter, Trouble
from receiver.timeline import timeline
from receiver.web.api.events import LONGEST_S
from receiver.web.api.parts import Parts
from receiver.web.api.problems import Problem
from receiver.web.dashboard.gate import WITH_IMAGES, page
from receiver.web.dashboard.visit import Visit

A_PAGE = 50
SHOWN_ITEMS = 200
RECENT = "30d"
"""How far back is looked where nobody says."""

PICTURES = ("thumbnail_url", "thumbnail", "cover_url", "image_url", "poster")
FILTERS = ("source", "subject", "state", "trouble", "request_id", "since", "until")


def routes(parts: Parts) -> list[Route]:
    """The list, the credits, one of them."""
    return [
        page(parts, "/ui/batches", show_all),
        page(parts, "/ui/batches/credits", show_credits),
        page(parts, "/ui/batches/{id}", show),
    ]


async def show_all(visit: Visit) -> Response:
    asked, problem = visit.asked(*FILTERS, "open"), ""
    after = visit.asked("after").get("after")
    found: Page[Subject] = Page([], None)
    try:
        found = await visit.parts.reader.search_subjects(
            _chosen(asked, visit), limit=A_PAGE, after=after, longest_s=LONGEST_S
        )
    except Problem as error:
        problem = error.message
    return visit.page(
        "batches.html",
        asked=asked,
        found=found,
        first=after is None,
        problem=problem,
        recent=RECENT,
        states=list(State),
        troubles=list(Trouble),
        sources=[provider.source.name for provider in visit.parts.senders],
    )


def _chosen(asked: Mapping[str, str], visit: Visit) -> SubjectFilter:
    exact = asked.get("subject") or asked.get("request_id")
    times = {"since": RECENT, **asked} if not exact else dict(asked)
    try:
        since, until = (
            moment(times[name], visit.now) if name in times else None
            for name in ("since", "until")
        )
        return SubjectFilter(
            source=asked.get("source"),
            subject=asked.get("subject"),
            state=State(asked["state"]) if "state" in asked else None,
            final=False if "open" in asked else None,
            trouble=Trouble(asked["trouble"]) if "trouble" in asked else None,
            request_id=asked.get("request_id"),
            since=since,
            until=until,
        )
    except ValueError as error:
        raise Problem(400, "invalid_parameter", str(error)) from None


async def show(visit: Visit) -> Response:
    parts, batch_id = visit.parts, visit.request.path_params["id"]
    found = await parts.reader.subject(batch_id)
    steps = await parts.reader.subject_steps(batch_id)
    event = await last_event(parts.reader, parts.senders, steps)
    sender = parts.senders.of(found.source)
    wrong = mismatch(found.facts, sender.item_cost if sender is not None else None)
    items = items_of(event)
    pictures = "pictures" in visit.asked("pictures")
    answer = visit.page(
        "batch.html",
        batch=found,
        lasted=lasted(found, event),
        moments=timeline(steps),
        troubles=[(trouble, MEANINGS[trouble]) for trouble in found.troubles],
        wrong=wrong.problem if wrong is not None else "",
        items=[_item(item) for item in items[:SHOWN_ITEMS]],
        all_items=len(items),
        links=event.result_urls if event is not None else (),
        expires_at=event.expires_at if event is not None else None,
        pictures=pictures,
    )
    if pictures:
        answer.headers["content-security-policy"] = WITH_IMAGES
    return answer


def _item(item: Mapping[str, object]) -> dict[str, str]:
    """An item's name, what became of it, and its addresses, each only if it is one."""
    picture = next((url for name in PICTURES if (url := _url(item, name))), "")
    return {
        "name": words.shown(item.get("item_id")) or words.shown(item.get("index")),
        "status": words.shown(item.get("status")),
        "url": _url(item, "video_url"),
        "picture": picture if picture.lower().startswith("https:") else "",
        "error": words.shown(item.get("error")),
    }


def _url(item: Mapping[str, object], name: str) -> str:
    return words.address(item.get(name))


async def show_credits(visit: Visit) -> Response:
    asked, problem = visit.asked("source", "since", "until"), ""
    by: frozenset[CreditsBy] = frozenset(get_args(CreditsBy))
    lines = []
    try:
        since = moment(asked.get("since", RECENT), visit.now)
        until = moment(asked["until"], visit.now) if "until" in asked else None
        lines = list(
            await visit.parts.reader.credits(
                since,
                until or visit.now + timedelta(days=1),
                by=by,
                source=asked.get("source"),
            )
        )
    except ValueError as error:
        problem = str(error)
    return visit.page(
        "credits.html",
        asked=asked,
        lines=lines,
        problem=problem,
        recent=RECENT,
        sources=[provider.source.name for provider in visit.parts.senders],
    )
