"""send: be the provider, for a moment or for a while."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import click

from receiver import clock
from receiver.cli.common import options, settings_of, waits
from receiver.cli.output import as_json, clean, coloured, emit_json, table
from receiver.cli.posting import (
    Answer,
    by_answer,
    check_address,
    client,
    latency,
    post,
    post_many,
    unreachable,
)
from receiver.cli.serving import find_source
from receiver.cli.shots import Shots, read_samples, sample_name
from receiver.errors import NotFound
from receiver.settings import Source
from receiver.settings.fields import duration

REDRAWN = 200
"""Times that the progress bar is drawn again."""


def _age(_: click.Context, __: click.Parameter, text: str) -> timedelta:
    age = duration(text)
    if age is None:
        raise click.BadParameter(f"{text!r} is no duration; write 30s, 10m or 2h")
    return age


def _changes(
    _: click.Context, __: click.Parameter, texts: Sequence[str]
) -> list[tuple[str, str]]:
    for text in texts:
        if not text.partition("=")[0] or "=" not in text:
            raise click.BadParameter(f"{text!r}: write PATH=VALUE")
    return [(path, value) for path, _, value in (text.partition("=") for text in texts)]


what = options(
    click.option("--list", "list_", is_flag=True, help="Only list what TYPE can be."),
    click.option(
        "--file",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="Send this body instead; {{subject}} and {{now}} in it are replaced.",
    ),
    click.option("--subject", default="", help="The batch, task or job it is about."),
    click.option(
        "--set",
        "changes",
        metavar="PATH=VALUE",
        multiple=True,
        callback=_changes,
        help="Change the body: items.0.status=failed, or any JSON as the value.",
    ),
)
"""What is in the body."""

how = options(
    click.option("--url", "address", help="Post here, not to the configured server."),
    click.option(
        "--key",
        envvar="RECEIVER_SEND_KEY",
        show_envvar=True,
        help="Sign with this secret, or private key, instead of the source's.",
    ),
    click.option("--unsigned", is_flag=True, help="Leave the signature out."),
    click.option("--bad-signature", is_flag=True, help="With a byte of it wrong."),
    click.option(
        "--age", default="0s", callback=_age, help="As made and signed so long ago."
    ),
)
"""How it is signed, and where it goes."""

many = options(
    click.option("--count", type=click.IntRange(1, 10_000_000), help="So many events."),
    click.option(
        "--concurrency",
        default=8,
        show_default=True,
        type=click.IntRange(1, 1000),
        help="So many at a time.",
    ),
    click.option("--repeat-same", is_flag=True, help="The same event every time."),
)
"""How many there are."""


@click.command()
@click.argument("source")
@click.argument("event_type", metavar="[TYPE]", default="")
@what
@how
@many
@as_json
@click.pass_obj
@waits
async def send(
    config: Path | None,
    source: str,
    event_type: str,
    list_: bool,
    file: Path | None,
    subject: str,
    changes: list[tuple[str, str]],
    address: str | None,
    key: str | None,
    unsigned: bool,
    bad_signature: bool,
    age: timedelta,
    count: int | None,
    concurrency: int,
    repeat_same: bool,
    json_: bool,
) -> None:
    """
    Sign a sample as the provider would, and post it.

    With --count every event is about a subject of its own, and at the end you are told
    how long the answers took; Ctrl-C ends it early.  Exit code 1 if anything is
    refused; with --bad-signature, if anything is not.

    \b
    Examples:
      receiver send sora2                          a completed batch
      receiver send sora2 --list
      receiver send sora2 batch.refunded --set ledger.refunded=500
      receiver send sora2 --file body.json --bad-signature
      receiver send sora2 --count 1000 --concurrency 20
    """
    if unsigned and bad_signature:
        raise click.UsageError("either --unsigned or --bad-signature")
    if repeat_same and count is None:
        raise click.UsageError("--repeat-same needs --count")
    settings = settings_of(config)
    found = find_source(settings, source)
    if list_:
        _list(found, json_=json_)
        return
    base = f"http://{settings.server.host}:{settings.server.port}"
    url = address or base + found.path
    check_address(url)
    shots = Shots(
        found,
        name="" if file else sample_name(found, event_type),
        file=file.read_bytes() if file else None,
        subject=subject,
        several=count is not None and not repeat_same,
        same=repeat_same,
        changes=changes,
        key=key,
        unsigned=unsigned,
        spoiled=bad_signature,
        age=age,
    )
    if count is None:
        answers = [await _one(shots, url, json_=json_)]
    else:
        answers = await _many(shots, url, count, concurrency, json_=json_)
    wanted = [one.refused if bad_signature else one.ok for one in answers]
    sys.exit(0 if all(wanted) else 1)


def _list(source: Source, *, json_: bool) -> None:
    rows = [
        (name, r and r.type, r and r.state, r and r.final)
        for name, r in read_samples(source)
    ]
    names = ("sample", "type", "state", "final")
    if json_:
        emit_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        table([name.upper() for name in names], rows)


async def _one(shots: Shots, url: str, *, json_: bool) -> Answer:
    """
    Raises:
        NotFound: nobody listens there.
    """
    from aiohttp import ClientConnectorError

    sent = shots.make(0)
    async with client(1) as session:
        try:
            answer = await post(session, url, sent)
        except ClientConnectorError as error:
            raise NotFound(unreachable(url, error)) from None
    if json_:
        emit_json({"status_code": answer.status, "answer": answer.data})
    else:
        word, rest = map(clean, answer.words())
        click.echo(f"{answer.status or ''} {coloured(word)} {rest}".strip())
    return answer


async def _many(
    shots: Shots, url: str, count: int, concurrency: int, *, json_: bool
) -> list[Answer]:
    """Post them, and tell how it went; ends the program if it was interrupted."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
    started = clock.monotonic()
    with click.progressbar(
        length=count,
        label="sending",
        file=sys.stderr,
        hidden=not sys.stderr.isatty(),
        update_min_steps=max(1, count // REDRAWN),
    ) as bar:
        answers = await post_many(
            shots.make, url, count, concurrency, stop, lambda: bar.update(1)
        )
    _summary(answers, count, clock.monotonic() - started, json_=json_)
    if stop.is_set():
        sys.exit(130)
    return answers


def _summary(
    answers: Sequence[Answer], asked: int, seconds: float, *, json_: bool
) -> None:
    groups = by_answer(answers)
    per_second = round(len(answers) / seconds, 1)
    if json_:
        emit_json(
            {
                "asked": asked,
                "answered": len(answers),
                "seconds": round(seconds, 3),
                "per_second": per_second,
                "answers": [
                    {"status_code": status, "answer": word, **asdict(times)}
                    for (status, word), times in groups.items()
                ],
                "all": asdict(latency([a.ms for a in answers])) if answers else None,
            }
        )
        return
    rows: list[tuple[object, ...]] = [
        (*kind, *asdict(times).values()) for kind, times in groups.items()
    ]
    if len(rows) > 1:
        total = latency([answer.ms for answer in answers])
        rows.append(("all", None, *asdict(total).values()))
    if rows:
        table(("STATUS", "ANSWER", "COUNT", "P50 MS", "P90", "P99", "MAX"), rows)
    early = f" of {asked:,}, interrupted" * (len(answers) < asked)
    click.echo(f"{len(answers):,}{early} in {seconds:.1f} s: {per_second:,}/s")
