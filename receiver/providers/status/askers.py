"""
Who asks, for every source with a key: at its rate, and no longer with a key that is
refused.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from receiver import logs
from receiver.models import Secret
from receiver.providers.base import Provider
from receiver.providers.status import api_called
from receiver.providers.status.base import Found, KeyRefused


class Asks(Protocol):
    """`receiver.providers.status.transport.Asker`."""

    async def ask(self, subject: str) -> Found: ...

    async def close(self) -> None: ...


class SourceAsker:
    """Asks the API of one source."""

    def __init__(self, provider: Provider, key: Secret) -> None:
        self.provider = provider
        self.refused = ""
        """Why the key is not taken; nothing is asked with it any more."""

        self._key = key
        self._asks: Asks | None = None

    async def ask(self, subject: str) -> Found:
        """
        What the API says of a subject.

        Raises:
            UnknownSubject, KeyRefused, Unanswered: see there.
        """
        if self.refused:
            raise KeyRefused(self.refused)
        try:
            return await self._asker().ask(subject)
        except KeyRefused as error:
            self._refuse(str(error))
            raise

    async def close(self) -> None:
        if self._asks is not None:
            await self._asks.close()

    def _asker(self) -> Asks:
        if self._asks is None:
            from receiver.providers.status.transport import Asker  # noqa: PLC0415 (aiohttp takes 0.2 s)

            source = self.provider.source
            api = api_called(self.provider.status_api)
            self._asks = Asker(api, self._key, url=source.api_url, rate=source.api_rate)
        return self._asks

    def _refuse(self, why: str) -> None:
        if not self.refused:
            self.refused = why
            name = self.provider.source.name
            advice = f"set another sources.{name}.api_key, then reload"
            logs.get().error("api.key_refused", source=name, why=why, advice=advice)


class Askers:
    """One for every source that has a key for an API; they outlive a reload."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        self._of: dict[str, SourceAsker] = {}
        self._old: list[SourceAsker] = []
        self._use(providers)

    async def reload(self, providers: Iterable[Provider]) -> None:
        """Ask for these from now on; a key that was refused is tried again."""
        self._use(providers)
        await self._close_old()

    def of(self, source: str) -> SourceAsker | None:
        """Who asks for a source; None where it has no key."""
        return self._of.get(source)

    def refused(self) -> Mapping[str, str]:
        """Of the sources whose keys are not taken, why."""
        return {name: one.refused for name, one in self._of.items() if one.refused}

    async def close(self) -> None:
        """Let go of all connections."""
        self._old += self._of.values()
        self._of = {}
        await self._close_old()

    def _use(self, providers: Iterable[Provider]) -> None:
        self._old += self._of.values()
        self._of = {
            provider.source.name: SourceAsker(provider, provider.source.api_key)
            for provider in providers
            if provider.source.api_key is not None and provider.status_api
        }

    async def _close_old(self) -> None:
        old, self._old = self._old, []
        for one in old:
            await one.close()
