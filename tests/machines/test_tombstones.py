"""Dead tokens are forgotten when nobody needs them, and only then; what nodes agree on does not change by it."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines.full import ACTOR_PREFIX, GOSSIP_TIMER, FullConfig, FullMembership, FullState, Gossip, Summary
from partisan.machines.machine import Connected, Join, Leave, Received, Save, Send, Start, TimedOut, Violation
from partisan.machines.membership import Membership
from partisan.machines.orset import OrSet

AGE = 60.0
REAL_ACTOR = b"\xf4" * 20
PYTHON_ACTOR = ACTOR_PREFIX + b"\x01" * 8


def config(age=AGE, **options):
    return FullConfig(name=lambda peer: peer[0], tombstone_age=age, **options)


def build(peer, rng, restored):
    return FullMembership(peer, config(), rng, restored)


def cluster(network, count, seed=1, build=build):
    net = network(seed, build)
    for number in range(count):
        net.boot((number, 0))
        net.tell((number, 0), Join(("contact", (0, 0))))
    net.run(5.0)
    return net


def sizes(net):
    return [(len(node.machine.state), node.machine.state.token_count) for node in net.nodes.values()]


def agree(net):
    return len({node.machine.members for node in net.nodes.values()}) == 1


class TestThousandRestarts:
    def test_at_one_address_they_cost_no_token(self, network):
        net = cluster(network, 3)
        for _ in range(1000):
            net.crash((2, 0))
            net.run(1.0)
            net.boot((2, 0))
            net.run(1.0)
        net.run(30.0)
        assert agree(net)
        assert sizes(net) == [(3, 3)] * 3

    def test_at_ever_new_addresses_they_leave_no_more_tombstones_than_fit_in_the_age(self, network):
        net = cluster(network, 3)
        largest = 0
        for address in range(1, 1001):
            net.crash((2, address - 1))
            net.run(1.0)
            net.boot((2, address))
            net.tell((2, address), Join(("contact", (address % 2, 0))))
            net.run(4.0)
            largest = max(largest, *(tokens for _, tokens in sizes(net)))
        # One restart in 5 s; a tombstone stays for the age and, until all have said so and the timer comes, two rounds.
        assert 12 <= largest <= 3 + (AGE + 30.0) / 5.0
        net.run(AGE + 60.0)
        assert agree(net)
        assert sizes(net) == [(3, 3)] * 3

    def test_departures_and_returns_leave_no_more_either(self, network):
        net = cluster(network, 3)
        largest = 0
        for _ in range(1000):
            net.tell((2, 0), Leave())
            net.run(2.0)
            net.tell((2, 0), Join((1, 0)))
            net.run(3.0)
            assert agree(net)
            largest = max(largest, *(tokens for _, tokens in sizes(net)))
        assert 12 <= largest <= 3 + 2 * (AGE + 30.0) / 5.0
        net.run(AGE + 60.0)
        assert sizes(net) == [(3, 3)] * 3


class TestConvergence:
    STEPS = st.lists(
        st.one_of(
            st.tuples(st.just("move"), st.integers(0, 4)),
            st.tuples(st.just("leave"), st.integers(0, 4)),
            st.tuples(st.just("join"), st.integers(0, 4), st.integers(0, 4)),
            st.tuples(st.just("run"), st.floats(0.0, 40.0)),
        ),
        max_size=30,
    )

    @settings(max_examples=100, deadline=None)
    @given(seed=st.integers(0, 1000), steps=STEPS)
    def test_after_any_history_members_agree_and_keep_one_token_each(self, network, seed, steps):
        net = cluster(network, 5, seed)
        where = dict.fromkeys(range(5), 0)
        for step in steps:
            number = int(step[1])
            here = (number, where.get(number))
            if step[0] == "run":
                net.run(step[1])
            elif step[0] == "leave":
                net.tell(here, Leave())
            elif step[0] == "join" and step[1] != step[2]:
                net.tell(here, Join(("contact", (step[2], where[step[2]]))))
            elif step[0] == "move":
                net.crash(here)
                net.run(0.5)
                where[number] += 1
                net.boot((number, where[number]))
                other = (number + 1) % 5
                net.tell((number, where[number]), Join(("contact", (other, where[other]))))
        net.run(2 * AGE + 60.0)
        for node in net.nodes.values():
            machine = node.machine
            alive = [peer for peer in machine.members if peer in net.nodes]
            assert all(net.nodes[peer].machine.members == machine.members for peer in alive)
            if alive == list(machine.members):  # nobody is missed who might still call something active
                assert machine.state.token_count == len(machine.members)

    def test_once_all_has_been_forgotten_only_the_rounds_are_told(self, network):
        net = cluster(network, 4)
        for _ in range(5):
            net.tell((3, 0), Leave())
            net.run(2.0)
            net.tell((3, 0), Join((0, 0)))
            net.run(7.0)
        for _ in range(30):  # the nodes forget at different times: also in between nobody answers anybody
            before = net.sent
            net.run(10.0)
            assert net.sent - before <= 4 * 3
        assert sizes(net) == [(4, 4)] * 4


def told(machine, peer, state, actor=PYTHON_ACTOR, now=0.0):
    return machine.handle(Received(peer, Gossip(peer, actor, state)), now)


def with_a_tombstone(actor=PYTHON_ACTOR):
    """A machine whose one other member `b` knows that `c` was removed."""
    machine = FullMembership(("a", 0), config(), random.Random(1))
    machine.handle(Start(), 0.0)
    b = ("b", 0)
    machine.handle(Join(b), 0.0)
    machine.handle(Connected(b, b, FullState(actor, OrSet({b: {b"b": True}, ("c", 0): {b"c": True}}))), 0.0)
    machine.handle(Leave(("c", 0)), 1.0)
    assert machine.state.tokens(("c", 0)) == {b"c": False}
    return machine, b


def rounds(machine, *times):
    for now in times:
        machine.handle(TimedOut(GOSSIP_TIMER), now)


class TestTheRule:
    def test_what_every_member_has_told_it_knows_is_forgotten_and_saved(self):
        machine, b = with_a_tombstone()
        rounds(machine, 10.0)
        told(machine, b, machine.state, now=11.0)
        rounds(machine, 60.0)
        assert ("c", 0) in list(machine.state)
        effects = machine.handle(TimedOut(GOSSIP_TIMER), 70.0)
        assert ("c", 0) not in list(machine.state)
        assert Save(machine.greeting) in effects
        assert [type(effect.message) for effect in effects if type(effect) is Send] == [Summary]

    def test_nothing_is_forgotten_before_every_member_has_told_that_it_knows(self):
        machine, b = with_a_tombstone()
        rounds(machine, 10.0, 70.0)
        told(machine, b, OrSet({b: {b"b": True}, ("c", 0): {b"c": True}}), now=80.0)
        rounds(machine, 90.0, 1000.0)
        assert machine.state.tokens(("c", 0)) == {b"c": False}

    def test_an_edge_that_comes_up_without_a_greeting_says_nothing_of_what_the_member_knows(self):
        machine, b = with_a_tombstone()
        rounds(machine, 10.0)
        machine.handle(Connected(b, b), 20.0)
        told(machine, b, OrSet({b: {b"b": True}, ("c", 0): {b"c": True}}), now=30.0)
        rounds(machine, 90.0)
        assert machine.state.tokens(("c", 0)) == {b"c": False}

    def test_a_real_node_among_the_members_keeps_everything(self):
        machine, b = with_a_tombstone(REAL_ACTOR)
        rounds(machine, 10.0)
        told(machine, b, machine.state, REAL_ACTOR, now=11.0)
        rounds(machine, 70.0, 1000.0)
        assert machine.state.tokens(("c", 0)) == {b"c": False}

    def test_what_a_real_node_says_is_dead_is_taken_up_so_that_states_become_equal(self):
        machine, b = with_a_tombstone(REAL_ACTOR)
        theirs = machine.state.merge(OrSet({("d", 0): {b"d": False}}))
        told(machine, b, theirs, REAL_ACTOR, now=11.0)
        assert machine.state == theirs
        assert told(machine, b, theirs, REAL_ACTOR, now=12.0) == []

    def test_what_a_python_node_says_is_dead_and_is_unknown_here_is_no_news(self):
        machine, b = with_a_tombstone()
        before = machine.state
        assert told(machine, b, before.merge(OrSet({("d", 0): {b"d": False}})), now=11.0) == []
        assert machine.state is before

    def test_who_has_forgotten_what_we_have_not_is_told_nothing(self):
        machine, b = with_a_tombstone()
        assert told(machine, b, machine.state.without([b"c"]), now=11.0) == []

    def test_who_revives_what_is_dead_is_told(self):
        machine, b = with_a_tombstone()
        effects = told(machine, b, OrSet({**dict(machine.state.items()), ("c", 0): {b"c": True}}), now=11.0)
        assert effects == [Send(b, Gossip(("a", 0), machine.actor, machine.state))]

    @pytest.mark.parametrize("actor", [None, 7, "actor"])
    def test_an_actor_that_is_no_octets_is_a_violation(self, actor):
        machine, b = with_a_tombstone()
        (effect,) = told(machine, b, machine.state, actor, now=11.0)
        assert isinstance(effect.fact, Violation)


TOKENS = st.dictionaries(st.binary(min_size=1, max_size=1), st.booleans(), min_size=1, max_size=4)
SETS = st.builds(OrSet, st.dictionaries(st.integers(0, 4), TOKENS, max_size=5))


class TestOrSet:
    @given(SETS, SETS)
    def test_a_merge_without_unknown_dead_tokens_differs_in_these_alone(self, mine, theirs):
        whole, part = mine.merge(theirs), mine.merge(theirs, dead=False)
        known = {token for tokens in dict(mine.items()).values() for token in tokens}
        assert part.members == whole.members or set(part.members) == set(whole.members)
        for element in itertools.chain(mine, theirs):
            missing = dict(whole.tokens(element).items() - part.tokens(element).items())
            assert not any(missing.values())
            assert not missing.keys() & mine.tokens(element).keys()
        assert known <= {token for tokens in dict(part.items()).values() for token in tokens}
        assert all(part.tokens(element) for element in part)

    @given(SETS, SETS)
    def test_a_set_lacks_what_a_merge_would_add(self, mine, theirs):
        for dead in (True, False):
            assert mine.lacks(theirs, dead=dead) == (mine.merge(theirs, dead=dead) != mine)

    @given(SETS, SETS)
    def test_a_set_revives_what_is_dead_in_the_other_only(self, mine, theirs):
        dead = {(e, t) for e, tokens in theirs.items() for t, active in tokens.items() if not active}
        live = {(e, t) for e, tokens in mine.items() for t, active in tokens.items() if active}
        assert mine.revives(theirs) == bool(dead & live)

    @given(SETS, st.frozensets(st.binary(min_size=1, max_size=1)))
    def test_tokens_taken_out_are_out_and_elements_without_any_too(self, mine, gone):
        left = mine.without(gone)
        for element, tokens in mine.items():
            assert left.tokens(element) == {t: active for t, active in tokens.items() if t not in gone}
        assert all(left.tokens(element) for element in left)


class TestOtherImplementations:
    NODES = tuple((number, 0) for number in range(4))

    def test_who_says_by_its_actor_that_it_is_none_of_our_kind_is_told_from_who_has_said_nothing(self):
        me, real, python, unheard = self.NODES
        state = OrSet({node: {bytes([node[0]]) * 20: True} for node in self.NODES})
        machine = FullMembership(me, config(), random.Random(1), FullState(PYTHON_ACTOR, state))
        machine.handle(Start(), 0.0)
        assert machine.foreign(machine.members) == ([], [real, python, unheard])
        machine.handle(Connected(real, real, FullState(REAL_ACTOR, state)), 1.0)
        machine.handle(Connected(python, python, FullState(PYTHON_ACTOR, state)), 1.0)
        assert machine.foreign(machine.members) == ([real], [unheard])
        machine.handle(Received(unheard, Gossip(unheard, REAL_ACTOR, state)), 2.0)
        machine.handle(Received(real, Gossip(real, PYTHON_ACTOR, state)), 2.0)
        assert machine.foreign(machine.members) == ([unheard], [])

    def test_a_strategy_of_our_own_has_members_of_our_kind_alone(self):
        machine = FullMembership((0, 0), config(), random.Random(1))
        assert Membership.foreign(machine, self.NODES) == ([], [])
