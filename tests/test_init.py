"""What `import receiver` offers to the code of users."""

import subprocess
import sys
import tomllib
from pathlib import Path

import receiver


def test_the_version_is_the_one_that_is_released():
    project = Path(__file__).parents[1] / "pyproject.toml"

    declared = tomllib.loads(project.read_text())["project"]["version"]

    assert receiver.__version__ == declared


def test_importing_it_into_a_handler_loads_nothing_heavy():
    program = "import sys, receiver; print(*sys.modules)"

    loaded = subprocess.check_output([sys.executable, "-c", program], text=True)

    heavy = {"asyncio", "aiohttp", "starlette", "jinja2", "dotenv", "receiver.settings"}
    assert not heavy & set(loaded.split())
