"""What is loaded when, so that it starts soon and stays small."""

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.bench.footprint import footprint
from receiver.bench.machine import in_memory, resident_mb, usage
from tests.serving import config, serving

pytestmark = pytest.mark.e2e

LARGEST_MB = 70.0
"""When idle; 53 to 56 were measured."""

HEAVY = {
    *("aiohttp", "aiosmtplib", "cel_expr_python", "cryptography", "httpx", "jinja2"),
    *("prometheus_client", "sqlite3", "starlette", "structlog", "uvicorn", "uvloop"),
}
HTTP = 'type = "http"\nurl = "http://127.0.0.1:9/"'
SLACK = 'type = "slack"\nurl = "https://hooks.slack.com/services/T/B/X"'
WHEN = '[[routes]]\nsource = "sora2"\nwhen = "data.a == 1"\nto = ["to"]'

STARTED = """
import atexit, json, sys
from receiver.cli import main
atexit.register(lambda: print(json.dumps(sorted(sys.modules))))
sys.argv = ["receiver", *sys.argv[1:]]
main()
"""


@pytest.fixture(autouse=True)
def not_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring coverage would load things, too."""
    monkeypatch.delenv("COVERAGE_PROCESS_START", raising=False)


def loaded_by(folder: Path, *arguments: str) -> set[str]:
    """The modules that a command which ends by itself has loaded."""
    said = subprocess.run(
        [sys.executable, "-c", STARTED, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(said.stdout.splitlines()[-1]))


async def loaded_by_serving(folder: Path, toml: str) -> set[str]:
    """The modules that a server has loaded when it is ready."""
    (folder / "receiver.toml").write_text(toml)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STARTED, "serve"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if b"receiver.ready" in line:
            break
    process.send_signal(signal.SIGTERM)
    out, err = await process.communicate()
    assert process.returncode == 0, err
    return set(json.loads(out.splitlines()[-1]))


def test_help_loads_nothing_that_is_heavy(tmp_path: Path):
    loaded = loaded_by(tmp_path, "--help")

    assert loaded & HEAVY == set()
    assert "asyncio" not in loaded
    assert {name for name in loaded if name.startswith("receiver.")} <= {
        *("receiver.cli", "receiver.errors", "receiver.models"),
    }


@pytest.mark.parametrize(
    ("destination", "routes", "needed", "not_needed"),
    [
        ("", "", set(), {"aiohttp", "cel_expr_python", "jinja2", "aiosmtplib"}),
        (HTTP, "", {"aiohttp"}, {"cel_expr_python", "jinja2", "aiosmtplib"}),
        (HTTP, WHEN, {"aiohttp", "cel_expr_python"}, {"jinja2", "aiosmtplib"}),
        (SLACK, "", {"aiohttp"}, {"aiosmtplib"}),
    ],
    ids=["nothing", "http", "http when", "slack"],
)
async def test_a_server_loads_only_what_its_configuration_needs(
    tmp_path: Path,
    destination: str,
    routes: str,
    needed: set[str],
    not_needed: set[str],
):
    destinations = {"to": destination} if destination else {}

    loaded = await loaded_by_serving(
        tmp_path, config(destinations=destinations, routes=routes)
    )

    assert needed <= loaded
    assert loaded & {*not_needed, "cryptography", "httpx"} == set()
    never = ("receiver.bench", "receiver.cli.preview", "receiver.cli.benching")
    assert {name for name in loaded if name.startswith(never)} == set()


async def test_a_server_that_does_nothing_is_small(tmp_path: Path):
    toml = config(destinations=dict.fromkeys("abc", HTTP))

    async with serving(tmp_path, toml) as running:
        size = resident_mb(running.process.pid)

    assert size is not None
    assert 10 < size < LARGEST_MB


async def test_the_three_figures_are_measured(tmp_path: Path):
    found = await footprint(tmp_path, 1)

    assert 0 < found.help_s < found.ready_s
    assert found.idle_rss_mb is not None
    assert 10 < found.idle_rss_mb < LARGEST_MB


def test_what_a_process_uses_is_known_while_it_runs():
    with subprocess.Popen([sys.executable], stdin=subprocess.PIPE) as process:
        found = usage(process.pid)
        assert process.stdin is not None
        process.stdin.close()

    assert found.cpu_s is not None
    assert usage(None).cpu_s is None
    assert usage(process.pid).cpu_s is None


def test_a_folder_in_memory_is_told_from_one_on_a_disk(tmp_path: Path):
    assert in_memory(Path("/dev/shm"))
    assert not in_memory(Path("/proc"))
