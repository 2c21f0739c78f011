"""
The public keys that senders publish: fetched, remembered, handed to their providers.

    remembered -> fetched -> remembered, again after 12 hours
    a signature that no key fits -> fetched at once, at most once a minute

The last good set stays in use, over restarts too, for as long as no other can be had;
a set that came takes its place whole, so a key that was withdrawn is not believed.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from importlib import import_module
from typing import Protocol
from urllib.parse import urlsplit

from receiver import clock, logs
from receiver.errors import StoreError
from receiver.providers.base import Provider
from receiver.providers.jwks import keys_in, written

FRESH_S = 12 * 3600.0
"""After this the keys are fetched anew; senders let theirs be kept for a day."""

ASKED_EVERY_S = 60.0
"""At most so often is fetched because of what anybody can send."""

RETRY_S, LONGEST_RETRY_S = 60.0, 3600.0
"""After a failure; twice as long after each further one."""

_SLOW_TO_LOAD = (
    "receiver.providers.fetching",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
)


class Remembered(Protocol):
    """What of a store is needed to look."""

    async def remembered(self, name: str) -> tuple[str, datetime] | None: ...


class Memory(Remembered, Protocol):
    """What of a store is needed here."""

    async def remember(self, name: str, text: str, now: datetime) -> None: ...


class PublicKeys:
    """The key sets of all senders that publish one; each address is asked for all."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._sets: dict[str, _KeySet] = {}
        self._changing = asyncio.Lock()
        self._started = False

    def start(self) -> None:
        """Fetch what is used; until now there is only what was remembered."""
        self._started = True
        for one in self._sets.values():
            one.keep_fresh()

    async def use(self, providers: Iterable[Provider]) -> None:
        """Hand these providers their keys from now on; for others none are fetched."""
        async with self._changing:
            await self._use(providers)

    async def renewed(self, url: str, known: Sequence[bytes]) -> bool:
        """
        Whether there are other keys than `known`, after a look at what is published.

        For at most a few seconds; others of the same sender are not held up by it.
        """
        found = self._sets.get(url)
        return found is not None and await found.renewed(known)

    async def close(self) -> None:
        """Fetch no more."""
        for one in self._sets.values():
            await one.close()

    async def _use(self, providers: Iterable[Provider]) -> None:
        holders: dict[str, list[Provider]] = {}
        for provider in providers:
            if provider.keys_url:
                holders.setdefault(provider.keys_url, []).append(provider)
        for url in self._sets.keys() & holders.keys():  # first: they are in use
            self._sets[url].hand_to(holders[url])
        for url in self._sets.keys() - holders.keys():
            await self._sets.pop(url).close()
        new = holders.keys() - self._sets.keys()
        if new:
            await asyncio.to_thread(_load)
        for url in new:
            self._sets[url] = _KeySet(url, self._memory)
            self._sets[url].hand_to(holders[url])
            await self._sets[url].recall()
            if self._started:
                self._sets[url].keep_fresh()


class _KeySet:
    """The keys at one address."""

    def __init__(self, url: str, memory: Memory) -> None:
        self._url = url
        self._host = urlsplit(url).hostname
        self._memory = memory
        self._keys: Sequence[bytes] = ()
        self._holders: Sequence[Provider] = ()
        self._fetching: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self._due_at = float("-inf")
        self._failures = 0

    def hand_to(self, holders: Sequence[Provider]) -> None:
        self._holders = holders
        self._hand_out()

    async def recall(self) -> None:
        """Use what was fetched before."""
        with suppress(StoreError, ValueError):
            found = await recalled(self._memory, self._url)
            if found is not None:
                self._keys, at = found
                age_s = (clock.now() - at).total_seconds()
                self._due_at = clock.monotonic() + FRESH_S - max(0.0, age_s)
                self._hand_out()

    def keep_fresh(self) -> None:
        """Fetch when it is time, from now on."""
        self._refresher = asyncio.create_task(self._refresh(), name="keys")

    async def renewed(self, known: Sequence[bytes]) -> bool:
        """See `PublicKeys.renewed`; `known` may be older than what is there now."""
        if self._keys == known and self._refresher is not None:
            now = clock.monotonic()
            if self._fetching is not None or self._due_at <= now:
                await self._fetched()
            elif now - self._asked_at >= ASKED_EVERY_S:
                self._asked_at = now
                await self._fetched()
        return self._keys != known

    async def close(self) -> None:
        for task in (self._refresher, self._fetching):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self._due_at - clock.monotonic())
            if self._due_at <= clock.monotonic():  # nobody fetched them meanwhile
                await self._fetched()

    async def _fetched(self) -> None:
        """Wait for the fetch that is going on, or for a new one."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="keys-fetch")
            self._fetching.add_done_callback(self._not_fetching)
        await asyncio.wait({self._fetching})

    def _not_fetching(self, _: object) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        from receiver.providers.fetching import NotFetched, fetch  # noqa: PLC0415 (aiohttp takes 0.2 s)

        log = logs.get()
        wait_s = min(RETRY_S * 2.0**self._failures, LONGEST_RETRY_S)
        self._failures = min(self._failures + 1, 10)  # until it is a success
        self._due_at = clock.monotonic() + wait_s
        try:
            keys = keys_in(await fetch(self._url))
        except (NotFetched, ValueError) as error:
            known = len(self._keys)
            log.warning(
                "keys.not_fetched", host=self._host, reason=str(error), known=known
            )
            return
        changed, self._keys = keys != self._keys, keys
        self._failures, self._due_at = 0, clock.monotonic() + FRESH_S
        self._hand_out()
        log.info("keys.fetched", host=self._host, known=len(keys), changed=changed)
        try:
            await self._memory.remember(_name(self._url), written(keys), clock.now())
        except StoreError as error:
            log.warning("keys.not_kept", host=self._host, error=str(error))

    def _hand_out(self) -> None:
        for holder in self._holders:
            holder.published = self._keys


async def recalled(
    memory: Remembered, url: str
) -> tuple[Sequence[bytes], datetime] | None:
    """
    The keys that were fetched from there last, and when.

    Raises:
        StoreError, ValueError: they cannot be had.
    """
    found = await memory.remembered(_name(url))
    return None if found is None else (keys_in(found[0].encode()), found[1])


def _name(url: str) -> str:
    return f"keys at {url}"


def _load() -> None:
    """Beside the loop: for so long nobody would be answered."""
    for name in _SLOW_TO_LOAD:
        import_module(name)
