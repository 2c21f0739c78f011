"""
`receiver`, with a trap in it: run as a script, in place of `python -m receiver`.

Nothing of this is in the product.  SQLite's connections, aiohttp's requests and two of
our own names are wrapped from outside; what is reached is told by the environment:

    POINT=before-commit:3    SIGKILL when that is reached for the third time
    LIE=lost-commit:3        the third commit of events is rolled back instead
    LIE=no-sync              the store syncs nothing
    CHECKPOINT=40            the log is emptied into the file after so many pages
    CLOCK=/path              seconds in that file are added to the wall clock
"""

import os
import signal
import sqlite3
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp

from receiver import clock, delivery
from receiver.cli import main
from receiver.web import cycle, hooks

POINTS = (
    "before-commit",
    "after-commit",
    "after-answer",
    "before-post",
    "after-post",
    "inside-recording",
    "before-recording",
    "after-recording",
)

CONFIRMING = (
    "before-deciding",
    "after-deciding",
    "before-following-a-decision",
    "after-following-a-decision",
)
"""What a source has on its way whose API is asked before its events count."""

_WRITTEN = {
    "INSERT INTO events ": "events",
    "INSERT INTO attempts ": "attempts",
    "UPDATE unconfirmed_events ": "deciding",
    "DELETE FROM unconfirmed_events ": "following-a-decision",
    "INSERT INTO audit ": "noting-a-change",
    "UPDATE audit ": "noting-its-outcome",
    "INSERT INTO replayed ": "replaying",
    "INSERT INTO variants ": "keeping-a-variant",
    "UPDATE pruning ": "pruning",
    "incremental_vacuum": "giving-back",
}

MOVES = ("os.rename", "os.link", "os.remove")
"""What `moving-a-file` is, just before it is done."""

_reached: Counter[str] = Counter()


def reached(point: str) -> bool:
    """Whether this is where, and when, something is to happen."""
    _reached[point] += 1
    wanted = f"{point}:{_reached[point]}"
    return wanted in (os.environ.get("POINT"), os.environ.get("LIE"))


def trap(point: str) -> None:
    if reached(point):
        os.kill(os.getpid(), signal.SIGKILL)


class Watched(sqlite3.Connection):
    """Knows what the open transaction writes, by its statements."""

    writes: frozenset[str] = frozenset()

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if sql.startswith("BEGIN"):
            self.writes = frozenset()
        if sql == "COMMIT":
            return self._commit()
        if "synchronous" in sql and os.environ.get("LIE") == "no-sync":
            sql = "PRAGMA synchronous = OFF"
        if "wal_autocheckpoint" in sql and "CHECKPOINT" in os.environ:
            sql = f"PRAGMA wal_autocheckpoint = {os.environ['CHECKPOINT']}"
        self._note(sql)
        done = super().execute(sql, *values)
        if sql.startswith("DELETE FROM events "):
            trap("inside-pruning")
        return done

    def executemany(self, sql: str, *values: Any) -> sqlite3.Cursor:
        self._note(sql)
        if "UPDATE deliveries" in sql and "attempts" in self.writes:
            trap("inside-recording")
        return super().executemany(sql, *values)

    def backup(self, target: sqlite3.Connection, **options: Any) -> None:
        progress = options.pop("progress")

        def copied(*pages: int) -> None:
            progress(*pages)
            trap("copying")

        super().backup(target, progress=copied, **options)

    def executescript(self, sql: str) -> sqlite3.Cursor:
        def step() -> int:
            trap("migration")
            return 0

        if "user_version" in sql:
            self.set_progress_handler(step, 10)
        try:
            return super().executescript(sql)
        finally:
            self.set_progress_handler(None, 0)

    def _note(self, sql: str) -> None:
        for words, name in _WRITTEN.items():
            if words in sql:
                self.writes |= {name}

    def _commit(self) -> sqlite3.Cursor:
        events, attempts = "events" in self.writes, "attempts" in self.writes
        if events:
            trap("before-commit")
        if attempts:
            trap("before-recording")
        others = sorted(self.writes - {"events", "attempts"})
        for other in others:
            trap(f"before-{other}")
        lie = events and reached("lost-commit")
        done = super().execute("ROLLBACK" if lie else "COMMIT")
        if events:
            trap("after-commit")
        if attempts:
            trap("after-recording")
        for other in others:
            trap(f"after-{other}")
        return done


def watch_store() -> None:
    connect = sqlite3.connect

    def watched(*arguments: Any, **options: Any) -> Any:
        return connect(*arguments, **{"factory": Watched, **options})

    sqlite3.connect = watched


def watch_files() -> None:
    def happens(event: str, _: object) -> None:
        if event in MOVES:
            trap("moving-a-file")

    sys.addaudithook(happens)


def watch_network() -> None:
    whole, attempt = cycle.whole, delivery.attempt_together
    request = aiohttp.ClientSession._request

    def answering(
        status: int, *rest: Any
    ) -> Any:  # written in the same turn of the loop
        _reached["answered"] += status == 200
        return whole(status, *rest)

    async def attempting(*arguments: Any) -> Any:
        if _reached["answered"]:
            trap("after-answer")
        return await attempt(*arguments)

    async def requesting(*arguments: Any, **options: Any) -> Any:
        trap("before-post")
        response = await request(*arguments, **options)
        trap("after-post")
        return response

    vars(hooks)["whole"] = answering
    delivery.attempt_together = attempting  # type: ignore[assignment]
    aiohttp.ClientSession._request = requesting  # type: ignore[method-assign]


def shift_clock(by: Path) -> None:
    real = clock.now

    def shifted() -> Any:
        return real() + timedelta(seconds=float(by.read_text() or 0))

    clock.now = shifted


if __name__ == "__main__":
    watch_store()
    watch_files()
    watch_network()
    if "CLOCK" in os.environ:
        shift_clock(Path(os.environ["CLOCK"]))
    main()
