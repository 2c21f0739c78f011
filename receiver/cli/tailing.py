"""tail: events as they come, on the terminal and to a program of yours."""

import asyncio
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from receiver import clock, ids
from receiver.cli.common import (
    check_name,
    check_names,
    looking,
    moment,
    options,
    settings_of,
    waits,
)
from receiver.cli.forwarding import Forwarder, forwarding
from receiver.cli.live import Live, here, there
from receiver.cli.output import Growing, as_json, emit_json, plural
from receiver.cli.posting import Answer, check_address
from receiver.errors import StoreError
from receiver.settings import Settings
from receiver.shown import Wanted

PATIENCE_S = 1.0
"""How long a program may take to answer before the stream of events is left."""

_where = options(
    click.option("--source", help="From this source."),
    click.option("--type", "type_", help='Of this type; globs like "batch.*".'),
    click.option("--subject", help="About this batch, task or job."),
    click.option(
        "--since", help="Begin with what came from this time on: 2h (ago), ..."
    ),
    click.option("--after", help="Begin after this event."),
)
_whence = options(
    click.option("--from", "address", metavar="URL", help="Of the receiver there."),
    click.option(
        "--token",
        envvar="RECEIVER_TOKEN",
        show_envvar=True,
        help="Its admin token; without --forward a read token does.",
    ),
)


@click.command()
@_where
@_whence
@click.option("--forward", metavar="URL", help="Post each event's body there as well.")
@as_json
@click.pass_obj
@waits
async def tail(
    config: Path | None,
    source: str | None,
    type_: str | None,
    subject: str | None,
    since: str | None,
    after: str | None,
    address: str | None,
    token: str | None,
    forward: str | None,
    json_: bool,
) -> None:
    """
    Events as they come, until Ctrl-C.

    Of the server here, also while it is stopped; with --from of another one, by its
    API.  After a lost connection it goes on where it was: nothing is missed.

    --forward posts each event to a program of yours, byte for byte, one after the
    other and in order.  While nothing answers there, events wait.

    \b
    Examples:
      receiver tail --type "batch.*" --since 2h
      receiver tail --forward http://localhost:3000/webhook
      RECEIVER_TOKEN=... receiver tail --from https://hooks.example.com --json
    """
    if since is not None and after is not None:
        raise click.UsageError("either --since or --after")
    for url in filter(None, (address, forward)):
        check_address(url)
    wanted = Wanted(source, type_, subject, raw=forward is not None)
    begin = _begin(after, moment(since))
    async with AsyncExitStack() as stack:
        live = await stack.enter_async_context(_live(config, address, token, wanted))
        forwarder = (
            await stack.enter_async_context(forwarding(forward)) if forward else None
        )
        tailing = Tailing(live, forwarder, json_=json_)
        if address is None and begin is None:
            begin = _id(clock.now())
        await _until_interrupted(tailing.run(begin))
        click.echo(tailing.summary(), err=True)


def _begin(after: str | None, since: datetime | None) -> str | None:
    if after is not None:
        return ids.public("evt", ids.number("evt", after))
    return None if since is None else _id(since)


def _id(at: datetime) -> str:
    """One that every event from this time on is after."""
    return ids.public("evt", max(0, ids.floor(at) - 1))


@asynccontextmanager
async def _live(
    config: Path | None, address: str | None, token: str | None, wanted: Wanted
) -> AsyncGenerator[Live, None]:
    if address is not None:
        if not token:
            message = "--from needs a token: set RECEIVER_TOKEN, or give --token"
            raise click.UsageError(message)
        async with there(address.rstrip("/"), token.strip(), wanted) as found:
            yield found
        return
    settings = settings_of(config)
    await _check_source(settings, wanted.source)
    async with here(settings, wanted) as found:
        yield found


async def _check_source(settings: Settings, source: str | None) -> None:
    try:
        async with looking(settings) as reader:
            await check_names(reader, settings, source=source)
    except StoreError:  # nothing has ever come
        if source is not None:
            check_name("source", source, settings.sources)


async def _until_interrupted(work: Coroutine[Any, Any, None]) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    with suppress(asyncio.CancelledError):
        await task


class Tailing:
    """Shows, and forwards, one event after the other."""

    def __init__(self, live: Live, forwarder: Forwarder | None, *, json_: bool) -> None:
        self._live = live
        self._forwarder = forwarder
        self._show = _as_json if json_ else _as_rows(answers=forwarder is not None)
        self._events = self._answered = self._well = 0

    async def run(self, after: str | None) -> None:
        """Go on for ever."""
        while True:
            held: asyncio.Task[None] | None = None
            async with aclosing(self._live.follow(after)) as stream:
                async for one in stream:
                    after = one.id
                    if one.shown is not None:
                        held = await self._handled(one.shown)
                    if held is not None:
                        break
            # Nothing is streamed to us while we wait: a server that stops would wait.
            if held is not None:
                await self._watching(held)

    async def _handled(self, shown: Mapping[str, Any]) -> asyncio.Task[None] | None:
        """None: this is done.  Else it is being forwarded, and nothing answers yet."""
        if self._forwarder is None:
            self._done(shown, None)
            return None
        work = asyncio.create_task(self._forward(self._forwarder, shown))
        try:
            await asyncio.wait([work], timeout=PATIENCE_S)
        except asyncio.CancelledError:
            work.cancel()
            raise
        if not work.done():
            return work
        await work
        return None

    async def _forward(self, forwarder: Forwarder, shown: Mapping[str, Any]) -> None:
        self._done(shown, await forwarder.post(shown))

    async def _watching(self, work: asyncio.Task[None]) -> None:
        """Wait for this; meanwhile it is said whether there is a connection."""
        watch = asyncio.create_task(self._live.watch())
        both = (work, watch)
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                await one
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    def _done(self, shown: Mapping[str, Any], answer: Answer | None) -> None:
        self._events += 1
        self._answered += answer is not None
        self._well += answer is not None and answer.ok
        self._show(shown, answer)

    def summary(self) -> str:
        said = plural(self._events, "event")
        if self._forwarder is not None:
            said += f", {self._answered:,} forwarded, {self._well:,} answered with 2xx"
        return said


Show = Callable[[Mapping[str, Any], Answer | None], None]


def _as_json(shown: Mapping[str, Any], answer: Answer | None) -> None:
    event = {name: value for name, value in shown.items() if name != "raw"}
    if answer is not None:
        event["forwarded"] = {"status": answer.status, "ms": round(answer.ms, 1)}
    emit_json(event, indent=None)


def _as_rows(*, answers: bool) -> Show:
    headings = ["ID", "RECEIVED", "SOURCE", "TYPE", "SUBJECT", "STATE", "TO"]
    least = [20, 9, 6, 16, 20, 9, 2]
    if answers:
        headings += ["ANSWER", "TOOK"]
        least += [6, 6]
    table = Growing(headings, least)

    def show(shown: Mapping[str, Any], answer: Answer | None) -> None:
        cells: list[object] = [
            shown["id"],
            datetime.fromisoformat(shown["received_at"]),
            *(shown[name] for name in ("source", "type", "subject", "state")),
            shown["decision"]["destinations"],
        ]
        if answer is not None:
            cells += [answer.status, f"{answer.ms:.0f} ms"]
        table.row(cells)

    return show
