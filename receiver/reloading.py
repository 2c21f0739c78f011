"""Reloading: a running app takes new settings, or keeps the old ones and says why."""

from collections.abc import Callable, Sequence

from receiver import logs
from receiver.app import App
from receiver.errors import SettingsError, StoreError
from receiver.settings import Settings
from receiver.web.api.access import weaknesses
from receiver.web.api.parts import Reread


async def reload(app: App, load: Callable[[], Settings]) -> None:
    """Use what `load` reads, unless it is refused, or the app is stopping."""
    async with app.changing:
        if not app.hooks.stopping:
            await _reload(app, load)


async def _reload(app: App, load: Callable[[], Settings]) -> None:
    log = logs.get()
    try:
        settings = load()
        before = app.settings
        await app.reload(settings)
    except (SettingsError, StoreError) as error:
        found = error.problems if isinstance(error, SettingsError) else [error]
        for problem in found:
            log.error("reload.refused", problem=str(problem))
        _note(app, problems=[str(problem) for problem in found])
        return
    needs_restart = _fixed(before) != _fixed(settings)
    if needs_restart:
        advice = "[server], store.url and store.min_free_bytes need a restart"
        log.warning("reload.partial", advice=advice)
    log.info("reload.done", routes=len(settings.routes))
    _note(app, needs_restart=needs_restart)
    await warn(app)


def _note(
    app: App, *, problems: Sequence[str] = (), needs_restart: bool = False
) -> None:
    """Let whoever asked for it see what came of it."""
    app.parts.reread = Reread(app.parts.reread.times + 1, problems, needs_restart)


def _fixed(settings: Settings) -> tuple[object, ...]:
    """What stays as it is until a restart."""
    store = settings.store
    return settings.server, store.url, store.min_free_bytes


async def warn(app: App) -> None:
    """Say what works, but not as somebody may think."""
    log = logs.get()
    weak = weaknesses(app.parts.settings.server)
    for key, message in (*app.senders.warnings(), *weak):
        log.warning("config.warning", key=key, message=message)
    for advice in await app.orphans():
        log.warning("deliveries.orphaned", advice=advice)
