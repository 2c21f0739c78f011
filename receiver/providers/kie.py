"""
kie.ai: what its jobs, Veo, Suno, Runway, Luma and Midjourney APIs call back with.

`X-Webhook-Signature` is HMAC-SHA256 in base64 over the task's id, a dot and
`X-Webhook-Timestamp` (Unix seconds).  The id is the body's, in one of four places, and
**the rest of the body is not signed**.  So who has seen one signature can make any body
for that task while the timestamp is young.  Against that: the age is always checked,
the places must agree on the task, one task ends once, and links lead to known hosts.

Sources: https://docs.kie.ai/common-api/webhook-verification and the callback page of
each API, e.g. https://docs.kie.ai/veo3-api/generate-veo-3-video-callbacks.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from receiver.errors import Rejected
from receiver.models import Reading, Request, Scalar, State
from receiver.providers.base import Provider
from receiver.providers.body import parse
from receiver.providers.hosts import is_link, is_pattern, strangers
from receiver.providers.values import count, first_text, links, table, text, whole
from receiver.schemes import Scheme, moment_from
from receiver.settings import Source
from receiver.settings.fields import option

KNOWN_HOSTS = (
    "*.kie.ai",
    "*.aiquickdraw.com",
    "*.redpandaai.co",
    "apiboxfiles.erweima.ai",
    "mfile.erweima.ai",
    "audiostream.api.box",
    "musicfile.api.box",
    "musicfile.removeai.ai",
    "*.suno.ai",
    "example.com",
    "*.example.com",
)
"""Where kie's results were seen; nobody can have example.com, which its samples use."""

MOST_SIGNED_BYTES = 256 * 1024
"""A larger body is not parsed to find out whether it is authentic; kie's have a few KiB."""

LONGEST_ID = 200
RESULTS_LAST = timedelta(hours=24)
RUNWAY_LASTS = timedelta(days=14)

_STATES = {
    "wait": State.PENDING,
    "waiting": State.PENDING,
    "pending": State.PENDING,
    "queueing": State.PENDING,
    "queuing": State.PENDING,
    "generating": State.RUNNING,
    "running": State.RUNNING,
    "success": State.SUCCEEDED,
    "fail": State.FAILED,
}
_PARTS = ("text", "first")
"""Suno's `callbackType` while there is more to come."""

_OUR_OWN = frozenset(
    {"callBackUrl", "callbackUrl", "param", "paramJson", "progressCallBackUrl"}
    | {"promptJson", "prompt", "lyrics"}
)
"""What was asked for, sent back: its links are the user's own."""

_JSON_TEXTS = frozenset({"resultJson", "resultUrls", "originUrls", "info", "response"})
_UPSTREAM = ("origin", "source", "stream")
_RUNWAY = frozenset({"video_id", "result_video_url"})
_4K = re.compile(r"(?:the )?4k\b", re.IGNORECASE)


@dataclass(frozen=True)
class KieSource(Source):
    hosts: tuple[str, ...] = option(
        KNOWN_HOSTS,
        help="where its links may lead; another host is refused; * allows any",
    )


class Kie(Provider):
    """See the module."""

    schemes = (
        Scheme(
            header="x-webhook-signature",
            signed="{id}.{timestamp}",
            encoding="base64",
            timestamp_header="x-webhook-timestamp",
        ),
    )
    tolerance = timedelta(minutes=5)
    status_api = "kie"
    # Of its pages some expect the status word, others the code; ours is `outcome`.
    answer: Mapping[str, Scalar] = {
        "code": 200,
        "msg": "success",
        "status": "received",
    }

    def ids(self, request: Request) -> Sequence[str]:
        if len(request.body) > MOST_SIGNED_BYTES:
            message = f"a signed body is at most {MOST_SIGNED_BYTES} bytes long"
            raise Rejected(413, "body_too_large", message)
        try:
            named = _named(parse(request.body))
        except Rejected:
            return ()
        return list(dict.fromkeys(filter(_is_id, named)))

    def read(self, request: Request, data: Any) -> Reading:
        body, inner = table(data), table(table(data).get("data"))
        task = _task(data)
        found = list(_links(data))
        self._check_hosts(url for _, url in found)
        results = _results(found)
        state = _state(body, inner, results)
        final = state in (State.SUCCEEDED, State.FAILED)
        word = {State.SUCCEEDED: "task.succeeded", State.FAILED: "task.failed"}
        stage = _stage(request, body, inner, final=final)
        facts = _facts(body, inner, results) | {"state": str(state)}
        lasts = RESULTS_LAST if _RUNWAY.isdisjoint(inner) else RUNWAY_LASTS
        return Reading(
            key=f"{task}:{stage}",
            type=word.get(state, "task.progress"),
            subject=task,
            state=state,
            final=final,
            occurred_at=_moment(inner),
            facts=facts | {"part": stage} if stage == "4k" else facts,
            result_urls=results,
            expires_at=request.received_at + lasts if results else None,
        )

    def problems(self) -> Iterable[tuple[str, str, str]]:
        yield from super().problems()
        for i, pattern in enumerate(self._hosts):
            if not is_pattern(pattern):
                hint = 'write it like "files.example.com" or "*.example.com"'
                yield f"hosts[{i}]", f"{pattern!r} is no host", hint
        if not self._hosts:
            yield "hosts", "is empty", 'to allow any host write ["*"]'

    def warnings(self) -> Iterable[tuple[str, str]]:
        signed_only = self.source.secrets and not self.source.has_condition
        if signed_only and "*" in self._hosts:
            message = (
                "allows links to any host, and kie.ai does not sign them: "
                "name hosts, or set a token"
            )
            yield "hosts", message

    @property
    def _hosts(self) -> tuple[str, ...]:
        return cast("KieSource", self.source).hosts

    def _check_hosts(self, urls: Iterable[str]) -> None:
        for host in strangers(urls, self._hosts):
            message = (
                f"the body links to {host[:100]}, which is not in the source's hosts; "
                "if it is kie.ai's, add it there"
            )
            raise Rejected(400, "result_host_unknown", message)


# -- which task


def _named(data: Any) -> list[Any]:
    """What the places of the id hold, in the order in which the pages mention them."""
    body = table(data)
    places = (table(body.get("data")), body)
    given = [where.get(name) for where in places for name in ("taskId", "task_id")]
    return [value for value in given if value not in (None, "")]


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= LONGEST_ID


def _task(data: Any) -> str:
    """
    The id that every place has.  The signature is over one of them, so only if they
    agree does it say which task the body is about.
    """
    named = _named(data)
    if not named:
        raise Rejected(400, "malformed_body", "the body has no taskId")
    if not all(_is_id(value) for value in named):
        message = f"the task's id is not a text of at most {LONGEST_ID} characters"
        raise Rejected(400, "malformed_body", message)
    if len(set(named)) > 1:
        message = "the body names more than one task; its signature is over one"
        raise Rejected(400, "task_id_mismatch", message)
    return str(named[0])


# -- what became of it


def _state(
    body: Mapping[str, Any], inner: Mapping[str, Any], results: tuple[str, ...]
) -> State:
    """From `state`; where there is none (Veo, Suno, Runway, ...) `code` decides."""
    known = _STATES.get(text(inner.get("state")).lower())
    if known is not None:
        return known
    code = _code(body)
    if code is None:
        return State.UNKNOWN
    if code != 200:
        return State.FAILED
    if inner.get("state"):
        return State.UNKNOWN
    part = inner.get("callbackType") in _PARTS
    more_to_come = part or ("progress" in inner and not results)
    return State.RUNNING if more_to_come else State.SUCCEEDED


def _code(body: Mapping[str, Any]) -> int | None:
    code = body.get("code")
    if isinstance(code, str) and re.fullmatch("[0-9]{3}", code):
        return int(code)
    return count(code)


def _stage(
    request: Request, body: Mapping[str, Any], inner: Mapping[str, Any], *, final: bool
) -> str:
    """
    What tells a task's events apart.  It ends once, whatever the end says: another
    one is a conflict for people to see, not a second event.  A 4K version, which has
    the id of the task it is made from, is asked for later and ends by itself.
    """
    if final:
        said = first_text(body.get("msg"), body.get("message"))
        previews = "imageUrls" in table(inner.get("info"))  # only a 4K version's
        return "4k" if previews or _4K.match(said) else "end"
    part = inner.get("callbackType")
    if part in _PARTS:
        return str(part)
    return f"progress:{hashlib.sha256(request.body).hexdigest()[:16]}"


def _facts(
    body: Mapping[str, Any], inner: Mapping[str, Any], results: tuple[str, ...]
) -> dict[str, Scalar]:
    """What a repeat must agree on; the links too, for nobody signed them."""
    facts: dict[str, Scalar] = {}
    code = _code(body)
    if code is not None:
        facts["code"] = code
    for name in ("creditsConsumed", "consumeCredits"):
        spent: Any = inner.get(name)
        number = isinstance(spent, int | float) and not isinstance(spent, bool)
        if number and abs(spent) < 2**53:
            facts["credits"] = spent
    digest = hashlib.sha256("\n".join(results).encode("utf-8", "replace"))
    return facts | {"results": len(results), "results_sha256": digest.hexdigest()[:16]}


def _moment(inner: Mapping[str, Any]) -> datetime | None:
    for name in ("completeTime", "updateTime"):
        if count(inner.get(name)):
            return moment_from(inner[name])
    return None


# -- where the results are


def _links(data: Any) -> Iterator[tuple[str, str]]:
    """
    Every link in a body in its order, with the name it is under; links of the request
    that the body repeats are left out.
    """
    waiting: list[tuple[str, Any]] = [("", data)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            inside = [(str(n), v) for n, v in value.items() if n not in _OUR_OWN]
            waiting += reversed(inside)
        elif isinstance(value, list):
            waiting += [(name, one) for one in reversed(value)]
        elif not isinstance(value, str):
            continue
        elif name in _JSON_TEXTS and value.lstrip().startswith(("{", "[", '"')):
            waiting.append((name, _inside(name, value)))
        elif is_link(value):
            yield name, value


def _inside(name: str, value: str) -> Any:
    """JSON within a text; if it is none, what others make of it cannot be checked."""
    try:
        return parse(whole(value).encode())
    except Rejected as error:
        raise Rejected(400, error.code, f"in {name}, {error.message}") from None


def _results(found: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The links to results: not to where kie.ai has them from, and pictures last."""
    own = [(name, url) for name, url in found if not name.startswith(_UPSTREAM)]
    return links(
        [url for _, url in sorted(own, key=lambda one: "image" in one[0].lower())]
    )
