"""What `send` posts: requests as the source's provider would make them, one by one."""

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

import click

from receiver import clock
from receiver.errors import NotFound, Rejected
from receiver.models import Reading, Request, State
from receiver.providers import Provider, provider_of
from receiver.providers.body import parse
from receiver.providers.samples import (
    Sample,
    filled,
    sample,
    sample_names,
    samples,
)
from receiver.providers.sending import CannotSign, Outgoing, outgoing, spoiled
from receiver.settings import Source

GOOD = (State.SUCCEEDED, State.PARTIAL)
_PREFIXES = {"sora2": "bat", "sophon": "job"}
_INDEX = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class Shots:
    """
    Makes one request after another.

    Each is about a subject of its own (`subject` with a number, if there are
    `several`), unless `same` makes all of them the same event.  In a `file`, as in
    samples, `{{subject}}` and the like are replaced.  `changes` are put into each body
    before it is signed.
    """

    source: Source
    name: str = ""
    file: bytes | None = None
    subject: str = ""
    several: bool = False
    same: bool = False
    changes: Sequence[tuple[str, str]] = ()
    key: str | None = None
    unsigned: bool = False
    spoiled: bool = False
    age: timedelta = timedelta(0)
    _mark: str = field(default_factory=lambda: secrets.token_hex(6))

    def make(self, number: int) -> Outgoing:
        """
        Sign the next one, now.

        Raises:
            click.UsageError: it cannot be made as asked for.
        """
        made = self._first if self.same else self._body(number)
        message_id = f"msg_{self._mark}{0 if self.same else number:08x}"
        try:
            sent = outgoing(
                self._provider,
                made.body,
                clock.now() - self.age,
                secret=self.key,
                headers=made.headers,
                message_id=message_id,
                unsigned=self.unsigned,
            )
            sent = spoiled(self._provider, sent) if self.spoiled else sent
        except CannotSign as error:
            raise click.UsageError(f"{self.source.name}: {error}") from None
        for name, value in sent.headers.items():
            if not (value.isascii() and value.isprintable()):
                raise click.UsageError(f"no {name} header can hold what it would be")
        return sent

    @cached_property
    def _provider(self) -> Provider:
        return provider_of(self.source)

    @cached_property
    def _first(self) -> Sample:
        return self._body(0)

    def _body(self, number: int) -> Sample:
        now, subject = clock.now() - self.age, self._subject(number)
        if self.file is None:
            made = sample(self.source.provider, self.name, subject, now)
        else:
            text = self.file.decode("utf-8", "surrogateescape")
            body = filled(text, "file", subject, now)
            made = Sample("file", body.encode("utf-8", "surrogateescape"))
        if not self.changes:
            return made
        changes = [(path, filled(v, "set", subject, now)) for path, v in self.changes]
        return Sample(made.name, changed(made.body, changes), made.headers)

    def _subject(self, number: int) -> str:
        if self.subject:
            return f"{self.subject}-{number + 1}" if self.several else self.subject
        fresh = fresh_subject(self.source, self._mark)
        return f"{fresh}_{number + 1}" if self.several else fresh


def changed(body: bytes, changes: Sequence[tuple[str, str]]) -> bytes:
    """
    The JSON body with each value put at its path: names and indexes with dots between.

    A value is JSON, or else a text.  Objects that are not there are made; an index one
    past the end of a list adds to it.

    Raises:
        click.BadParameter: the body is not JSON, or has no such place.
    """
    try:
        data = parse(body)
    except Rejected as error:
        raise click.BadParameter(f"--set needs a JSON body: {error.message}") from None
    for path, text in changes:
        try:
            data = _placed(data, path.split("."), _value(text))
        except LookupError as error:
            message = f"--set {path}: there is no {error.args[0]!r} where that leads"
            raise click.BadParameter(message) from None
    compact = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return compact.encode("utf-8", "surrogatepass")


def _placed(place: Any, path: Sequence[str], value: Any) -> Any:
    """
    What is there with the value put into it.

    Raises:
        LookupError: with the part of the path that leads nowhere.
    """
    if not path:
        return value
    part, rest = path[0], path[1:]
    if isinstance(place, dict):
        return {**place, part: _placed(place.get(part, {}), rest, value)}
    i = int(part) if _INDEX.fullmatch(part) else -1
    if isinstance(place, list) and 0 <= i <= len(place):
        before = place[i] if i < len(place) else {}
        return [*place[:i], _placed(before, rest, value), *place[i + 1 :]]
    raise LookupError(part)


def _value(text: str) -> Any:
    try:
        return parse(text.encode("utf-8", "surrogateescape"))
    except Rejected:
        return text


def read_samples(source: Source) -> Iterator[tuple[str, Reading | None]]:
    """
    Every sample of the source's provider with what is made of it; None where the
    source looks for things in places that the sample does not have.
    """
    provider, now = provider_of(source), clock.now()
    for name, one in samples(source.provider, "sample", now).items():
        request = Request(one.headers, {}, one.body, now)
        try:
            yield name, provider.read(request, parse(one.body))
        except Rejected:
            yield name, None


def sample_name(source: Source, wanted: str) -> str:
    """
    The name of the sample that is wanted, or of the usual one.

    Raises:
        NotFound: the provider has no such sample.
    """
    names = sample_names(source.provider)
    name = wanted or _usual(source)
    if name not in names:
        there = ", ".join(names) or "none; give a body with --file"
        raise NotFound(f"no sample {name!r}; there are: {there}")
    return name


def fresh_subject(source: Source, mark: str = "") -> str:
    """A batch, task or job id that was not there before."""
    prefix = _PREFIXES.get(source.provider, "task")
    return f"{prefix}_{mark or secrets.token_hex(6)}"


def _usual(source: Source) -> str:
    """The sample most people wait for: the first that tells of an end that is good."""
    names: list[str] = []
    for name, reading in read_samples(source):
        names.append(name)
        if reading is None or not reading.final or reading.state not in GOOD:
            continue
        if reading.type == name:
            return name
    return next(iter(names), "")
