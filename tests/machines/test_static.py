"""Static links: exactly those that are given, in any history, and whatever peers send."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines.machine import (
    Connect,
    Connected,
    Disconnect,
    Disconnected,
    GiveUp,
    Join,
    Joined,
    Leave,
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Save,
    Start,
    TimedOut,
    UpdateMembers,
    Violation,
)
from partisan.machines.membership import GOSSIP_TIMER, name_of
from partisan.machines.static import Static, StaticConfig, StaticState
from partisan.names import Contact, ListenAddress, NodeSpec

US = 100
RING = 5


def ring(peer, rng, restored):
    """Each has a link to the next and one to the one before."""
    near = ((peer + 1) % RING, (peer - 1) % RING)
    return Static(peer, StaticConfig(contacts=tuple(("contact", other) for other in near)), rng, restored)


def halved(peer):
    """A name that two peers have, as one node that comes back as another value."""
    return peer // 2 if isinstance(peer, int) else peer


class Lone:
    """One machine, called 100; the edges are those that it has asked for."""

    def __init__(self, *contacts, **options):
        self.machine = Static(US, StaticConfig(contacts=contacts, **options), random.Random(1))
        self.edges = {}
        self.saved = 0
        self.do(Start())

    def do(self, event):
        self.effects = self.machine.handle(event, 0.0)
        for effect in self.effects:
            if isinstance(effect, Connect):
                self.edges[effect.peer] = None
            elif isinstance(effect, Disconnect):
                self.edges.pop(effect.peer, None)
            self.saved += isinstance(effect, Save)
        return self

    def up(self, peer, contact=None):
        contact = peer if contact is None else contact
        if contact in self.edges:
            del self.edges[contact]
            self.edges[peer] = None
        return self.do(Connected(peer, contact, StaticState((peer,))))

    def facts(self, kind):
        return [e.fact for e in self.effects if isinstance(e, Notify) and isinstance(e.fact, kind)]


def test_the_listed_are_dialled_at_the_start_and_members_when_they_answer():
    lone = Lone(1, ("contact", 2), US)
    assert list(lone.edges) == [1, ("contact", 2)]
    assert lone.machine.members == (US,)
    lone.up(2, ("contact", 2))
    assert lone.machine.members == (2, US)
    assert lone.facts(NeighborUp) == [NeighborUp(2)]
    assert lone.machine.greeting == StaticState((2, US))


def test_ourselves_on_the_list_by_name_are_not_dialled():
    us, other = (NodeSpec.of(f"{name}@h", (ListenAddress("127.0.0.1", 9),), {}) for name in "ab")
    both = tuple(Contact(ListenAddress("127.0.0.1", 9), spec.name) for spec in (us, other))
    machine = Static(us, StaticConfig(contacts=both, key=lambda spec: spec.name), random.Random(1))
    assert [e.peer.name for e in machine.handle(Start(), 0.0) if isinstance(e, Connect)] == ["b@h"]


def test_a_link_that_is_listed_is_not_given_up_by_a_join_that_was_not_done_in_time():
    lone = Lone(1).do(Join(1)).do(GiveUp(1))
    assert lone.edges == {1: None}


def test_a_join_adds_a_link_and_a_leave_takes_it_away():
    lone = Lone(1).up(1).do(Join(2)).up(2)
    assert lone.facts(Joined) == [Joined(2, 2)]
    assert lone.machine.members == (1, 2, US)
    lone.do(Leave(1))
    assert lone.machine.members == (2, US)
    lone.do(Leave())
    assert lone.machine.members == (US,)
    assert not lone.edges


def test_an_update_is_another_list():
    lone = Lone(1, 2).up(1).do(UpdateMembers((US, 1, 3)))
    assert lone.edges == {1: None, 3: None}


def test_a_peer_that_tells_another_value_of_itself_is_that_from_then_on():
    at = {"name": lambda peer: peer[0] if isinstance(peer, tuple) else peer, "key": str}
    machine = Static(("us", 1), StaticConfig(contacts=(("a", 1),), **at), random.Random(1))
    for event in (Start(), Connected(("a", 1), ("a", 1), StaticState((("a", 1),)))):
        machine.handle(event, 0.0)
    effects = machine.handle(Connected(("a", 1), ("a", 1), StaticState((("a", 2), ("b", 9), None, ("us", 7)))), 0.0)
    assert machine.members == (("a", 2), ("us", 1))
    assert [e.peer for e in effects if isinstance(e, Connect)] == [("a", 2)]
    assert [e.peer for e in effects if isinstance(e, Disconnect)] == [("a", 1)]


def test_a_link_at_whose_end_another_value_answers_is_a_link_to_that():
    lone = Lone(2, name=halved).up(2).do(Disconnected(2, "closed")).up(3, 2)
    assert lone.machine.members == (3, US)
    assert lone.edges == {3: None}


def test_a_link_at_whose_end_another_node_answers_is_dialled_again():
    lone = Lone(2).up(2).do(Disconnected(2, "closed")).up(4, 2)
    assert lone.machine.members == (2, US)
    assert lone.edges == {2: None}


def test_nothing_is_saved():
    assert Lone(1).up(1).saved == 0


def test_all_neighbors_pass_on_what_is_for_others():
    lone = Lone(1, 2).up(1).up(2)
    assert lone.machine.next_hops(9) == (1, 2)
    assert lone.machine.next_hops(2) == ()
    lone.do(Disconnected(2, "closed"))
    assert lone.machine.next_hops(2) == (1,)


def test_there_are_no_messages():
    lone = Lone(1).up(1).do(Received(1, ("gossip", 7)))
    assert len(lone.facts(Violation)) == 1
    assert lone.machine.members == (1, US)


def test_a_ring_forms_loses_one_and_has_it_again(network):
    net = network(1, ring)
    for peer in range(RING):
        net.boot(peer)
    net.run(5.0)

    def whole():
        return all(
            net.nodes[peer].machine.members == tuple(sorted((peer, (peer + 1) % RING, (peer - 1) % RING)))
            for peer in range(RING)
        )

    assert whole()
    net.crash(2)
    net.run(5.0)
    assert net.nodes[1].machine.next_hops(2) == (0,)
    net.boot(2)
    net.run(30.0)
    assert whole()
    assert all(sorted(node.edges) == sorted(node.machine.next_hops(9)) for node in net.nodes.values())


def test_who_is_not_listed_here_may_dial_and_is_no_member(network):
    net = network(1, lambda peer, rng, saved: Static(peer, StaticConfig(contacts=(1,) if peer == 0 else ()), rng))
    net.boot(0)
    net.boot(1)
    net.run(30.0)
    assert net.nodes[0].machine.members == (0, 1)
    assert net.nodes[1].machine.members == (1,)
    assert not net.nodes[1].edges


PEERS = st.one_of(st.integers(0, 4), st.just(US))
LISTS = st.lists(st.one_of(st.none(), st.lists(st.none()), PEERS), max_size=3).map(tuple)
GREETINGS = st.one_of(st.none(), st.integers(), st.text(), st.builds(StaticState, st.one_of(st.none(), LISTS)))
EVENTS = st.one_of(
    st.builds(
        Received, PEERS, st.one_of(st.none(), st.integers(), st.text(), st.builds(StaticState, st.tuples(PEERS)))
    ),
    st.builds(Connected, st.integers(0, 4), st.integers(0, 4), GREETINGS),
    st.builds(lambda peer: Connected(peer, peer, StaticState((peer,))), PEERS),
    st.builds(Disconnected, PEERS, st.just("closed")),
    st.builds(Join, PEERS),
    st.builds(GiveUp, PEERS),
    st.builds(Leave, st.one_of(st.none(), PEERS)),
    st.builds(UpdateMembers, st.lists(PEERS, max_size=3).map(tuple)),
    st.builds(TimedOut, st.just(GOSSIP_TIMER)),
)


@settings(max_examples=400, deadline=None)
@given(
    contacts=st.lists(PEERS, max_size=3),
    name=st.sampled_from((name_of, halved)),
    events=st.lists(EVENTS, min_size=10, max_size=60),
)
def test_nothing_that_happens_breaks_what_holds(contacts, name, events):
    lone = Lone(*contacts, name=name)
    up = {}
    for event in events:
        if isinstance(event, Connected) and event.contact in lone.edges and event.contact != event.peer:
            del lone.edges[event.contact]
            lone.edges[event.peer] = None
        lone.do(event)
        machine = lone.machine
        assert US in machine.members
        assert len({name(peer) for peer in machine.members}) == len(machine.members)
        assert set(lone.edges) == ({*machine.members} - {US}) | set(machine._pending)
        for fact in lone.facts(NeighborUp | NeighborDown):
            assert up.get(fact.peer, False) == isinstance(fact, NeighborDown)
            up[fact.peer] = isinstance(fact, NeighborUp)
        assert [peer for peer in sorted(up) if up[peer]] == sorted(machine.next_hops(99))
        assert set(machine.next_hops(99)) <= {*machine.members}
