"""
Handing over: fresh deliveries are claimed at the moment they are committed, for whoever
would claim them next anyway, so that they need not be looked for.

Claims are in memory and the rows stay as they are, so this changes nothing in the file:
after a crash what was handed over is as due as all the rest.
"""

from collections.abc import Iterable

from receiver import ids
from receiver.models import Claim, Delivery, Event, Status, Trigger
from receiver.stores import Taker
from receiver.stores.sqlite.claims import Claims
from receiver.stores.sqlite.names import Names

Added = tuple[int, int, int, int, int | None]
"""A row that was added: id, event, destination, due, line."""


class HandOver:
    """Knows who takes what is accepted for which destination."""

    def __init__(self, claims: Claims, names: Names) -> None:
        self._claims = claims
        self._names = names
        self._takers: dict[str, Taker] = {}

    def to(self, destination: str, taker: Taker | None) -> None:
        """See `receiver.stores.Store.hand_to`."""
        if taker is None:
            self._takers.pop(destination, None)
        else:
            self._takers[destination] = taker

    def look(self, destination: int) -> None:
        """One of the destination's deliveries is due that was claimed until now."""
        taker = self._takers.get(self._names.names[destination])
        if taker is not None:
            taker.look()

    def give(self, event: Event, source: int, added: Iterable[Added]) -> None:
        """An event, as it is kept, was committed with these deliveries."""
        for number, _, destination, _, line in added:
            name = self._names.names[destination]
            taker = self._takers.get(name)
            if taker is None:
                continue
            if line is not None or not taker.has_room(len(event.body)):
                taker.look()  # where order is kept others may be before it
            elif not self._claims.is_held(destination, number):
                token = self._claims.take(
                    destination,
                    number,
                    taker.owner,
                    taker.lease_s,
                    manual=0,
                    about=(source, event.subject),
                )
                taker.take(Claim(token, _fresh(number, event, name), event))


def _fresh(number: int, event: Event, destination: str) -> Delivery:
    """A delivery as it is when it was just added, by that and no replay."""
    made_at = ids.made_at(number)
    return Delivery(
        id=ids.public("dlv", number),
        event_id=event.id,
        destination=destination,
        status=Status.PENDING,
        attempts=0,
        created_at=made_at,
        due_at=event.received_at,
        settled_at=None,
        replay_id=None,
        sent_as=event.id,
        trigger=Trigger.SCHEDULED,
        round_attempts=0,
        round_started_at=made_at,
        progress="",
    )
