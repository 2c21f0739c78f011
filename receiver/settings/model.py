"""What can be configured: every setting with its default and its help."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from receiver.models import OnDead, Rate, Secret
from receiver.settings.fields import ByteSize, option

RESERVED = re.compile(
    r"/|/healthz|/readyz|/metrics|/api|/api/openapi\.json|/api/v\d+(/.*)?|/ui(/.*)?"
)
"""Paths that are ours; no source may have them."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SENDABLE = re.compile(r"[!-~]+(?:[ \t]+[!-~]+)*")
"""RFC 9110, as far as all clients agree on it."""

A_MOMENT = timedelta(milliseconds=1)
"""The least a time limit can be."""

A_CENTURY = timedelta(days=36_500)

DEFAULT_WAITS = tuple(
    timedelta(seconds=s)
    for s in (5, 30, 120, 600, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
)
"""After the first attempt: three days in all, so that a weekend is bridged."""


@dataclass(frozen=True)
class Server:
    host: str = option("127.0.0.1", help="the address to listen on")
    port: int = option(
        8080, help="the port to listen on; 0 takes a free one", least=0, most=65_535
    )
    max_body_bytes: int = option(
        4_194_304, help="a larger body is answered 413", least=1
    )
    max_waiting_bytes: int = option(
        67_108_864, help="bodies held in memory at once; more is answered 503", least=1
    )
    header_timeout: timedelta = option(
        timedelta(seconds=5),
        help="how long a client may take to send the headers",
        least=A_MOMENT,
    )
    body_timeout: timedelta = option(
        timedelta(seconds=10),
        help="how long a client may take to send the body",
        least=A_MOMENT,
    )
    grace: timedelta = option(
        timedelta(seconds=10), help="how long a stop waits for what is running"
    )
    trusted_proxies: tuple[str, ...] = option(
        (), help="addresses or networks whose X-Forwarded-For is believed"
    )
    admin_port: int | None = option(
        None,
        help="the API, the dashboard and the metrics on a port of their own; 0: a free one",
        least=0,
        most=65_535,
    )
    admin_host: str = option("127.0.0.1", help="the address the admin port listens on")
    admin_token: Secret | None = option(
        None,
        help="lets its holder use the API and the dashboard; without one both are off",
        secret=True,
    )
    read_tokens: tuple[Secret, ...] = option(
        (), help="let their holders look, and change nothing", secret=True
    )
    log_level: Literal["debug", "info", "warning", "error"] = option(
        "info", help="what is logged; at warning there is no line per event"
    )
    log_format: Literal["auto", "console", "json"] = option(
        "auto", help="console on a terminal and JSON otherwise, or always one"
    )

    def problems(self) -> Iterable[tuple[str, str, str]]:
        """What is wrong beyond single fields: (field, message, hint) each."""
        tokens = [(f"read_tokens[{i}]", one) for i, one in enumerate(self.read_tokens)]
        for name, token in (("admin_token", self.admin_token), *tokens):
            if token and not _SENDABLE.fullmatch(token):
                message = "is not printable ASCII, or begins or ends with a space"
                yield name, message, "make one with: openssl rand -hex 32"


@dataclass(frozen=True)
class StoreSettings:
    url: str = option("sqlite:///receiver.db", help="where everything is kept")
    min_free_bytes: int = option(
        67_108_864,
        help="intake answers 503 while the disk has less free space",
        least=0,
    )
    keep_bodies_for: timedelta = option(
        timedelta(days=30),
        help="then an event's body, headers and query go",
        least=timedelta(hours=1),
        most=A_CENTURY,
    )
    keep_events_for: timedelta | None = option(
        None,
        help="then all of it goes but its key; by default three times keep_bodies_for",
        least=timedelta(hours=1),
        most=A_CENTURY,
    )
    keep_rejections_for: timedelta = option(
        timedelta(days=30),
        help="then a refused request goes, if it did not make room before",
        least=timedelta(hours=1),
        most=A_CENTURY,
    )
    keep_audit_for: timedelta = option(
        timedelta(days=365),
        help="then the note of who changed something by hand goes",
        least=timedelta(hours=1),
        most=A_CENTURY,
    )
    max_bytes: ByteSize | None = option(
        None,
        help='the oldest events go while the store is larger: "10GB", "500MB"',
        least=1_000_000,
    )

    def problems(self) -> Iterable[tuple[str, str, str]]:
        """What is wrong beyond single fields: (field, message, hint) each."""
        events_for = self.keep_events_for
        if events_for is not None and events_for < self.keep_bodies_for:
            hint = "a body goes with its event at the latest"
            yield "keep_events_for", "is shorter than keep_bodies_for", hint


@dataclass(frozen=True)
class Source:
    """A configured place webhooks come from."""

    name: str
    provider: str = option(help="the kind of sender: how its requests are read")
    path: str = option("", help="where it posts to; /webhooks/<name> if not given")
    secrets: tuple[Secret, ...] = option(
        (), help="any of them may have signed; several while rotating", secret=True
    )
    allow_unsigned: bool = option(False, help="accept requests without a signature")
    token: Secret | None = option(
        None, help="required as ?token=... in the registered URL", secret=True
    )
    basic: Secret | None = option(
        None, help="user:password that requests must have (HTTP basic)", secret=True
    )
    bearer: Secret | None = option(
        None, help="a bearer token that requests must have", secret=True
    )
    require_headers: Mapping[str, Secret] = option(
        dict, help="headers that requests must have, with their values", secret=True
    )
    allow_ips: tuple[str, ...] = option(
        (), help="addresses or networks that may send; see server.trusted_proxies"
    )
    quiet_after: timedelta | None = option(
        None,
        help="raise source.quiet when nothing came for so long",
        least=timedelta(seconds=1),
    )
    stall_after: timedelta | None = option(
        None,
        help="raise batch.stalled when a batch has not ended and nothing was heard of "
        "it for so long",
        least=timedelta(seconds=1),
    )
    tolerance: timedelta | None = option(
        None,
        help="how old or early a timestamp may be; by default as the provider says",
    )
    api_key: Secret | None = option(
        None,
        help="with it the provider's API is asked for what is missing",
        secret=True,
    )
    api_url: str | None = option(
        None, help="where its API is; by default as its documentation says"
    )
    api_rate: Rate = option(Rate(5, 1), help="requests to its API in a time, at most")
    reconcile: timedelta | None = option(
        None,
        help="how soon, and then ever more seldom, the API is asked about what waits",
        least=timedelta(seconds=1),
        most=timedelta(days=1),
    )
    confirm: bool | None = option(
        None,
        help="deliver only what the API says, too; by default where bodies are not "
        "signed and there is an api_key",
    )
    confirm_within: timedelta = option(
        timedelta(minutes=2),
        help="how long deliveries wait for that",
        least=timedelta(seconds=1),
        most=timedelta(days=1),
    )
    on_unconfirmed: Literal["deliver", "cancel"] = option(
        "deliver", help="what becomes of deliveries the API said nothing about in time"
    )

    @property
    def has_condition(self) -> bool:
        """Whether only those who know something secret get in, signatures apart."""
        conditions = (self.token, self.basic, self.bearer, *self.require_headers)
        return any(condition is not None for condition in conditions)


def unmeetable(source: Source) -> Iterable[tuple[str, str]]:
    """Conditions that nothing that is sent can meet: (field, message) each."""
    for name in ("token", "basic"):
        if not _is_unicode(getattr(source, name) or ""):
            yield name, "is not UTF-8"
    if source.basic is not None and ":" not in source.basic:
        yield "basic", "is not user:password"
    if source.bearer is not None and not _SENDABLE.fullmatch(source.bearer):
        yield "bearer", "is not printable ASCII, or begins or ends with a space"
    for name, value in source.require_headers.items():
        if not _HEADER_NAME.fullmatch(name):
            yield "require_headers", f'"{name}" is no name of a header'
        if not _SENDABLE.fullmatch(value):
            message = "is not printable ASCII, or begins or ends with a space"
            yield f"require_headers.{name}", message
    names = [name.lower() for name in source.require_headers]
    names += ["authorization" for one in (source.basic, source.bearer) if one]
    if len(names) > len(set(names)):
        yield "require_headers", "basic, bearer and these ask for one header twice"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def guessable(source: Source) -> Iterable[tuple[str, str]]:
    """Conditions that anybody meets who tries what is empty: (field, message) each."""
    if source.token is not None and not source.token.strip():
        yield "token", "is nothing but white space"
    if source.basic is not None and source.basic.strip().endswith(":"):
        yield "basic", "has no password"


@dataclass(frozen=True)
class RetryPolicy:
    max_attempts: int = option(
        12, help="attempts in all before a delivery is dead", least=1
    )
    max_age: timedelta = option(
        timedelta(days=7), help="dead after this long, pauses by hand not counted"
    )
    waits: tuple[timedelta, ...] = option(
        DEFAULT_WAITS,
        help="the wait after each attempt; the last one repeats",
        least=timedelta(0),
    )


@dataclass(frozen=True)
class BreakerPolicy:
    failures: int = option(
        5, help="failures in a row after which it opens; 0 for never", least=0
    )
    wait: timedelta = option(
        timedelta(seconds=10),
        help="how long nothing is attempted then, before one attempt probes",
        least=A_MOMENT,
    )
    longest_wait: timedelta = option(
        timedelta(minutes=5),
        help="each probe that fails doubles the wait, up to this",
        least=A_MOMENT,
    )


@dataclass(frozen=True)
class DestinationSettings:
    """What every destination has; each type adds its own fields."""

    name: str
    type: str = option(help="http, slack, email, python or command")
    timeout: timedelta = option(
        timedelta(seconds=15), help="for one attempt, in all", least=A_MOMENT
    )
    concurrency: int = option(8, help="attempts at a time", least=1)
    retry: RetryPolicy = option(RetryPolicy, help="when to try again, and how often")
    ordering: Literal["none", "subject"] = option(
        "none", help="subject: each subject's deliveries in order, one at a time"
    )
    on_dead: OnDead = option(
        "skip", help="in order: block holds a subject back behind a dead delivery"
    )
    max_rate: Rate | None = option(
        None, help='attempts begun in a time, evenly spread: "20/s", "90/m", "1000/h"'
    )
    breaker: BreakerPolicy = option(
        BreakerPolicy, help="when to stop asking what does not answer"
    )

    def all_problems(self) -> Iterable[tuple[str, str, str]]:
        """What is wrong beyond single fields: (field, message, hint) each."""
        if self.on_dead == "block" and self.ordering == "none":
            hint = 'set ordering = "subject", too'
            yield "on_dead", "does nothing where no order is kept", hint
        yield from self.problems()

    def problems(self) -> Iterable[tuple[str, str, str]]:
        """What is wrong with what the type has of its own."""
        return ()

    def missing(self) -> Iterable[tuple[str, str, str]]:
        """
        What it needs on this machine and is not there now: (field, message, hint) each.

        Asked only by what would deliver; to look at the store nobody needs it.
        """
        return ()

    @property
    def window(self) -> timedelta:
        """How long what arrives is collected for one attempt; nothing: it is not."""
        return timedelta()

    def described(self) -> str:
        """Where it goes, in a few words without secrets."""
        return self.type


@dataclass(frozen=True)
class Route:
    """Sends a source's matching events to destinations."""

    name: str = option("", help="shown by explain; route-<n> if not given")
    source: str = option(
        help="the source's name, * for any, or receiver for its own alerts"
    )
    types: tuple[str, ...] = option(("*",), help='event types; globs like "batch.*"')
    when: str | None = option(None, help="a CEL expression that must be true")
    to: tuple[str, ...] = option(help="names of destinations")


MOST_PARTS = 1_000
"""Of one join; what comes after them is left out."""


@dataclass(frozen=True)
class Join:
    """Waits for several events, and makes one of them."""

    name: str
    source: str = option("*", help="the source whose events are parts, or * for any")
    types: tuple[str, ...] = option(("*",), help='event types; globs like "batch.*"')
    when: str = option("event.final", help="a CEL expression: which events are parts")
    key: str = option(help="a CEL expression: parts of one key belong together")
    count: int | str | None = option(
        None, help="how many parts there are: a number, or a CEL expression", least=None
    )
    complete: str | None = option(
        None, help="instead: a CEL expression over `parts` that says when all are there"
    )
    timeout: timedelta = option(
        timedelta(hours=1),
        help="how long after the first part join.timed_out is raised",
        least=A_MOMENT,
    )
    fail_fast: bool = option(
        False, help="a part that failed ends the join at once, with join.failed"
    )


@dataclass(frozen=True)
class Settings:
    """All of it, checked."""

    file: str
    server: Server
    store: StoreSettings
    sources: Mapping[str, Source]
    destinations: Mapping[str, DestinationSettings]
    routes: tuple[Route, ...]
    joins: Mapping[str, Join] = field(default_factory=dict[str, Join])


@dataclass(frozen=True, slots=True)
class Known:
    """What the layers above have to offer: providers, and destination types."""

    sources: Mapping[str, tuple[type[Source], Mapping[str, Any]]]
    """For each provider the class of its sources, and what a preset fills in."""
    judge: Callable[[Source], Iterable[tuple[str, str, str]]]
    """What its provider finds wrong with a source: (field, message, hint) each."""
    destinations: Mapping[str, type[DestinationSettings]]
