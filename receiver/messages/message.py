"""What a message says, whatever the channel; every text here is bounded and clean."""

from dataclasses import dataclass, replace
from enum import StrEnum

from receiver.messages.words import clean
from receiver.models import State


class Severity(StrEnum):
    """How much it matters to the person who reads it."""

    GOOD = "good"
    INFO = "info"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Fact:
    """Something with a name: `Succeeded: 9`."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An item that did not work out; `kind` and `note` may be empty."""

    item: str
    error: str
    kind: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A result; `url` is http or https, and nothing in it can end a link early."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Account:
    """What one kind of event has to tell; the rest of a message is common to all."""

    title: str
    summary: str
    state: State = State.UNKNOWN
    status: tuple[str, Severity] | None = None
    counters: tuple[Fact, ...] = ()
    credits: tuple[Fact, ...] = ()
    failures: tuple[Failure, ...] = ()
    more_failures: int = 0
    steps: tuple[Fact, ...] = ()
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """
    An event, or several, in words.

    `title` fits a subject line, `summary` is a sentence, `status` says in a word what
    `severity` says in colour.  `more_failures`, `more_entries` and `more_links`
    count what was left out.  `entries` are the other events of several; `steps` say
    what to do, with the command for it.  `links_until` is when links end.  Nothing in it holds markup or control characters.
    """

    title: str
    summary: str
    status: str
    severity: Severity
    counters: tuple[Fact, ...]
    credits: tuple[Fact, ...]
    failures: tuple[Failure, ...]
    more_failures: int
    links: tuple[Link, ...]
    more_links: int
    facts: tuple[Fact, ...]
    links_until: str = ""
    entries: tuple[Fact, ...] = ()
    more_entries: int = 0
    steps: tuple[Fact, ...] = ()

    @property
    def entries_title(self) -> str:
        return "What else came" if self.failures else "What came"

    def noting(self, label: str, note: str) -> "Message":
        """The same, with a fact before the others."""
        return replace(self, facts=(Fact(label, clean(note, 300)), *self.facts))


STATUS: dict[State, tuple[str, Severity]] = {
    State.PENDING: ("Waiting", Severity.INFO),
    State.RUNNING: ("Running", Severity.INFO),
    State.SUCCEEDED: ("Succeeded", Severity.GOOD),
    State.PARTIAL: ("Partly succeeded", Severity.WARNING),
    State.FAILED: ("Failed", Severity.BAD),
    State.CANCELLED: ("Cancelled", Severity.WARNING),
    State.UNKNOWN: ("Reported", Severity.INFO),
}
