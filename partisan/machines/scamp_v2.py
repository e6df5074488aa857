"""SCAMP, version 2: nodes know who has them in view, and who leaves is replaced.

The protocol is in `machines/scamp.py`. Whoever keeps a subscriber tells it so; by that each node knows its in-view.
When it leaves, it asks all of these but c + 1 to have one of its own view in its place, and the others to drop it: the
mean size of views then stays (c + 1) ln n, for the smaller n.

It differs from section 4.3 of the reference, in which a leaver says only that it leaves, to nodes that ignore it; a
node that is asked to leave asks all but c - 1, and counts from an index that crashes it; and views have duplicates. A
real node is asked to leave by the message that it is dropped, of which it is in the view itself: it starts again alone.
Unlike the reference, who is told that somebody left does not tell others: the leaver does.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partisan.machines.machine import Peer
from partisan.machines.scamp import OURS, Scamp, Unsubscription
from partisan.machines.scamp import Heartbeat as Heartbeat
from partisan.machines.scamp import ScampConfig as ScampConfig
from partisan.machines.scamp import Subscription as Subscription

if TYPE_CHECKING:
    from random import Random


@dataclass(frozen=True, slots=True)
class ScampV2State:
    """What a node's handshake tells of its membership, and what it saves.

    Attributes:
        myself: the node's own value.
        actor: octets that name one life of the node.
        view: its view, itself included.
        in_view: those who have told that they have it in theirs.
        heard: when it heard the last heartbeat, as a real node tells it.
    """

    myself: Peer
    actor: bytes
    view: tuple[Peer, ...]
    in_view: tuple[Peer, ...]
    heard: Any = None


@dataclass(frozen=True, slots=True)
class Kept:
    """The sender has the receiver in its view from now on, or still."""

    sender: Peer


@dataclass(frozen=True, slots=True)
class Departure:
    """The peer is to leave; nobody else has any use for this."""

    subscriber: Peer


@dataclass(frozen=True, slots=True)
class Replacement:
    """The former, who says this, leaves: have another one in its place."""

    former: Peer
    peer: Peer


class ScampV2(Scamp):
    """One node's part; see `Scamp` for its arguments."""

    def __init__(self, myself: Peer, config: ScampConfig, rng: Random, restored: Any = None) -> None:
        super().__init__(myself, config, rng, restored)
        self._messages |= {Kept: self._on_kept, Departure: self._on_departure, Replacement: self._on_replacement}
        self._in_view: dict[Hashable, tuple[Peer, float]] = {}  # by name, and until when we count on it
        self._known_as = myself
        for peer in () if restored is None else restored.in_view:
            if config.name(peer) != self._name:
                self._in_view[config.name(peer)] = (peer, config.lease)

    @property
    def in_view(self) -> tuple[Peer, ...]:
        """Those who have us in their view, as far as we know."""
        return tuple(peer for peer, _ in self._in_view.values())

    @property
    def greeting(self) -> ScampV2State:
        """What our handshakes tell, and what is saved."""
        return ScampV2State(self.myself, self.actor, (*self._view, self.myself), self.in_view)

    def _problem_of_greeting(self, greeting: object) -> str | None:
        if not isinstance(greeting, ScampV2State) or type(greeting.in_view) is not tuple:
            return "no state of SCAMP 2"
        kind = type(self.myself)
        if type(greeting.myself) is not kind or not all(type(peer) is kind for peer in greeting.in_view):
            return "one in its in-view is no peer"
        return super()._problem_of_greeting(greeting)

    def _kept(self, peer: Peer) -> None:
        # A real node does not look whether it has us already: it is told once.
        actor = self._actors.get(self.config.name(peer), OURS)
        if peer not in self._up or actor.startswith(OURS):
            self._tell(peer, Kept(self.myself))

    def _on_kept(self, peer: Peer, message: Kept, now: float) -> None:
        sender = message.sender
        if not self._speaks_for_itself(peer, sender, "kept"):
            return
        name = self.config.name(sender)
        if self.is_away:
            if name not in self._former:
                self._turn_away(sender)
        elif name in self._in_view or len(self._in_view) < self.config.max_members:
            self._in_view[name] = (sender, now + self.config.lease)

    def _on_departure(self, peer: Peer, message: Departure, now: float) -> None:
        if message.subscriber == self.myself:
            self._be_removed(now)

    def _on_replacement(self, peer: Peer, message: Replacement, now: float) -> None:
        former, new = message.former, message.peer
        if not self._speaks_for_itself(peer, former, "replacement"):
            return
        if type(new) is not type(self.myself):
            self._violation(peer, "replacement: no peer")
            return
        held = self._named.get(self.config.name(former))
        self._missed.pop(self.config.name(former), None)
        self._told.pop(self.config.name(former), None)
        if self.config.name(new) != self.config.name(former):
            self._in_view.pop(self.config.name(former), None)  # it leaves, and has nobody in view
        if held is None:
            return
        name = self.config.name(new)
        if name == self.config.name(former):
            self._replace(held, new, now)
            return
        self._lose(held, "left")
        if name != self._name and name not in self._named:
            self._take(new, name, now)
        else:
            self._seek()

    def _replace(self, former: Peer, peer: Peer, now: float) -> None:
        super()._replace(former, peer, now)
        name = self.config.name(peer)
        if name in self._in_view:
            self._in_view[name] = (peer, self._in_view[name][1])

    def _turn_away(self, peer: Peer) -> None:
        self._tell(peer, Unsubscription(self.myself))

    def _dropped(self, peer: Peer, source: Peer) -> None:
        self._in_view.pop(self.config.name(peer), None)

    def _expel(self, leavers: list[Peer]) -> None:
        for peer in leavers:
            self._in_view.pop(self.config.name(peer), None)
            if peer in self._up:
                self._send(peer, Unsubscription(peer))

    def _unsubscribe(self, now: float) -> None:
        """The paper's: all but c + 1 of those who have us get one of our view instead."""
        holders = list(self.in_view)
        replaced = max(len(holders) - self.config.copies - 1, 0)
        view = list(self._view)
        for index, holder in enumerate(holders):
            others = [peer for peer in view[index % len(view) :] + view[: index % len(view)] if peer != holder]
            message = Replacement(self.myself, others[0]) if index < replaced and others else None
            self._tell(holder, message or Unsubscription(self.myself))
        self._in_view.clear()

    def _replace_ourselves(self, now: float) -> None:
        former, self._known_as = self._known_as, self.myself
        for holder in self.in_view:
            self._tell(holder, Replacement(former, self.myself))
        super()._replace_ourselves(now)

    def _end_leases(self, now: float) -> None:
        super()._end_leases(now)
        for name in [name for name, (_, until) in self._in_view.items() if until <= now]:
            del self._in_view[name]
