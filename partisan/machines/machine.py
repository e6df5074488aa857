"""The vocabulary of every protocol machine: events in, effects out.

A protocol here is a value. It is told what happened (an event, and what time it is) and answers with what the world
must now do (a list of effects, in order). It opens no socket, reads no clock and draws from no randomness but the `rng`
it was born with; so the same object runs over sockets and under virtual time, and equal seeds give equal runs.

The shape follows h11 (protocol without I/O), iroh-gossip (`handle(event, now) -> effects`, simulated as it is
deployed), RabbitMQ's Ra (`apply` returning effects) and gen_statem (named, restartable timeouts as actions).

What a driver owes a machine:

- effects are carried out in order, after `handle` has returned; `handle` is never re-entered;
- `Connect(peer)`: keep an edge to the peer from now on: dial, and dial again with back-off, until `Disconnect`. Asking
  twice is asking once. A `Contact` may stand for a peer of which only an address is known;
- `Connected(peer, contact, greeting)`: the edge asked for as `contact` became usable. If `contact` is not `peer`, the
  edge is called `peer` from now on and `contact` is forgotten. It may be said again of a usable edge, when the peer
  tells its state again;
- `Disconnected(peer, reason)`: the last connection of an edge is gone; the driver keeps dialling;
- messages sent on a connected edge arrive in order or the edge reports `Disconnected`; a `Send` to a peer without a
  connected edge is dropped;
- `Disconnect(peer, reason)`: the edge is given up once everything sent before it has left; no `Disconnected` follows.
  What the peer opened to us is closed a second later, when it has had the time to read why, unless its edge has been
  asked for again by then: if it still wants us, it dials again and is greeted anew. That holds as well if there was no
  edge. With `both` false what the peer opened to us stays: it has us for a neighbor whether we have it or not;
- timers are keyed, relative and restartable: starting a live key replaces it, and a timer that was stopped or replaced
  must not fire.

Peers are opaque and hashable: `NodeSpec` in life, integers in simulation. Nothing here orders them but by a key
function that the machine was given.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from partisan.errors import LocalProtocolError

if TYPE_CHECKING:
    from random import Random

Peer: TypeAlias = Any
"""A node at the other end of an edge, or a contact that stands for one: any hashable value."""

Timer: TypeAlias = Hashable
"""The key of a timer, unique within one machine."""

# Events: what happened.


@dataclass(slots=True)
class Received:
    """A message arrived.

    Attributes:
        peer: who sent it, as the connection's handshake named it: a peer, or the peer's bare name.
        message: a value of the protocol; its parts are a stranger's and are checked by the machine.
    """

    peer: Peer
    message: object


@dataclass(slots=True)
class TimedOut:
    """The timer of that key, which was started and neither stopped nor replaced, fired."""

    timer: Timer


@dataclass(slots=True)
class Connected:
    """An edge that was asked for is usable: its first connection has shaken hands.

    Attributes:
        peer: who answered.
        contact: what had been asked for: the peer itself, or a `Contact`, or the peer's former value.
        greeting: the membership state that the peer's handshake carried, or None.
    """

    peer: Peer
    contact: Peer
    greeting: object = None


@dataclass(slots=True)
class Disconnected:
    """The last connection of an edge is gone.

    Attributes:
        reason: a word for logs and telemetry, as "closed" or "ping_timeout".
    """

    peer: Peer
    reason: str


@dataclass(slots=True)
class Unreachable:
    """An attempt to make an edge usable has failed; the driver goes on trying until `Disconnect`.

    Only for machines that look for other peers then, as those with partial views do.

    Attributes:
        peer: as in `Connect`.
        reason: a word for logs and telemetry, as "refused".
    """

    peer: Peer
    reason: str


# Commands: what our own side asks. Those of one protocol live in its module; these belong to every membership.


@dataclass(slots=True)
class Start:
    """Begin: restore, connect, start the timers. The first event of every machine."""


@dataclass(slots=True)
class Join:
    """Become a member of the peer's cluster."""

    contact: Peer


@dataclass(slots=True)
class Leave:
    """Make the peer leave the cluster, or give up joining it; None is ourselves."""

    peer: Peer | None = None


@dataclass(slots=True)
class GiveUp:
    """Give up a join that is not done; whoever is a member stays one."""

    contact: Peer


@dataclass(slots=True)
class Retune:
    """Go on with these options: timers that run are set anew by them.

    Attributes:
        config: of the machine's own kind.
    """

    config: Any


@dataclass(slots=True)
class Respec:
    """Go on under another value of our own, of the same name, and let everybody know.

    Attributes:
        myself: the new value.
    """

    myself: Peer


@dataclass(slots=True)
class UpdateMembers:
    """Make these the members, ourselves included: join who is new, make leave who is not among them.

    Attributes:
        members: peers or contacts; none at all changes nothing.
    """

    members: tuple[Peer, ...]


Event: TypeAlias = Any
"""One of the above, or a command of the protocol at hand; dispatched on its exact type."""

# Effects: what the world must now do.


@dataclass(slots=True)
class Send:
    """Send the message on the peer's edge. The value is shared between sends, and never changes."""

    peer: Peer
    message: object


@dataclass(slots=True)
class Connect:
    """Keep an edge to the peer from now on."""

    peer: Peer


@dataclass(slots=True)
class Disconnect:
    """Give the peer's edge up, after what was sent on it has left.

    Attributes:
        both: what the peer has opened to us is given up as well.
    """

    peer: Peer
    reason: str
    both: bool = True


@dataclass(slots=True)
class StartTimer:
    """Fire `TimedOut(timer)` after that many seconds, instead of whenever that key was to fire before."""

    timer: Timer
    after: float


@dataclass(slots=True)
class StopTimer:
    """Forget the timer, if it is live."""

    timer: Timer


@dataclass(slots=True)
class Notify:
    """Tell whoever listens."""

    fact: object


@dataclass(slots=True)
class Save:
    """Keep the state where a restart finds it. A later one replaces it; writes may be coalesced."""

    state: object


Effect: TypeAlias = Send | Connect | Disconnect | StartTimer | StopTimer | Notify | Save

# Facts: what `Notify` tells.


@dataclass(frozen=True, slots=True)
class NeighborUp:
    """An edge of the overlay to this peer is usable. Alternates strictly with `NeighborDown`."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class NeighborDown:
    """An edge of the overlay to this peer is no longer usable."""

    peer: Peer
    reason: str


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """The members are now these, ourselves included, in the order of the machine's key."""

    members: tuple[Peer, ...]


@dataclass(frozen=True, slots=True)
class MemberReplaced:
    """A member is now another value under the same name: it came back elsewhere, or two nodes have one name.

    Attributes:
        former: the value that is no member any more.
        peer: the one that is.
    """

    former: Peer
    peer: Peer


@dataclass(frozen=True, slots=True)
class Joined:
    """A `Join` is done.

    Attributes:
        contact: as in the command.
        peer: who that turned out to be.
    """

    contact: Peer
    peer: Peer


@dataclass(frozen=True, slots=True)
class JoinFailed:
    """A `Join` is over without success, and its edge is given up.

    Attributes:
        contact: as in the command.
        reason: one of "self" (the contact is ourselves), "greeting" (its state is none we understand), "left" (we or
            the caller gave up), or one that a strategy has besides.
    """

    contact: Peer
    reason: str


@dataclass(frozen=True, slots=True)
class Removed:
    """We are no member of the cluster any more, and alone.

    Attributes:
        reason: "removed" (somebody made us leave), or "replaced" (the cluster has another node under our name).
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Violation:
    """A peer sent what the protocol does not allow; the message was ignored."""

    peer: Peer
    detail: str


class Machine:
    """A protocol as a value: events in, effects out. No I/O, no clock, no global randomness.

    A subclass fills `_events` and `_messages` with its handlers, keyed by exact type. Handlers take the event (for
    messages: the peer and the message) and `now`, and leave their effects in the outbox by `_send`, `_notify`, ...

    Args:
        myself: our own value among peers.
        config: the protocol's options; a frozen dataclass.
        rng: the only source of chance.
    """

    __slots__ = ("_events", "_messages", "_out", "_rng", "config", "myself")

    def __init__(self, myself: Peer, config: Any, rng: Random) -> None:
        self.myself = myself
        self.config = config
        self._rng = rng
        self._out: list[Effect] = []
        self._events: dict[type, Callable[[Any, float], None]] = {Received: self._on_received}
        self._messages: dict[type, Callable[[Peer, Any, float], None]] = {}

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what the world must now do, in order.

        Args:
            event: one of this module's, or a command of the protocol.
            now: monotonic seconds; never decreases.
        Raises:
            LocalProtocolError: the event is none of this machine's. Nothing that a peer sent ever raises: it yields
                `Notify(Violation(...))`.
        """
        handler = self._events.get(type(event))
        if handler is None:
            raise LocalProtocolError(f"{type(self).__name__} takes no {type(event).__name__}")
        handler(event, now)
        out, self._out = self._out, []
        return out

    def _on_received(self, event: Received, now: float) -> None:
        handler = self._messages.get(type(event.message))
        if handler is None:
            self._violation(event.peer, f"unexpected {type(event.message).__name__}")
        else:
            handler(event.peer, event.message, now)

    def _send(self, peer: Peer, message: object) -> None:
        self._out.append(Send(peer, message))

    def _connect(self, peer: Peer) -> None:
        self._out.append(Connect(peer))

    def _disconnect(self, peer: Peer, reason: str, both: bool = True) -> None:
        self._out.append(Disconnect(peer, reason, both))

    def _start_timer(self, timer: Timer, after: float) -> None:
        self._out.append(StartTimer(timer, after))

    def _stop_timer(self, timer: Timer) -> None:
        self._out.append(StopTimer(timer))

    def _notify(self, fact: object) -> None:
        self._out.append(Notify(fact))

    def _save(self, state: object) -> None:
        self._out.append(Save(state))

    def _violation(self, peer: Peer, detail: str) -> None:
        self._out.append(Notify(Violation(peer, detail)))
