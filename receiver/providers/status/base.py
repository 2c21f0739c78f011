"""
What a status API is: which requests to make about a subject, and what answers mean.

A conversation is a generator: it yields each `Query`, is sent the `Reply`, and returns
what was `Found`.  It is pure: whoever runs it makes the requests.
"""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from receiver.models import Headers
from receiver.providers.values import table

LONGEST_SUBJECT = 200

JSON_HEADERS: Headers = {"content-type": "application/json"}


class Unanswered(Exception):
    """There is no answer now; another time there may be.  Says why, without secrets."""

    def __init__(self, why: str, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class KeyRefused(Exception):
    """The API does not take the key: asking again is no use until it is another."""


class UnknownSubject(Exception):
    """The API knows nothing of the subject."""


@dataclass(frozen=True, slots=True)
class Query:
    """A GET: a path below the API's base, escaped, and parameters."""

    path: str
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: 200, or 404, and its JSON (None where a 404 has none)."""

    status: int
    data: Any


@dataclass(frozen=True, slots=True)
class Made:
    """A webhook as the sender would have sent it, signature apart."""

    body: bytes
    headers: Headers = field(default_factory=lambda: JSON_HEADERS)


@dataclass(frozen=True, slots=True)
class Found:
    """
    What the API says of a subject.

    `word` is its own for the state.  `webhooks` are those that should have come by
    now, in their order; while it is not `final` there may be none.
    """

    word: str
    final: bool
    webhooks: tuple[Made, ...] = ()


Conversation = Generator[Query, Reply, Found]


class StatusApi:
    """One sender's API."""

    base: str
    """Where it is by its documentation; keys are sent nowhere else by default."""

    def key_headers(self, key: str) -> Headers:
        """The headers that carry the key."""
        return {"authorization": f"Bearer {key}"}

    def ask(self, subject: str) -> Conversation:
        """
        Ask for all that is known of a subject.

        Raises:
            UnknownSubject, KeyRefused, Unanswered: see there.
        """
        raise NotImplementedError


def segment(subject: str) -> str:
    """
    A subject as one part of a path.

    Raises:
        UnknownSubject: it cannot be one, so nobody knows it.
    """
    if not subject.strip(".") or len(subject) > LONGEST_SUBJECT:
        raise UnknownSubject("it cannot be asked for under this id")
    return quote(subject, safe="", errors="replace")


def answered(reply: Reply) -> Mapping[str, Any]:
    """
    The object in an answer.

    Raises:
        UnknownSubject: the answer is that there is none.
        Unanswered: it is not an object; an address that is no API has no JSON.
    """
    if not isinstance(reply.data, dict):
        raise Unanswered(f"it answered {reply.status} without a JSON object")
    if reply.status == 404:
        raise UnknownSubject("it does not know this id")
    return reply.data


def about(data: Mapping[str, Any], name: str, subject: str) -> Mapping[str, Any]:
    """
    The object, if it is about the subject.

    Raises:
        Unanswered: it is about another.
    """
    if data.get(name) != subject:
        raise Unanswered("it answered about something else")
    return data


def made(body: Mapping[str, Any], headers: Headers | None = None) -> Made:
    """A webhook with this body; fields that are None are left out."""
    there = {name: value for name, value in body.items() if value is not None}
    raw = json.dumps(there, separators=(",", ":"), ensure_ascii=True).encode()
    return Made(raw, {**JSON_HEADERS, **(headers or {})})


def inner(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object under a name, or an empty one."""
    return table(data.get(name))
