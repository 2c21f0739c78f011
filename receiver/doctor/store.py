"""Judging the store's file and the server that owns it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from receiver import clock
from receiver.doctor import Finding, ok, problem, unknown, warning
from receiver.errors import StoreBusy, StoreError, StoreUnusable
from receiver.ledger import Ledger, Standing

LARGE_LOG_BYTES = 256_000_000
LATE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What was seen of the store's file.

    `error` is why it could not be read; `wrong` what its own check found.  `older` says
    that it lacks migrations.
    """

    path: Path
    exists: bool
    bytes: int = 0
    log_bytes: int = 0
    schema: int = 0
    newest_schema: int = 0
    error: StoreError | None = None
    damaged: bool = False
    wrong: Sequence[str] = ()
    full: bool = False


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds the lock, and what answered on the control socket."""

    holder: str | None
    answer: Mapping[str, Any] | None


def is_readable(seen: Seen) -> bool:
    """Whether its rows can be looked at by this version."""
    whole = seen.exists and seen.error is None and not seen.damaged
    return whole and seen.schema == seen.newest_schema


def of_file(seen: Seen) -> Iterator[Finding]:
    """Whether it is there, ours, whole, and of the right schema."""
    path = seen.path
    if not seen.exists:
        words = f"there is none at {path}"
        advice = "receiver serve makes one; or: receiver restore BACKUP"
        yield warning("store", words, advice)
        return
    if seen.damaged or seen.wrong:
        wrong = "; ".join(line.replace("\n", " ") for line in seen.wrong)
        words = str(seen.error or f"{path} is damaged: {wrong}")
        yield problem("store", words, repairing(path))
        return
    if seen.error is not None:
        yield problem("store", str(seen.error), _advice(seen))
        return
    if seen.schema == 0:
        yield warning("store", f"{path} is empty", "receiver serve fills it")
        return
    how = "integrity and indexes" if seen.full else "integrity"
    yield ok("store", f"{path}, {seen.bytes:,} bytes: {how} checked")
    words = f"{seen.schema}, this version needs {seen.newest_schema}"
    if seen.schema < seen.newest_schema:
        yield warning(
            "schema",
            f"{words}: commands cannot read it, and a start brings it up to date",
            "stop the server if it is the earlier version; then: "
            "receiver backup FILE && receiver migrate",
        )
    else:
        yield ok("schema", words)
    yield _log(seen)


def _log(seen: Seen) -> Finding:
    words = f"{seen.log_bytes:,} bytes"
    if seen.log_bytes <= LARGE_LOG_BYTES:
        return ok("log", words)
    advice = (
        f"something that reads keeps it from shrinking: fuser -v {seen.path}; "
        "a restart of the server brings it into the file"
    )
    return warning("log", words, advice)


def repairing(path: Path) -> str:
    """What to do about a damaged file, command by command."""
    aside = path.with_name("damaged")
    saved = aside / path.name
    return "\n".join(
        (
            "stop the server:       systemctl stop receiver.socket receiver.service",
            f"keep what there is:    mkdir {aside}; cp -a {path} {path}-wal {aside}/",
            "look at the disk:      dmesg, smartctl -a",
            "use the last backup:   receiver restore BACKUP",
            f"or save what can be:   sqlite3 {saved} .recover | sqlite3 recovered.db",
            "                       see docs/operating.md, When the store is damaged",
        )
    )


def _advice(seen: Seen) -> str:
    if isinstance(seen.error, StoreUnusable):
        return "check `url` under [store]"
    if isinstance(seen.error, StoreBusy):
        return f"another program has it: fuser -v {seen.path}"
    return f"ls -l {seen.path}*; run this as the user the server runs as"


def of_owner(owner: Owner, version: str, now: datetime) -> Finding:
    """Whether a server runs, answers, and is of this version."""
    if owner.answer is None:
        if owner.holder is None:
            return warning("server", "none is running", "receiver serve")
        words = f"process {owner.holder} owns the store, but does not answer"
        advice = (
            "is it of another user, starting, or stopping? look at its log: "
            f"journalctl -u receiver, ps -fp {owner.holder}"
        )
        return problem("server", words, advice)
    pid, theirs = owner.answer.get("pid"), owner.answer.get("version")
    if theirs is None:
        return unknown("server", f"process {pid} runs, and does not say its version")
    words = f"process {pid}, version {theirs}{_since(owner.answer, now)}"
    if theirs != version:
        words += f"; this command is of version {version}"
        return warning("server", words, "systemctl restart receiver")
    return ok("server", words)


def _since(answer: Mapping[str, Any], now: datetime) -> str:
    try:
        started = datetime.fromisoformat(answer["started_at"])
    except (KeyError, TypeError, ValueError):
        return ""
    hours = max(now - started, timedelta()) / timedelta(hours=1)
    runs = f"{hours / 24:,.0f} days" if hours >= 48 else f"{hours:.1f} hours"
    return f", for {runs} (since {clock.iso(started)})"


def of_ledger(ledger: Ledger) -> Finding:
    if ledger.difference == 0:
        return ok("ledger", "every decided delivery is accounted for")
    words = f"difference {ledger.difference}: something was lost or made up"
    advice = "copy the files before anything else, and report it; see receiver status"
    return problem("ledger", words, advice)


def of_queues(standings: Sequence[Standing], now: datetime) -> Iterator[Finding]:
    """The oldest that waits, where nothing explains why it does."""
    late = False
    for standing in standings:
        queue = standing.queue
        explained = standing.pause or standing.orphaned
        age = now - queue.oldest_at if queue.oldest_at else timedelta()
        if age > LATE and not explained:
            late = True
            hours = age / timedelta(hours=1)
            yield warning(
                "deliveries",
                f"{queue.pending:,} wait for {queue.destination}, one for {hours:.1f} hours",
                "receiver deliveries list --status pending "
                f"--destination {queue.destination}",
            )
    if not late:
        count = sum(standing.queue.pending for standing in standings)
        yield ok("deliveries", f"{count:,} wait, none for long without a known reason")
