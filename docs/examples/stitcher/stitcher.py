"""Stitches the clips of a film and attaches it to the Airtable record it is for."""

import os
import subprocess
from fnmatch import fnmatchcase
from pathlib import Path
from secrets import token_urlsafe
from tempfile import TemporaryDirectory

import httpx
from dotenv import dotenv_values

from receiver import Event, Permanent

ENV = {**dotenv_values(Path(__file__).with_name(".env")), **os.environ}
FFMPEG = "ffmpeg -v error -xerror -protocol_whitelist file -format_whitelist concat,mov"
JOIN = [*FFMPEG.split(), "-nostdin", "-f", "concat", "-i", "list", "-c", "copy"]
AIRTABLE = httpx.Client(headers={"authorization": f"Bearer {ENV['AIRTABLE_TOKEN']}"})


def on_event(event: Event) -> None:
    parts = event.data["parts"] if event.source == "receiver" else []
    query = parts[0]["query"] if parts else event.query
    record, fields = query["record"], row("GET", query["record"])
    if fields.get("Job") != query["job"] or fields.get("Status") == "Completed":
        return  # about another film than the record is for now, or done already
    if not parts and fields.get("Status") == "Generating":
        row("PATCH", record, Status="Processing")
    try:
        if event.type == "join.completed":
            stitch(sorted(parts, key=lambda part: int(part["query"]["clip"])), record)
        elif parts:
            why = [p["data"]["data"]["failMsg"] for p in parts if p["failed"]]
            row("PATCH", record, Status="Failed", Error=[*why, "clips are missing"][0])
    except Exception as error:
        row("PATCH", record, Status="Failed", Error=str(error)[-500:])
        raise


def stitch(parts: list[dict], record: str) -> None:
    row("PATCH", record, Status="Stitching", Error="")
    film = Path(ENV["FILMS"], f"{token_urlsafe()}.mp4").resolve()
    with TemporaryDirectory() as folder, Path(folder, "list").open("w") as clips:
        for number, part in enumerate(parts):
            download(part["result_urls"][0], Path(folder, f"{number}.mp4"))
            print(f"file {number}.mp4", file=clips, flush=True)
        done = subprocess.run([*JOIN, film], cwd=folder, stderr=subprocess.PIPE)
    if done.returncode:
        raise RuntimeError(f"ffmpeg cannot join the clips: {done.stderr.decode()}")
    row("PATCH", record, Status="Uploading")
    video = {"url": ENV["FILMS_URL"] + film.name}
    row("PATCH", record, Status="Completed", Video=[video])


def download(url: str, clip: Path) -> None:
    host, most = httpx.URL(url).host, int(ENV["CLIP_BYTES"])
    if not any(fnmatchcase(host, known) for known in ENV["CLIP_HOSTS"].split()):
        raise Permanent(f"{host} is not in CLIP_HOSTS")
    with httpx.stream("GET", url) as answer, clip.open("wb") as file:
        answer.raise_for_status()
        for chunk in answer.iter_bytes():
            file.write(chunk)
            if file.tell() > most:
                raise Permanent(f"{url} is larger than {most} bytes")


def row(method: str, record: str, **fields: object) -> dict:
    body = {"fields": fields, "typecast": True} if fields else None
    answer = AIRTABLE.request(method, f"{ENV['AIRTABLE_URL']}/{record}", json=body)
    answer.raise_for_status()
    return answer.json()["fields"]
