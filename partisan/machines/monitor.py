"""Monitors between nodes: who wants to hear of the end of which process, at the node that asks and at the one asked.

A node asks another to watch a process. The answer is a reference of the asked node, under which it tells the end:

    asking                                    asked
    Begin      Ask(origin, target)      ->    Watch
               <- Placed(origin, reference)   or Refused(origin)
    Fired      <- Down(reference, reason)     Ended
    End        Unask(origin, reference) ->    Unwatch
               <- Unplaced(origin)

It speaks section 5.1 of the partisan 5.0.3 reference, with these differences, all on our own side:

- whoever monitors gets a key of its own at once, and not the reference after a round trip. Each key that has begun and
  not ended fires exactly once;
- requests are told apart by their origin; those of the reference share one, and are told apart by their caller;
- a `Down` that overtakes the `Placed` of its request is kept until that comes; the reference loses it. It even loses
  one that comes soon after, so towards it that waits a moment;
- a name that the asked node does not know is no error, but a process that does not exist;
- who monitors and ends ends its monitors; the reference leaves them behind;
- a request of a node to which there is no connection yet waits for one, as it could not be answered.

What holds: what is kept of a node is gone when the node is lost, at both ends; what a node makes us keep is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from partisan.machines.machine import Connected, Disconnected, Machine, Peer, TimedOut

if TYPE_CHECKING:
    from random import Random

Why = Literal["noproc", "noconnection", "timeout"]
"""Why a monitor fires of which the asked node has told nothing."""


@dataclass(frozen=True, slots=True)
class MonitorConfig:
    """Options of monitors.

    Attributes:
        timeout: seconds for an answer (partisan 5.0.3); and for a connection, of requests that wait for one.
        grace: seconds from the answer to a `hasty` node to the end that it may be told at the earliest (ours).
        max_early: ends of unknown monitors kept of a node, while requests to it are not answered (ours).
        max_owed: requests kept of a node that is not connected, and nodes of which they are kept (ours).
        max_watched: processes that one node may have watched (ours).
    """

    timeout: float = 5.0
    grace: float = 0.05
    max_early: int = 4096
    max_owed: int = 1024
    max_watched: int = 1 << 20


# Messages.


@dataclass(frozen=True, slots=True)
class Ask:
    """Asks to watch a process.

    Attributes:
        origin: to be repeated in the answer; a number where it is our own.
        target: the process; None if that cannot be read.
        channel: for this and for the `Down`; None is the default one.
        hasty: whether the node that asks loses an end that comes too soon.
        beside: the value of the pair key of our messages to the process, behind which this is to arrive; None: any.
    """

    origin: Any
    target: Any
    channel: str | None = None
    hasty: bool = False
    beside: int | None = None


@dataclass(frozen=True, slots=True)
class Unask:
    """Asks to watch no more.

    Attributes:
        origin: to be repeated in the answer.
        reference: as in the `Placed`.
    """

    origin: Any
    reference: Any


@dataclass(frozen=True, slots=True)
class Placed:
    """Answers an `Ask`: the process is watched under this reference of the asked node."""

    origin: Any
    reference: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """Answers an `Ask`: there can be no such process."""

    origin: Any


@dataclass(frozen=True, slots=True)
class Unplaced:
    """Answers an `Unask`."""

    origin: Any


@dataclass(frozen=True, slots=True)
class Down:
    """A watched process has ended.

    Attributes:
        reference: as in the `Placed`.
        item: what was watched.
        reason: any term.
        channel: on which it is sent.
    """

    reference: Any
    item: Any
    reason: Any
    channel: str | None = None


# Commands.


@dataclass(slots=True)
class Begin:
    """Monitor a process of another node.

    Attributes:
        key: of the monitor; not used before.
        node: the process's.
        target: the process.
        channel, beside: as in `Ask`.
    """

    key: Hashable
    node: Peer
    target: Any
    channel: str | None = None
    beside: int | None = None


@dataclass(slots=True)
class End:
    """The monitor of this key is not wanted any more; nothing if there is none."""

    key: Hashable


@dataclass(slots=True)
class Unsent:
    """Our `Ask` of this origin could not be sent."""

    origin: int


@dataclass(slots=True)
class Ended:
    """A process of ours has ended, or has never been, which is watched under this reference."""

    reference: Any
    reason: Any


# Facts.


@dataclass(frozen=True, slots=True)
class Held:
    """The asked node watches from now on, for the monitor of this key."""

    key: Hashable


@dataclass(frozen=True, slots=True)
class Fired:
    """What the monitor of this key was for has ended; the key is forgotten."""

    key: Hashable
    reason: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """As `Fired`, of what we have found out ourselves."""

    key: Hashable
    why: Why


@dataclass(frozen=True, slots=True)
class Watch:
    """Watch a process of ours; say `Ended` when it has, or if it is none."""

    reference: Any
    target: Any


@dataclass(frozen=True, slots=True)
class Unwatch:
    """Watch it no longer."""

    reference: Any


@dataclass(slots=True)
class _Asked:
    """A request of ours without an answer; its key is None once nobody wants the monitor."""

    node: Peer
    key: Hashable | None


@dataclass(slots=True)
class _Watched:
    """A watch that another node asked for.

    Attributes:
        ripe: when its end may be told (s).
        told: what is told then, if the process has ended.
    """

    node: Peer
    target: Any
    channel: str | None
    ripe: float
    told: Down | None = None


@dataclass(slots=True)
class _Node:
    """What is kept of another node.

    Attributes:
        asked: origins of our requests to it without an answer.
        held: keys of our monitors there, with the references that it gave.
        early: ends that it told of monitors that we do not know yet.
        watched: references of the watches that it asked for.
        owed: its requests that wait for a connection.
    """

    up: bool = False
    asked: dict[int, None] = field(default_factory=dict)
    held: dict[Hashable, Any] = field(default_factory=dict)
    early: dict[Any, Any] = field(default_factory=dict)
    watched: dict[Any, None] = field(default_factory=dict)
    owed: list[Ask | Unask] = field(default_factory=list)

    def empty(self) -> bool:
        return not (self.up or self.asked or self.held or self.watched or self.owed)


class Monitor(Machine):
    """All monitors of one node.

    Args:
        myself: our node's name.
        config: the options.
        rng: chance, for where origins begin.
        make_ref: callable(): a reference that we have not used before.
    """

    config: MonitorConfig

    def __init__(self, myself: Peer, config: MonitorConfig, rng: Random, make_ref: Callable[[], Hashable]) -> None:
        super().__init__(myself, config, rng)
        self._make_ref = make_ref
        self._next = rng.getrandbits(40)
        self._nodes: dict[Peer, _Node] = {}
        self._asked: dict[int, _Asked] = {}
        self._origins: dict[Hashable, int] = {}  # key -> of its request without an answer
        self._homes: dict[Hashable, Peer] = {}  # key -> the node that watches for it
        self._keys: dict[Any, dict[Hashable, None]] = {}  # reference -> keys: a node may give one reference twice
        self._watched: dict[Any, _Watched] = {}
        self._owing: dict[Peer, None] = {}  # nodes whose requests wait for a connection
        self._events |= {
            Begin: self._on_begin,
            End: self._on_end,
            Unsent: self._on_unsent,
            Ended: self._on_ended,
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            TimedOut: self._on_timed_out,
        }
        self._messages = {
            Ask: self._on_request,
            Unask: self._on_request,
            Placed: self._on_placed,
            Refused: self._on_refused,
            Unplaced: self._on_unplaced,
            Down: self._on_down,
        }

    def is_up(self, node: Peer) -> bool:
        """Whether the node is connected, as far as we were told."""
        found = self._nodes.get(node)
        return found is not None and found.up

    @property
    def counts(self) -> dict[str, int]:
        """How much is kept: requests without an answer, monitors of ours, watches for others, the rest."""
        nodes = self._nodes.values()
        return {
            "asked": len(self._asked),
            "held": len(self._homes),
            "watched": len(self._watched),
            "early": sum(len(node.early) for node in nodes),
            "owed": sum(len(node.owed) for node in nodes),
        }

    def _node(self, name: Peer) -> _Node:
        found = self._nodes.get(name)
        if found is None:
            found = self._nodes[name] = _Node()
        return found

    def _tidy(self, name: Peer) -> None:
        """Keep nothing of a node of which there is nothing to keep."""
        node = self._nodes.get(name)
        if node is not None:
            if not node.asked:
                node.early.clear()
            if node.empty():
                del self._nodes[name]

    # The node that asks.

    def _on_begin(self, event: Begin, now: float) -> None:
        if not self.is_up(event.node):
            self._notify(Failed(event.key, "noconnection"))
            return
        origin = self._origin()
        self._node(event.node).asked[origin] = None
        self._asked[origin] = _Asked(event.node, event.key)
        self._origins[event.key] = origin
        self._send(event.node, Ask(origin, event.target, event.channel, beside=event.beside))
        self._start_timer(("answer", origin), self.config.timeout)

    def _on_end(self, event: End, now: float) -> None:
        origin = self._origins.pop(event.key, None)
        if origin is not None:
            self._asked[origin].key = None
            return
        home = self._homes.get(event.key)
        if home is not None:
            self._drop(home, self._release(event.key))

    def _on_placed(self, peer: Peer, message: Placed, now: float) -> None:
        asked = self._answered(message.origin)
        if asked is None:
            if self.is_up(peer):  # it came too late, and nobody waits any more
                self._drop(peer, message.reference)
            return
        node = self._node(asked.node)
        early = message.reference in node.early
        reason = node.early.pop(message.reference, None)
        if asked.key is None:
            if not early:
                self._drop(asked.node, message.reference)
        elif early:
            self._notify(Fired(asked.key, reason))
        else:
            node.held[asked.key] = message.reference
            self._homes[asked.key] = asked.node
            self._keys.setdefault(message.reference, {})[asked.key] = None
            self._notify(Held(asked.key))
        self._tidy(asked.node)

    def _on_refused(self, peer: Peer, message: Refused, now: float) -> None:
        self._give_up(message.origin, "noproc")

    def _on_unplaced(self, peer: Peer, message: Unplaced, now: float) -> None:
        """Nothing waits for this."""

    def _on_down(self, peer: Peer, message: Down, now: float) -> None:
        keys = self._keys.get(message.reference)
        if keys is not None:
            for key in list(keys):
                node = self._homes[key]
                self._release(key)
                self._notify(Fired(key, message.reason))
                self._tidy(node)
            return
        known = self._nodes.get(peer)
        if known is None or not known.asked:
            return  # it crossed the end of the monitor
        known.early[message.reference] = message.reason
        if len(known.early) > self.config.max_early:
            del known.early[next(iter(known.early))]
            self._violation(peer, "it tells the end of more monitors than were asked for")

    def _on_unsent(self, event: Unsent, now: float) -> None:
        self._give_up(event.origin, "noconnection")

    def _answered(self, origin: object) -> _Asked | None:
        """Take a request of ours that waits for its answer."""
        asked = self._asked.pop(origin, None) if type(origin) is int else None
        if asked is not None:
            del self._nodes[asked.node].asked[origin]  # type: ignore[arg-type]  # checked
            self._origins.pop(asked.key, None)
            self._stop_timer(("answer", origin))
        return asked

    def _give_up(self, origin: object, why: Why) -> None:
        """A request of ours gets no monitor."""
        asked = self._answered(origin)
        if asked is not None:
            if asked.key is not None:
                self._notify(Failed(asked.key, why))
            self._tidy(asked.node)

    def _release(self, key: Hashable) -> Any:
        """Forget a monitor; the reference, or None if others hold that too."""
        reference = self._nodes[self._homes.pop(key)].held.pop(key)
        keys = self._keys[reference]
        del keys[key]
        if keys:
            return None
        del self._keys[reference]
        return reference

    def _drop(self, node: Peer, reference: Any) -> None:
        if reference is not None:
            self._send(node, Unask(self._origin(), reference))
        self._tidy(node)

    def _origin(self) -> int:
        self._next += 1
        return self._next

    # The node that is asked.

    def _on_request(self, peer: Peer, message: Ask | Unask, now: float) -> None:
        node = self._node(peer)
        if node.up or peer == self.myself:
            self._serve(peer, message, now)
        elif len(node.owed) < self.config.max_owed and (node.owed or len(self._owing) < self.config.max_owed):
            if not node.owed:
                self._owing[peer] = None
                self._start_timer(("owed", peer), self.config.timeout)
            node.owed.append(message)
        else:
            self._violation(peer, "too many requests without a connection for their answers")
            self._tidy(peer)

    def _serve(self, peer: Peer, message: Ask | Unask, now: float) -> None:
        if isinstance(message, Unask):
            self._send(peer, Unplaced(message.origin))
            watched = self._watched.get(message.reference)
            if watched is not None and watched.node == peer:
                self._unwatch(message.reference)
            return
        node = self._node(peer)
        if message.target is None:
            self._send(peer, Refused(message.origin))
        elif len(node.watched) >= self.config.max_watched:
            self._violation(peer, f"more than {len(node.watched)} monitors")
        else:
            reference = self._make_ref()
            node.watched[reference] = None
            self._watched[reference] = _Watched(
                peer, message.target, message.channel, now + self.config.grace if message.hasty else now
            )
            self._send(peer, Placed(message.origin, reference))
            self._notify(Watch(reference, message.target))

    def _on_ended(self, event: Ended, now: float) -> None:
        watched = self._watched.get(event.reference)
        if watched is None or watched.told is not None:
            return
        watched.told = Down(event.reference, watched.target, event.reason, watched.channel)
        if now < watched.ripe:
            self._start_timer(("ripe", event.reference), watched.ripe - now)
        else:
            self._tell_end(event.reference)

    def _tell_end(self, reference: Any) -> None:
        watched = self._watched.pop(reference)
        del self._nodes[watched.node].watched[reference]
        self._send(watched.node, watched.told)
        self._tidy(watched.node)

    def _unwatch(self, reference: Any) -> None:
        """Nobody wants to hear of it any more."""
        watched = self._watched.pop(reference)
        del self._nodes[watched.node].watched[reference]
        if watched.told is None:
            self._notify(Unwatch(reference))
        else:
            self._stop_timer(("ripe", reference))
        self._tidy(watched.node)

    # Both.

    def _on_connected(self, event: Connected, now: float) -> None:
        node = self._node(event.peer)
        node.up = True
        owed, node.owed = node.owed, []
        if owed:
            del self._owing[event.peer]
            self._stop_timer(("owed", event.peer))
        for message in owed:
            self._serve(event.peer, message, now)

    def _on_disconnected(self, event: Disconnected, now: float) -> None:
        node = self._nodes.get(event.peer)
        if node is None:
            return
        node.up = False
        for origin in list(node.asked):
            self._give_up(origin, "noconnection")
        for key in list(node.held):
            self._release(key)
            self._notify(Failed(key, "noconnection"))
        for reference in list(node.watched):
            self._unwatch(reference)
        self._tidy(event.peer)

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        kind, which = cast(tuple[str, Any], event.timer)
        if kind == "answer":
            self._give_up(which, "timeout")
            return
        if kind == "ripe":
            self._tell_end(which)
            return
        node = self._nodes.get(which)
        if node is not None and node.owed:
            self._violation(which, f"{len(node.owed)} requests, and no connection for their answers")
            del self._owing[which]
            node.owed = []
            self._tidy(which)
