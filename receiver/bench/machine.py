"""
The machine: which core for whom, and what a process has used so far.

What only Linux tells is None elsewhere.
"""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from receiver.errors import ReceiverError

_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_RUNNING_PROCESS = 14  # utime's place in /proc/PID/stat; stime follows


@dataclass(frozen=True, slots=True)
class Cores:
    """Who runs where; None: wherever the system likes."""

    server: int | None
    load: int | None

    @classmethod
    def choose(cls) -> "Cores":
        """Two that differ, if there are two."""
        if not hasattr(os, "sched_getaffinity"):
            return cls(None, None)
        usable = sorted(os.sched_getaffinity(0))
        if len(usable) < 2:
            return cls(None, None)
        return cls(usable[-1], usable[0])


def pin(pid: int, core: int | None) -> None:
    """Let a process, just started, run on this core only."""
    if core is not None:
        with suppress(ProcessLookupError):
            os.sched_setaffinity(pid, {core})


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process has used since it started."""

    cpu_s: float | None
    written_bytes: int | None


def usage(pid: int | None) -> Usage:
    """
    CPU time of all threads, and bytes it caused to be written to disks
    (https://man7.org/linux/man-pages/man5/proc_pid_io.5.html).
    """
    if pid is None:
        return Usage(None, None)
    cpu = written = None
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        first = _RUNNING_PROCESS - 3  # counted from what follows the name
        ticks = sum(map(int, stat[first : first + 2]))
        cpu = ticks / os.sysconf("SC_CLK_TCK")
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
        written = int(dict(line.split(": ") for line in lines)["write_bytes"])
    return Usage(cpu, written)


def resident_mb(pid: int) -> float | None:
    """Memory of a process that is its own or shared, in MB of 10^6 bytes."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024 / 1e6
    return None


def in_memory(folder: Path) -> bool:
    """Whether what is written there goes to no disk: then a commit costs nothing."""
    found = ""
    kind = ""
    with suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            _, place, type_, *_ = line.split()
            if folder.resolve().is_relative_to(place) and len(place) >= len(found):
                found, kind = place, type_
    return kind in _IN_MEMORY


def need_room(folder: Path, wanted: int) -> None:
    """
    Raises:
        ReceiverError: the disk has fewer free bytes than that.
    """
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise ReceiverError(
            f"{folder} has {free / 1e9:.1f} GB free, this needs {wanted / 1e9:.1f}; "
            "name another folder with --dir, or take fewer --events"
        )
