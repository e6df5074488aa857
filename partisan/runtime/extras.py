"""What Python nodes may say to each other beyond Partisan 5.0.3, and how they agree on it.

Extras travel as messages to the name `partisan_python`, which a real node drops quietly. Which of them two nodes use is
agreed by capability:

    {capabilities, Node, Version, [Atom]}      what Node understands

A node that wants an extra offers once when it is connected to a peer; a Python node that can answer tells what it
understands itself, with the atom `answer` among the rest, so that nobody answers an answer. What both understand is
agreed until the last connection to the peer is lost. Without an answer nothing is agreed, and the peer is spoken to as
plain Partisan. An offer that comes before there is a connection to answer on is answered as soon as there is one. What
goes over relays may be lost: to a peer that is there by relays alone it is offered some times more, until it has told
what it understands, and anew when it is connected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partisan.etf import Atom
from partisan.wire.atom import malformed, name_of, node_of

if TYPE_CHECKING:
    from partisan.net.link import Link

NAME = "partisan_python"
"""The name to which extras are sent."""

VERSION = 1
"""Of this agreement; a node of another version is understood as long as the message keeps its shape."""

MOST = 64
"""How many capabilities a peer may name (ours)."""

MOST_OWED = 1024
"""How many peers that offered too early are remembered, the latest (ours)."""

OVER_RELAYS = frozenset(("capabilities", "kept", "calls", "links", "spawn", "exit", "erpc"))
"""What nodes may use that are no neighbors; the other extras are about a connection."""

_CAPABILITIES = Atom("capabilities")
_ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Tell:
    """Send the peer this message."""

    peer: str
    message: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Agreed:
    """From now on these extras may be used towards the peer; none after a loss."""

    peer: str
    capabilities: frozenset[str]


Effect = Tell | Agreed

_NONE: frozenset[str] = frozenset()


class Capabilities:
    """Who understands what: a value without I/O. Each method returns what to do, in order.

    Args:
        myself: this node's name.
        understood: extras that this node can take.
        wanted: whether it wants any for what it sends; it offers only then.
    """

    def __init__(self, myself: str, understood: Iterable[str], wanted: bool) -> None:
        self._myself = myself
        self._understood = frozenset(understood)
        self._wanted = wanted
        self._agreed: dict[str, frozenset[str]] = {}  # connected peers
        self._owed: dict[str, None] = {}  # peers that have offered while they were not connected

    def agreed(self, peer: str) -> frozenset[str]:
        """The extras that may be used towards the peer."""
        return self._agreed.get(peer, _NONE)

    @property
    def peers(self) -> tuple[str, ...]:
        """The peers that are connected."""
        return tuple(self._agreed)

    def want(self) -> list[Effect]:
        """This node wants extras from now on: offer to all that are connected, if it did not before."""
        if self._wanted:
            return []
        self._wanted = True
        return [Tell(peer, self._told(self._understood)) for peer in self._agreed]

    def connected(self, peer: str) -> list[Effect]:
        """The peer can be sent to; said again, it is another node under the old one's name."""
        effects = self.disconnected(peer)
        self._agreed[peer] = _NONE
        if self._wanted:
            effects.append(Tell(peer, self._told(self._understood)))
        elif peer in self._owed:
            effects.append(Tell(peer, self._told(self._understood | {_ANSWER})))
        self._owed.pop(peer, None)
        return effects

    def offer_again(self, peer: str) -> list[Effect]:
        """What was told to a peer that could be sent to already may be lost."""
        return [Tell(peer, self._told(self._understood))] if self._wanted and peer in self._agreed else []

    def disconnected(self, peer: str) -> list[Effect]:
        """The last connection to the peer is lost."""
        return [Agreed(peer, _NONE)] if self._agreed.pop(peer, _NONE) else []

    def received(self, peer: str, message: tuple[Any, ...]) -> list[Effect]:
        """The peer told its capabilities. Raises MalformedMessage."""
        theirs = self._read(peer, message)
        if peer not in self._agreed:
            return self._owe(peer)
        effects: list[Effect] = []
        common = theirs & self._understood
        if common != self._agreed[peer]:
            self._agreed[peer] = common
            effects.append(Agreed(peer, common))
        if _ANSWER not in theirs:
            effects.append(Tell(peer, self._told(self._understood | {_ANSWER})))
        return effects

    def _owe(self, peer: str) -> list[Effect]:
        """Remember who offered, not what: by the time of the answer it may be another node under that name."""
        self._owed.pop(peer, None)
        self._owed[peer] = None
        if len(self._owed) > MOST_OWED:
            del self._owed[next(iter(self._owed))]
        return []

    def _told(self, capabilities: frozenset[str]) -> tuple[Any, ...]:
        return (_CAPABILITIES, Atom(self._myself), VERSION, [Atom(name) for name in sorted(capabilities)])

    def _read(self, peer: str, message: tuple[Any, ...]) -> frozenset[str]:
        if len(message) != 4 or type(message[2]) is not int or type(message[3]) is not list or len(message[3]) > MOST:
            malformed(NAME, message)
        if node_of(message[1], NAME) != peer:
            malformed(NAME, message)
        return frozenset(name_of(capability, NAME) for capability in message[3])


class Extras:
    """The extras of one node: what comes for the name `partisan_python`, and what is agreed with whom.

    Args:
        myself: this node's name.
        send: callable(peer, message): send to the peer's `partisan_python`, if that is possible.
        handlers: capability -> callable(message, link): takes messages that have the capability's name as their tag.
        agreed: callable(peer, capabilities): what may be used towards the peer has changed.
        wanted: whether this node wants any extra for what it sends.
    """

    def __init__(
        self,
        myself: str,
        *,
        send: Callable[[str, tuple[Any, ...]], None],
        handlers: Mapping[str, Callable[[tuple[Any, ...], Link], None]],
        agreed: Callable[[str, frozenset[str]], None],
        wanted: bool,
    ) -> None:
        self._capabilities = Capabilities(myself, handlers, wanted)
        self._send = send
        self._changed = agreed
        self._handlers: dict[Atom, Callable[[tuple[Any, ...], Link], None]] = {
            _CAPABILITIES: self._told,
            **{Atom(name): handler for name, handler in handlers.items()},
        }

    def agreed(self, peer: str) -> frozenset[str]:
        """The extras that may be used towards the peer."""
        return self._capabilities.agreed(peer)

    def peers(self) -> tuple[str, ...]:
        """The peers that are connected."""
        return self._capabilities.peers

    def want(self) -> None:
        """This node wants extras from now on."""
        self._do(self._capabilities.want())

    def edge(self, peer: str, up: bool) -> None:
        """The overlay's edge to the peer is usable, or no longer."""
        self._do(self._capabilities.connected(peer) if up else self._capabilities.disconnected(peer))

    def offer_again(self, peer: str) -> None:
        """What was told to the peer may be lost."""
        self._do(self._capabilities.offer_again(peer))

    def receive(self, message: object, link: Link | None) -> None:
        """Take a message for `partisan_python`.

        Raises:
            MalformedMessage: it is no extra of ours, or came in a wrapper (an extra within an extra too); the
                connection is closed, as for a malformed frame.
        """
        if link is None or link.peer is None or type(message) is not tuple or not message:
            malformed(NAME, message)
        handler = self._handlers.get(message[0]) if type(message[0]) is Atom else None
        if handler is None:
            malformed(NAME, message)
        handler(message, link)

    def _told(self, message: tuple[Any, ...], link: Link) -> None:
        assert link.peer is not None  # checked by receive
        self._do(self._capabilities.received(link.peer, message))

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is Tell:
                self._send(effect.peer, effect.message)
            elif type(effect) is Agreed:
                self._changed(effect.peer, effect.capabilities)
