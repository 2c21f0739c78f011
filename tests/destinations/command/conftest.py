"""A program that is made up for a test."""

import os
from pathlib import Path
from typing import Any

import pytest

from receiver.destinations.command import Command
from tests.destinations.command.making import Make, program, settings
from tests.processes import Fifo


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A destination whose program is this script."""

    def make(script: str, *arguments: str, **options: Any) -> Command:
        return Command(settings(program(tmp_path, script), *arguments, **options))

    return make


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    return Fifo(tmp_path / "fifo")


@pytest.fixture
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's environment that is known."""
    for name in os.environ:
        monkeypatch.delenv(name)
    known = {"HOME": "/srv", "LC_TIME": "C", "TZ": "UTC", "SORA2_SECRET": "hush"}
    for name, value in {**known, "PATH": "/usr/bin:/bin"}.items():
        monkeypatch.setenv(name, value)
