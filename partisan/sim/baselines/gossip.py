"""A membership that gossips: whoever hears a message first tells it to a few of its view at random, and no more.

The broadcast that the HyParView report runs over Cyclon and SCAMP, where HyParView floods its active view.
"""

from __future__ import annotations

from random import Random
from typing import Any, Protocol

from partisan.machines.machine import Effect, Event, Notify, Peer, Received, Send, Unreachable
from partisan.sim.flood import Flood, Flooded, Heard


class Viewing(Protocol):
    """A membership with a view."""

    @property
    def view(self) -> tuple[Peer, ...]:
        """Whom it knows, alive or not."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """See `Machine.handle`."""


class Gossiping:
    """A membership and its gossip, as one machine.

    Args:
        membership: the machine below, which takes everything else. If it has a `forget`, that is told of peers that
            did not acknowledge.
        fanout: how many are told.
        rng: chance.
    """

    MEMORY = 64
    """Numbers that are remembered: a message must be over before that many others were sent."""

    __slots__ = ("_fanout", "_heard", "_rng", "membership")

    def __init__(self, membership: Viewing, fanout: int, rng: Random) -> None:
        self.membership = membership
        self._fanout = fanout
        self._rng = rng
        self._heard: dict[int, None] = {}

    @property
    def greeting(self) -> object:
        """What handshakes tell of the membership."""
        return getattr(self.membership, "greeting", None)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; see `Machine.handle`."""
        kind = type(event)
        if kind is Received and type(event.message) is Flooded:
            message = event.message
            return [] if message.number in self._heard else self._tell(message.number, message.hops, event.peer)
        if kind is Flood:
            return self._tell(event.number, 0, None)
        if kind is Unreachable:
            forget: Any = getattr(self.membership, "forget", None)
            if forget is not None:
                forget(event.peer)
            return []
        return self.membership.handle(event, now)

    def _tell(self, number: int, hops: int, source: Peer | None) -> list[Effect]:
        heard = self._heard
        heard[number] = None
        if len(heard) > self.MEMORY:
            del heard[next(iter(heard))]
        view = [peer for peer in self.membership.view if peer != source]
        message = Flooded(number, hops + 1)
        effects: list[Effect] = [Notify(Heard(number, hops))]
        effects += [Send(peer, message) for peer in self._rng.sample(view, min(self._fanout, len(view)))]
        return effects
