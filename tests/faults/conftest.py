"""What tests of faults share: a seed that can be given again, and small pieces."""

import os
import random
from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short enough for a Unix socket in it."""
    return tmp_path_factory.mktemp("f")


@pytest.fixture
def seed() -> int:
    """`FAULTS_SEED`, or a new one; shown when the test fails."""
    given = os.environ.get("FAULTS_SEED")
    chosen = int(given) if given else random.SystemRandom().randrange(2**32)
    print(f"FAULTS_SEED={chosen}")  # noqa: T201 (to run a failure again)
    return chosen
