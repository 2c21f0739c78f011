"""
What was just done, in sentences that are ours.

They travel in the address, so only their names and a count do: nobody can make a link
that has the dashboard say something else.
"""

from collections.abc import Mapping

_SENTENCES = {
    "retried": "{n} of the deliveries are tried again.",
    "cancelled": "{n} of the deliveries are cancelled.",
    "replayed": "The replay is on its way.",
    "stopped": "The replay makes no more deliveries; those it made stay.",
    "paused": "It is paused: its deliveries wait.",
    "resumed": "It is given deliveries again.",
    "unchanged": "That was so already; nothing has changed.",
}


def sentence(query: Mapping[str, str]) -> str:
    """The sentence a page's address asks for; empty if none."""
    count = query.get("n", "")
    n = (
        f"{int(count):,}"
        if count.isascii() and count.isdigit() and len(count) < 9
        else "0"
    )
    return _SENTENCES.get(query.get("said", ""), "").format(n=n)
