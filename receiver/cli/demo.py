"""
demo: the whole thing in a minute.

A real `receiver serve` in a process of its own, real sockets, a temporary store, and
destinations that misbehave a little.  Every line printed is observed: an answer, a
request that arrived, a line the server logged.
"""

import asyncio
import secrets
import signal
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, cast

import aiohttp
import click

from receiver import clock
from receiver.cli.common import looking, program, settings_of, waits
from receiver.cli.output import clean, coloured
from receiver.cli.scene import Scene, set_up, short
from receiver.cli.status import show_ledger
from receiver.cli.writing import writing
from receiver.ledger import Ledger
from receiver.models import Secret
from receiver.providers.samples import samples
from receiver.providers.sending import outgoing

BURST = 200
DOCUMENTED = tuple(
    f"batch.{word}"
    for word in ("created", "running", "completed", "failed", "refunded")
)


@click.command()
@click.option("--keep", is_flag=True, help="Leave it running afterwards, until Ctrl-C.")
@waits
async def demo(keep: bool) -> None:
    """
    Start a real server with local destinations, be the provider, and tell what happens.

    Nothing to configure; nothing is left behind.

    \b
    Examples:
      receiver demo
      receiver demo --keep
    """
    with tempfile.TemporaryDirectory(prefix="receiver-demo-") as name:
        scene = Scene(clock.monotonic(), Secret(secrets.token_hex(32)), Path(name))
        async with AsyncExitStack() as stack:
            await set_up(scene, stack)
            await _documented(scene)
            await _repeats_and_forgeries(scene)
            await _burst(scene)
            await _settle(scene)
            _show_messages(scene)
            await _prove(scene)
            await _replay(scene)
            _what_next(scene, keep)
            if keep:
                await _wait_for_interrupt()


async def _post(
    client: aiohttp.ClientSession, body: bytes, headers: Mapping[str, str]
) -> tuple[int, dict[str, Any]]:
    headers = {"content-type": "application/json", **headers}
    async with client.post("/webhook/sora2", data=body, headers=headers) as answer:
        return answer.status, await answer.json()


def _client(scene: Scene) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        scene.url, connector=aiohttp.TCPConnector(limit=0)
    )  # one connection for each request of the burst


def _signed(scene: Scene, body: bytes) -> Mapping[str, str]:
    return outgoing(scene.provider, body, clock.now()).headers


def _sample(name: str, batch: str) -> bytes:
    return samples("sora2", batch, clock.now())[name].body


async def _send(
    scene: Scene, label: str, batch: str, body: bytes, headers: Mapping[str, str]
) -> None:
    async with _client(scene) as client:
        status, answer = await _post(client, body, headers)
    error = answer.get("error", {})
    word = answer.get("status") or f"refused: {error.get('code')}"
    rest = answer.get("id") or error.get("message", "")
    scene.say(
        "provider",
        f"{label:<16} {short(batch)} {status} {coloured(word)} {rest}".rstrip(),
    )


async def _documented(scene: Scene) -> None:
    scene.chapter(
        "The provider reports on a batch: five documented events, one as really sent"
    )
    batch = "bat_demo0000001"
    for name in DOCUMENTED:
        body = _sample(name, batch)
        await _send(scene, name, batch, body, _signed(scene, body))
    batch = "7f3f1d0e-0000-4000-8000-00000000demo"
    flat = _sample("as-sent", batch)
    await _send(scene, "flat, as sent", batch, flat, _signed(scene, flat))


async def _repeats_and_forgeries(scene: Scene) -> None:
    scene.chapter("It sends one again; somebody else tries to, too")
    batch = "bat_demo0000002"
    body = _sample("batch.failed", batch)
    signed = _signed(scene, body)
    await _send(scene, "batch.failed", batch, body, signed)
    await _send(scene, "the same again", batch, body, signed)
    forged = body.replace(b'"total":10', b'"total":99')
    await _send(scene, "one byte changed", batch, forged, signed)
    await _send(scene, "no signature", batch, body, {})
    await _send(scene, "its test ping", "", b'{"event":"test"}', {})


async def _burst(scene: Scene) -> None:
    scene.chapter(f"{BURST} copies of one event at the same moment")
    body = _sample("batch.created", "bat_demo0000003")
    signed = _signed(scene, body)
    started = clock.monotonic()
    async with _client(scene) as client:
        answers = await asyncio.gather(
            *(_post(client, body, signed) for _ in range(BURST))
        )
    took = (clock.monotonic() - started) * 1000
    words = Counter(str(answer["status"]) for _, answer in answers)
    ids = {answer["id"] for _, answer in answers}
    counted = ", ".join(
        f"{count} {coloured(word)}" for word, count in sorted(words.items())
    )
    scene.say("provider", f"{counted}; {len(ids)} id, {took:.0f} ms in all")


async def _settle(scene: Scene) -> None:
    """Wait until what was decided is delivered."""
    scene.chapter("What failed is tried again")
    async with looking(settings_of(scene.config)) as reader:
        decided = (await reader.totals()).routed_deliveries
    await scene.until("all deliveries", lambda: len(scene.delivered) >= decided)
    scene.say("receiver", f"all {decided} deliveries are done")


def _show_messages(scene: Scene) -> None:
    scene.chapter(f"The Slack channel got {len(scene.slack)} messages; this is one")
    for block in scene.slack[0]["blocks"]:
        for line in _block_lines(block):
            click.echo(f"    {clean(line)}")
    mail = scene.mails[0]
    scene.chapter(f"The mailbox got {len(scene.mails)}")
    click.echo(f"    Subject: {clean(str(mail['subject']))}")
    text = mail.get_body(("plain",))
    for line in cast("str", text.get_content()).splitlines() if text else []:
        click.echo(f"    {clean(line)}")


def _block_lines(block: Mapping[str, Any]) -> list[str]:
    pairs = [str(pair["text"]).replace("\n", " ") for pair in block.get("fields", [])]
    texts = [block.get("text"), *block.get("elements", [])]
    found = [str(text["text"]) for text in texts if isinstance(text, dict)]
    lines = [line for text in found for line in text.splitlines()]
    return ["  ".join(pairs), *lines] if pairs else lines


async def _prove(scene: Scene) -> None:
    scene.chapter("The ledger: what was decided, against what there is")
    async with looking(settings_of(scene.config)) as reader:
        ledger = Ledger(await reader.ledger(), await reader.totals())
        refused = await reader.rejections(source=None, limit=10)
    show_ledger(ledger)
    click.echo(f"{ledger.totals.events} events kept, {len(refused)} requests refused")


async def _replay(scene: Scene) -> None:
    scene.chapter("One event again, to the app only")
    settings = settings_of(scene.config)
    async with looking(settings) as reader:
        event_id = await _completed(reader)
    before = len(scene.delivered)
    async with writing(settings) as writer:
        await writer.post("/replays", {"events": [event_id], "to": ["app"]})
        scene.say("you", f"receiver replay {event_id} --to app")
    await scene.until(
        "the replay", lambda: scene.replayed and len(scene.delivered) > before
    )
    scene.say("app", f"got {scene.replayed[0]} again, under the same id")


async def _completed(reader: Any) -> str:
    from receiver.stores import EventFilter

    [stored] = await reader.events(EventFilter(type="batch.completed"), limit=1)
    return str(stored.event.id)


def _what_next(scene: Scene, keep: bool) -> None:
    scene.chapter("What next")
    run = program()
    if keep:
        run += f" -c {scene.folder / 'receiver.toml'}"
        click.echo("    it is still running; from another terminal, in this folder:")
        for words in ("send sora2 batch.failed", "events list", "status"):
            click.echo(f"    {run} {words}")
        click.echo("    Ctrl-C here stops it and removes everything")
        return
    click.echo(f"    {run} init      write a configuration of your own")
    click.echo(f"    {run} serve     run it")
    public = "url sora2 --base https://hooks.example.com"
    click.echo(f"    {run} {public}     what to register")


async def _wait_for_interrupt() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    await stop.wait()
