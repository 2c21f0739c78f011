"""
How often somebody may give a wrong token: few times from one address, and in all.

Whoever has to wait is not even listened to: if a right token were let in meanwhile, one
could go on guessing.  An address that gave a right one before does not wait because of
what others do, so that nobody can shut out who is in already.
"""

from collections import deque

from receiver.web.clients import neighbourhood

WINDOW_S = 60.0
FROM_ONE = 5
IN_ALL = 50
MOST_KNOWN = 1_000


class Attempts:
    """
    Failed attempts of the last minute, of which an address may have `from_one` and all
    together `in_all`.  `now` is any clock that never jumps.
    """

    def __init__(self, from_one: int = FROM_ONE, in_all: int = IN_ALL) -> None:
        self._from_one = from_one
        self._in_all = in_all
        self._failed: deque[tuple[float, str]] = deque()
        self._known: dict[str, None] = {}

    def wait_s(self, address: str, now: float) -> float:
        """How long this address must wait before it may try again; 0: not at all."""
        while self._failed and now - self._failed[0][0] >= WINDOW_S:
            self._failed.popleft()
        whose = neighbourhood(address)
        own = [at for at, other in self._failed if other == whose]
        waits = [0.0]
        if len(own) >= self._from_one:
            waits.append(own[-self._from_one] + WINDOW_S - now)
        if len(self._failed) >= self._in_all and whose not in self._known:
            waits.append(self._failed[-self._in_all][0] + WINDOW_S - now)
        return max(waits)

    def failed(self, address: str, now: float) -> None:
        """The token was wrong."""
        self._failed.append((now, neighbourhood(address)))

    def succeeded(self, address: str) -> None:
        """The token was right."""
        whose = neighbourhood(address)
        self._known.pop(whose, None)
        self._known[whose] = None
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
