"""
What the services of the recipes check, as far as they publish it: who may, what must be
there, how long it may be.  Each answers as its service does and keeps what it took.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

from aiohttp import web

from receiver import clock
from tests.sinks import Seen

Json = dict[str, Any]


class Refused(Exception):
    """A status and a reason."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(f"{status} {why}")
        self.status = status


def demand(holds: object, why: str, status: int = 400) -> None:
    if not holds:
        raise Refused(status, why)


@dataclass
class Service:
    """`refusals` are given to the first requests, whatever they hold."""

    method: ClassVar[str] = "POST"
    path: ClassVar[str] = ""
    content_type: ClassVar[str] = "application/json"
    taken_status: ClassVar[int] = 200
    token: ClassVar[str] = ""

    taken: list[Json] = field(default_factory=list[Json])
    refused: list[str] = field(default_factory=list[str])
    refusals: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)

    async def respond(self, seen: Seen) -> web.Response:
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return web.json_response({}, status=status, headers=headers)
        try:
            self.check_request(seen)
            payload = self.read(seen)
            answer = self.take(seen, payload)
        except Refused as refused:
            self.refused.append(str(refused))
            return web.json_response({"error": str(refused)}, status=refused.status)
        self.taken.append(payload)
        return web.json_response(answer, status=self.taken_status)

    def check_request(self, seen: Seen) -> None:
        demand(seen.method == self.method, f"method {seen.method}", 405)
        demand(re.fullmatch(self.path, seen.path), f"no such address {seen.path}", 404)
        given = seen.headers.get("content-type", "")
        demand(given.startswith(self.content_type), f"content-type {given}", 415)
        if self.token:
            wanted = f"Bearer {self.token}"
            demand(seen.headers.get("authorization") == wanted, "unauthorized", 401)

    def read(self, seen: Seen) -> Json:
        found: Json = json.loads(seen.body)
        return found

    def take(self, seen: Seen, payload: Json) -> Json:
        """
        The answer.

        Raises:
            Refused: the service would not take it.
        """
        raise NotImplementedError


FIELDS = {"Event ID", "Subject", "Type", "Status", "Received", "Video"}


@dataclass
class Airtable(Service):
    """
    One table.  More than five requests in a second, or a request while it is `angry`,
    begin a penalty in which nothing succeeds.
    """

    method = "PATCH"
    path = "/v0/appBASE0000000000/Videos"
    token = "patTOKEN.0123456789abcdef"

    penalty_s: float = 30.0
    rows: dict[str, Json] = field(default_factory=dict[str, Json])
    angry_at: int = 0
    """The number of the request that finds the base's limit used up by others."""

    loses_answer: bool = False
    """Whether the first answer is lost after its work was done."""

    options: set[str] = field(default_factory=lambda: {"Completed"})
    asked_at: list[float] = field(default_factory=list[float])
    penalties: int = 0
    asked_in_penalty: int = 0
    _until: float = 0.0

    def take(self, seen: Seen, payload: Json) -> Json:
        self._limit()
        records = payload["records"]
        demand(0 < len(records) <= 10, "records", 422)
        merge = payload.get("performUpsert", {}).get("fieldsToMergeOn", [])
        done = [self._write(record, merge, payload) for record in records]
        if self.loses_answer:
            self.loses_answer = False
            raise Refused(500, "lost")
        return {"records": [{"id": name, "fields": self.rows[name]} for name in done]}

    def _limit(self) -> None:
        now = clock.monotonic()
        self.asked_at.append(now)
        if now < self._until:
            self.asked_in_penalty += 1
            raise Refused(429, "RATE_LIMIT_REACHED")
        within = [at for at in self.asked_at if at > now - 1]
        if len(within) > 5 or len(self.asked_at) == self.angry_at:
            self.penalties += 1
            self._until = now + self.penalty_s
            raise Refused(429, "RATE_LIMIT_REACHED")

    def _write(self, record: Json, merge: list[str], payload: Json) -> str:
        fields = record["fields"]
        demand(fields.keys() <= FIELDS, "UNKNOWN_FIELD_NAME", 422)
        status = fields["Status"]
        known = status in self.options or payload.get("typecast") is True
        demand(known, "INVALID_MULTIPLE_CHOICE_OPTIONS", 422)
        self.options.add(status)
        for video in fields.get("Video", []):
            demand(urlsplit(video["url"]).scheme in ("http", "https"), "url", 422)
        name = self._merged(fields, merge) if merge else str(record.get("id"))
        demand(name in self.rows, "ROW_DOES_NOT_EXIST", 404)
        self.rows[name].update(fields)
        return name

    def _merged(self, fields: Json, merge: list[str]) -> str:
        demand(len(merge) <= 3 and all(map(fields.get, merge)), "merge", 422)
        for name, row in self.rows.items():
            if all(row.get(one) == fields[one] for one in merge):
                return name
        name = f"rec{len(self.rows):014}"
        self.rows[name] = {}
        return name


@dataclass
class Seenn(Service):
    """Jobs that end once."""

    path = r"/v1/jobs(/[0-9A-Za-z_]+/(progress|complete|fail))?"
    token = "sk_live_0123456789abcdef"

    jobs: dict[str, list[Json]] = field(default_factory=dict[str, list[Json]])

    def take(self, seen: Seen, payload: Json) -> Json:
        if seen.path == "/v1/jobs":
            return self._start(payload)
        _, _, _, job, step = seen.path.split("/")
        demand(job in self.jobs, "NOT_FOUND", 404)
        ended = any(one["step"] != "progress" for one in self.jobs[job])
        demand(not ended, "CONFLICT", 409)
        if step == "progress":
            progress = payload["progress"]
            demand(isinstance(progress, int) and 0 <= progress <= 100, "progress")
        if step == "complete":
            result = payload.get("result", {})
            demand(result.keys() <= {"type", "url", "data"}, "result")
            demand(len(json.dumps(result)) <= 100 * 1024, "result is too large")
        if step == "fail":
            demand(payload["error"]["code"] and payload["error"]["message"], "error")
            demand(isinstance(payload.get("retryable", False), bool), "retryable")
        self.jobs[job].append({"step": step, **payload})
        return {"id": job}

    def _start(self, payload: Json) -> Json:
        for name, longest in (("jobType", 100), ("userId", 255), ("title", 200)):
            demand(0 < len(payload[name]) <= longest, name)
        demand(len(json.dumps(payload.get("metadata", {}))) <= 10 * 1024, "metadata")
        name = f"job_{len(self.jobs)}"
        self.jobs[name] = []
        return {"id": name, "status": "pending", "progress": 0}


@dataclass
class Discord(Service):
    path = r"/api/webhooks/1/hook-token-0123456789\?wait=true"

    def take(self, seen: Seen, payload: Json) -> Json:
        demand(0 < len(payload["content"]) <= 2000, "BASE_TYPE_BAD_LENGTH")
        demand(payload["allowed_mentions"] == {"parse": []}, "somebody was mentioned")
        return {"id": "1", "content": payload["content"]}


@dataclass
class Teams(Service):
    path = r"/workflows/0123/triggers/manual/paths/invoke\?sig=teams-token-0123456789"
    taken_status = 202

    def take(self, seen: Seen, payload: Json) -> Json:
        demand(len(seen.body) <= 28 * 1024, "too large", 413)
        demand(payload["type"] == "message", "type")
        [attachment] = payload["attachments"]
        kind = "application/vnd.microsoft.card.adaptive"
        demand(attachment["contentType"] == kind, "contentType")
        card = attachment["content"]
        demand((card["type"], card["version"]) == ("AdaptiveCard", "1.4"), "card")
        for block in card["body"]:
            demand(block["type"] == "TextBlock" and block["text"], "body")
        for action in card.get("actions", ()):
            demand(action["type"] == "Action.OpenUrl" and action["url"], "actions")
        return {}


@dataclass
class PagerDuty(Service):
    path = "/v2/enqueue"
    taken_status = 202
    key: ClassVar[str] = "0123456789abcdef0123456789abcdef"

    incidents: dict[str, str] = field(default_factory=dict[str, str])

    def take(self, seen: Seen, payload: Json) -> Json:
        demand(payload["routing_key"] == self.key, "routing_key")
        action, subject = payload["event_action"], payload["dedup_key"]
        demand(action in ("trigger", "resolve"), "event_action")
        demand(0 < len(subject) <= 255, "dedup_key")
        if action == "trigger":
            about = payload["payload"]
            demand(0 < len(about["summary"]) <= 1024, "payload.summary")
            demand(about["source"], "payload.source")
            severities = ("critical", "error", "warning", "info")
            demand(about["severity"] in severities, "payload.severity")
        self.incidents[subject] = action
        return {"status": "success", "message": "processed", "dedup_key": subject}


@dataclass
class Telegram(Service):
    path = "/bot12345:telegram-token-0123456789/sendMessage"

    def take(self, seen: Seen, payload: Json) -> Json:
        demand(payload["chat_id"] == "-100123", "chat not found")
        demand(0 < len(payload["text"]) <= 4096, "message is too long")
        demand(payload["link_preview_options"] == {"is_disabled": True}, "preview")
        return {"ok": True, "result": {}}


@dataclass
class Ntfy(Service):
    path = "/"
    token = "tk_0123456789abcdef"

    def take(self, seen: Seen, payload: Json) -> Json:
        demand(payload["topic"] == "videos", "topic", 403)
        demand(len(payload["message"].encode()) <= 4096, "message")
        demand(payload["priority"] in range(1, 6), "priority")
        demand(all(isinstance(tag, str) for tag in payload["tags"]), "tags")
        demand("click" not in payload or urlsplit(payload["click"]).scheme, "click")
        return {"id": "1", "event": "message"}


REQUIRED = {"specversion", "id", "source", "type"}
KNOWN = REQUIRED | {"subject", "time", "datacontenttype", "data"}


@dataclass
class CloudEvents(Service):
    """Takes either mode, and keeps the attributes as they are in the structured one."""

    path = "/"
    content_type = "application/"

    def read(self, seen: Seen) -> Json:
        if seen.headers["content-type"].startswith("application/cloudevents+json"):
            return super().read(seen)
        demand("ce-datacontenttype" not in seen.headers, "ce-datacontenttype")
        found: Json = {
            name.removeprefix("ce-"): unquote(value, errors="strict")
            for name, value in seen.headers.items()
            if name.startswith("ce-")
            and (re.fullmatch(r"[!#-~]+", value) or self._wrong(name))
        }
        kind = seen.headers["content-type"]
        return {**found, "datacontenttype": kind, "data": json.loads(seen.body)}

    def take(self, seen: Seen, payload: Json) -> Json:
        demand(payload.keys() >= REQUIRED, f"missing {REQUIRED - payload.keys()}")
        demand(payload.keys() <= KNOWN, f"unknown {payload.keys() - KNOWN}")
        demand(payload["specversion"] == "1.0", "specversion")
        for name in payload.keys() - {"data"}:
            demand(payload[name] and isinstance(payload[name], str), name)
        return {}

    def _wrong(self, name: str) -> bool:
        raise Refused(400, f"{name} is not encoded")
