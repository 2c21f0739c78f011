"""
A lane for every configured destination, and what is said to all of them.

Lanes share nothing but the store, so a slow or dead destination holds up no other.
"""

import asyncio
import os
import random
from collections.abc import Callable, Iterable, Mapping

from receiver.alerts import Alerts
from receiver.delivery import ReadEvent
from receiver.destinations import Destination
from receiver.lane import Lane
from receiver.metrics import Metrics
from receiver.models import HeldBack, Pause
from receiver.recorder import Recorder
from receiver.settings import DestinationSettings
from receiver.stores import Store

Make = Callable[[DestinationSettings], Destination]


class Dispatcher:
    """
    Runs the lanes.

    `make` turns a destination's settings into the destination; `read` fills in what
    only an event's body knows.
    """

    def __init__(
        self,
        store: Store,
        metrics: Metrics,
        make: Make,
        read: ReadEvent,
        alerts: Alerts,
    ) -> None:
        self._store = store
        self._alerts = alerts
        self._metrics = metrics
        self._make = make
        self._read = read
        self._lanes: dict[str, Lane] = {}
        self._pauses: dict[str, list[Pause]] = {}
        self._ending: dict[asyncio.Task[None], Lane] = {}
        self._owner = f"{os.getpid()}-{random.getrandbits(32):08x}"
        self.recorder = Recorder(store)

    async def start(self, destinations: Mapping[str, DestinationSettings]) -> None:
        """
        Begin delivering.

        Raises:
            StoreError: the store cannot be read or written.
        """
        await self.reload(destinations)

    async def reload(self, destinations: Mapping[str, DestinationSettings]) -> None:
        """
        Start, replace and end lanes; those whose settings are the same go on.

        Raises:
            StoreError: the store cannot be read or written; no lane was changed.
        """
        await self.pauses_changed()
        await self._store.keep_order(
            {
                name: settings.on_dead if settings.ordering == "subject" else None
                for name, settings in destinations.items()
            }
        )
        for name, lane in list(self._lanes.items()):
            if destinations.get(name) != lane.settings:
                del self._lanes[name]
                self._store.hand_to(name, None)
                self._end(lane)
        for name, settings in destinations.items():
            if name not in self._lanes:
                lane = self._lanes[name] = self._lane(settings)
                self._store.hand_to(name, lane)
                lane.start()

    def wake(self, destinations: Iterable[str]) -> None:
        """There is new work for these."""
        for name in destinations:
            lane = self._lanes.get(name)
            if lane is not None:
                lane.wake()

    def retried(self, destinations: Iterable[str]) -> None:
        """Somebody asked for an attempt: made also where the breaker is open."""
        for name in destinations:
            lane = self._lanes.get(name)
            if lane is not None:
                lane.wake(by_hand=True)

    async def pauses_changed(self) -> None:
        """
        Somebody paused or resumed a destination.

        Raises:
            StoreError: the pauses cannot be read.
        """
        pauses = await self._store.pauses()
        for name in {*self._pauses, *(pause.destination for pause in pauses)}:
            mine = self._pauses.setdefault(name, [])
            mine[:] = [pause for pause in pauses if pause.destination == name]
        self.wake(self._lanes)

    def paused(self) -> Mapping[str, bool]:
        """Which destinations are given nothing now."""
        return {name: lane.paused for name, lane in self._lanes.items()}

    def held_back(self) -> Mapping[str, HeldBack]:
        """Which destinations are given next to nothing now, and why."""
        found = {name: lane.held_back() for name, lane in self._lanes.items()}
        return {name: held for name, held in found.items() if held is not None}

    def problem(self) -> str:
        """Why nothing is being delivered at all; empty if it is."""
        stuck = not self.recorder.clear.is_set()
        return "outcomes of deliveries cannot be recorded" if stuck else ""

    @property
    def running(self) -> int:
        """How many attempts are being made."""
        return sum(lane.running for lane in self._lanes.values())

    async def stop(self, grace_s: float) -> None:
        """Begin nothing more; finish what runs within `grace_s`, give back the rest."""
        lanes = list(self._lanes.values())
        self._lanes.clear()
        await asyncio.gather(
            *(lane.stop(grace_s) for lane in lanes), self._let_end(grace_s)
        )

    def _lane(self, settings: DestinationSettings) -> Lane:
        return Lane(
            settings,
            self._make(settings),
            self._store,
            self._metrics,
            self.recorder,
            self._alerts,
            owner=self._owner,
            pauses=self._pauses.setdefault(settings.name, []),
            read=self._read,
        )

    def _end(self, lane: Lane) -> None:
        async def end() -> None:
            await lane.stop(lane.settings.timeout.total_seconds())
            self.wake([lane.settings.name])  # its successor may take what it gave back

        task = asyncio.create_task(end())
        self._ending[task] = lane
        task.add_done_callback(self._ending.pop)

    async def _let_end(self, grace_s: float) -> None:
        """Lanes that a reload ended were given longer than a stop may take."""
        if self._ending:
            _, late = await asyncio.wait(self._ending, timeout=grace_s)
            await asyncio.gather(*(self._ending[task].cut_off() for task in late))
            await asyncio.gather(*late)
