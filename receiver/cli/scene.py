"""
What the demo plays with: a real server in a process of its own, and three places to
deliver to, of which one fails a little.
"""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, cast

import click

from receiver import clock
from receiver.cli.output import clean, coloured
from receiver.cli.stand_ins import http_server, smtp_server
from receiver.models import Secret
from receiver.providers import Provider, provider_of
from receiver.settings import Source

FAILURES = 2
PATIENCE_S = 30.0


@dataclass
class Scene:
    """What was seen so far; `news` is notified of everything new."""

    started: float
    secret: Secret
    folder: Path
    url: str = ""
    failures_left: int = FAILURES
    slack: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    mails: list[EmailMessage] = field(default_factory=list[EmailMessage])
    replayed: list[str] = field(default_factory=list[str])
    delivered: set[str] = field(default_factory=set[str])
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def config(self) -> Path:
        return self.folder / "receiver.toml"

    @cached_property
    def provider(self) -> Provider:
        """The sender, which signs as the real one would."""
        source = Source("sora2", provider="sora2", secrets=(self.secret,))
        return provider_of(source)

    def say(self, who: str, text: str) -> None:
        """One line of the story, with its time."""
        after = f"{clock.monotonic() - self.started:6.2f} s"
        who = click.style(f"{who:>9}", fg="cyan")
        click.echo(f"{click.style(after, dim=True)} {who}  {text}")

    def chapter(self, title: str) -> None:
        click.secho(f"\n{title}", bold=True)

    async def until(self, what: str, ready: Any) -> None:
        """
        Raises:
            click.ClickException: it did not happen in time.
        """
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not ready():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise click.ClickException(
                f"{what} did not happen in {PATIENCE_S:g} s"
            ) from None


async def set_up(scene: Scene, stack: AsyncExitStack) -> None:
    """
    Start everything; it ends with the stack.

    Raises:
        click.ClickException: the server did not start.
    """
    scene.chapter("A real server, and three places to deliver to")
    app = await stack.enter_async_context(http_server(_app_arrived(scene)))
    slack = await stack.enter_async_context(http_server(_slack_arrived(scene)))
    smtp = await stack.enter_async_context(smtp_server(_mail_arrived(scene)))
    text = (resources.files("receiver") / "starter" / "demo.toml").read_text()
    text = text.replace("{port}", str(_free_port()))  # for `send` to know it, too
    scene.config.write_text(text)
    variables = {
        "SORA2_WEBHOOK_SECRET": scene.secret,
        "APP_URL": f"{app}/batches",
        "SLACK_WEBHOOK_URL": f"{slack}/services/demo",
        "SMTP_URL": smtp,
    }
    lines = "".join(f"{key}={value}\n" for key, value in variables.items())
    (scene.folder / ".env").write_text(lines)
    await stack.enter_async_context(_server(scene))
    scene.say("receiver", f"listens at {scene.url}/webhook/sora2")
    scene.say(
        "app", f"takes every event at {app}/batches, and will fail {FAILURES} times"
    )
    scene.say("ops", f"a Slack channel at {slack}, for failed and partial batches")
    scene.say("finance", f"a mailbox at {smtp}, for refunds")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@asynccontextmanager
async def _server(scene: Scene) -> AsyncGenerator[None, None]:
    """`receiver serve` in the scene's folder, its log read line by line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "receiver",
        "-c",
        str(scene.config),
        "serve",
        cwd=scene.folder,
        env={**os.environ},
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is ours to pass on
    )
    reading = asyncio.create_task(
        _follow(scene, cast("asyncio.StreamReader", process.stderr))
    )
    try:
        await scene.until("the server's start", lambda: scene.url or reading.done())
        if not scene.url:
            raise click.ClickException("the server did not start")
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
        await reading


async def _follow(scene: Scene, log: asyncio.StreamReader) -> None:
    async for raw in log:
        try:
            line = json.loads(raw)
        except ValueError:
            scene.say("receiver", clean(raw.decode(errors="replace").rstrip()))
            continue
        _tell(scene, line)
        scene.news.set()
    scene.news.set()


def _tell(scene: Scene, line: Mapping[str, Any]) -> None:
    """What the server logged, as a line of the story."""
    match line.get("event"):
        case "receiver.ready":
            scene.url = line["url"]
        case "delivery.attempted":
            result = coloured("ok" if line["result"] == "ok" else "failed")
            text = f"attempt {line['attempt']} of {line['type']} {short(line['subject'])}: {result}"
            if line["status"] == "delivered":
                scene.delivered.add(line["id"])
            else:
                text += f" ({line['detail']}), {line['status']}, again at {line['next_at'][11:19]}"
            scene.say(f"-> {line['destination']}", text)
        case _:
            pass


def short(subject: str) -> str:
    """The end of a batch id: enough to tell one from another."""
    return f"..{subject[-4:]}" if subject else " " * 6


def _app_arrived(scene: Scene) -> Any:
    def arrived(headers: Mapping[str, str], _: bytes) -> int:
        if "receiver-replay" in headers:
            scene.replayed.append(headers["webhook-id"])
            scene.news.set()
        if scene.failures_left:
            scene.failures_left -= 1
            return 503
        return 200

    return arrived


def _slack_arrived(scene: Scene) -> Any:
    def arrived(_: Mapping[str, str], body: bytes) -> int:
        scene.slack.append(json.loads(body))
        return 200

    return arrived


def _mail_arrived(scene: Scene) -> Any:
    return scene.mails.append
