"""
Python's garbage collector, which stops everything while it looks.

What an event makes is freed when it is done with; only what refers to itself needs the
collector.  Looking at all that a busy server holds takes tens of milliseconds, in which
nobody is answered.
"""

import gc

AFTER = (10_000, 20, 100)
"""How many new objects it waits for, and how often it looks at older ones: Python's own
are (700, 10, 10)."""


def spare() -> None:
    """Look less often, and never at what is loaded by now; called once, before serving."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*AFTER)
