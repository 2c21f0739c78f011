"""
Every error that crosses a module, by what the caller should do about it.

    ReceiverError
    ├── Rejected          refuse the request: `status`, a stable `code`, a sentence
    ├── SettingsError     stop with exit code 2 and show every problem
    ├── NotFound          nothing has this id or name
    ├── Conflict          the state forbids it: say so, exit code 1 or 409
    └── StoreError        nothing was kept: the sender should try again
        ├── StoreBusy     too much waits already, or space is nearly out
        ├── StoreLocked   another process owns the file
        ├── Unwritable    it is the values: trying again is no use
        └── StoreUnusable the file is damaged, newer than we are, or not ours

    Permanent             raised by *users'* handlers: do not try this event again

What goes wrong at a destination is never one of these: it is an `Outcome`.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class ReceiverError(Exception):
    """Base of all that `receiver` raises on purpose; its text is for users."""


class Rejected(ReceiverError):
    """A request that is refused, with the answer it gets."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["Rejected"], tuple[int, str, str]]:
        return type(self), (self.status, self.code, self.message)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the configuration, where it is, and what to do."""

    file: str
    key: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}: {self.key}" if self.key else self.file
        return f"{place}: {self.message}" + (f" ({self.hint})" if self.hint else "")


class SettingsError(ReceiverError):
    """The configuration cannot be used; `problems` has all of it at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


class NotFound(ReceiverError):
    """Nothing has this id or name."""


class Conflict(ReceiverError):
    """What was asked for does not fit the state things are in."""


class StoreError(ReceiverError):
    """The store could not do it; nothing was kept."""


class StoreBusy(StoreError):
    """Too much is waiting to be committed, or free space is nearly out."""


class StoreLocked(StoreError):
    """Another process owns the store."""


class Unwritable(StoreError):
    """What was to be written cannot be, now or later."""


class StoreUnusable(StoreError):
    """The store is damaged, made by a newer version, or not a store at all."""


class Permanent(Exception):
    """Raise this from a handler when trying again can never help."""
