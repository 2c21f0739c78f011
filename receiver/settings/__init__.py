"""The configuration: `receiver.toml` and the environment, read once, judged whole."""

from receiver.settings.fields import Argv, TextFile, option, suggest
from receiver.settings.load import DEFAULT_FILE, load, load_store
from receiver.settings.model import (
    MOST_PARTS,
    BreakerPolicy,
    DestinationSettings,
    Join,
    Known,
    RetryPolicy,
    Route,
    Server,
    Settings,
    Source,
    StoreSettings,
)

__all__ = [
    "DEFAULT_FILE",
    "MOST_PARTS",
    "Argv",
    "BreakerPolicy",
    "DestinationSettings",
    "Join",
    "Known",
    "RetryPolicy",
    "Route",
    "Server",
    "Settings",
    "Source",
    "StoreSettings",
    "TextFile",
    "load",
    "load_store",
    "option",
    "suggest",
]
