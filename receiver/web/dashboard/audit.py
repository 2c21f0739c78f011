"""What was changed by hand, and by whom."""

from starlette.responses import Response
from starlette.routing import Route

from receiver.web.api.parts import Parts
from receiver.web.dashboard.gate import page
from receiver.web.dashboard.visit import Visit

A_PAGE = 100


def routes(parts: Parts) -> list[Route]:
    """The list."""
    return [page(parts, "/ui/audit", show_all)]


async def show_all(visit: Visit) -> Response:
    text = visit.asked("after").get("after", "")
    after = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
    found = await visit.parts.reader.audit(limit=A_PAGE + 1, after=after)
    more = found[A_PAGE - 1].id if len(found) > A_PAGE else None
    return visit.page("audit.html", found=found[:A_PAGE], next=more)
