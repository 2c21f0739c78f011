"""What the commands say of signed requests that were refused lately."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from receiver.cli.output import ago, plural
from receiver.models import Rejection
from receiver.stores import Reader

NEWS = timedelta(days=1)

LOOKED_AT = 100
"""The newest rejections that are looked at; where there are more, that is said."""


async def refused_lately(reader: Reader, now: datetime) -> list[str]:
    """A line for each source and reason, with the command that finds the cause."""
    found = await reader.rejections(source=None, limit=LOOKED_AT)
    return refusals(found, now)


def refusals(found: Sequence[Rejection], now: datetime) -> list[str]:
    """
    The same of `found`, the newest first.

    What carries no signature is left out: anybody can send that, and at any time.
    """
    groups: dict[tuple[str, str], list[Rejection]] = {}
    for one in found:
        if (
            one.received_at > now - NEWS
            and one.carried != "unsigned"
            and not one.event_id
        ):
            groups.setdefault((one.source, one.code), []).append(one)
    more = " or more" if len(found) == LOOKED_AT else ""
    return [
        f"{plural(len(those), 'signed request')}{more} to {source} refused in the last "
        f"day ({code}), the newest {ago(those[0].received_at, now)} ago: "
        f"receiver verify --rejection {those[0].id}"
        for (source, code), those in groups.items()
    ]
