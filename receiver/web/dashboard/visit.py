"""One request by somebody who is signed in, and how it is answered."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from receiver.web.api.operation import Call, Handle
from receiver.web.api.parts import Parts
from receiver.web.dashboard.forms import Fields
from receiver.web.dashboard.rendering import rendered
from receiver.web.dashboard.session import Session

LONGEST_FIELD = 500


@dataclass(frozen=True, slots=True)
class Visit:
    """Who asks for what; `form` is what was sent, empty where a page is only looked at."""

    parts: Parts
    session: Session
    request: Request
    now: datetime
    form: Fields = field(default_factory=dict[str, list[str]])

    @property
    def may_write(self) -> bool:
        return self.session.who.may_write

    def asked(self, *names: str) -> dict[str, str]:
        """What the address asks for, of these; what is left empty is not asked for."""
        query = self.request.query_params
        found = {name: query.get(name, "").strip()[:LONGEST_FIELD] for name in names}
        return {name: text for name, text in found.items() if text}

    def sent(self, name: str) -> str:
        """A field of the form; empty if it has none."""
        return self.form.get(name, [""])[0].strip()

    async def ask(self, handle: Handle, **path: str) -> Any:
        """What an operation of the API that only looks answers."""
        call = Call(self.parts, self.session.who, path, {}, {}, self.request)
        return await handle(call)

    async def do(
        self, handle: Handle, body: Mapping[str, Any] | None = None, **path: str
    ) -> Any:
        """
        Have the API change something; that is logged, and kept with who did it.

        Raises:
            ReceiverError, Problem: as the operation says.
        """
        call = Call(self.parts, self.session.who, path, {}, body or {}, self.request)
        return await handle(call)

    def page(self, template: str, status: int = 200, **context: Any) -> Response:
        """A page of ours."""
        path = self.request.url.path
        around = {"visit": self, "now": self.now, "path": path}
        return HTMLResponse(rendered(template, {**around, **context}), status)

    def go(self, path: str, said: str = "", count: int | None = None) -> Response:
        """On to another page, which says what was done."""
        found = f"said={said}" + (f"&n={count}" if count is not None else "")
        mark = "&" if "?" in path else "?"
        return RedirectResponse(f"{path}{mark}{found}" if said else path, 303)


Show = Callable[[Visit], Awaitable[Response]]
