"""Times in what is asked."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from receiver import clock
from receiver.moments import moment
from receiver.web.api.problems import Problem


def times(given: Mapping[str, Any], *names: str) -> list[datetime | None]:
    """
    The moments that these fields name; None for what is not given.

    Raises:
        Problem: one names none.
    """
    now = clock.now()
    try:
        return [moment(given[name], now) if name in given else None for name in names]
    except ValueError as error:
        raise Problem(400, "invalid_parameter", str(error)) from None
