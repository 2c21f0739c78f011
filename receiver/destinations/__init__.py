"""
Where events are delivered to.

A destination type is a module with two things: a settings dataclass that declares its
fields, and a class with the methods of `Destination`.  Register it in `TYPES`.
`tests/destinations/test_contract.py` holds every type to the contract.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from receiver.models import Delivery, Event, Outcome, Trigger
from receiver.settings import DestinationSettings


@dataclass(frozen=True, slots=True)
class Parcel:
    """
    One attempt's input: an event on its way to one destination.

    `number` counts attempts from 1; `now` is when this one starts.
    """

    event: Event
    delivery: Delivery
    number: int
    trigger: Trigger
    now: datetime


@dataclass(frozen=True, slots=True)
class Preview:
    """
    What a destination would be sent, for people and (`payload`) for programs.

    There are no secrets in it.  `html` is a second form of the text where there is
    one; `note` says what is not as configured.
    """

    headers: Sequence[tuple[str, str]]
    text: str
    html: str = ""
    payload: Any = None
    note: str = ""


class Destination(Protocol):
    """
    Somewhere we deliver.

    `send` makes one attempt and names its outcome.  It never raises for what the
    other side did; it may take as long as it likes, for the caller cancels it at the
    settings' `timeout`, and then it must leave nothing behind that still runs.  What
    the other side had said until then may be the argument of its `CancelledError`; its
    notes go on with "no answer within 15 s".
    """

    @property
    def needs_reading(self) -> bool:
        """Whether `event.result_urls` and `expires_at` must be filled in."""
        ...

    async def send(self, parcel: Parcel) -> Outcome: ...

    async def close(self) -> None: ...


@runtime_checkable
class Previews(Protocol):
    """A destination that can show what it would send, without sending anything."""

    async def preview(self, parcel: Parcel) -> Preview: ...


@runtime_checkable
class Digests(Protocol):
    """
    A destination that can tell of several events at once.

    The one outcome, its `progress` included, is that of each delivery; so parcels
    given together should have the same `delivery.progress`.  Where they have not,
    somebody may be told twice, but nobody never.
    """

    async def send_many(self, parcels: Sequence[Parcel]) -> Outcome: ...


@runtime_checkable
class Reaches(Protocol):
    """A destination on the network, which can be dialled without sending it anything."""

    async def reach(self) -> Outcome | None:
        """
        Connect as an attempt would, TLS included, and hang up; how that went.

        None: where to is only known when there is an event.
        """
        ...


@dataclass(frozen=True, slots=True)
class DestinationType:
    """How a type is declared and made; its module is loaded when first used."""

    module: str
    settings: str
    factory: str

    def settings_class(self) -> type[DestinationSettings]:
        found: type[DestinationSettings] = getattr(
            import_module(self.module), self.settings
        )
        return found

    def make(self, settings: DestinationSettings) -> Destination:
        factory: Callable[[Any], Destination] = getattr(
            import_module(self.module), self.factory
        )
        return factory(settings)


TYPES: Mapping[str, DestinationType] = {
    "http": DestinationType("receiver.destinations.http", "HttpSettings", "Http"),
    "slack": DestinationType("receiver.destinations.slack", "SlackSettings", "Slack"),
    "email": DestinationType("receiver.destinations.email", "EmailSettings", "Email"),
    "python": DestinationType(
        "receiver.destinations.python", "PythonSettings", "Python"
    ),
    "command": DestinationType(
        "receiver.destinations.command", "CommandSettings", "Command"
    ),
}


def make(settings: DestinationSettings) -> Destination:
    """The destination that these settings declare."""
    return TYPES[settings.type].make(settings)


class LazyTypes(Mapping[str, type[DestinationSettings]]):
    """The settings class of each type, loaded only when a configuration names it."""

    def __getitem__(self, name: str) -> type[DestinationSettings]:
        return TYPES[name].settings_class()

    def __iter__(self) -> Any:
        return iter(TYPES)

    def __len__(self) -> int:
        return len(TYPES)
