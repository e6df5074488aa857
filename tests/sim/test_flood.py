"""A flood reaches whom the overlay reaches, once, by the shortest ways."""

from __future__ import annotations

from partisan.machines.full import FullConfig, FullMembership
from partisan.machines.machine import Join
from partisan.sim.flood import Flood, Flooded, Flooding, Heard
from partisan.sim.latency import Constant
from partisan.sim.network import Network


def mesh(count):
    def build(peer, rng, restored):
        return Flooding(FullMembership(peer, FullConfig(), rng, restored))

    net = Network(build, 1, latency=Constant(0.01), detection=1.0)
    for peer in range(count):
        net.boot(peer)
    for peer in range(1, count):
        net.tell(peer, Join(0))
    net.run(30.0)
    return net


def heard(net):
    return sorted((peer, fact.number, fact.hops) for _, peer, fact in net.facts if isinstance(fact, Heard))


def test_everybody_hears_a_message_once_and_the_membership_below_is_as_without():
    net = mesh(5)
    assert net.machine(3).neighbors == (0, 1, 2, 4)
    net.tell(2, Flood(7))
    net.run(1.0)
    assert heard(net) == [(peer, 7, int(peer != 2)) for peer in range(5)]
    assert net.sent[Flooded] == 4 + 4 * 3
    assert {net.machine(peer).membership.members for peer in range(5)} == {(0, 1, 2, 3, 4)}


def test_who_is_lost_is_told_no_more_once_that_is_noticed():
    net = mesh(3)
    net.crash(1)
    net.tell(0, Flood(1))
    net.run(5.0)
    assert net.dropped == 2
    assert net.machine(0).neighbors == (2,)
    net.tell(0, Flood(2))
    net.run(1.0)
    assert net.dropped == 2
    assert heard(net) == [(0, 1, 0), (0, 2, 0), (2, 1, 1), (2, 2, 1)]


def test_old_numbers_are_forgotten():
    net = mesh(2)
    for number in range(Flooding.MEMORY + 1):
        net.tell(0, Flood(number))
        net.run(1.0)
    assert len(net.machine(1)._heard) == Flooding.MEMORY
