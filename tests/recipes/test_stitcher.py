"""
The example of docs/stitcher.md as it stands there, in the real server, with ffmpeg.

What is changed before it is loaded is said in `local`, and nowhere else.
"""

import asyncio
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from tests.making import sample, signed
from tests.serving import SECRET, Serving, serving
from tests.sinks import Seen, Sink, sink

EXAMPLE = Path(__file__).parents[2] / "docs/examples/stitcher"
MOST_LINES = 60
TOKEN = "patTOKEN.0123456789abcdef"
URL_TOKEN = "url-token-0123456789"
RECORD = "recAAAAAAAAAAAAAA"
JOB = "job_1"

FRAMES = 10
"""Of each clip."""

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        shutil.which("ffmpeg") is None, reason="ffmpeg is not installed (apt has it)"
    ),
]


def local(toml: str, timeout: str) -> str:
    """
    On a free port; results come from this machine; waits are short, also a join's.
    """
    toml = toml.replace(
        "[joins.film]", 'hosts = ["127.0.0.1", "localhost"]\n\n[joins.film]'
    )
    toml = toml.replace('timeout = "30m"', f'timeout = "{timeout}"')
    toml = toml.replace('waits = ["30s", "1m", "5m"]', 'waits = ["200ms"]')
    return f"[server]\nport = 0\n[store]\nmin_free_bytes = 0\n{toml}"


@dataclass
class Studio:
    """An Airtable of one table, a server of files, and the sender of callbacks."""

    folder: Path
    target: Sink
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    fetched: Counter[str] = field(default_factory=Counter)
    statuses: dict[str, list[str]] = field(default_factory=dict)
    refusals: list[tuple[str, int]] = field(default_factory=list)
    """Statuses whose next writing fails, and with which answer."""

    server: Serving | None = None
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    # -- what others do

    async def respond(self, seen: Seen) -> web.Response:
        name = urlsplit(seen.path).path
        if name.startswith("/clips/"):
            self.fetched[name] += 1
            body = self.files.get(name)
            return web.Response(body=body) if body else web.Response(status=404)
        assert seen.headers["authorization"] == f"Bearer {TOKEN}"
        record = re.fullmatch(r"/v0/appX/Videos/(rec\w{14})", name)
        if record is None or record[1] not in self.rows:
            return web.json_response({"error": "NOT_FOUND"}, status=404)
        found = self.rows[record[1]]
        if seen.method == "PATCH":
            payload = json.loads(seen.body)
            assert payload["typecast"] is True
            status = self._write(record[1], found, payload["fields"])
            if status != 200:
                return web.json_response({"error": "busy"}, status=status)
            async with self._news:
                self._news.notify_all()
        return web.json_response({"id": record[1], "fields": found})

    def _write(self, record: str, found: dict[str, Any], new: dict[str, Any]) -> int:
        for i, (status, answer) in enumerate(self.refusals):
            if new.get("Status") == status:
                del self.refusals[i]
                return answer
        found.update(new)
        self.statuses.setdefault(record, []).append(new["Status"])
        return 200

    def begun(self, record: str = RECORD, job: str = JOB) -> None:
        """As the program does that makes the tasks, before it makes them."""
        self.rows[record] = {"Job": job, "Status": "Generating", "Prompt 1": "x"}
        self.statuses[record] = []

    def clip(self, name: str, body: bytes) -> str:
        """The address of a file."""
        self.files[f"/clips/{name}"] = body
        return f"{self.target.url}/clips/{name}"

    # -- what kie does

    async def called_back(
        self,
        clip: int,
        url: str = "",
        *,
        of: int = 2,
        record: str = RECORD,
        job: str = JOB,
        kind: str = "task.succeeded",
    ) -> str:
        """Post a task's callback; what became of it."""
        assert self.server is not None
        body = json.loads(sample(kind, f"{job}-task-{clip}", "kie"))
        if url:
            body["data"]["resultJson"] = json.dumps({"resultUrls": [url]})
        raw = json.dumps(body).encode()
        query = {"token": URL_TOKEN, "record": record, "job": job}
        query |= {"clip": str(clip), "of": str(of)}
        headers = {"content-type": "application/json", **signed(raw, SECRET, "kie")}
        address = f"{self.server.url}/api/callback/sora"
        async with (
            aiohttp.ClientSession() as session,
            session.post(address, params=query, data=raw, headers=headers) as answer,
        ):
            assert answer.status == 200, await answer.text()
            said: dict[str, Any] = await answer.json()
            return str(said["outcome"])

    # -- what is seen

    async def has(self, status: str, record: str = RECORD, timeout: float = 60) -> None:
        """Once the record has this status."""
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(lambda: self.rows[record].get("Status") == status)

    def films(self) -> list[Path]:
        return list((self.folder / "films").glob("*"))

    def film(self, record: str = RECORD) -> Path:
        """The file that is attached."""
        [video] = self.rows[record]["Video"]
        public, name = video["url"].rsplit("/", 1)
        assert public == "https://films.example.com"
        return Path(self.folder, "films", name)


@asynccontextmanager
async def running(studio: Studio, timeout: str = "30m") -> AsyncIterator[Serving]:
    shutil.copy(EXAMPLE / "stitcher.py", studio.folder)
    toml = local((EXAMPLE / "receiver.toml").read_text(), timeout)
    (studio.folder / ".env").write_text(
        "\n".join(
            [
                *(f"KIE_WEBHOOK_KEY='{SECRET}'", f"KIE_URL_TOKEN={URL_TOKEN}"),
                *(f"AIRTABLE_TOKEN={TOKEN}", "CLIP_BYTES=100000"),
                f"AIRTABLE_URL={studio.target.url}/v0/appX/Videos",
                *(f"FILMS={studio.folder}/films", "CLIP_HOSTS=127.0.0.1"),
                "FILMS_URL=https://films.example.com/",
            ]
        )
    )
    async with serving(studio.folder, toml) as server:
        studio.server = server
        yield server
    assert not [line for line in server.raw if TOKEN in line or URL_TOKEN in line]


@pytest.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    (tmp_path / "films").mkdir()
    async with sink() as target:
        made = Studio(tmp_path, target)
        target.respond = made.respond
        made.begun()
        yield made


def generated(folder: Path, colour: str) -> bytes:
    """A clip of one colour, made by ffmpeg."""
    file = folder / f"{colour}.mp4"
    source = f"color=c={colour}:s=64x64:r=10:d={FRAMES / 10}"
    options = ["-c:v", "mpeg4", "-q:v", "2", "-y"]
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, *options, file],
        check=True,
        stdin=subprocess.DEVNULL,
    )
    return file.read_bytes()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A red one and a blue one."""
    folder = tmp_path_factory.mktemp("clips")
    return generated(folder, "red"), generated(folder, "blue")


def colours(film: Path) -> list[str]:
    """Of each frame."""
    options = ["-vf", "scale=1:1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", film, *options],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    ).stdout
    frames = [raw[i : i + 3] for i in range(0, len(raw), 3)]
    return ["red" if frame[0] > frame[2] else "blue" for frame in frames]


RED_THEN_BLUE = ["red"] * FRAMES + ["blue"] * FRAMES
WHOLE = ["Processing", "Stitching", "Uploading", "Completed"]


def test_the_example_is_short():
    lines = (EXAMPLE / "stitcher.py").read_text().splitlines()

    assert len([line for line in lines if line.strip()]) <= MOST_LINES


async def test_two_clips_become_a_film_in_their_order_and_the_record_follows(
    studio: Studio, clips: tuple[bytes, bytes]
):
    red, blue = studio.clip("red", clips[0]), studio.clip("blue", clips[1])
    async with running(studio):
        await studio.called_back(2, blue)
        await studio.has("Processing")
        await studio.called_back(1, red)
        await studio.has("Completed")

    assert studio.statuses[RECORD] == WHOLE
    assert colours(studio.film()) == RED_THEN_BLUE
    assert studio.rows[RECORD]["Error"] == ""


async def test_repeated_callbacks_stitch_nothing_twice(
    studio: Studio, clips: tuple[bytes, bytes]
):
    red, blue = studio.clip("red", clips[0]), studio.clip("blue", clips[1])
    async with running(studio) as server:
        said = [await studio.called_back(1, red) for _ in range(3)]
        said += await asyncio.gather(*(studio.called_back(2, blue) for _ in range(5)))
        await studio.has("Completed")
        said += [await studio.called_back(clip, red) for clip in (1, 2)]
        await server.lines("delivery.attempted", 3, status="delivered")
        await server.stop()

    assert Counter(said) == {"accepted": 2, "duplicate": 8}
    assert Counter(studio.statuses[RECORD])["Stitching"] == 1
    assert studio.fetched == {"/clips/red": 1, "/clips/blue": 1}
    assert len(studio.films()) == 1


async def test_callbacks_in_the_same_moment_lose_none(
    studio: Studio, clips: tuple[bytes, bytes]
):
    red, blue = studio.clip("red", clips[0]), studio.clip("blue", clips[1])
    records = [f"rec{number:014}" for number in range(6)]
    for record in records:
        studio.begun(record, job=f"job_{record}")
    async with running(studio):
        await asyncio.gather(
            *(
                studio.called_back(clip, url, record=record, job=f"job_{record}")
                for record in records
                for clip, url in ((1, red), (2, blue))
            )
        )
        for record in records:
            await studio.has("Completed", record)

    for record in records:
        assert Counter(studio.statuses[record])["Stitching"] == 1
        assert colours(studio.film(record)) == RED_THEN_BLUE


async def test_a_callback_before_the_other_task_is_even_made_is_kept_over_a_crash(
    studio: Studio, clips: tuple[bytes, bytes]
):
    red, blue = studio.clip("red", clips[0]), studio.clip("blue", clips[1])
    async with running(studio) as server:
        await studio.called_back(1, red)
        await server.kill()
    async with running(studio):
        await studio.called_back(2, blue)
        await studio.has("Completed")

    assert colours(studio.film()) == RED_THEN_BLUE


async def test_a_crash_while_a_film_is_made_ends_in_one_film(
    studio: Studio, clips: tuple[bytes, bytes]
):
    red, blue = studio.clip("red", clips[0]), studio.clip("blue", clips[1])
    async with running(studio) as server:
        await studio.called_back(1, red)
        await studio.called_back(2, blue)
        await studio.has("Stitching")
        await server.kill()
    async with running(studio):
        await studio.has("Completed", timeout=110)

    assert studio.statuses[RECORD][-1] == "Completed"
    assert colours(studio.film()) == RED_THEN_BLUE


async def test_more_than_two_clips_become_one_film(
    studio: Studio, clips: tuple[bytes, bytes]
):
    red, blue = studio.clip("red", clips[0]), studio.clip("blue", clips[1])
    async with running(studio):
        for clip, url in ((3, red), (1, red), (2, blue)):
            await studio.called_back(clip, url, of=3)
        await studio.has("Completed")

    assert colours(studio.film()) == RED_THEN_BLUE + ["red"] * FRAMES


async def test_a_clip_that_never_comes_is_not_waited_for_without_end(
    studio: Studio, clips: tuple[bytes, bytes]
):
    red = studio.clip("red", clips[0])
    async with running(studio, timeout="1s"):
        await studio.called_back(1, red)
        await studio.has("Failed")

    assert studio.rows[RECORD]["Error"] == "clips are missing"
    assert studio.statuses[RECORD] == ["Processing", "Failed"]
    assert studio.films() == []


async def test_a_task_that_failed_fails_the_film_at_once(
    studio: Studio, clips: tuple[bytes, bytes]
):
    red = studio.clip("red", clips[0])
    async with running(studio) as server:
        await studio.called_back(2, kind="task.failed")
        await studio.has("Failed")
        await studio.called_back(1, red)
        await server.lines("delivery.attempted", 3, status="delivered")

    assert studio.rows[RECORD]["Error"] == "Internal server error"
    assert studio.rows[RECORD]["Status"] == "Failed"
    assert studio.fetched == {}


async def test_progress_and_other_callbacks_fail_nothing(
    studio: Studio, clips: tuple[bytes, bytes]
):
    red, blue = studio.clip("red", clips[0]), studio.clip("blue", clips[1])
    async with running(studio):
        await studio.called_back(1, kind="task.progress")
        await studio.has("Processing")
        await studio.called_back(1, red)
        await studio.called_back(2, blue)
        await studio.has("Completed")

    assert studio.statuses[RECORD] == WHOLE


@pytest.mark.parametrize("status", ["Stitching", "Uploading", "Completed"])
async def test_when_airtable_is_busy_the_film_is_tried_again(
    studio: Studio, clips: tuple[bytes, bytes], status: str
):
    studio.refusals += [(status, 503)]
    red, blue = studio.clip("red", clips[0]), studio.clip("blue", clips[1])
    async with running(studio):
        await studio.called_back(1, red)
        await studio.called_back(2, blue)
        await studio.has("Completed")

    assert studio.refusals == []
    assert colours(studio.film()) == RED_THEN_BLUE
    assert studio.rows[RECORD]["Error"] == ""


@pytest.mark.parametrize(
    ("second", "error"),
    [
        (b"x" * 100_001, "larger than 100000 bytes"),
        (b"#EXTM3U\n#EXTINF:1,\nred.mp4\n#EXT-X-ENDLIST\n", "cannot join"),
        (b"", "404"),
        ("localhost", "localhost is not in CLIP_HOSTS"),
    ],
)
async def test_a_clip_that_cannot_be_used_is_said_in_the_record(
    studio: Studio, clips: tuple[bytes, bytes], second: bytes | str, error: str
):
    red = studio.clip("red", clips[0])
    odd = studio.clip("odd", second if isinstance(second, bytes) else clips[1])
    if isinstance(second, str):
        odd = odd.replace("127.0.0.1", second)
    async with running(studio):
        await studio.called_back(1, red)
        await studio.called_back(2, odd)
        await studio.has("Failed")

    assert error in studio.rows[RECORD]["Error"]
    assert "Video" not in studio.rows[RECORD]


async def test_a_film_of_an_earlier_job_does_not_touch_the_record(
    studio: Studio, clips: tuple[bytes, bytes]
):
    red, blue = studio.clip("red", clips[0]), studio.clip("blue", clips[1])
    async with running(studio) as server:
        for clip, url in ((1, red), (2, blue)):
            await studio.called_back(clip, url, job="job_before")
        await server.lines("delivery.attempted", 3, status="delivered")

    assert studio.statuses[RECORD] == []
    assert studio.fetched == {}
