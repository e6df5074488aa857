"""A membership that floods: broadcast as the HyParView paper has it, on top of any overlay.

Whoever hears a message for the first time passes it on to each of its neighbors but the one it came from: those whom
the membership below has told of by `NeighborUp` and not taken back by `NeighborDown`. Nothing is ever sent again, so
what a broadcast does not reach is the overlay's affair. Every first arrival is notified as `Heard`.
"""

from __future__ import annotations

from dataclasses import dataclass

from partisan.machines.machine import Effect, Event, Machine, NeighborDown, NeighborUp, Notify, Peer, Received, Send


@dataclass(slots=True)
class Flood:
    """Command: broadcast a message of this number."""

    number: int


@dataclass(slots=True)
class Flooded:
    """A message that has come so many hops; shared between sends, and never changed."""

    number: int
    hops: int


@dataclass(slots=True)
class Heard:
    """Fact: the message of this number arrived for the first time, so many hops away from its source."""

    number: int
    hops: int


class Flooding:
    """A membership and its flood, as one machine.

    Only the latest numbers are remembered: a message must be over before that many others were sent.

    Args:
        membership: the machine below, which takes everything else.
    """

    MEMORY = 16

    __slots__ = ("_heard", "_latest", "_neighbors", "membership")

    def __init__(self, membership: Machine) -> None:
        self.membership = membership
        self._neighbors: dict[Peer, None] = {}
        self._heard: list[int] = []
        self._latest: int | None = None  # the last of these: what most messages are about

    @property
    def neighbors(self) -> tuple[Peer, ...]:
        """Who is told."""
        return tuple(self._neighbors)

    @property
    def greeting(self) -> object:
        """What handshakes tell of the membership."""
        return getattr(self.membership, "greeting", None)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; see `Machine.handle`."""
        if type(event) is Received:
            message = event.message
            if type(message) is Flooded:
                number = message.number
                if number == self._latest or number in self._heard:
                    return []
                return self._tell(number, message.hops, event.peer)
        elif type(event) is Flood:
            return self._tell(event.number, 0, None)
        effects = self.membership.handle(event, now)
        for effect in effects:
            if type(effect) is Notify:
                fact = effect.fact
                if type(fact) is NeighborUp:
                    self._neighbors[fact.peer] = None
                elif type(fact) is NeighborDown:
                    self._neighbors.pop(fact.peer, None)
        return effects

    def _tell(self, number: int, hops: int, source: Peer | None) -> list[Effect]:
        heard = self._heard
        heard.append(number)
        self._latest = number
        if len(heard) > self.MEMORY:
            del heard[0]
        message = Flooded(number, hops + 1)
        effects: list[Effect] = [Notify(Heard(number, hops))]
        effects += [Send(peer, message) for peer in self._neighbors if peer != source]
        return effects
