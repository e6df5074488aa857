"""Relays for tests: networks of them over HyParView, and one whose neighbors are played by the test."""

from __future__ import annotations

from random import Random

from partisan.machines.hyparview import HyParView, HyParViewConfig
from partisan.machines.machine import (
    Join,
    NeighborUp,
    Notify,
    Received,
    Send,
    StartTimer,
    StopTimer,
    TimedOut,
    Unreachable,
)
from partisan.machines.relay import Relays
from partisan.machines.relay_messages import Arrived, EdgeUp, Frame, Parcel, RelayConfig
from partisan.machines.stack import Stack
from partisan.sim.network import Network


class Net(Network):
    def births(self, peer):
        return self._births[peer]


def network(count, seed=1, config=None, latency=None):
    def build(peer, rng, restored):
        view = HyParView(peer, HyParViewConfig(), rng, restored)
        return Stack(view, Relays(peer, config or RelayConfig(), rng, life=net.births(peer)))

    net = Net(build, seed, unreachable=Unreachable, latency=latency)
    for peer in range(count):
        net.boot(peer)
        if peer:
            net.tell(peer, Join(Random(f"{seed}/{peer}").randrange(peer)))
        net.run(0.1)
    net.run(60.0)
    net.facts.clear()
    return net


def relay(net, peer):
    return net.machine(peer).upper


def told(net, kind):
    return [(peer, fact) for _, peer, fact in net.facts if type(fact) is kind]


def far(net, source):
    """Who is no neighbor of a node, nor that itself."""
    near = {peer.name if hasattr(peer, "name") else peer for peer in net.machine(source).membership.members}
    return [peer for peer in net.nodes if peer not in near and peer != source]


class Lone:
    """A machine with neighbors that only listen."""

    def __init__(self, speakers=(1, 2), kinds=None, hops=None, mutual=True, myself=0, **options):
        self.machine = Relays(myself, RelayConfig(**options), Random(1), 5, hops, lambda: mutual)
        self.now = 0.0
        self.timers = {}
        self.effects = []
        for peer in speakers:
            self.do(NeighborUp(peer))
        for peer, kind in (kinds or {}).items():
            self.do(EdgeUp(peer, kind))

    def do(self, event):
        found = self.machine.handle(event, self.now)
        for effect in found:
            if type(effect) is StartTimer:
                self.timers[effect.timer] = self.now + effect.after
            elif type(effect) is StopTimer:
                self.timers.pop(effect.timer, None)
        self.effects += found
        return found

    def wait(self, seconds):
        end = self.now + seconds
        while self.timers and min(self.timers.values()) <= end:
            timer = min(self.timers, key=lambda each: self.timers[each])
            self.now = max(self.now, self.timers.pop(timer))
            self.do(TimedOut(timer))
        self.now = end

    def get(self, peer, frame):
        return self.do(Received(peer, frame))

    def facts(self, kind):
        return [effect.fact for effect in self.effects if type(effect) is Notify and type(effect.fact) is kind]

    def sent(self, peer=None, body=None):
        return [
            effect.message
            for effect in self.effects
            if type(effect) is Send
            and peer in (None, effect.peer)
            and (body is None or type(getattr(effect.message, "body", effect.message)) is body)
        ]


def parcel(number, base=1, origin=9, serial=None, dest=0, ttl=3, life=1, load=None, octets=1):
    body = Parcel(number, base, number if load is None else load, octets)
    return Frame(origin, life, number if serial is None else serial, dest, ttl, False, False, body)


def loads(lone):
    return [fact.load for fact in lone.facts(Arrived)]
