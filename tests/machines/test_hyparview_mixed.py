"""HyParView among real nodes: a model of the reference, bugs included, shares clusters with the machine.

The model follows the reference's handlers as its description tells them: sets in term order instead of samples, high
priority alone, a shuffle that is answered to the last hop or lost, refusals of two kinds, no purge, no redial. It fails
the test where a real manager would crash.
"""

from __future__ import annotations

import random

import pytest

from partisan.machines.hyparview import (
    Farewell,
    ForwardJoin,
    HyParView,
    HyParViewConfig,
    HyParViewState,
    JoinRequest,
    Neighbor,
    NeighborAccepted,
    NeighborRejected,
    NeighborRequest,
    Shuffle,
    ShuffleReply,
)
from partisan.machines.machine import (
    Connected,
    Disconnect,
    Disconnected,
    Join,
    Machine,
    Start,
    TimedOut,
    Violation,
)
from partisan.names import ChannelOptions, ListenAddress, NodeSpec
from tests.machines.lone import reached

etf = pytest.importorskip("partisan.etf", reason="needs the compiled codec")
order = pytest.importorskip("partisan.wire.order")
wire = pytest.importorskip("partisan.wire.hyparview")

CHANNELS = {"undefined": ChannelOptions(), "partisan_membership": ChannelOptions(1, False, True)}
SPECS = tuple(NodeSpec.of(f"n{n}@h", (ListenAddress("::1", 1000 + n),), CHANNELS) for n in range(40))
CLAUSES = {
    "join": 4,
    "forward_join": 6,
    "neighbor": 5,
    "disconnect": 3,
    "neighbor_request": 6,
    "neighbor_accepted": 5,
    "neighbor_rejected": 3,
    "shuffle": 4,
    "shuffle_reply": 3,
}
"""The messages that a real manager has a clause for; any other crashes it."""

NEVER, ARWL, PRWL, MOST, LEAST, MOST_PASSIVE = (1, 0), 6, 6, 6, 3, 30


class Reference(Machine):
    """A manager of the reference."""

    def __init__(self, myself, rng):
        super().__init__(myself, None, rng)
        self.epoch = 1
        self.view, self.passive, self.sent, self.read = {myself: None}, {}, {}, {}
        self.edges, self.waiting = {}, {}
        self._events |= {
            Start: self.on_start,
            Join: lambda event, now: self.tell(event.contact[1], JoinRequest(self.myself, "undefined", 1)),
            Connected: self.on_connected,
            Disconnected: self.on_disconnected,
            TimedOut: self.on_timed_out,
        }
        self._messages |= {
            JoinRequest: self.on_join,
            ForwardJoin: self.on_forward_join,
            Neighbor: self.on_neighbor,
            Farewell: self.on_disconnect,
            NeighborRequest: self.on_request,
            NeighborAccepted: self.on_accepted,
            NeighborRejected: self.on_rejected,
            Shuffle: self.on_shuffle,
            ShuffleReply: lambda peer, message, now: self.merge(message.exchange),
        }

    @property
    def active(self):
        return tuple(peer for peer in self.view if peer != self.myself)

    @property
    def greeting(self):
        return HyParViewState(tuple(self.view), self.epoch)

    def connected_to(self, peer, then):
        """Do it when there is a connection; a real manager waits for that, and so keeps the order."""
        if self.edges.get(peer):
            then()
        else:
            self.waiting.setdefault(peer, []).append(then)
            if peer not in self.edges:
                self.edges[peer] = False
                self._connect(peer)

    def tell(self, peer, message):
        self.connected_to(peer, lambda: self._send(peer, message))

    def close(self, peer):
        self.waiting.pop(peer, None)
        if self.edges.pop(peer, None) is not None:
            self._disconnect(peer, "closed")

    def pick(self, view, *but):
        found = [peer for peer in view if peer not in (self.myself, *but)]
        return self._rng.choice(found) if found else None

    def add_active(self, peer):
        if peer in self.view or peer == self.myself:
            return
        self.passive.pop(peer, None)
        if len(self.view) >= MOST:
            victim = self.pick(self.view)
            del self.view[victim]
            self.add_passive(victim)
            _, count = self.sent.get(victim, (1, 0))
            self.sent[victim] = (self.epoch, count + 1)
            self.tell(victim, Farewell(self.myself, self.sent[victim]))
            self.close(victim)
        self.view[peer] = None

    def add_passive(self, peer):
        if peer != self.myself and peer not in self.view and peer not in self.passive:
            if len(self.passive) >= MOST_PASSIVE:
                del self.passive[self.pick(self.passive)]
            self.passive[peer] = None

    def addable(self, peer, last):
        known = self.sent.get(peer)
        return known is None or (last >= known if isinstance(last, tuple) else last >= known[0])

    def exchange(self):
        def first(view, most):
            return sorted(view, key=order.spec_key)[:most]

        chosen = sorted({self.myself, *first(self.view, 3)}, key=order.spec_key)
        return (*chosen, *first(self.passive, 4))

    def merge(self, exchange):
        for peer in exchange:
            self.add_passive(peer)

    def promote(self, peer):
        if peer is not None:
            last = self.read.get(peer, NEVER)
            self.tell(peer, NeighborRequest(self.myself, "high", "undefined", last, self.exchange()))

    def become_neighbor(self, peer, then=lambda: None):
        def add():
            if peer not in self.view:
                self.add_active(peer)
                self._send(peer, Neighbor(self.myself, "undefined", self.read.get(peer, NEVER), peer))
                then()

        self.connected_to(peer, add)

    def on_start(self, event, now):
        self._start_timer("shuffle", 10.0)
        self._start_timer("promotion", 5.0)

    def on_timed_out(self, event, now):
        self._start_timer(event.timer, {"shuffle": 10.0, "promotion": 5.0}[event.timer])
        peer = self.pick(self.view)
        if event.timer == "shuffle" and peer is not None:
            self.tell(peer, Shuffle(self.exchange(), ARWL, self.myself))
        elif event.timer == "promotion" and len(self.view) < LEAST:
            self.promote(self.pick(self.passive))

    def on_connected(self, event, now):
        self.edges[event.peer] = True
        for then in self.waiting.pop(event.peer, ()):
            then()

    def on_disconnected(self, event, now):
        peer = event.peer
        self.close(peer)
        self.passive.pop(peer, None)
        if peer in self.view:
            del self.view[peer]
            self.promote(self.pick(self.passive))

    def on_join(self, peer, message, now):
        joiner = message.sender

        def walks():
            for member in self.active:
                if member != joiner:
                    self.tell(member, ForwardJoin(joiner, message.tag, message.epoch, ARWL, self.myself))

        if self.addable(joiner, message.epoch) and joiner not in self.view:
            self.become_neighbor(joiner, walks)

    def on_forward_join(self, peer, message, now):
        joiner, hop = message.joiner, None
        if message.ttl > 0 and len(self.view) > 1:
            if message.ttl == PRWL:
                self.add_passive(joiner)
            hop = self.pick(self.view, message.sender, joiner)
        if hop is not None:
            self.tell(hop, ForwardJoin(joiner, message.tag, message.epoch, message.ttl - 1, self.myself))
        elif self.addable(joiner, message.epoch) and joiner != self.myself and joiner not in self.view:
            self.become_neighbor(joiner)

    def on_neighbor(self, peer, message, now):
        if self.addable(message.sender, message.last):
            self.connected_to(message.sender, lambda: self.add_active(message.sender))

    def on_disconnect(self, peer, message, now):
        sender, known = message.sender, self.read.get(message.sender)
        if known is not None and message.number[0] <= known[0] and message.number[1] <= known[1]:
            return
        self.view.pop(sender, None)
        self.add_passive(sender)
        self.read[sender] = message.number
        self.close(sender)
        if len(self.view) == 1:
            self.promote(self.pick(self.passive, sender))

    def on_request(self, peer, message, now):
        sender = message.sender

        def answer():
            if message.priority != "high" and len(self.view) >= MOST:
                self._send(sender, NeighborRejected(self.myself, ()))  # the short one
            elif self.addable(sender, message.last):
                last = self.read.get(sender, NEVER)
                self._send(sender, NeighborAccepted(self.myself, "undefined", last, self.exchange()))
                self.add_active(sender)
            else:
                self._send(sender, NeighborRejected(self.myself, self.exchange()))

        self.connected_to(sender, answer)
        self.merge(message.exchange)

    def on_accepted(self, peer, message, now):
        if self.addable(message.sender, message.last):
            self.add_active(message.sender)
        self.merge(message.exchange)

    def on_rejected(self, peer, message, now):
        self.close(message.sender)
        self.merge(message.exchange)

    def on_shuffle(self, peer, message, now):
        sender = message.sender
        if message.ttl > 0 and len(self.view) > 1:
            hop = self.pick(self.view, sender)
            if hop is not None:
                self.tell(hop, Shuffle(message.exchange, message.ttl - 1, self.myself))
        else:
            self.tell(sender, ShuffleReply(tuple(self.passive)[: len(message.exchange)], self.myself))
            self.merge(message.exchange)


def through(message):
    """What is sent and told travels as octets, and no real manager would crash at it."""
    if isinstance(message, HyParViewState):
        return wire.state_from_term(etf.decode(etf.encode(wire.state_to_term(message))))
    term = wire.message_to_term(message)
    assert CLAUSES[term[0].name] == len(term)
    return wire.message_from_term(etf.decode(etf.encode(term)))


def mixed(network, seed, is_real):
    """A cluster in which those nodes are real; it has come to rest."""

    class Net(network):
        def _on_disconnect(self, peer, node, effect):
            if isinstance(node.machine, Reference):
                node.edges.pop(effect.peer, None)  # a real node closes what it has dialled itself, and no more
            else:
                super()._on_disconnect(peer, node, effect)

        _effects = network._effects | {Disconnect: _on_disconnect}

    def build(peer, rng, restored):
        if is_real(SPECS.index(peer)):
            return Reference(peer, rng)
        return HyParView(peer, HyParViewConfig(key=order.spec_key), rng, restored)

    net = Net(seed, build, through)
    for peer in SPECS:
        net.boot(peer)
        if peer is not SPECS[0]:
            net.tell(peer, Join(("contact", SPECS[0])))
        net.run(0.3)
    net.run(60.0)
    return net


def asymmetric_with_ours(net):
    """Pairs of which one end at least is ours, and of which one has the other and is not had by it."""
    return [
        (str(peer), str(other))
        for peer, node in net.nodes.items()
        for other in node.machine.active
        if HyParView in (type(node.machine), other in net.nodes and type(net.nodes[other].machine))
        and (other not in net.nodes or peer not in net.nodes[other].machine.active)
    ]


CLUSTERS = {
    "half are real": lambda n: n % 2 == 0,
    "the contact alone is real": lambda n: n == 0,
    "the contact alone is ours": lambda n: n > 0,
    "a third is ours": lambda n: n % 3 > 0,
}


@pytest.mark.parametrize("is_real", CLUSTERS.values(), ids=CLUSTERS.keys())
@pytest.mark.parametrize("seed", range(3))
def test_real_nodes_and_ours_form_one_cluster_and_ours_survive_a_crash_in_it(network, seed, is_real):
    net = mixed(network, seed, is_real)
    assert reached(net) == len(SPECS)
    assert not asymmetric_with_ours(net)
    for peer in random.Random(seed).sample(SPECS, len(SPECS) * 3 // 10):
        net.crash(peer)
    net.run(120.0)
    assert not asymmetric_with_ours(net)
    assert reached(net) == len(net.nodes)
    assert not [fact for facts in net.facts.values() for fact in facts if isinstance(fact, Violation)]
