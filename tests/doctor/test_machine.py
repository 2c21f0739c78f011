"""Judging files, disk, clock and limits: pure, from made-up facts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from receiver.doctor import Finding, Verdict, facts
from receiver.doctor.facts import Disk, File, OpenFiles
from receiver.doctor.machine import (
    clock_findings,
    configuration_files,
    limits,
    private_files,
    room,
)

NOW = datetime(2026, 1, 24, 10, 0, tzinfo=UTC)
GB = 10**9


def file(
    name: str = "receiver.db",
    *,
    mode: int = 0o600,
    owner: str = "receiver",
    readable: bool = True,
    writable: bool = True,
) -> File:
    return File(Path("/data") / name, mode, owner, readable, writable)


def verdicts(findings) -> list[Verdict]:
    return [finding.verdict for finding in findings]


def test_private_files_of_one_owner_are_fine():
    assert verdicts(private_files([file(), file("x-wal")], "receiver")) == [Verdict.OK]


@pytest.mark.parametrize(
    ("wrong", "verdict", "advice"),
    [
        (file(mode=0o640), Verdict.WARNING, "chmod 600 /data/receiver.db"),
        (file(owner="root"), Verdict.WARNING, "chown receiver /data/receiver.db"),
        (file(owner="root", writable=False), Verdict.PROBLEM, "chown receiver"),
        (file(writable=False), Verdict.PROBLEM, "run this, and the server, as"),
        (file(readable=False), Verdict.PROBLEM, "ls -l /data/receiver.db"),
    ],
)
def test_a_file_that_others_have_or_we_have_not_is_told(wrong, verdict, advice):
    [found] = private_files([wrong], "receiver")

    assert found.verdict is verdict
    assert advice in found.advice


@pytest.mark.parametrize(
    ("name", "mode", "expected"),
    [
        ("receiver.toml", 0o644, []),
        ("receiver.toml", 0o646, [Verdict.PROBLEM]),
        (".env", 0o640, []),
        (".env", 0o644, [Verdict.WARNING]),
    ],
)
def test_secrets_are_for_their_owner_and_routes_are_not_for_all(name, mode, expected):
    assert verdicts(configuration_files([file(name, mode=mode)])) == expected


@pytest.mark.parametrize(
    ("free", "writable", "per_day", "verdict", "words"),
    [
        (9 * GB, True, GB / 10, Verdict.OK, "enough for 80 days"),
        (9 * GB, True, None, Verdict.OK, "not known yet"),
        (9 * GB, True, 0.0, Verdict.OK, "9.0 GB free"),
        (9 * GB, True, GB, Verdict.WARNING, "enough for 8 days"),
        (9 * GB, True, 16 * GB, Verdict.PROBLEM, "enough for 12 hours"),
        (1.5 * GB, True, None, Verdict.WARNING, "1.5 GB free"),
        (0.5 * GB, True, 1.0, Verdict.PROBLEM, "answered 503"),
        (9 * GB, False, 1.0, Verdict.PROBLEM, "cannot be written"),
    ],
)
def test_room_is_judged_by_what_must_stay_free_and_by_the_growth(
    free, writable, per_day, verdict, words
):
    found = room(Disk(Path("/data"), int(free), writable), GB, per_day)

    assert found.verdict is verdict
    assert words in found.words


def test_a_clock_of_which_nothing_is_known_is_called_unknown():
    assert verdicts(clock_findings(None, None, None, NOW)) == [Verdict.UNKNOWN]


def test_a_clock_that_is_kept_right_is_fine():
    long_ago = NOW - timedelta(days=9)

    assert verdicts(clock_findings(True, NOW, long_ago, NOW)) == [Verdict.OK]


def test_what_the_store_tells_of_the_clock_is_heard():
    found: list[Finding] = list(
        clock_findings(False, NOW + timedelta(hours=1), NOW - timedelta(hours=1), NOW)
    )

    assert verdicts(found) == [Verdict.WARNING, Verdict.PROBLEM, Verdict.WARNING]
    assert "2026-01-24T11:00:00.000Z: it was set back" in found[1].words


@pytest.mark.parametrize(
    ("open_files", "verdict"),
    [
        (OpenFiles(65_536, 100), Verdict.OK),
        (OpenFiles(65_536, None), Verdict.OK),
        (OpenFiles(1_024, None), Verdict.WARNING),
        (OpenFiles(65_536, 60_000), Verdict.PROBLEM),
        (None, Verdict.UNKNOWN),
    ],
)
def test_limits_are_judged_by_what_the_server_needs_and_has(open_files, verdict):
    assert limits(open_files).verdict is verdict


def test_what_a_machine_is_like_can_be_seen(tmp_path):
    (tmp_path / "x").write_text("")
    (tmp_path / "x").chmod(0o640)

    [seen] = facts.files([tmp_path / "x", tmp_path / "missing"])

    assert (seen.mode, seen.readable, seen.writable) == (0o640, True, True)
    assert facts.disk(tmp_path).free > 0
    assert facts.clock_is_synchronised() in (True, False, None)
    assert facts.open_files(None) is not None
    assert facts.user(4_000_000_000) == "4000000000"


def test_the_limits_of_a_process_that_is_gone_are_unknown():
    assert facts.open_files(2**22 + 1) is None
