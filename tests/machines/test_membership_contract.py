"""What every membership machine must do, whatever its overlay: one class, run over each of them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from partisan.machines.full import FullConfig, FullMembership, FullState, Gossip
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Join,
    Joined,
    Leave,
    MembersChanged,
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Start,
    TimedOut,
    Violation,
)
from partisan.machines.membership import MembershipConfig
from partisan.machines.orset import OrSet
from partisan.machines.scamp import Heartbeat, ScampConfig, Subscription, Unsubscription
from partisan.machines.scamp_v1 import ScampV1, ScampV1State
from partisan.machines.scamp_v2 import Departure, Kept, Replacement, ScampV2, ScampV2State

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

from random_gossip import RandomGossip, Table
from ring import Near, Ring


@dataclass(frozen=True, order=True)
class At:
    """A peer that has a name and an address, where another address is another value; other peers are integers."""

    name: int
    address: int = 0


def named(peer):
    return peer.name if isinstance(peer, At) else peer


def full(peer, rng, restored):
    return FullMembership(peer, FullConfig(name=named), rng, restored)


def forgetful(peer, rng, restored):
    """Forgets tombstones after two rounds, where the default is an hour."""
    return FullMembership(peer, FullConfig(tombstone_age=20.0, name=named), rng, restored)


def random_gossip(peer, rng, restored):
    """The example of a strategy of one's own."""
    return RandomGossip(peer, MembershipConfig(name=named), rng, restored)


def scamp_v1(peer, rng, restored):
    return ScampV1(peer, ScampConfig(name=named, lease=25.0), rng, restored)


def scamp_v2(peer, rng, restored):
    return ScampV2(peer, ScampConfig(name=named, lease=25.0), rng, restored)


def ring(peer, rng, restored):
    """The example of an overlay of one's own."""
    return Ring(peer, MembershipConfig(name=named), rng, restored)


WHOLE = {"full": full, "forgetful": forgetful, "random gossip": random_gossip}
"""Memberships in which every node comes to know all."""

MACHINES = {**WHOLE, "scamp v1": scamp_v1, "scamp v2": scamp_v2, "ring": ring}
QUIET = 30.0
"""Seconds, three gossip periods: enough for whatever is still to be told."""

STEPS = st.one_of(
    st.tuples(st.just("join"), st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.just("leave"), st.integers(0, 5)),
    st.tuples(st.just("remove"), st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.just("crash"), st.integers(0, 5)),
    st.tuples(st.just("return"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("cut"), st.integers(0, 5), st.integers(0, 5)),
    st.tuples(st.just("run"), st.floats(0.0, 0.2)),
)
MOVES = st.one_of(
    st.tuples(st.just("join"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("leave"), st.integers(0, 3)),
    st.tuples(st.just("remove"), st.integers(0, 3), st.integers(0, 3)),
    st.tuples(st.just("move"), st.integers(0, 3), st.integers(0, 2), st.booleans()),
    st.tuples(st.just("run"), st.floats(0.0, 0.2)),
)
GARBAGE = st.one_of(
    st.none(),
    st.integers(),
    st.text(),
    st.binary(),
    st.tuples(st.integers(), st.binary()),
    st.builds(FullState, st.binary(), st.one_of(st.none(), st.integers(), st.lists(st.integers()))),
    st.builds(
        FullState,
        st.binary(),
        st.builds(OrSet, st.dictionaries(st.one_of(st.text(), st.integers()), st.just({b"t": True}))),
    ),
    st.builds(Gossip, st.one_of(st.integers(), st.lists(st.none())), st.binary(), st.one_of(st.none(), st.text())),
    st.builds(
        Table,
        st.one_of(st.none(), st.dictionaries(st.integers(0, 9), st.tuples(st.integers(), st.booleans()))),
    ),
    st.builds(Table, st.dictionaries(st.text(), st.tuples(st.integers()))),
    st.builds(
        Near,
        st.one_of(st.none(), st.dictionaries(st.one_of(st.text(), st.integers(0, 9)), st.integers(-1, 20))),
        st.sampled_from(["join", "here", "gone", b"", None]),
    ),
    st.builds(
        Gossip,
        st.integers(0, 3),
        st.binary(),
        st.builds(OrSet, st.dictionaries(st.one_of(st.text(), st.integers(0, 9)), st.just({b"t": False}))),
    ),
    st.tuples(
        st.sampled_from([Subscription, Unsubscription, Heartbeat, Kept, Departure]),
        st.one_of(st.integers(0, 5), st.text(), st.lists(st.integers())),
    ).map(lambda pair: pair[0](pair[1])),
    st.builds(Replacement, st.one_of(st.integers(0, 5), st.text()), st.one_of(st.integers(0, 5), st.none())),
    st.builds(ScampV1State, st.binary(), st.one_of(st.none(), st.lists(st.integers(0, 9)).map(tuple)), st.text()),
    st.builds(
        ScampV2State,
        st.one_of(st.integers(0, 5), st.text()),
        st.one_of(st.none(), st.binary()),
        st.lists(st.one_of(st.text(), st.integers(0, 9))).map(tuple),
        st.one_of(st.none(), st.lists(st.integers(0, 9)).map(tuple)),
    ),
)


def perform(net, step):
    """Do one step of a random interleaving, if it makes sense now."""
    verb, *rest = step
    here = rest[0] in net.nodes if verb != "run" else True
    if verb == "run":
        net.run(rest[0])
    elif verb == "return":
        if not here:
            net.boot(rest[0], net.saved.get(rest[0]) if rest[1] else None)
    elif here and verb == "join" and rest[0] != rest[1]:
        net.tell(rest[0], Join(("contact", rest[1])))
    elif here and verb == "leave":
        net.tell(rest[0], Leave())
    elif here and verb == "remove" and net.nodes[rest[0]].machine.expels:
        net.tell(rest[0], Leave(rest[1]))
    elif here and verb == "crash":
        net.crash(rest[0])
    elif verb == "cut" and rest[0] != rest[1]:
        net.cut(*rest)


def move(net, former, address, with_memory):
    """The node crashes, and comes back under its name at an address, with what it had saved or without."""
    net.crash(former)
    peer = At(former.name, address)
    net.boot(peer, net.saved.get(former) if with_memory else None)
    return peer


def trace(network, seed, build):
    """Run a fixed story; return the digest of all that happened."""
    net = network(seed, build)
    for peer in range(8):
        net.boot(peer)
        net.tell(peer, Join(("contact", peer // 2)))
    net.run(2.0)
    net.tell(3, Leave())
    net.crash(5)
    net.run(15.0)
    net.boot(5)
    net.tell(5, Join(("contact", 1)))
    net.run(QUIET)
    return net.digest()


def each_example(seeds, **arguments):
    """Try these arguments with each of the seeds, whatever else is tried."""

    def decorate(test):
        for seed in seeds:
            test = example(seed=seed, **arguments)(test)
        return test

    return decorate


REMOVED_AS_IT_CAME_BACK = [("run", 0.125), ("move", 1, 0, False), ("leave", 0), ("remove", 2, 1)]
"""A removal that the node which comes back has not heard of, and whose contact hears of it after the join."""


@pytest.mark.parametrize("build", WHOLE.values(), ids=WHOLE.keys())
class TestEveryWholeMembership:
    @pytest.mark.parametrize("count", [1, 2, 3, 16])
    def test_nodes_that_join_through_one_contact_agree_on_the_members(self, network, build, count):
        net = network(1, build)
        for peer in range(count):
            net.boot(peer)
        for peer in range(1, count):
            net.tell(peer, Join(("contact", 0)))
        net.run(QUIET)
        assert {node.machine.members for node in net.nodes.values()} == {tuple(range(count))}
        for peer in range(1, count):
            assert Joined(("contact", 0), 0) in net.facts[peer]

    def test_nodes_that_join_in_a_chain_agree_on_the_members(self, network, build):
        net = network(2, build)
        for peer in range(10):
            net.boot(peer)
            if peer:
                net.tell(peer, Join(peer - 1))
        net.run(QUIET)
        assert {node.machine.members for node in net.nodes.values()} == {tuple(range(10))}

    def test_who_leaves_is_alone_and_the_others_agree_without_it(self, network, build):
        net = network(3, build)
        for peer in range(6):
            net.boot(peer)
            net.tell(peer, Join(("contact", 0)))
        net.run(5.0)
        net.tell(0, Leave())
        net.run(QUIET)
        assert net.nodes[0].machine.members == (0,)
        assert not net.nodes[0].edges
        assert all(net.nodes[peer].machine.members == (1, 2, 3, 4, 5) for peer in range(1, 6))

    def test_who_left_can_join_again(self, network, build):
        net = network(4, build)
        for peer in range(4):
            net.boot(peer)
            net.tell(peer, Join(("contact", 0)))
        net.run(5.0)
        net.tell(2, Leave())
        net.run(1.0)
        net.tell(2, Join(1))
        net.run(QUIET)
        assert {node.machine.members for node in net.nodes.values()} == {(0, 1, 2, 3)}

    def test_who_is_removed_by_another_is_alone(self, network, build):
        net = network(5, build)
        for peer in range(4):
            net.boot(peer)
            net.tell(peer, Join(("contact", 0)))
        net.run(5.0)
        net.tell(1, Leave(3))
        net.run(QUIET)
        assert net.nodes[3].machine.members == (3,)
        assert all(net.nodes[peer].machine.members == (0, 1, 2) for peer in range(3))

    @pytest.mark.parametrize("saved", [True, False])
    def test_a_node_that_crashed_and_came_back_is_a_member_again(self, network, build, saved):
        net = network(6, build)
        for peer in range(4):
            net.boot(peer)
            net.tell(peer, Join(("contact", 0)))
        net.run(5.0)
        net.crash(2)
        net.run(5.0)
        net.boot(2, net.saved[2] if saved else None)
        net.run(QUIET)
        assert {node.machine.members for node in net.nodes.values()} == {(0, 1, 2, 3)}

    @settings(max_examples=150, deadline=None)
    @given(seed=st.integers(0, 1000), steps=st.lists(STEPS, max_size=40))
    def test_nodes_that_count_each_other_as_members_agree_after_any_history(self, network, build, seed, steps):
        net = network(seed, build)
        for peer in range(6):
            net.boot(peer)
        for step in steps:
            perform(net, step)
        net.heal()
        net.run(2 * QUIET)
        views = {peer: node.machine.members for peer, node in net.nodes.items()}
        for peer, view in views.items():
            assert peer in view
            assert all(views[other] == view for other in view if other in views)
            neighbors = [other for other, edge in net.nodes[peer].edges.items() if edge.up]
            assert sorted(neighbors) == [other for other in view if other in views and other != peer]

    @pytest.mark.parametrize("saved", [True, False])
    def test_who_comes_back_under_its_name_at_another_address_replaces_its_former_self(self, network, build, saved):
        net = network(15, build)
        peers = [At(name) for name in range(4)]
        for peer in peers:
            net.boot(peer)
            net.tell(peer, Join(("contact", peers[0])))
        net.run(QUIET)
        for address in (1, 0, 2):  # back where it was in between
            peers[2] = move(net, peers[2], address, saved)
            net.tell(peers[2], Join(("contact", peers[0])))
            net.run(QUIET)
            assert {node.machine.members for node in net.nodes.values()} == {tuple(peers)}

    @settings(max_examples=150, deadline=None)
    @given(seed=st.integers(0, 1000), steps=st.lists(MOVES, max_size=30))
    @each_example((0, 8, 9, 12, 21, 31, 48), steps=REMOVED_AS_IT_CAME_BACK)
    def test_there_is_one_member_of_a_name_after_any_history(self, network, build, seed, steps):
        net = network(seed, build)
        living = [At(name) for name in range(4)]
        for peer in living:
            net.boot(peer)
            net.tell(peer, Join(("contact", living[0])))
        for verb, *rest in steps:
            if verb == "move":
                living[rest[0]] = move(net, living[rest[0]], *rest[1:])
            else:
                perform(net, (verb, *rest) if verb == "run" else (verb, *(living[name] for name in rest)))
        net.run(QUIET)
        for peer in living[1:]:
            net.tell(peer, Join(("contact", living[0])))
        net.run(2 * QUIET)
        views = {peer: node.machine.members for peer, node in net.nodes.items()}
        for peer, view in views.items():  # not always all: a removal may meet a join that knew nothing of it
            assert peer in view
            assert all(views.get(other) == view for other in view)

    @settings(max_examples=100, deadline=None)
    @given(
        seed=st.integers(0, 1000),
        steps=st.lists(st.tuples(st.integers(0, 7), st.floats(0.0, 0.1)), max_size=8),
        settled=st.booleans(),
    )
    def test_who_leaves_while_gossip_is_under_way_stays_away(self, network, build, seed, steps, settled):
        net = network(seed, build)
        for peer in range(8):
            net.boot(peer)
            net.tell(peer, Join(("contact", 0)))
        net.run(5.0 if settled else 0.3)
        for peer, seconds in steps:
            net.tell(peer, Leave())
            net.run(seconds)
        net.run(QUIET)
        left = {peer for peer, _ in steps}
        stayed = tuple(peer for peer in range(8) if peer not in left)
        for peer, node in net.nodes.items():
            assert node.machine.members == ((peer,) if peer in left else stayed)


@pytest.mark.parametrize("build", MACHINES.values(), ids=MACHINES.keys())
class TestEveryMembership:
    @settings(max_examples=50, deadline=None)
    @given(seed=st.integers(0, 1000), steps=st.lists(STEPS, max_size=30))
    def test_neighbors_go_up_and_down_in_turn(self, network, build, seed, steps):
        net = network(seed, build)
        for peer in range(6):
            net.boot(peer)
        steps = [step for step in steps if step[0] != "return"]
        for step in steps:
            perform(net, step)
        net.run(5.0)
        for facts in net.facts.values():
            up = {}
            for fact in facts:
                if isinstance(fact, NeighborUp):
                    assert not up.get(fact.peer, False)
                    up[fact.peer] = True
                elif isinstance(fact, NeighborDown):
                    assert up.get(fact.peer, False)
                    up[fact.peer] = False

    def test_members_are_reported_when_they_change_and_only_then(self, network, build):
        net = network(7, build)
        for peer in range(5):
            net.boot(peer)
            net.tell(peer, Join(("contact", 0)))
        net.run(QUIET)
        for peer, facts in net.facts.items():
            reported = [fact.members for fact in facts if isinstance(fact, MembersChanged)]
            assert reported[0] == (peer,)
            assert reported[-1] == net.nodes[peer].machine.members
            assert all(a != b for a, b in itertools.pairwise(reported))

    @settings(max_examples=200, deadline=None)
    @given(messages=st.lists(st.tuples(st.integers(0, 3), GARBAGE), max_size=8))
    def test_nothing_that_a_peer_sends_raises(self, network, build, messages):
        net = network(8, build)
        net.boot(0)
        machine = net.nodes[0].machine
        for number, (peer, message) in enumerate(messages):
            machine.handle(Received(peer, message), float(number))
            machine.handle(Join(peer), float(number))
            machine.handle(Connected(peer, peer, message), float(number))
            machine.handle(Disconnected(peer, "closed"), float(number))
            assert 0 in machine.members

    def test_garbage_is_a_violation_and_changes_nothing(self, network, build):
        net = network(9, build)
        net.boot(0)
        machine = net.nodes[0].machine
        before = machine.greeting
        for message in (None, 7, b"gossip", ("a", "tuple")):
            effects = machine.handle(Received(1, message), 1.0)
            assert [type(e) for e in effects] == [Notify]
            assert isinstance(effects[0].fact, Violation)
        assert machine.greeting == before

    def test_a_forgotten_timer_is_ignored(self, network, build):
        net = network(10, build)
        net.boot(0)
        assert net.nodes[0].machine.handle(TimedOut("no such timer"), 1.0) == []

    def test_equal_seeds_give_equal_traces_and_others_do_not(self, network, build):
        assert trace(network, 11, build) == trace(network, 11, build)
        assert trace(network, 11, build) != trace(network, 12, build)


@pytest.mark.parametrize("name", MACHINES)
def test_the_trace_does_not_depend_on_the_hash_seed(name):
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import conftest, test_membership_contract as t;"
        "print(t.trace(conftest.Network, 13, t.MACHINES[sys.argv[3]]))"
    )
    here = Path(__file__).parent
    digests = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script, str(here), str(here.parents[1]), name],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        digests.append(done.stdout)
    assert digests[0] == digests[1] != ""


def test_the_first_event_is_a_start(network):
    net = network(14, full)
    net.boot(0)
    assert net.facts[0] == [MembersChanged((0,))]
    assert isinstance(net.nodes[0].machine.handle(Start(), 0.0), list)


def test_a_strategy_of_ones_own_is_one_short_class():
    assert len((Path(__file__).parents[2] / "examples" / "random_gossip.py").read_text().splitlines()) < 152
