"""Judging files, disk, clock and limits."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from receiver import clock
from receiver.doctor import Finding, ok, problem, unknown, warning
from receiver.doctor.facts import Disk, File, OpenFiles
from receiver.web.limits import MOST_CONNECTIONS, RESERVED_DESCRIPTORS

SOON = timedelta(days=14)
AT_ONCE = timedelta(days=1)
FROM_THE_FUTURE = timedelta(minutes=1)
MOSTLY_USED = 0.8


def private_files(files: Iterable[File], owner: str) -> Iterator[Finding]:
    """The store and what is beside it, which only its owner has business with."""
    wrong = False
    for file in files:
        name = file.path.name
        usable = file.readable and file.writable
        if file.owner != owner:
            wrong = True
            words = f"{name} belongs to {file.owner}, its folder to {owner}"
            advice = f"if the server runs as {owner}: chown {owner} {file.path}"
            yield (warning if usable else problem)("files", words, advice)
        elif not usable:
            wrong = True
            can = "written" if file.readable else "read"
            words = f"{name} cannot be {can} by who runs this"
            advice = f"run this, and the server, as {owner}; see ls -l {file.path}"
            yield problem("files", words, advice)
        if file.mode & 0o077:
            wrong = True
            words = f"others may use {name} (mode {file.mode:03o})"
            yield warning("files", words, f"chmod 600 {file.path}")
    if not wrong:
        yield ok("files", "only their owner can read and write them")


def configuration_files(files: Iterable[File]) -> Iterator[Finding]:
    """What decides where things go, and what holds secrets."""
    for file in files:
        if file.mode & 0o002:
            words = f"everybody can change {file.path.name} (mode {file.mode:03o})"
            yield problem("files", words, f"chmod o-w {file.path}")
        if file.path.name == ".env" and file.mode & 0o004:
            words = f"everybody can read {file.path.name} (mode {file.mode:03o})"
            yield warning("files", words, f"chmod 600 {file.path}")


def room(disk: Disk, min_free_bytes: int, per_day: float | None) -> Finding:
    """`per_day` is by how many bytes the store grows; None where that is not known."""
    free = f"{_size(disk.free)} free"
    advice = f"make room on the disk of {disk.folder}: du -xh {disk.folder}"
    if not disk.writable:
        words = f"{disk.folder} cannot be written by who runs this"
        advice = (
            "is the disk mounted read-only, is it the server's user? see dmesg, ls -ld"
        )
        return problem("disk", words, advice)
    if disk.free < min_free_bytes:
        words = f"{free}, less than min_free_bytes: webhooks are answered 503"
        return problem("disk", words, advice)
    if not per_day:
        grows = "; the growth is not known yet" if per_day is None else ""
        near = disk.free < 2 * min_free_bytes
        return (warning if near else ok)("disk", free + grows)
    lasts = timedelta(days=min((disk.free - min_free_bytes) / per_day, 36_500))
    words = f"{free}, enough for {_days(lasts)} at {_size(per_day)} a day"
    if lasts < AT_ONCE:
        return problem("disk", words, advice)
    if lasts < SOON or disk.free < 2 * min_free_bytes:
        return warning("disk", words, advice)
    return ok("disk", words)


def clock_findings(
    synchronised: bool | None,
    newest_event_at: datetime | None,
    refused_at: datetime | None,
    now: datetime,
) -> Iterator[Finding]:
    """
    Of the clock, from what is known without a network.

    `refused_at` is when a request was last refused for its timestamp.
    """
    advice = "timedatectl; signatures with a time are refused when it is wrong"
    if synchronised is None:
        yield unknown("clock", "the kernel does not say whether it is synchronised")
    elif synchronised:
        yield ok("clock", "synchronised, as the kernel says")
    else:
        words = "nothing keeps it right, as far as the kernel knows"
        yield warning("clock", words, advice)
    if newest_event_at is not None and newest_event_at > now + FROM_THE_FUTURE:
        words = f"the newest event is of {clock.iso(newest_event_at)}: it was set back"
        yield problem("clock", words, advice)
    if refused_at is not None and now - refused_at < timedelta(days=1):
        words = f"a request was refused for its time at {clock.iso(refused_at)}"
        command = "receiver rejections list --code timestamp_out_of_range"
        yield warning("clock", words, f"{command}; if there are many: timedatectl")


def limits(found: OpenFiles | None) -> Finding:
    """Whether as many connections fit as are allowed at most."""
    if found is None:
        return unknown("open files", "the server's limit cannot be seen from here")
    used = "" if found.used is None else f", {found.used:,} are used"
    words = f"{found.limit:,} allowed{used}"
    advice = "raise LimitNOFILE= of the unit, or ulimit -n, and restart"
    if found.used is not None and found.used > found.limit * MOSTLY_USED:
        return problem("open files", words, advice)
    if found.limit < MOST_CONNECTIONS + RESERVED_DESCRIPTORS:
        few = f"{words}: fewer than {MOST_CONNECTIONS:,} connections at once"
        return warning("open files", few, advice)
    return ok("open files", words)


def _days(time: timedelta) -> str:
    days = time / timedelta(days=1)
    return f"{days:,.0f} days" if days >= 2 else f"{days * 24:.0f} hours"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:,.0f} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
