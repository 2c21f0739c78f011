"""The senders of all configured sources: by path for the intake, by event for others."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from receiver.errors import Rejected
from receiver.models import Event, Request
from receiver.offload import beside
from receiver.providers import Provider, provider_of, source_of
from receiver.providers.body import parse
from receiver.settings import Source

_VARIABLE = re.compile(r"\$\w+|\$?\{\w+\}|<\w+>")


class Senders:
    """One provider for every source."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self.reload(sources)

    def reload(self, sources: Iterable[Source]) -> None:
        """Use these sources for what comes."""
        providers = [provider_of(source) for source in sources]
        self._at = {provider.source.path: provider for provider in providers}
        self._of = {provider.source.name: provider for provider in providers}

    def __iter__(self) -> Iterator[Provider]:
        return iter(self._of.values())

    def at(self, path: str) -> Provider | None:
        """Who posts to this path."""
        return self._at.get(path)

    def of(self, source: str) -> Provider | None:
        """Who posts to the source of this name."""
        return self._of.get(source)

    def warnings(self) -> Iterator[tuple[str, str]]:
        """What is risky in how they are configured: (the setting, a sentence) each."""
        for provider in self._of.values():
            for field, message in (*provider.warnings(), *_odd(provider.source)):
                yield f"sources.{provider.source.name}.{field}", message

    async def read(self, event: Event) -> Event:
        """The event with what only its body knows: links to results and their expiry."""
        return await beside(len(event.body), self._read, event)

    def masked(self, source: str) -> frozenset[str]:
        """Headers that must not be shown, beside those whose name says so."""
        found = self._of.get(source)
        return found.signature_headers if found is not None else frozenset()

    def _read(self, event: Event) -> Event:
        request = Request(event.headers, event.query, event.body, event.received_at)
        try:
            reading = self._provider(event).read(request, parse(event.body))
        except (Rejected, KeyError):
            return event
        return replace(
            event, result_urls=reading.result_urls, expires_at=reading.expires_at
        )

    def _provider(self, event: Event) -> Provider:
        """The source's; of a source that is gone the provider as it is by itself."""
        found = self._of.get(event.source)
        if found is not None and found.name == event.provider:
            return found
        return provider_of(source_of(event.source, event.provider))


def _odd(source: Source) -> Iterator[tuple[str, str]]:
    """Secrets that look as if copied wrongly; nothing of them is repeated."""
    for i, secret in enumerate(source.secrets):
        if secret != secret.strip():
            message = "begins or ends with white space, which is taken as part of it"
        elif len(secret) > 1 and secret[0] == secret[-1] and secret[0] in "\"'":
            message = "has quotes around it, which are taken as part of it"
        elif _VARIABLE.fullmatch(secret):
            message = "looks like the name of a variable: that is written ${NAME}"
        else:
            continue
        yield f"secrets[{i}]", message
