"""How often something is logged that anybody can make happen as often as they like."""


class Seldom:
    """Tell at once, then at most once in `every_s`.  `now` never jumps; seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._told_at = float("-inf")
        self._count = 0

    def happened(self, now: float) -> int:
        """How often since it was told of last, if it is to be told of now; else 0."""
        self._count += 1
        if now - self._told_at < self._every_s:
            return 0
        count, self._count, self._told_at = self._count, 0, now
        return count
