"""Is it alive, can it store, and what has it counted."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from receiver import clock
from receiver.dispatcher import Dispatcher
from receiver.errors import StoreError
from receiver.metrics import CONTENT_TYPE, Metrics
from receiver.stores import Store

READY_FOR_S = 1.0
"""Being ready is found out at most once in this time: it costs a commit."""


class Health:
    """`/healthz`, `/readyz` and `/metrics`."""

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        dispatcher: Dispatcher,
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._dispatcher = dispatcher
        self._asked_at = float("-inf")
        self._problem = ""
        self.stopping = False

    def probes(self) -> list[Route]:
        """Is it alive, and ready."""
        return [Route("/healthz", self.alive), Route("/readyz", self.ready)]

    def routes(self) -> list[Route]:
        """And what has it counted."""
        return [*self.probes(), Route("/metrics", self.metrics)]

    async def alive(self, _: Request) -> Response:
        """The process answers."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _: Request) -> Response:
        """The store takes a commit, and we are not stopping."""
        now = clock.monotonic()
        if now - self._asked_at > READY_FOR_S:
            try:
                await self._store.ping()
                self._problem = ""
            except StoreError as error:
                self._problem = str(error)
            self._asked_at = now
        problem = self._problem or self._dispatcher.problem()
        problem = "stopping" if self.stopping else problem
        if problem:
            return JSONResponse({"status": "not ready", "reason": problem}, 503)
        return JSONResponse({"status": "ready"})

    async def metrics(self, _: Request) -> Response:
        """Prometheus's text format."""
        now = clock.now()
        for queue in await self._store.queues():
            self._metrics.set_queue(
                queue.destination, queue.pending, queue.oldest_at, now
            )
        self._metrics.set_commits(self._store.commits)
        extent = await self._store.extent()
        self._metrics.set_store(
            extent.file_bytes, extent.free_bytes, extent.oldest_body_at, now
        )
        held_back = self._dispatcher.held_back()
        for name, paused in self._dispatcher.paused().items():
            self._metrics.paused.labels(name).set(paused)
            held = held_back.get(name)
            is_open = held is not None and held.by == "breaker"
            self._metrics.breaker_open.labels(name).set(is_open)
        return Response(self._metrics.text(), media_type=CONTENT_TYPE)
