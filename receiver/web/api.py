"""
What changes things, as JSON under `/api/v1`: for the commands, on the Unix socket.

Every answer is JSON; a refusal is `{"error": {"code", "message"}}`.  Reading is not
here: commands read the store themselves.
"""

import os
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver import clock, logs, replay
from receiver.alerts import Alerts
from receiver.delivery import ReadEvent
from receiver.dispatcher import Dispatcher
from receiver.errors import Conflict, NotFound, ReceiverError, Rejected, StoreError
from receiver.ingest import Answer
from receiver.models import Rejection
from receiver.routing import Router
from receiver.settings import Settings
from receiver.stores import Store
from receiver.web import refuse

MOST_IDS = 1_000
"""Ids in one request; whoever has more asks again."""


class AcceptAgain(Protocol):
    """`Intake.accept_again`."""

    async def __call__(self, rejection: Rejection, *, dry_run: bool) -> Answer: ...


class Api:
    """Retry, cancel, move, replay, pause, resume; each is logged in a line."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        dispatcher: Dispatcher,
        read: ReadEvent,
        accept_again: AcceptAgain,
        alerts: Alerts,
    ) -> None:
        self._alerts = alerts
        self._accept_again = accept_again
        self._read = read
        self._store = store
        self._dispatcher = dispatcher
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        self._settings = settings
        self._router = Router(settings.routes)

    def app(self) -> Starlette:
        """The routes, with errors rendered."""
        post = ["POST"]
        return Starlette(
            routes=[
                Route("/api/v1/deliveries/retry", self.retry, methods=post),
                Route("/api/v1/status", self.status, methods=["GET"]),
                Route("/api/v1/deliveries/cancel", self.cancel, methods=post),
                Route("/api/v1/deliveries/move", self.move, methods=post),
                Route("/api/v1/rejections/reverify", self.reverify, methods=post),
                Route("/api/v1/replays", self.create_replay, methods=post),
                Route("/api/v1/replays/{id}/events", self.replay_events, methods=post),
                Route("/api/v1/destinations/{name}/pause", self.pause, methods=post),
                Route("/api/v1/destinations/{name}/resume", self.resume, methods=post),
            ],
            exception_handlers={HTTPException: refuse, ReceiverError: _explain},
        )

    async def status(self, _: Request) -> Response:
        """
        `{"pid": n, "held_back": {...}}`: who owns the store, and which destinations
        are given next to nothing now: `{"by": ..., "why": ..., "until": ...}` each.
        """
        held_back = {
            name: {"by": held.by, "why": held.why, "until": clock.iso(held.until)}
            for name, held in self._dispatcher.held_back().items()
        }
        return JSONResponse({"pid": os.getpid(), "held_back": held_back})

    async def retry(self, request: Request) -> Response:
        """`{"ids": [...]}`: a new round for each; `{"changed": n}`."""
        ids = _ids(await _json(request), "ids")
        changed = await self._store.retry(ids, clock.now())
        self._dispatcher.retried(self._settings.destinations)
        return _done("deliveries.retried", changed, asked=len(ids))

    async def cancel(self, request: Request) -> Response:
        """`{"ids": [...]}`: none is tried again; `{"changed": n}`."""
        ids = _ids(await _json(request), "ids")
        changed = await self._store.cancel(ids, clock.now())
        self._dispatcher.wake(self._settings.destinations)  # others may have the turn
        return _done("deliveries.cancelled", changed, asked=len(ids))

    async def move(self, request: Request) -> Response:
        """
        `{"ids": [...], "to": "...", "replay": "rpl_..."}`; `{"changed": n}`.

        Only what is pending or dead elsewhere is moved: see `replay.move`.
        """
        body = await _json(request)
        ids, to, replay_id = _ids(body, "ids"), body.get("to"), body.get("replay")
        if not isinstance(to, str) or not isinstance(replay_id, str):
            raise HTTPException(400, "to or replay is not a text")
        self._check(to)
        changed = await replay.move(self._store, replay_id, ids, to, clock.now())
        self._dispatcher.wake(self._settings.destinations)
        fields = {"asked": len(ids), "to": to, "replay": replay_id}
        return _done("deliveries.moved", changed, **fields)

    async def reverify(self, request: Request) -> Response:
        """
        `{"ids": [...], "dry_run": false}`: verify refused requests again.

        Answers `{"results": [{"id", "status", "event_id" or "message"}]}`, where status is
        accepted, duplicate, or the code of why it is still refused.
        """
        body = await _json(request)
        dry_run = body.get("dry_run") is True
        results: list[dict[str, object]] = []
        for rejection_id in _ids(body, "ids"):
            rejection = await self._store.rejection(rejection_id)
            try:
                answer = await self._accept_again(rejection, dry_run=dry_run)
                found = {"status": answer.word, "event_id": answer.id}
            except Rejected as error:
                found = {"status": error.code, "message": error.message}
            except Conflict as error:
                found = {"status": "not_possible", "message": str(error)}
            results.append({"id": rejection_id, **found})
        accepted = sum(result["status"] == "accepted" for result in results)
        if accepted and not dry_run:
            _log("rejections.reverified", asked=len(results), accepted=accepted)
        return JSONResponse({"results": results})

    async def create_replay(self, request: Request) -> Response:
        """`{"asked": {...}}`, kept as it is; `{"id": "rpl_..."}`."""
        asked = (await _json(request)).get("asked")
        if not isinstance(asked, dict):
            raise Conflict("asked is not an object")
        replay_id = await self._store.create_replay(asked, clock.now())
        return JSONResponse({"id": replay_id}, 201)

    async def replay_events(self, request: Request) -> Response:
        """
        `{"events": [...], "to": [...], "as_new": false, "per_second": null, "due_at": null}`

        Answers `{"deliveries": n, "due_at": where the next step goes on}`.
        """
        body = await _json(request)
        to = _ids(body, "to") if body.get("to") else ()
        for name in to:
            self._check(name)
        now = clock.now()
        rate, due_at = body.get("per_second"), body.get("due_at")
        added = await replay.add(
            self._store,
            self._router,
            self._read,
            request.path_params["id"],
            _ids(body, "events"),
            to=to,
            as_new=body.get("as_new") is True,
            per_second=float(rate)
            if isinstance(rate, int | float) and rate > 0
            else None,
            due_at=datetime.fromisoformat(due_at) if isinstance(due_at, str) else now,
            now=now,
        )
        self._dispatcher.wake(added.destinations)
        _log(
            "events.replayed", replay=request.path_params["id"], count=added.deliveries
        )
        answer = {
            "deliveries": added.deliveries,
            "due_at": added.next_due_at.isoformat(),
        }
        return JSONResponse(answer)

    async def pause(self, request: Request) -> Response:
        """`{"reason": "..."}`; `{"changed": true}`, or false if it was paused."""
        name = self._known(request)
        reason = str((await _json(request)).get("reason") or "paused by hand")[:500]
        changed = await self._store.pause(name, reason, clock.now())
        await self._dispatcher.pauses_changed()
        if changed:
            self._alerts.destination_paused(name, reason)
        return _done("destination.paused", changed, destination=name, reason=reason)

    async def resume(self, request: Request) -> Response:
        """`{"changed": true}`, or false if it was not paused."""
        name = self._known(request)
        pauses = await self._store.pauses()
        changed = await self._store.resume(name, clock.now())
        await self._dispatcher.pauses_changed()
        if changed:
            open_ = [p for p in pauses if p.destination == name and p.ended_at is None]
            since = open_[-1].started_at if open_ else None  # paused since we looked
            self._alerts.destination_resumed(name, since)
        return _done("destination.resumed", changed, destination=name)

    def _known(self, request: Request) -> str:
        name: str = request.path_params["name"]
        self._check(name)
        return name

    def _check(self, name: str) -> None:
        if name not in self._settings.destinations:
            known = ", ".join(self._settings.destinations) or "none"
            raise NotFound(f"there is no destination {name!r}; configured: {known}")


def _done(what: str, changed: int, **fields: object) -> Response:
    """The answer; logged, unless nothing was changed."""
    if changed:
        _log(what, **({} if changed is True else {"count": changed}), **fields)
    return JSONResponse({"changed": changed})


def _log(what: str, **fields: object) -> None:
    logs.get().info(what, **fields, asked_by="control socket")


async def _json(request: Request) -> Mapping[str, Any]:
    try:
        found = await request.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise HTTPException(400, "the body is not a JSON object")
    return found


def _ids(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = body.get(name)
    if not isinstance(found, list) or not all(isinstance(i, str) for i in found):
        raise HTTPException(400, f"{name} is not a list of texts")
    if len(found) > MOST_IDS:
        raise HTTPException(400, f"{name} has more than {MOST_IDS} entries")
    return tuple(found)


async def _explain(_: Request, error: Exception) -> Response:
    status, code = 500, "error"
    if isinstance(error, NotFound):
        status, code = 404, "not_found"
    elif isinstance(error, Conflict):
        status, code = 409, "conflict"
    elif isinstance(error, StoreError):
        status, code = 503, "not_stored"
    return JSONResponse({"error": {"code": code, "message": str(error)}}, status)
