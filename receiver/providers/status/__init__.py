"""
What senders say when they are asked: their status APIs, one module each.

A webhook that never arrived can be asked for.  Each API is a conversation (pure, see
`base`): requests to make, and from the answers the bodies of the webhooks that should
have come.  `transport` makes the requests.  A provider has an API here under its own
name, or a preset names one with `api`.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from receiver.providers.status.base import (
    Found,
    KeyRefused,
    Made,
    Query,
    Reply,
    StatusApi,
    Unanswered,
    UnknownSubject,
)

__all__ = [
    "APIS",
    "Found",
    "KeyRefused",
    "Made",
    "Query",
    "Reply",
    "StatusApi",
    "Unanswered",
    "UnknownSubject",
    "api_called",
]

APIS: Mapping[str, str] = {
    "kie": "KieStatus",
    "openai": "OpenaiStatus",
    "replicate": "ReplicateStatus",
    "sophon": "SophonStatus",
    "sora2": "Sora2Status",
}


@cache
def api_called(name: str) -> StatusApi:
    """
    The API of this name; its module is loaded when it is asked for.

    Raises:
        KeyError: there is none.
    """
    module = import_module(f"{__name__}.{name}") if name in APIS else None
    made: StatusApi = getattr(module, APIS[name])()
    return made
