"""What the epidemic protocols have in common: messages that everybody shall have, each told once.

The names are those of Demers et al., "Epidemic Algorithms for Replicated Database Maintenance" (PODC 1987).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from partisan.machines.machine import Peer

from .protocol import Id, Protocol
from .scenario import Run


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Command: let everybody have this."""

    body: object


@dataclass(frozen=True, slots=True)
class Delivered:
    """Fact: a message is here, for the first time."""

    id: Id
    body: object


class Mail(Protocol):
    """Keeps every message that it has heard of. A node that starts again begins with none, and with number 1."""

    def __init__(self, myself: Peer, members: tuple[Peer, ...], rng: Random) -> None:
        super().__init__(myself, members, rng)
        self.store: dict[Id, object] = {}
        self._events |= {Broadcast: self._on_broadcast}

    def _on_broadcast(self, event: Broadcast, now: float) -> None:
        id = self._new_id()
        self._hear(id, event.body)
        self._mail(id, event.body)

    def _hear(self, id: Id, body: object) -> bool:
        """Take a message; whether it is new."""
        if id in self.store:
            return False
        self.store[id] = body
        self._notify(Delivered(id, body))
        self._spread(id, body)
        return True

    def _mail(self, id: Id, body: object) -> None:
        """What its origin does with a message."""

    def _spread(self, id: Id, body: object) -> None:
        """What everybody does with a message that is new."""


def agreement(run: Run) -> str | None:
    """What one living node has, every living node has."""
    stores = {peer: run.protocol(peer).store for peer in run.alive}
    for peer, store in stores.items():
        for other, theirs in stores.items():
            for id in store:
                if id not in theirs:
                    return f"node {peer} has the message {id}, and node {other} never gets it"
    return None
