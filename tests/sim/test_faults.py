"""Faults of a simulation, said as on live nodes, and those that live nodes cannot be made to have."""

from __future__ import annotations

import inspect
import itertools
import os
import subprocess
import sys

import pytest

from partisan.errors import TermError
from partisan.machines.full import FullConfig, FullMembership, Gossip
from partisan.machines.machine import (
    Connect,
    Connected,
    Disconnected,
    Join,
    NeighborDown,
    NeighborUp,
    Received,
    Send,
    Start,
    StartTimer,
    TimedOut,
)
from partisan.machines.orset import OrSet
from partisan.sim.faults import SimulatedFaults
from partisan.sim.latency import Constant
from partisan.sim.network import Network


class Talker:
    """Keeps an edge to each other node; ticks each second and then tells everybody; keeps what it heard, and when."""

    def __init__(self, peer, count, restored):
        self.peer, self.count, self.restored = peer, count, restored
        self.heard, self.ticks, self.up, self.losses, self.number = [], [], {}, 0, 0

    def handle(self, event, now):
        kind = type(event)
        if kind is Start:
            return [*(Connect(each) for each in range(self.count) if each != self.peer), StartTimer("tick", 1.0)]
        if kind is TimedOut:
            self.ticks.append(now)
            self.number += 1
            return [StartTimer("tick", 1.0), *(Send(peer, self.number) for peer in self.up)]
        if kind is Connected:
            self.up[event.peer] = None
        elif kind is Disconnected:
            self.up.pop(event.peer, None)
            self.losses += 1
        elif kind is Received:
            self.heard.append((now, event.peer, event.message))
        return []

    def numbers(self, peer):
        return [message for _, source, message in self.heard if source == peer]


def talkers(count=3, seed=1, seconds=3.5):
    net = Network(lambda peer, rng, saved: Talker(peer, count, saved), seed, latency=Constant(0.01), detection=0.5)
    for peer in range(count):
        net.boot(peer)
    faults = SimulatedFaults(net)
    net.run(seconds)
    return net, faults


def heard(net, peer, source, seconds):
    """What a node hears of another from now on for so long."""
    machine = net.machine(peer)
    before = len(machine.numbers(source))
    net.run(seconds)
    return machine.numbers(source)[before:]


def test_a_fault_has_the_names_and_limits_of_a_live_one():
    live = pytest.importorskip("partisan.net.faults").LiveFaults
    makers = [name for name, made in vars(live).items() if not name.startswith("_") and returns(made) == "Fault"]
    assert makers == ["cut", "partition", "omit", "duplicate", "delay", "reorder", "flip", "suspect"]
    for name in makers:
        assert returns(getattr(SimulatedFaults, name)) == "Fault"
        ours = inspect.signature(getattr(SimulatedFaults, name)).parameters
        theirs = inspect.signature(getattr(live, name)).parameters
        shared = [each for each in ours.values() if each.name in theirs]
        assert [(each.name, each.kind, each.default) for each in shared] == [
            (each.name, each.kind, each.default) for each in theirs.values()
        ]
        added = [each for each in ours.values() if each.name not in theirs]
        assert [each.name for each in added] == (["source"] if name == "suspect" else [])  # live ones are one node's
    assert {"clear", "counts"} <= {*vars(live)} & {*vars(SimulatedFaults)}


def returns(made):
    """What a function says that it returns."""
    return getattr(made, "__annotations__", {}).get("return")


@pytest.fixture
def codec():
    """The octets of full membership."""
    pytest.importorskip("partisan.etf", reason="needs the compiled codec")
    from partisan.sim.__main__ import CODECS

    return CODECS["full"]()


def agreeing(codec, seed):
    """Four nodes of full membership whose messages are octets, and which have agreed."""
    config = FullConfig(period=1.0, key=codec.key)
    net = Network(
        lambda peer, rng, saved: FullMembership(peer, config, rng, saved),
        seed,
        through=codec.through,
        flip=codec.flip,
        name=lambda peer: peer.name,
        detection=0.5,
    )
    peers = [codec.peer(number) for number in range(4)]
    for peer in peers:
        net.boot(peer)
        net.tell(peer, Join(peers[0]))
    net.run(20.0)
    assert {net.machine(peer).members for peer in peers} == {tuple(sorted(peers, key=codec.key))}
    return net, peers


@pytest.mark.parametrize("seed", range(5))
def test_wrong_bits_are_read_as_what_they_are_or_end_the_connection(codec, seed):
    net, peers = agreeing(codec, seed)
    faults = SimulatedFaults(net, name=lambda peer: peer.name)
    downs = len([fact for _, _, fact in net.facts if isinstance(fact, NeighborDown)])
    with faults.flip(bits=3, source=peers[1].name) as fault:
        net.run(30.0)
    assert fault.hits > 10
    assert faults.counts == {"flip": fault.hits}
    assert len([fact for _, _, fact in net.facts if isinstance(fact, NeighborDown)]) > downs
    net.run(60.0)
    assert all({*peers} <= {*net.machine(peer).members} for peer in peers)


def test_a_bit_that_is_inverted_is_the_one_that_was_named(codec):
    message = Gossip(codec.peer(0), b"\x00" * 20, OrSet({codec.peer(0): {b"t": True}}))
    octets = codec.encode(message)
    at = octets.index(b"\x00" * 20) * 8
    read = codec.flip(message, ((at + 0.5) / (len(octets) * 8),))
    assert (read.actor, read.state) == (b"\x80" + b"\x00" * 19, message.state)
    with pytest.raises(TermError):
        codec.flip(message, (0.0,))


def test_a_cut_is_one_way_and_heals():
    net, faults = talkers()
    with faults.cut("1", "0", channel="partisan_membership") as cut:
        assert heard(net, 1, 0, 3.0) == []
        assert cut.hits == 3
    net, faults = talkers()
    cut = faults.cut("1", "0", kind="membership")
    assert len(heard(net, 0, 1, 3.0)) == 3
    cut.remove()
    assert len(heard(net, 1, 0, 3.0)) == 3


def test_a_partition_parts_groups_until_it_ends():
    net, faults = talkers()
    faults.partition(["0"], ["1", "2"], lasting=5.0)
    assert heard(net, 1, 0, 4.9) == []
    assert net.machine(1).losses == 1
    assert len(heard(net, 1, 2, 3.0)) == 3
    assert len(heard(net, 1, 0, 40.0)) > 5


@pytest.mark.parametrize(
    ("inject", "expected"),
    [
        (lambda faults: faults.omit(source="0", destination="1", skip=1, times=2), [4, 7]),
        (lambda faults: faults.duplicate(source="0", times=1, destination="1"), [4, 4, 5, 6, 7]),
        (lambda faults: faults.delay(1.6, source="0", destination="1", times=1), [4, 5, 6, 7]),
        (lambda faults: faults.reorder(9.0, source="0", destination="1", probability=0.0), [4, 5, 6, 7]),
        (lambda faults: faults.slow("0", 1.6), [4, 5]),
        (lambda faults: faults.slow("1", 1.6), [4, 5]),
        (lambda faults: faults.slow("2", 1.6), [4, 5, 6, 7]),
    ],
)
def test_messages_suffer_as_they_are_made_to(inject, expected):
    net, faults = talkers()
    inject(faults)
    assert heard(net, 1, 0, 4.0) == expected


def test_messages_that_are_reordered_overtake_each_other():
    net, faults = talkers()
    faults.reorder(5.0, source="0", destination="1")
    got = heard(net, 1, 0, 30.0)
    assert sorted(got) != got
    assert faults.counts["reordering"] == 30


def test_a_suspicion_breaks_an_edge_to_a_node_that_lives_and_it_comes_back():
    net, faults = talkers()
    suspicion = faults.suspect("1", source="0", every=3.0, times=2)
    net.run(0.1)
    assert [net.machine(peer).losses for peer in range(3)] == [1, 0, 0]
    net.run(10.0)
    assert [net.machine(peer).losses for peer in range(3)] == [2, 0, 0]
    assert suspicion.hits == 2 == faults.counts["suspicion"]
    assert len(heard(net, 1, 0, 3.0)) == 3


def test_a_suspicion_may_be_everybodys_and_ends_when_it_is_healed():
    net, faults = talkers()
    with faults.suspect("1", every=2.0, times=None):
        net.run(5.0)
        losses = [net.machine(peer).losses for peer in range(3)]
        assert losses[0] == losses[2] >= 2
        assert losses[1] == 0
    net.run(10.0)
    assert [net.machine(peer).losses for peer in range(3)] == losses


def test_wrong_bits_are_refused():
    net, _ = talkers()
    flip = pytest.importorskip("partisan.machines.faults").Flip()
    with pytest.raises(ValueError, match="not simulated"):
        net.inject(flip)


def test_a_clock_that_runs_fast_fires_its_timers_early_and_shows_more():
    net, faults = talkers()
    faults.skew("0", rate=2.0, ahead=100.0)
    net.run(4.0)
    ticks = net.machine(0).ticks
    later = [at for at in ticks if at > 100.0]
    assert len(net.machine(1).ticks) == 7
    assert len(ticks) in (10, 11)
    assert all(b > a for a, b in itertools.pairwise(ticks))
    assert later[-1] - later[0] == pytest.approx(len(later) - 1)


def test_a_clock_stays_skewed_over_a_restart_until_it_is_healed():
    net, faults = talkers()
    skew = faults.skew("0", rate=2.0)
    faults.restart(0)
    net.run(4.05)
    assert len(net.machine(0).ticks) == 8
    skew.remove()
    faults.restart(0)
    net.run(4.05)
    assert len(net.machine(0).ticks) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        lambda faults: faults.skew("0", rate=0.0),
        lambda faults: faults.skew("0", ahead=-1.0),
        lambda faults: faults.forget(probability=1.5),
        lambda faults: faults.churn(0.0, 1.0, lambda peer: None),
        lambda faults: faults.churn(1.0, -1.0, lambda peer: None),
        lambda faults: faults.delay(-1.0),
        lambda faults: faults.omit(kind="nothing"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match=r"\S"):
        wrong(talkers()[1])


def test_a_node_comes_back_with_what_it_had_saved_unless_that_is_lost():
    net, faults = talkers()
    net.saved |= {0: "zero", 1: "one"}
    assert faults.restart(0)
    assert net.machine(0).restored == "zero"
    loss = faults.forget("0")
    assert not faults.restart(0)
    assert faults.restart(1)
    assert (net.machine(0).restored, net.machine(1).restored) == (None, "one")
    loss.remove()
    assert faults.restart(0)


def test_churn_crashes_nodes_at_its_rate_and_brings_them_back():
    net, faults = talkers(20, seconds=1.0)
    back = []
    churn = faults.churn(2.0, 3.0, back.append, least=5, spared="7")
    born = net.machine(7)
    fewest = 20
    for _ in range(200):
        net.run(0.5)
        fewest = min(fewest, len(net.nodes))
    assert 150 < len(back) < 250
    assert 7 not in back
    assert net.machine(7) is born
    assert 5 <= fewest < 20
    churn.remove()
    net.run(4.0)
    count = len(back)
    net.run(20.0)
    assert (len(back), len(net.nodes)) == (count, 20)


def test_full_membership_survives_all_of_it_together():
    config = FullConfig(period=2.0)
    net = Network(lambda peer, rng, saved: FullMembership(peer, config, rng, saved), 5)
    faults = SimulatedFaults(net)
    for peer in range(10):
        net.boot(peer)
        net.tell(peer, Join(0))
    faults.skew(["1", "2"], rate=1.2)
    faults.forget(probability=0.5)
    faults.omit(probability=0.1)
    faults.slow("3", 0.3)
    faults.suspect("4", every=1.0, times=30)
    churn = faults.churn(0.3, 2.0, lambda peer: net.tell(peer, Join(0 if peer else 1)), spared="0")
    net.run(60.0)
    churn.remove()
    faults.clear()
    net.run(60.0)
    assert {node.machine.members for node in net.nodes.values()} == {tuple(range(10))}
    up = {}
    for _, peer, fact in net.facts:
        if type(fact) is NeighborUp:
            up[peer, fact.peer] = True
        elif type(fact) is NeighborDown:
            assert up.pop((peer, fact.peer), None)


CODE = """
import sys
sys.path.insert(0, sys.argv[2])
import test_faults as t
net, faults = t.talkers(8, sys.argv[1])
faults.omit(probability=0.2)
faults.reorder(0.5, probability=0.3)
faults.suspect(["1", "2"], every=2.0, times=None)
faults.skew("3", 1.5)
faults.forget(probability=0.5)
faults.churn(1.0, 2.0, lambda peer: None)
net.run(40.0)
print(net.events, net.digest())
"""


def test_equal_seeds_suffer_the_same_whatever_the_hash_seed():
    def run(seed, hash_seed):
        done = subprocess.run(
            [sys.executable, "-c", CODE, seed, os.path.dirname(__file__)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    assert run("1", "0") == run("1", "77") != run("2", "0")
