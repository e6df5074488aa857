"""Machines under virtual time: the same objects that run over sockets, driven by a queue of events.

It plays the driver's part as `partisan.machines.machine` describes it, for every node at once: effects are carried out
in order; an edge is one node's wish to be connected, and is dialled again with back-off until it is given up; what is
sent on an edge arrives in order, or the edge reports `Disconnected`, after the last message that was under way; timers
are keyed and can be restarted. Each node's chance is `Random(f"{seed}/{peer}/{birth}")`, so that another node does not
disturb its draws. Equal seeds give equal runs: nothing here iterates a set, or depends on `hash()`.

What differs from real nodes: an edge has one connection; a node that crashes is noticed by those who have an edge to
it after `detection` seconds, by all others never; a partition lets nothing pass at once, and is noticed as late.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from random import Random
from typing import Any, Protocol, TypeAlias

from partisan.errors import PartisanError
from partisan.machines.faults import Cut, Delivery, Faults, Flip, Rule, Suspicion
from partisan.machines.machine import (
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    Effect,
    Event,
    Notify,
    Peer,
    Received,
    Save,
    Send,
    Start,
    StartTimer,
    StopTimer,
    TimedOut,
    Timer,
)
from partisan.sim.agenda import SLOTS, Agenda
from partisan.sim.latency import Latency, Uniform
from partisan.sim.trace import CHUNK, NODE, Trace


class Driven(Protocol):
    """What runs here: a `Machine`, or whatever takes events and answers effects as one."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """See `Machine.handle`."""


Build: TypeAlias = Callable[[Peer, Random, Any], Driven]
"""(peer, its chance, the state it had saved or None) -> its machine."""

Listener: TypeAlias = Callable[[float, Peer, object], None]
"""(now, peer, fact): hears what machines notify of. It must not act on the network, except by `Network.after`."""

Classify: TypeAlias = Callable[[object], tuple[str, str]]
"""message -> its channel and its kind, for the rules of faults."""

GRACE = 1.0
"""Seconds after which a node that gave an edge up closes what the other end had opened to it (as real nodes do)."""

RETRY, RETRY_MOST = 0.5, 30.0
"""Seconds between attempts to dial: at first, and at most; they double (ours)."""

_BLOCK = 1024

# What an entry of the agenda is; a node (of deliveries, a list of nodes) and what else that needs follow.
_DELIVER, _FIRE, _DIAL, _NOTICE, _CLOSE, _CALL = range(6)


class UnknownPeer(LookupError):
    """No node of that peer runs."""

    def __init__(self, peer: Peer) -> None:
        super().__init__(f"no node {peer!r} runs")
        self.peer = peer


class Edge:
    """One node's wish to be connected to another.

    Attributes:
        target: whom it leads to; known before anybody answers.
        node: who answered; None while nobody has, or since it broke.
        last: when the last message on it arrives; if all take as long, only of those that faults have delayed.
        tries: attempts to dial since it was up.
    """

    __slots__ = ("last", "node", "target", "tries")

    def __init__(self, target: Peer, last: float) -> None:
        self.target = target
        self.node: Node | None = None
        self.last = last
        self.tries = 0


class Node:
    """A machine, and what its driver knows.

    Attributes:
        mark: its number, in the order of the first boots, as the trace has it.
        edges: contact or peer -> edge.
        inward: the nodes whose edges lead here, as keys.
        timers: live key -> the entry of the queue that fires it.
        lingering: peer -> when the last message of an edge that was given up arrives.
    """

    __slots__ = ("alive", "edges", "inward", "lingering", "machine", "mark", "peer", "timers")

    def __init__(self, peer: Peer, mark: int, machine: Driven) -> None:
        self.peer = peer
        self.mark = mark
        self.machine = machine
        self.alive = True
        self.edges: dict[Peer, Edge] = {}
        self.inward: dict[Node, None] = {}
        self.timers: dict[Timer, int] = {}
        self.lingering: dict[Peer, float] | None = None


def _membership(message: object) -> tuple[str, str]:
    return "partisan_membership", "membership"


class Network:
    """Nodes, their edges and the time.

    Args:
        build: makes the machine of a node.
        seed: decides all that is left to chance.
        latency: how long messages take; dialling takes a message there and one back.
        detection: seconds until a crash is noticed; infinite if never.
        through: what becomes of messages and greetings on their way, as a codec and back; None leaves them as they are.
        flip: (message, positions from 0 to below 1) -> what is read of it when these of its bits are inverted, None if
            nobody takes that; raises PartisanError if it ends the connection. None has no octets, and refuses `Flip`.
        resolve: contact -> the peer that it stands for.
        name: peer -> the name by which rules of faults know it.
        classify: message -> channel and kind, as rules of faults know them.
        unreachable: (peer, reason) -> the event by which a machine is told that an attempt to dial has failed; None for
            machines that are not told.
        listener: hears of facts; if there is none, they are collected in `facts`.
        detail: the digest covers every effect in words.
    Attributes:
        now: virtual seconds.
        nodes: those that run.
        saved: peer -> the state that it saved last.
        facts: (when, peer, fact), if there is no listener.
        sent: type -> how many messages of it were sent on a connected edge.
        dropped: messages that had no connected edge, that a fault dropped, or whose receiver was gone.
        faults: the rules in force; `inject` adds one.
        wrap: (peer, machine) -> what runs in its place from the next `boot` on; None leaves machines as they are.
    """

    def __init__(
        self,
        build: Build,
        seed: int | str = 1,
        *,
        latency: Latency | None = None,
        detection: float = 1.0,
        through: Callable[[Any], Any] | None = None,
        flip: Callable[[Any, tuple[float, ...]], Any] | None = None,
        resolve: Callable[[Peer], Peer] | None = None,
        name: Callable[[Peer], str] = str,
        classify: Classify = _membership,
        unreachable: Callable[[Peer, str], Event] | None = None,
        listener: Listener | None = None,
        detail: bool = False,
    ) -> None:
        if not detection >= 0.0:
            raise ValueError(f"crashes noticed after {detection!r} s")
        self.seed = seed
        self.now = 0.0
        self.detection = detection
        self.nodes: dict[Peer, Node] = {}
        self.saved: dict[Peer, Any] = {}
        self.facts: list[tuple[float, Peer, object]] = []
        self.sent: defaultdict[type, int] = defaultdict(int)
        self.dropped = 0
        self.faults = Faults()
        self.wrap: Callable[[Peer, Driven], Driven] | None = None
        self.trace = Trace(detail)
        self.latency = latency or Uniform(0.01, 0.05)
        self._fixed = self.latency.fixed
        self._build = build
        self._through = through
        self._flip = flip
        self._resolve = resolve
        self._name = name
        self._classify = classify
        self._unreachable = unreachable
        self._listener = listener
        self._rng = Random(f"{seed}/network")
        self._unnoticed: dict[Peer, Node] = {}
        self._births: dict[Peer, int] = {}
        self._marks: dict[Peer, int] = {}
        self._free: list[int] = []  # marks that are next, the first one last
        self._agenda = Agenda()
        self._buckets = self._agenda.buckets
        self._slow = through is not None
        self._seq = 0
        self._happen: dict[int, Callable[[Any, Any, Any], None]] = {
            _DIAL: self._dial,
            _NOTICE: self._notice,
            _CLOSE: self._close,
            _CALL: self._call,
        }
        self._means: dict[type, Callable[[Node, Any], None]] = {
            Connect: self._on_connect,
            Disconnect: self._on_disconnect,
            StartTimer: self._on_start_timer,
            StopTimer: self._on_stop_timer,
            Notify: self._on_notify,
            Save: self._on_save,
        }

    # What happens to nodes.

    def boot(self, peer: Peer, restored: Any = None) -> Node:
        """Start a node; one that runs crashes first.

        Args:
            restored: the state with which it comes back, as `saved` has it; None comes without memory.
        """
        if peer in self.nodes:
            self.crash(peer)
        birth = self._births[peer] = self._births.get(peer, 0) + 1
        mark = self._marks.get(peer)
        if mark is None:
            mark = self._marks[peer] = self._next_mark()
        former = self._unnoticed.pop(peer, None)
        if former is not None:
            # Whoever still takes the former life for alive is refused by this one as soon as it asks.
            self._lose(former, 0.0)
        machine = self._build(peer, Random(f"{self.seed}/{peer}/{birth}"), restored)
        node = Node(peer, mark, machine if self.wrap is None else self.wrap(peer, machine))
        self.nodes[peer] = node
        self._step(node, Start())
        return node

    def crash(self, peer: Peer, detection: float | None = None) -> None:
        """Stop a node without a word; those who have an edge to it notice.

        What it had sent arrives; what was on its way to it is lost.

        Args:
            detection: seconds until they do, instead of the network's.
        """
        node = self._running(peer)
        del self.nodes[peer]
        node.alive = False
        for edge in node.edges.values():
            if edge.node is not None:
                edge.node.inward.pop(node, None)
        after = self.detection if detection is None else detection
        if after < math.inf:
            self._lose(node, after)
        else:
            self._unnoticed[peer] = node

    def _next_mark(self) -> int:
        # Made by the thousand, as every event reads one: so they lie side by side in memory.
        if not self._free:
            first = len(self._marks)
            self._free = [number * NODE for number in range(first, first + _BLOCK)][::-1]
        return self._free.pop()

    def tell(self, peer: Peer, event: Event) -> None:
        """Give a node's machine an event now, and carry its effects out."""
        self._step(self._running(peer), event)

    def machine(self, peer: Peer) -> Driven:
        """The machine of a node that runs."""
        return self._running(peer).machine

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Call something when so much time has passed."""
        self._later(self.now + seconds, _CALL, action, None, None)

    def inject(self, rule: Rule) -> int:
        """Put a fault in force; return its number.

        A cut or a partition breaks the edges that it concerns when `detection` seconds of it have passed. A suspicion
        breaks edges to nodes that live; they are dialled again.

        Raises:
            ValueError: the rule is about octets, of which the network has none: it was given no `flip`.
        """
        if isinstance(rule, Flip) and self._flip is None:
            raise ValueError(f"{rule.name} is not simulated without a codec")
        number = self.faults.add(rule)
        if isinstance(rule, Suspicion):
            self._later(max(self.now, rule.since), _CALL, lambda: self._suspect(number, rule), None, None)
            return number
        self._slow = True
        if isinstance(rule, Cut) and self.detection < math.inf:
            self._later(max(self.now, rule.since) + self.detection, _CALL, self._break_what_is_cut, None, None)
        return number

    def heal(self, number: int | None = None) -> None:
        """Take a fault out of force, or all of them; what was cut is found again by dialling."""
        if number is None:
            self.faults.clear()
        else:
            self.faults.remove(number)
        self._slow = self._through is not None or len(self.faults) > 0

    # Time.

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        self.run_until(self.now + seconds)

    def run_until(self, end: float) -> None:
        """Let time pass until then."""
        happen, trace = self._happen, self.trace
        codes, numbers = trace.codes, trace.numbers
        note = numbers.append
        for at, seq, what, node, a, b in self._agenda.until(end):
            self.now = at
            if what == _DELIVER:
                # As in `_step`, for several nodes: most events of a simulation pass here.
                event, code = Received(a, b), codes.get(type(b))
                if code is None and any(target.alive for target in node):
                    code = trace.code(type(b))
                for target in node:
                    if not target.alive:
                        self.dropped += 1
                        continue
                    effects = target.machine.handle(event, at)
                    note(at)
                    if effects:
                        note(target.mark + code + len(effects))
                        self._carry_out(target, effects)
                    else:
                        note(target.mark + code)
                if len(numbers) >= CHUNK:
                    trace.flush()
            elif what == _FIRE:
                if node.alive and node.timers.get(a) == seq:
                    del node.timers[a]
                    self._step(node, TimedOut(a))
            else:
                happen[what](node, a, b)
        self.now = max(self.now, end)

    def digest(self) -> str:
        """Summarise all that happened so far, and when."""
        return self.trace.hexdigest()

    @property
    def events(self) -> int:
        """How many events machines have taken."""
        return self.trace.events

    # One event.

    def _step(self, node: Node, event: Event) -> None:
        effects = node.machine.handle(event, self.now)
        kind, trace = type(event), self.trace
        if kind is Received:
            kind = type(event.message)
        code = trace.codes.get(kind)
        if code is None:
            code = trace.code(kind)
        trace.numbers.append(self.now)
        trace.numbers.append(node.mark + code + len(effects))
        if len(trace.numbers) >= CHUNK:
            trace.flush()
        if effects:
            self._carry_out(node, effects)

    def _carry_out(self, node: Node, effects: list[Effect]) -> None:
        if self.trace.detail:
            self.trace.tell(effects)
        now, fixed, edges, listener = self.now, self._fixed, node.edges, self._listener
        message, before = None, -1.0  # of the latest delivery, while no effect but news came after it
        targets: list[Node] = []
        for effect in effects:
            if type(effect) is not Send:
                if type(effect) is Notify and listener is not None:
                    listener(now, node.peer, effect.fact)
                else:
                    self._means[type(effect)](node, effect)
                    before = -1.0
                continue
            edge = edges.get(effect.peer)
            if edge is None or (target := edge.node) is None:
                self.dropped += 1
                continue
            self.sent[type(effect.message)] += 1
            if self._slow:
                self._send_slowly(node, edge, target, effect.message)
                continue
            # As in `_send_slowly`, without calls: this is where the simulator spends its time.
            at = now + (self.latency.seconds(node.peer, target.peer, self._rng) if fixed is None else fixed)
            if at < edge.last:
                at = edge.last
            if fixed is None:
                edge.last = at
            if at == before and effect.message is message:
                targets.append(target)
                continue
            message, before, targets = effect.message, at, [target]
            self._seq = seq = self._seq + 1
            bucket = self._buckets.get(int(at * SLOTS))
            if bucket is None:
                self._agenda.add((at, seq, _DELIVER, targets, node.peer, message))
            else:
                bucket.append((at, seq, _DELIVER, targets, node.peer, message))

    def _send_slowly(self, node: Node, edge: Edge, target: Node, message: object) -> None:
        """Send through the codec and the faults."""
        channel, kind = self._classify(message)
        source, destination = self._name(node.peer), self._name(target.peer)
        if self._through is not None:
            message = self._through(message)
        verdict = self.faults.decide(source, destination, channel, kind, self.now, self._rng)
        if not verdict:
            self.dropped += 1
        for delivery in verdict:
            at = self._arrival(node, edge, target, delivery)
            if delivery.flips:
                self._send_flipped(node, edge, target, message, delivery.flips, at)
            else:
                self._later(at, _DELIVER, [target], node.peer, message)

    def _send_flipped(
        self, node: Node, edge: Edge, target: Node, message: object, flips: tuple[float, ...], at: float
    ) -> None:
        """Send what is read of a message with wrong bits; what cannot be read ends the connection, as in life."""
        try:
            read = None if self._flip is None else self._flip(message, flips)
        except PartisanError:
            self.dropped += 1
            self._later(at, _NOTICE, node, (target.peer, "closed", target), edge)
        else:
            if read is None:
                self.dropped += 1
            else:
                self._later(at, _DELIVER, [target], node.peer, read)

    def _arrival(self, node: Node, edge: Edge, target: Node, delivery: Delivery) -> float:
        at = self.now + self.latency.seconds(node.peer, target.peer, self._rng) + delivery.after
        if not delivery.loose:
            at = edge.last = max(at, edge.last)
        return at

    # Effects.

    def _on_connect(self, node: Node, effect: Connect) -> None:
        contact = effect.peer
        if contact not in node.edges:
            target = contact if self._resolve is None else self._resolve(contact)
            last = 0.0 if node.lingering is None else node.lingering.pop(target, 0.0)
            edge = node.edges[contact] = Edge(target, last)
            self._later(self.now + self._round_trip(node, target), _DIAL, node, contact, edge)

    def _on_disconnect(self, node: Node, effect: Disconnect) -> None:
        edge = node.edges.pop(effect.peer, None)
        target = self.nodes.get(effect.peer) if effect.both else None
        if edge is not None:
            if edge.node is not None:
                edge.node.inward.pop(node, None)
            if edge.last > self.now:
                if node.lingering is None:
                    node.lingering = {}
                node.lingering[edge.target] = edge.last
        self._later(self.now + GRACE, _CLOSE, node, effect.peer, target)

    def _on_start_timer(self, node: Node, effect: StartTimer) -> None:
        self._seq = seq = self._seq + 1
        node.timers[effect.timer] = seq
        self._agenda.add((self.now + effect.after, seq, _FIRE, node, effect.timer, None))

    def _on_stop_timer(self, node: Node, effect: StopTimer) -> None:
        node.timers.pop(effect.timer, None)

    def _on_notify(self, node: Node, effect: Notify) -> None:
        if self._listener is not None:
            self._listener(self.now, node.peer, effect.fact)
        else:
            self.facts.append((self.now, node.peer, effect.fact))

    def _on_save(self, node: Node, effect: Save) -> None:
        self.saved[node.peer] = effect.state

    # Edges.

    def _dial(self, node: Node, contact: Peer, edge: Edge) -> None:
        if not node.alive or node.edges.get(contact) is not edge or edge.node is not None:
            return
        other = self.nodes.get(edge.target)
        if other is None or self._is_cut(node.peer, edge.target):
            after = min(RETRY * 2**edge.tries, RETRY_MOST)
            edge.tries = min(edge.tries + 1, 16)
            self._later(self.now + after, _DIAL, node, contact, edge)
            if self._unreachable is not None:
                self._step(node, self._unreachable(contact, "refused"))
            return
        del node.edges[contact]
        former = node.edges.get(edge.target)
        if former is not None:
            edge.last = max(edge.last, former.last)
        node.edges[edge.target] = edge
        edge.node, edge.tries = other, 0
        other.inward[node] = None
        greeting = getattr(other.machine, "greeting", None)
        if self._through is not None and greeting is not None:
            greeting = self._through(greeting)
        self._step(node, Connected(edge.target, contact, greeting))

    def _lose(self, gone: Node, after: float) -> None:
        """Those who have an edge to a node that is gone notice: so much later, and after what it had sent them."""
        for node in gone.inward:
            sent = gone.edges.get(node.peer)
            last = 0.0 if sent is None else max(sent.last, self.now + (self._fixed or 0.0))
            what = (gone.peer, "closed", gone)
            self._later(max(self.now + after, last), _NOTICE, node, what, node.edges.get(gone.peer))
        gone.inward = {}

    def _notice(self, node: Node, what: tuple[Peer, str, Node], edge: Edge | None) -> None:
        peer, reason, lost = what
        if not node.alive or edge is None or node.edges.get(peer) is not edge or edge.node is not lost:
            return
        lost.inward.pop(node, None)
        edge.node = None
        self._later(self.now + RETRY, _DIAL, node, peer, edge)
        self._step(node, Disconnected(peer, reason))

    def _close(self, node: Node, peer: Peer, target: Node | None) -> None:
        """Close what the peer had opened to a node that gave its own edge up, unless it has asked for it again."""
        if node.lingering is not None and node.lingering.get(peer, math.inf) <= self.now:
            del node.lingering[peer]
        if node.alive and peer not in node.edges and target is not None and target.alive:
            edge = target.edges.get(node.peer)
            if edge is not None and edge.node is node:
                self._notice(target, (node.peer, "closed", node), edge)

    def _break_what_is_cut(self) -> None:
        for node in list(self.nodes.values()):
            for peer, edge in list(node.edges.items()):
                if edge.node is not None and self._is_cut(node.peer, edge.target):
                    self._notice(node, (peer, "ping_timeout", edge.node), edge)

    def _suspect(self, number: int, rule: Suspicion) -> None:
        """Let the failure detectors of the rule's sources hold its destinations for dead now, and come again."""
        if not self.faults.has(number) or rule.is_over(self.now):
            return
        for node in list(self.nodes.values()):
            if rule.sources is None or self._name(node.peer) in rule.sources:
                for peer, edge in list(node.edges.items()):
                    lost = edge.node
                    if lost is None or self._name(edge.target) not in (rule.destinations or ()):
                        continue
                    if not rule.is_over(self.now) and rule.strikes(self._rng):
                        self.faults.count(rule)
                        self._notice(node, (peer, "ping_timeout", lost), edge)
        again = self.now + rule.every * (1.0 + 0.5 * self._rng.random())
        self._later(again, _CALL, lambda: self._suspect(number, rule), None, None)

    def _is_cut(self, a: Peer, b: Peer) -> bool:
        """Whether nothing passes one way at least, so that no connection can be kept."""
        if not len(self.faults):
            return False
        here, there = self._name(a), self._name(b)
        return self.faults.is_cut(here, there, self.now) or self.faults.is_cut(there, here, self.now)

    # The queue.

    def _running(self, peer: Peer) -> Node:
        node = self.nodes.get(peer)
        if node is None:
            raise UnknownPeer(peer)
        return node

    def _call(self, action: Callable[[], None], _a: None, _b: None) -> None:
        action()

    def _round_trip(self, node: Node, target: Peer) -> float:
        if self._fixed is not None:
            return 2.0 * self._fixed
        latency, rng = self.latency, self._rng
        return latency.seconds(node.peer, target, rng) + latency.seconds(target, node.peer, rng)

    def _later(self, at: float, what: int, node: Any, a: Any, b: Any) -> None:
        self._seq = seq = self._seq + 1
        self._agenda.add((at, seq, what, node, a, b))
