"""Cyclon: a random graph kept by swapping neighbors; a baseline for the simulator, without a wire.

Voulgaris, Gavidia, van Steen: CYCLON: inexpensive membership management for unstructured P2P overlays (Journal of
Network and Systems Management 13(2), 2005).

Each node has a view of `view` peers, each with an age. Once a period it takes its oldest peer, and so many others at
random; it sends these to the oldest, itself new among them instead of that one, and gets as many back. Both put what
they got where they have room, then in place of what they sent. Who does not answer is gone from the view by that.

A node joins by walks, as many as its view is to hold, from its contact: where one ends, the joiner takes the place of a
random peer, which it gets for its own view.

What differs from the paper: an age is the virtual time since the entry was made, which is the same where rounds are
periods; messages need no connection, and to whom one goes that has failed is nobody's news. The HyParView report's
"CyclonAcked" drops who has failed when a broadcast goes to it: `forget`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from partisan.machines.machine import Join, Machine, Peer, Received, Retune, Start, TimedOut

if TYPE_CHECKING:
    from random import Random

SHUFFLE_TIMER = "shuffle"

Entry = tuple[Peer, float]
"""A peer, and when its entry was made."""


@dataclass(frozen=True, slots=True)
class CyclonConfig:
    """Options.

    Attributes:
        view: peers in the view (HyParView report: 35).
        exchanged: entries in a shuffle (HyParView report: 14).
        ttl: hops of a joiner's walks (HyParView report: 5).
        period: seconds between shuffles; infinite for none.
    """

    view: int = 35
    exchanged: int = 14
    ttl: int = 5
    period: float = 10.0


@dataclass(frozen=True, slots=True)
class Walk:
    """The joiner is to get into a view, so many hops from here; from itself to its contact with none."""

    joiner: Peer
    ttl: int | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """Entries for the receiver's view; it answers with as many."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Entries in return, or for a joiner."""

    entries: tuple[Entry, ...]


class Cyclon(Machine):
    """One node's part.

    Args:
        myself: our own value.
        config: the options; `Retune` replaces them.
        rng: chance.
    """

    config: CyclonConfig

    def __init__(self, myself: Peer, config: CyclonConfig, rng: Random) -> None:
        super().__init__(myself, config, rng)
        self._events |= {
            Received: self._on_received,
            Start: self._on_start,
            Join: self._on_join,
            Retune: self._on_retune,
            TimedOut: self._on_timed_out,
        }
        self._messages |= {Walk: self._on_walk, Offer: self._on_offer, Answer: self._on_answer}
        self._entries: dict[Peer, float] = {}
        self._sent: tuple[Peer, ...] = ()

    @property
    def view(self) -> tuple[Peer, ...]:
        """Whom we know."""
        return tuple(self._entries)

    def forget(self, peer: Peer) -> None:
        """It has not acknowledged what it was sent."""
        self._entries.pop(peer, None)

    def _on_start(self, event: Start, now: float) -> None:
        self._start_rounds()

    def _on_retune(self, event: Retune, now: float) -> None:
        self.config = event.config
        self._start_rounds()

    def _start_rounds(self) -> None:
        if self.config.period == float("inf"):
            self._stop_timer(SHUFFLE_TIMER)
        else:
            self._start_timer(SHUFFLE_TIMER, self.config.period * self._rng.random())

    def _on_join(self, event: Join, now: float) -> None:
        self._send(event.contact, Walk(self.myself))

    def _on_walk(self, peer: Peer, message: Walk, now: float) -> None:
        joiner, ttl, view = message.joiner, message.ttl, self.view
        if joiner == self.myself:
            self._violation(peer, "we have joined already")
        elif ttl is None:
            walk = Walk(joiner, self.config.ttl)
            targets = self._rng.choices(view, k=self.config.view) if view else []
            if len(view) < self.config.view and joiner not in self._entries:
                self._admit(joiner, now)
            for target in targets:
                self._send(target, walk)
        elif ttl > 0 and view:
            self._send(self._rng.choice(view), Walk(joiner, ttl - 1))
        elif joiner not in self._entries:
            self._admit(joiner, now)

    def _admit(self, joiner: Peer, now: float) -> None:
        """Put a joiner into the view, and give it who had to go, or ourselves."""
        given: Entry = (self.myself, now)
        if len(self._entries) >= self.config.view:
            former = self._rng.choice(self.view)
            given = (former, self._entries.pop(former))
        self._entries[joiner] = now
        self._send(joiner, Answer((given,)))

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        if event.timer != SHUFFLE_TIMER:
            return
        self._start_timer(SHUFFLE_TIMER, self.config.period)
        entries = self._entries
        if not entries:
            return
        oldest = min(entries, key=entries.__getitem__)
        del entries[oldest]
        others = self._rng.sample(list(entries.items()), min(self.config.exchanged - 1, len(entries)))
        self._sent = tuple(peer for peer, _ in others)
        self._send(oldest, Offer(((self.myself, now), *others)))

    def _on_offer(self, peer: Peer, message: Offer, now: float) -> None:
        entries = self._entries
        given = tuple(self._rng.sample(list(entries.items()), min(len(message.entries), len(entries))))
        self._send(peer, Answer(given))
        self._mix(message.entries, tuple(each for each, _ in given))

    def _on_answer(self, peer: Peer, message: Answer, now: float) -> None:
        self._mix(message.entries, self._sent)
        self._sent = ()

    def _mix(self, received: tuple[Entry, ...], sent: tuple[Peer, ...]) -> None:
        entries, most = self._entries, self.config.view
        spare = list(sent)
        for peer, made in received:
            if peer == self.myself or peer in entries:
                continue
            while len(entries) >= most and spare:
                entries.pop(spare.pop(), None)
            if len(entries) < most:
                entries[peer] = made
