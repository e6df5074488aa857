"""SCAMP, version 1: who leaves is dropped by whoever hears of it.

The protocol is in `machines/scamp.py`. A node does not know who has it in view. One that leaves tells its own view, and
whoever drops it by that tells its own in turn, so that the news goes where the leaver was known; who is not reached
finds out when it connects again, or when the lease ends.

In the reference this message replaces the receiver's view by garbage, which crashes its manager (section 4.2, [Q]). So
it goes to Python nodes only. A real node cannot be told that somebody left, and cannot be made to leave: it keeps whom
it has, and dials them for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from partisan.machines.machine import Peer
from partisan.machines.scamp import OURS, Scamp, Unsubscription
from partisan.machines.scamp import Heartbeat as Heartbeat
from partisan.machines.scamp import ScampConfig as ScampConfig
from partisan.machines.scamp import Subscription as Subscription


@dataclass(frozen=True, slots=True)
class ScampV1State:
    """What a node's handshake tells of its membership, and what it saves.

    Attributes:
        actor: octets that name one life of the node.
        view: its view, itself included.
        heard: when it heard the last heartbeat, as a real node tells it.
    """

    actor: bytes
    view: tuple[Peer, ...]
    heard: Any = None


class ScampV1(Scamp):
    """One node's part; see `Scamp` for its arguments."""

    @property
    def greeting(self) -> ScampV1State:
        """What our handshakes tell, and what is saved."""
        return ScampV1State(self.actor, (*self._view, self.myself))

    def _problem_of_greeting(self, greeting: object) -> str | None:
        return super()._problem_of_greeting(greeting) if isinstance(greeting, ScampV1State) else "no state of SCAMP 1"

    def _unsubscribe(self, now: float) -> None:
        self._spread_word(self.myself, None)
        for peer in self._view:
            if peer not in self._up:
                self._tell(peer, Unsubscription(self.myself))

    def _dropped(self, peer: Peer, source: Peer) -> None:
        self._spread_word(peer, source)

    def _expel(self, leavers: list[Peer]) -> None:
        for peer in leavers:
            self._spread_word(peer, None)

    def _turn_away(self, peer: Peer) -> None:
        self._disconnect(peer, "left")  # by which it dials us again, and learns from our actor

    def _bears(self, peer: Peer, message: object) -> bool:
        ours = self._actors.get(self.config.name(peer), b"").startswith(OURS)
        return ours or not isinstance(message, Unsubscription)

    def _spread_word(self, leaver: Peer, source: Peer) -> None:
        """Tell the Python nodes of the view, the leaver among them, but not who has told us."""
        message = Unsubscription(leaver)
        for peer in self._up:
            told = source is not None and self.config.name(source) == self.config.name(peer)
            if not told and self._bears(peer, message):
                self._send(peer, message)
