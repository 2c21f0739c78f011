"""Reloading: a running app takes new settings, or keeps the old ones and says why."""

from collections.abc import Callable

from receiver import logs
from receiver.app import App
from receiver.errors import SettingsError, StoreError
from receiver.settings import Settings


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
    except SettingsError as error:
        for problem in error.problems:
            log.error("reload.refused", problem=str(problem))
        return
    except StoreError as error:
        log.error("reload.refused", problem=str(error))
        return
    if _fixed(before) != _fixed(settings):
        advice = "[server], store.url and store.min_free_bytes need a restart"
        log.warning("reload.partial", advice=advice)
    log.info("reload.done", routes=len(settings.routes))
    await warn(app)


def _fixed(settings: Settings) -> tuple[object, ...]:
    """What stays as it is until a restart."""
    store = settings.store
    return settings.server, store.url, store.min_free_bytes


async def warn(app: App) -> None:
    """Say what works, but not as somebody may think."""
    log = logs.get()
    for key, message in app.senders.warnings():
        log.warning("config.warning", key=key, message=message)
    for advice in await app.orphans():
        log.warning("deliveries.orphaned", advice=advice)
