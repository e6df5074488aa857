"""A network without connections: a message goes to whoever is named, and is lost if that one has failed.

The model in which Cyclon was published and compared. It has the part of `partisan.sim.network.Network` that a scenario
needs, and the same promises about seeds and digests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from random import Random

from partisan.machines.machine import (
    Event,
    Notify,
    Peer,
    Received,
    Send,
    Start,
    StartTimer,
    StopTimer,
    TimedOut,
    Timer,
    Unreachable,
)
from partisan.sim.agenda import Agenda
from partisan.sim.network import Driven, Listener, UnknownPeer
from partisan.sim.trace import Trace

_DELIVER, _FIRE, _LOST = range(3)


class Host:
    """A machine, and what its driver knows."""

    __slots__ = ("alive", "machine", "number", "peer", "timers")

    def __init__(self, peer: Peer, number: int, machine: Driven) -> None:
        self.peer = peer
        self.number = number
        self.machine = machine
        self.alive = True
        self.timers: dict[Timer, int] = {}


class Datagrams:
    """Nodes and the time.

    Args:
        build: (peer, its chance) -> its machine.
        seed: decides all chance.
        latency: seconds that every message takes.
        listener: hears of facts.
        acked: messages of this type are acknowledged: who sends one to a node that has failed is told `Unreachable`.
        patience: seconds until then.
    Attributes:
        now: virtual seconds.
        nodes: those that run.
        sent: type -> how many messages of it were sent.
    """

    def __init__(
        self,
        build: Callable[[Peer, Random], Driven],
        seed: int | str,
        *,
        latency: float,
        listener: Listener,
        acked: type | None = None,
        patience: float = 0.1,
    ) -> None:
        self.seed = seed
        self.now = 0.0
        self.nodes: dict[Peer, Host] = {}
        self.sent: defaultdict[type, int] = defaultdict(int)
        self.trace = Trace()
        self._build = build
        self._latency = latency
        self._listener = listener
        self._acked = acked
        self._patience = patience
        self._agenda = Agenda()
        self._seq = 0
        self._numbers = 0

    def boot(self, peer: Peer) -> None:
        """Start a node."""
        node = Host(peer, self._numbers, self._build(peer, Random(f"{self.seed}/{peer}/1")))
        self._numbers += 1
        self.nodes[peer] = node
        self._step(node, Start())

    def crash(self, peer: Peer) -> None:
        """Stop a node without a word."""
        self._running(peer).alive = False
        del self.nodes[peer]

    def tell(self, peer: Peer, event: Event) -> None:
        """Give a node's machine an event now, and carry its effects out."""
        self._step(self._running(peer), event)

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.now + seconds
        for at, seq, what, node, a, b in self._agenda.until(end):
            self.now = at
            if not node.alive:
                continue
            if what == _DELIVER:
                self._step(node, Received(a, b))
            elif what == _LOST:
                self._step(node, Unreachable(a, "no acknowledgement"))
            elif node.timers.get(a) == seq:
                del node.timers[a]
                self._step(node, TimedOut(a))
        self.now = max(self.now, end)

    def digest(self) -> str:
        """Summarise all that happened so far, and when."""
        return self.trace.hexdigest()

    @property
    def events(self) -> int:
        """How many events machines have taken."""
        return self.trace.events

    def _running(self, peer: Peer) -> Host:
        node = self.nodes.get(peer)
        if node is None:
            raise UnknownPeer(peer)
        return node

    def _step(self, node: Host, event: Event) -> None:
        now = self.now
        effects = node.machine.handle(event, now)
        kind = type(event)
        self.trace.add(now, node.number, type(event.message) if kind is Received else kind, len(effects))
        for effect in effects:
            what = type(effect)
            if what is Send:
                self._send(node, effect.peer, effect.message)  # type: ignore[union-attr]
            elif what is Notify:
                self._listener(now, node.peer, effect.fact)  # type: ignore[union-attr]
            elif isinstance(effect, StartTimer):
                node.timers[effect.timer] = self._add(now + effect.after, _FIRE, node, effect.timer, None)
            elif isinstance(effect, StopTimer):
                node.timers.pop(effect.timer, None)

    def _send(self, node: Host, peer: Peer, message: object) -> None:
        self.sent[type(message)] += 1
        target = self.nodes.get(peer)
        if target is not None:
            self._add(self.now + self._latency, _DELIVER, target, node.peer, message)
        elif type(message) is self._acked:
            self._add(self.now + self._patience, _LOST, node, peer, None)

    def _add(self, at: float, what: int, node: Host, a: object, b: object) -> int:
        self._seq = seq = self._seq + 1
        self._agenda.add((at, seq, what, node, a, b))
        return seq
