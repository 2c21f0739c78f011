"""What somebody does first, for as long as nothing has come."""

from dataclasses import dataclass

from starlette.requests import Request

from receiver.providers import Provider
from receiver.providers.verification import authorization_of
from receiver.settings import Server
from receiver.stores import EventFilter
from receiver.web.api.events import LONGEST_S
from receiver.web.dashboard.origin import is_secure
from receiver.web.dashboard.visit import Visit


@dataclass(frozen=True, slots=True)
class Register:
    """
    A source's address, to be registered with its sender.

    `url` is empty where something secret belongs to it: then `command` shows it.
    """

    source: str
    provider: str
    url: str
    command: str


async def first_steps(visit: Visit) -> list[Register] | None:
    """Every source with its address; None: something has come already."""
    parts = visit.parts
    senders = list(parts.senders)
    if any(parts.trends.received(one.source.name) for one in senders):
        return None
    found = await parts.reader.search_events(
        EventFilter(), limit=1, after=None, longest_s=LONGEST_S
    )
    if found.items or found.next:
        return None
    base = _base(parts.settings.server, visit.request)
    return [_register(one, base) for one in senders]


def _register(provider: Provider, base: str) -> Register:
    source = provider.source
    secret = source.token or authorization_of(source)
    known = base or "https://hooks.example.com"
    command = f"receiver url {source.name} --base {known} --show-token"
    return Register(
        source.name,
        provider.name,
        "" if secret else f"{known}{source.path}",
        command,
    )


def _base(server: Server, request: Request) -> str:
    """Where the browser has found us; empty if webhooks are taken elsewhere."""
    if server.admin_port is not None:
        return ""
    scheme = "https" if is_secure(server, request) else "http"
    return f"{scheme}://{request.headers.get('host', '')}"
