"""
What changes something: noted before it is done, so that nothing is done unnoted.

    noted as unfinished -> done -> noted what came of it -> answered

If the first note cannot be kept nothing is changed, and the caller may try again.  If
the last one cannot, the change was made and is answered as that: the entry stays
unfinished, and the log has the rest.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps

from receiver import clock, logs
from receiver.errors import ReceiverError, StoreError
from receiver.web.api.operation import Call, Handle
from receiver.web.api.problems import Problem


@dataclass(frozen=True, slots=True)
class Done:
    """What a change came to; `details` are logged and kept if there was one."""

    answer: object
    details: Mapping[str, object] = field(default_factory=dict[str, object])
    changed: bool = True


Change = Callable[[Call], Awaitable[Done]]


def change(what: str) -> Callable[[Change], Handle]:
    """Of what changes something: have it noted under this name with who asked for it."""

    def noting(make: Change) -> Handle:
        @wraps(make)
        async def noted(call: Call) -> object:
            if call.body.get("dry_run"):
                return (await make(call)).answer
            store, who = call.parts.store, call.who.name
            begun = {"unfinished": True, "asked": _asked(call)}
            entry = await store.begin_audit(who, what, begun, clock.now())
            try:
                done = await make(call)
            except StoreError as error:  # of several steps some may be done
                await _end(call, entry, {**begun, "failed": str(error)})
                raise
            except (ReceiverError, Problem):
                await _end(call, entry, None)
                raise
            if done.changed:
                logs.get().info(what, **done.details, asked_by=who)
            await _end(call, entry, done.details if done.changed else None)
            return done.answer

        return noted

    return noting


async def _end(call: Call, entry: int, details: Mapping[str, object] | None) -> None:
    try:
        await call.parts.store.end_audit(entry, details)
    except StoreError as error:
        logs.get().warning("audit.unfinished", entry=entry, error=str(error))


def _asked(call: Call) -> Mapping[str, object]:
    """What was asked for, in short: of lists only how long they are."""
    asked = {**call.path, **call.body}
    return {
        name: len(value) if isinstance(value, list) else value
        for name, value in asked.items()
    }
