"""Stand-ins for the status APIs of senders: they answer as documented."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from tests.sinks import Seen

KEY = "a key for the API"

Answer = tuple[int, Any]


def batch(**changes: Any) -> dict[str, Any]:
    """`GET /batches/{id}` of a Sora2 batch that ended, as in the provider's openapi."""
    return {
        "ok": True,
        "batch_id": "bat_1",
        "request_id": "order-bat_1",
        "status": "partial",
        "total_count": 10,
        "succeeded_count": 9,
        "failed_count": 1,
        "cost_per_video": 10,
        "credits_reserved": 100,
        "credits_settled": 90,
        "credits_refunded": 10,
        "created_at": "2026-01-24T10:00:00Z",
        "completed_at": "2026-01-24T10:05:30Z",
        **changes,
    }


def items(count: int, *, failed: int = 0) -> list[dict[str, Any]]:
    """Items of a batch, those that failed last."""
    return [
        {
            "item_id": f"item_{i:03}",
            "index": i,
            "status": "failed" if i >= count - failed else "succeeded",
            "prompt": "a cat",
            "model": "sora-2",
            "video_url": None if i >= count - failed else f"https://cdn.test/{i}.mp4",
            "error": "Model timeout" if i >= count - failed else None,
            "created_at": "2026-01-24T10:00:00Z",
        }
        for i in range(count)
    ]


@dataclass
class Sora2Api:
    """The Sora2 API: batches by id, their items, the ledger."""

    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    items: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refuse: Callable[[Seen], web.Response | None] | None = None

    async def respond(self, seen: Seen) -> web.StreamResponse:
        self.asked.append(seen.path)
        if self.refuse is not None and (refusal := self.refuse(seen)) is not None:
            return refusal
        status, data = self.answer(seen.path, seen.headers)
        return web.json_response(data, status=status)

    def answer(self, path: str, headers: Mapping[str, str]) -> Answer:
        if headers.get("x-api-key") != KEY:
            return 401, {"ok": False, "error": "UNAUTHORIZED"}
        parts = urlsplit(path)
        asked = dict(parse_qsl(parts.query))
        if parts.path == "/credits/ledger":
            return 200, self._page("entries", self._ledger(asked["batch_id"]), asked)
        _, _, name, *more = parts.path.split("/")
        if name not in self.batches:
            return 404, {"ok": False, "error": "NOT_FOUND"}
        if more == ["items"]:
            return 200, self._page("items", self.items.get(name, []), asked)
        return 200, self.batches[name]

    def _page(
        self, name: str, rows: list[dict[str, Any]], asked: Mapping[str, str]
    ) -> dict[str, Any]:
        limit, offset = int(asked["limit"]), int(asked["offset"])
        page = {"total": len(rows), "limit": limit, "offset": offset}
        return {"ok": True, name: rows[offset : offset + limit], **page}

    def _ledger(self, name: str) -> list[dict[str, Any]]:
        return [
            {
                "id": f"led_{item['item_id']}",
                "type": "refund",
                "delta": 10,
                "batch_id": name,
                "item_id": item["item_id"],
                "description": item["error"],
            }
            for item in self.items.get(name, [])
            if item["status"] == "failed"
        ]


def kie_task(**changes: Any) -> dict[str, Any]:
    """`data` of kie's `recordInfo` for a task that succeeded."""
    return {
        "taskId": "bat_1",
        "model": "sora-2-text-to-video",
        "state": "success",
        "param": '{"callBackUrl":"https://mine.test/x","input":{"prompt":"a cat"}}',
        "resultJson": '{"resultUrls":["https://example.com/generated.mp4"]}',
        "failCode": "",
        "failMsg": "",
        "completeTime": 1698765432000,
        "createTime": 1698765400000,
        "updateTime": 1698765432000,
        **changes,
    }


def veo_task(**changes: Any) -> dict[str, Any]:
    """`data` of kie's Veo `record-info` for a task that succeeded."""
    return {
        "taskId": "bat_1",
        "paramJson": '{"prompt":"cat","callBackUrl":"https://mine.test/x"}',
        "completeTime": "2025-06-06 10:30:00",
        "response": {
            "taskId": "bat_1",
            "resultUrls": ["http://example.com/video1.mp4"],
            "originUrls": ["http://example.com/original_video1.mp4"],
            "resolution": "1080p",
        },
        "successFlag": 1,
        "errorCode": None,
        "errorMessage": "",
        "createTime": "2025-06-06 10:25:00",
        "fallbackFlag": False,
        **changes,
    }


@dataclass
class KieApi:
    """kie's jobs API: tasks by id."""

    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refuse: Callable[[Seen], web.Response | None] | None = None

    async def respond(self, seen: Seen) -> web.StreamResponse:
        self.asked.append(seen.path)
        if self.refuse is not None and (refusal := self.refuse(seen)) is not None:
            return refusal
        if seen.headers.get("authorization") != f"Bearer {KEY}":
            return web.json_response({"code": 401, "msg": "unauthorized"})
        parts = urlsplit(seen.path)
        task = self.tasks.get(dict(parse_qsl(parts.query))["taskId"])
        if task is None or ("state" in task) is not ("jobs" in parts.path):
            return web.json_response({"code": 422, "msg": "recordInfo is null"})
        return web.json_response({"code": 200, "msg": "success", "data": task})


def said(data: Any) -> web.Response:
    return web.Response(body=json.dumps(data).encode(), content_type="application/json")
