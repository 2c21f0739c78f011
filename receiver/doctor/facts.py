"""
Looking at the machine: files, disk, the kernel's clock, open files.  Changes nothing.

Sources: https://man7.org/linux/man-pages/man2/adjtimex.2.html and
https://man7.org/linux/man-pages/man5/proc_pid_limits.5.html.
"""

import ctypes
import os
import pwd
import re
import resource
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_UNSYNCHRONISED = 0x40
_OPEN_FILES = re.compile(r"^Max open files +(\d+|unlimited)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class File:
    """A file that is there: its permission bits, and whose it is."""

    path: Path
    mode: int
    owner: str
    readable: bool
    writable: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """Bytes free for us where a folder is, and whether anything can be written."""

    folder: Path
    free: int
    writable: bool


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """How many files a process may have open, and how many it has, if that is seen."""

    limit: int
    used: int | None


def files(paths: Iterable[Path]) -> list[File]:
    """Those of the paths where something is."""
    found: list[File] = []
    for path in paths:
        with suppress(OSError):
            status = path.stat()
            mode = stat.S_IMODE(status.st_mode)
            readable, writable = os.access(path, os.R_OK), os.access(path, os.W_OK)
            found.append(File(path, mode, user(status.st_uid), readable, writable))
    return found


def user(number: int) -> str:
    """A user's name, or the number where there is none."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def disk(folder: Path) -> Disk:
    """
    Raises:
        OSError: the folder cannot be looked at.
    """
    space = os.statvfs(folder)
    writable = os.access(folder, os.W_OK) and not space.f_flag & os.ST_RDONLY
    return Disk(folder, space.f_bavail * space.f_frsize, writable)


def open_files(pid: int | None) -> OpenFiles | None:
    """Of the server; without one, what a server started from here would have."""
    if pid is None:
        return OpenFiles(_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[1]), None)
    process = Path("/proc") / str(pid)
    try:
        found = _OPEN_FILES.search((process / "limits").read_text())
        used = sum(1 for _ in (process / "fd").iterdir())
    except OSError:  # another system, or another user's process
        return None
    if found is None:
        return None
    unlimited = found[1] == "unlimited"
    return OpenFiles(
        _limit(resource.RLIM_INFINITY if unlimited else int(found[1])), used
    )


def _limit(number: int) -> int:
    return 2**31 if number == resource.RLIM_INFINITY else number


class _Timex(ctypes.Structure):
    """The kernel's, as far as we read it, with room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 512),
    )


def clock_is_synchronised() -> bool | None:
    """What the kernel was told by NTP or the like; None where it cannot be asked."""
    try:
        ask = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return None
    answer = _Timex()  # modes 0: only read
    if ask(ctypes.byref(answer)) < 0:
        return None
    return not answer.status & _UNSYNCHRONISED
