"""HyParView over a network: what its views promise together, under chance and under malice."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines.hyparview import (
    EDGE_TIMER,
    PROMOTION_TIMER,
    SHUFFLE_TIMER,
    Declined,
    Farewell,
    ForwardJoin,
    HyParView,
    HyParViewConfig,
    HyParViewState,
    InjectPartition,
    JoinRequest,
    Neighbor,
    NeighborAccepted,
    NeighborRejected,
    NeighborRequest,
    ResolvePartition,
    Shuffle,
    ShuffleReply,
)
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
    Respec,
    Retune,
    Send,
    Start,
    StartTimer,
    StopTimer,
    TimedOut,
    Unreachable,
    UpdateMembers,
    Violation,
)
from partisan.machines.xbot import ENDS, SWAP_TIMER, XBOT_TIMER, RoundTrip, Step
from partisan.sim import topology
from tests.machines.lone import active_views, reached

QUIET = 40.0
"""Seconds after which nothing but shuffles and vain requests is under way."""


def build(peer, rng, restored):
    return HyParView(peer, HyParViewConfig(), rng, restored)


def check(machine):
    """What holds after every event."""
    config, name_of = machine.config, machine.config.name
    active, passive = [name_of(peer) for peer in machine.active], [name_of(peer) for peer in machine.passive]
    everybody = [name_of(machine.myself), *active, *passive]
    assert len(set(everybody)) == len(everybody)
    assert len(active) < config.active_max_size
    assert len(passive) <= config.passive_max_size


def joined(network, count, seed, pause=0.02, build=build):
    net = network(seed, build)
    for peer in range(count):
        net.boot(peer)
        if peer:
            net.tell(peer, Join(("contact", 0)))
        net.run(pause)
    net.run(QUIET)
    return net


def sound(net):
    for node in net.nodes.values():
        check(node.machine)
        up = {target for target, edge in node.edges.items() if edge.up}
        assert up.issuperset(node.machine.active)
        assert len(node.edges) <= node.machine.config.active_max_size + 3
    assert not topology.asymmetric(active_views(net))
    assert not [fact for facts in net.facts.values() for fact in facts if isinstance(fact, Violation | Declined)]


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 30, 150])
@pytest.mark.parametrize("pause", [0.0, 0.02])
def test_nodes_that_join_through_one_contact_are_connected_by_symmetric_views(network, count, pause):
    net = joined(network, count, 1, pause)
    sound(net)
    assert reached(net) == count
    assert all(any(isinstance(fact, Joined) for fact in net.facts[peer]) for peer in range(1, count))
    degrees = [len(node.machine.active) for node in net.nodes.values()]
    assert sum(degrees) >= min(4.8, count - 1) * count * 0.9
    if count <= 6:
        assert min(degrees) == count - 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("part", [0.3, 0.6])
def test_survivors_of_a_crash_are_connected_again_and_forget_the_dead_neighbors(network, seed, part):
    net = joined(network, 100, seed)
    for peer in random.Random(seed).sample(range(100), int(100 * part)):
        net.crash(peer)
    net.run(QUIET)
    sound(net)
    assert reached(net) == len(net.nodes)
    assert min(len(node.machine.active) for node in net.nodes.values()) >= 3


def test_passive_views_fill_by_shuffling_and_differ(network):
    net = joined(network, 100, 1)
    net.run(60.0)
    views = [node.machine.passive for node in net.nodes.values()]
    assert {len(view) for view in views} == {30}
    known = [sum(peer in view for view in views) for peer in range(100)]
    assert min(known) > 5
    assert max(known) < 75


def test_a_node_that_restarts_without_its_memory_is_taken_in_again(network):
    net = joined(network, 30, 2)
    for _ in range(3):
        net.crash(7)
        net.boot(7)
        net.tell(7, Join(("contact", 3)))
        net.run(QUIET)
        sound(net)
        assert reached(net) == 30


def test_a_node_that_leaves_is_gone_and_the_others_stay_connected(network):
    net = joined(network, 30, 3)
    net.tell(7, Leave())
    net.run(QUIET)
    sound(net)
    assert net.nodes[7].machine.active == ()
    assert not [peer for peer, node in net.nodes.items() if 7 in node.machine.active]
    del net.nodes[7]
    assert reached(net) == 29


def test_a_cut_edge_is_dropped_on_both_sides_and_another_is_found(network):
    net = joined(network, 30, 4)
    other = net.nodes[7].machine.active[0]
    net.cut(7, other)
    net.run(QUIET)
    sound(net)
    assert other not in net.nodes[7].machine.active
    assert len(net.nodes[7].machine.active) >= 3


@pytest.mark.parametrize("count", [2, 3, 4, 6])
def test_the_parts_of_a_small_cluster_find_each_other_when_a_partition_ends(network, count):
    net = joined(network, count, 1)
    for here in range(count // 2):
        for there in range(count // 2, count):
            net.cut(here, there)
    net.run(QUIET)
    assert reached(net) == count // 2
    net.heal()
    net.run(QUIET)
    sound(net)
    assert reached(net) == count


def test_views_that_only_one_side_has_become_symmetric(network):
    net = joined(network, 30, 5)
    for peer in (3, 9, 12):  # as if everything that was sent about it had been lost
        machine = net.nodes[peer].machine
        name = machine.active[0]
        del machine._active[name]
        del machine._edges[name]
    assert topology.asymmetric(active_views(net))
    net.run(200.0)
    sound(net)


def test_equal_seeds_give_equal_traces_and_others_do_not(network):
    def digest(seed):
        net = joined(network, 20, seed)
        net.crash(3)
        net.run(QUIET)
        return net.digest()

    assert digest(1) == digest(1)
    assert digest(1) != digest(2)


STEPS = st.one_of(
    st.tuples(st.just("boot"), st.integers(0, 9)),
    st.tuples(st.just("join"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("forget"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("crash"), st.integers(0, 9)),
    st.tuples(st.just("vanish"), st.integers(0, 9)),
    st.tuples(st.just("cut"), st.integers(0, 9), st.integers(0, 9)),
    st.tuples(st.just("run"), st.floats(0.0, 3.0)),
)


def perform(net, step):
    """Do one step of a random interleaving, if it makes sense now."""
    verb, *rest = step
    here = verb == "run" or rest[0] in net.nodes
    if verb == "run":
        net.run(rest[0])
    elif verb == "boot" and not here:
        net.boot(rest[0], net.saved.get(rest[0]))
    elif here and verb == "join":
        net.tell(rest[0], Join(("contact", rest[1])))
    elif here and verb == "leave":
        net.tell(rest[0], Leave())
    elif here and verb == "forget":
        net.tell(rest[0], Leave(rest[1]))
    elif here and verb == "crash":
        net.crash(rest[0])
    elif here and verb == "vanish":
        node = net.nodes[rest[0]]
        net.crash(rest[0])
        net.run(0.0)
        assert node not in net.nodes.values()
    elif verb == "cut" and rest[0] != rest[1]:
        net.cut(*rest)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.lists(STEPS, max_size=30), st.integers(2, 5), st.booleans())
def test_after_any_interleaving_views_are_sound_and_symmetric_once_all_is_quiet(network, seed, steps, most, xbot):
    config = HyParViewConfig(most, xbot=xbot, xbot_interval=1.0, xbot_unbiased=0)

    def build(peer, rng, restored):
        return HyParView(peer, config, rng, restored, lambda other: float(abs(other - peer)))

    net = network(seed, build)
    for peer in range(6):
        net.boot(peer)
    for step in steps:
        perform(net, step)
        for node in net.nodes.values():
            check(node.machine)
    net.heal()
    for peer in net.nodes:
        net.tell(peer, Retune(replace(config, xbot=False)))
    net.run(120.0)
    assert quiet_at_some_moment(net)
    for node in net.nodes.values():
        check(node.machine)


def quiet_at_some_moment(net):
    """Whether all views are symmetric soon.

    Where one neighbor is all that a node may have, and their number is odd, somebody is always alone and asks the next:
    so there is always an answer under way.
    """
    for _ in range(200):
        if not topology.asymmetric(active_views(net)):
            return True
        net.run(0.37)
    return False


PEERS = st.integers(0, 12)
ANY = st.one_of(PEERS, st.none(), st.text(max_size=2), st.lists(PEERS, max_size=1))
TAGS = st.one_of(st.sampled_from(["undefined", "blue"]), st.none())
IDS = st.one_of(st.tuples(st.integers(0, 3), st.integers(0, 9)), st.none(), st.tuples(PEERS))
TTLS = st.one_of(st.integers(-1, 8), st.just(10**9), st.none())
EXCHANGES = st.one_of(
    st.lists(PEERS, max_size=8).map(tuple),
    st.just(tuple(range(1000))),
    st.tuples(ANY, ANY),
    st.none(),
)
PRIORITIES = st.one_of(st.sampled_from(["high", "low"]), st.none())
MESSAGES = st.one_of(
    st.builds(JoinRequest, ANY, TAGS, st.one_of(PEERS, st.none())),
    st.builds(ForwardJoin, ANY, TAGS, PEERS, TTLS, ANY),
    st.builds(Neighbor, ANY, TAGS, IDS, ANY),
    st.builds(Farewell, ANY, IDS),
    st.builds(NeighborRequest, ANY, PRIORITIES, TAGS, IDS, EXCHANGES),
    st.builds(NeighborAccepted, ANY, TAGS, IDS, EXCHANGES),
    st.builds(NeighborRejected, ANY, EXCHANGES),
    st.builds(Shuffle, EXCHANGES, TTLS, ANY),
    st.builds(ShuffleReply, EXCHANGES, ANY),
    st.builds(InjectPartition, ANY, ANY, TTLS),
    st.builds(ResolvePartition, ANY),
    *(st.builds(kind, st.one_of(st.none(), st.booleans()), ANY, ANY, ANY, ANY) for kind in ENDS),
    st.none(),
    st.text(max_size=3),
)
CONTACTS = st.one_of(PEERS, st.tuples(st.just("contact"), PEERS))
CONFIGS = st.builds(
    HyParViewConfig,
    active_max_size=st.integers(1, 6),
    active_min_size=st.integers(0, 4),
    passive_max_size=st.integers(0, 5),
    most_edges=st.integers(1, 8),
    most_former=st.integers(0, 3),
    promotion_requests=st.integers(1, 3),
    replacement=st.booleans(),
    partitions=st.booleans(),
    xbot=st.booleans(),
    xbot_unbiased=st.integers(0, 2),
)


def in_its_own_name(pair):
    """The message as its sender would send it."""
    peer, message = pair
    if isinstance(message, Step):
        source, end = ENDS[type(message)]
        answer = (message.answer is True) if type(message).__name__.endswith("Reply") else None
        message = replace(message, **{"answer": answer, source: peer, end: 0})
    elif hasattr(message, "sender"):
        message = replace(message, sender=peer)
    return Received(peer, message)


HOSTILE = st.one_of(
    st.tuples(PEERS, MESSAGES).map(lambda pair: Received(*pair)),
    st.tuples(PEERS, MESSAGES).map(in_its_own_name),
    st.tuples(PEERS, MESSAGES).map(in_its_own_name),
    st.builds(Received, st.none(), MESSAGES),
    st.builds(Connected, PEERS, CONTACTS, st.sampled_from([None, HyParViewState((1,), 1), "garbage"])),
    PEERS.map(lambda peer: Connected(peer, peer)),
    PEERS.map(lambda peer: Connected(peer, peer)),
    st.builds(Disconnected, CONTACTS, st.just("closed")),
    st.builds(Unreachable, CONTACTS, st.just("refused")),
    st.builds(
        TimedOut,
        st.one_of(
            st.sampled_from([SHUFFLE_TIMER, PROMOTION_TIMER, XBOT_TIMER, SWAP_TIMER, "other"]),
            st.tuples(st.just(EDGE_TIMER), CONTACTS),
        ),
    ),
    st.builds(Join, CONTACTS),
    st.builds(GiveUp, CONTACTS),
    st.builds(Leave, st.one_of(st.none(), CONTACTS)),
    st.builds(UpdateMembers, st.lists(CONTACTS, max_size=4).map(tuple)),
    st.builds(Retune, CONFIGS),
    st.builds(Respec, PEERS),
    st.builds(RoundTrip, PEERS, st.floats(0.0, 1.0)),
)


class Driver:
    """Keeps the books of a driver, and complains."""

    def __init__(self, machine):
        self.machine = machine
        self.edges = {}
        self.up = set()
        self.deadlines = set()
        self.most_edges = 0

    def tell(self, event, now):
        if isinstance(event, Connected):
            contact = event.contact if event.contact in self.edges else event.peer
            if contact not in self.edges:
                return
            del self.edges[contact]
            self.edges[event.peer] = True
        elif isinstance(event, Disconnected | Unreachable):
            if self.edges.get(event.peer) is not isinstance(event, Disconnected):
                return
            self.edges[event.peer] = False
        elif isinstance(event, TimedOut) and isinstance(event.timer, tuple) and event.timer not in self.deadlines:
            return
        if isinstance(event, TimedOut):
            self.deadlines.discard(event.timer)
        for effect in self.machine.handle(event, now):
            self.obey(effect)
        check(self.machine)
        machine = self.machine
        assert self.up == set(machine.active)
        assert {peer for peer, up in self.edges.items() if up}.issuperset(machine.active)
        assert set(self.edges) == {edge.peer for edge in machine._edges.values()}
        self.most_edges = max(self.most_edges, machine.config.most_edges)  # a smaller bound closes none
        assert len(machine._edges) <= len(machine._active) + self.most_edges + len(machine._joins)
        assert len(machine._former) <= machine.config.most_former
        assert len(machine._tried) <= 100
        needed = {*machine._active, *machine._pending, *machine._asked, *machine._joins.values()}
        if machine._xbot is not None and machine._xbot._swap is not None:
            needed.add(machine._xbot._swap.partner)
            assert SWAP_TIMER in self.deadlines
        assert {name for name, edge in machine._edges.items() if edge.up} <= needed
        assert {(EDGE_TIMER, name) for name in machine._edges if name not in machine._active} <= self.deadlines

    def obey(self, effect):
        if isinstance(effect, Connect):
            assert effect.peer not in self.edges
            self.edges[effect.peer] = False
        elif isinstance(effect, Disconnect):
            del self.edges[effect.peer]
        elif isinstance(effect, Send):
            assert self.edges[effect.peer]
            assert type(effect.message) is not NeighborRejected or type(effect.message.exchange) is tuple
        elif isinstance(effect, Notify) and isinstance(effect.fact, NeighborUp):
            assert effect.fact.peer not in self.up
            self.up.add(effect.fact.peer)
        elif isinstance(effect, Notify) and isinstance(effect.fact, NeighborDown):
            self.up.remove(effect.fact.peer)
        elif isinstance(effect, StartTimer):
            assert effect.after >= 0.0
            self.deadlines.add(effect.timer)
        elif isinstance(effect, StopTimer):
            self.deadlines.discard(effect.timer)


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, 1 << 32),
    CONFIGS,
    st.one_of(st.none(), st.just(lambda peer: None if peer == 7 else 1.0 / (1 + peer))),
    st.lists(st.tuples(HOSTILE, st.floats(0.0, 5.0)), max_size=60),
)
def test_no_sequence_of_events_however_hostile_makes_it_raise_or_breaks_what_holds(seed, config, oracle, events):
    driver = Driver(HyParView(0, config, random.Random(seed), None, oracle))
    driver.tell(Start(), 0.0)
    now = 0.0
    for event, pause in events:
        now += pause
        driver.tell(event, now)


def test_hostile_walks_in_a_cluster_do_not_live_long_and_leave_views_sound(network):
    still = HyParViewConfig(shuffle_interval=1e6)
    net = joined(network, 30, 6, build=lambda peer, rng, restored: HyParView(peer, still, rng, restored))
    before = net.sent
    victim = net.nodes[3].machine.active[0]
    for ttl in (10**9, 255):
        net.tell(3, Received(victim, Shuffle((victim, 5), ttl, victim)))
        net.tell(3, Received(victim, ForwardJoin(5, "undefined", 1, ttl, victim)))
    net.run(10.0)
    assert net.sent - before < 100  # whoever is evicted asks each of its passive peers once
    assert not topology.asymmetric(active_views(net))
    assert len([fact for fact in net.facts[3] if isinstance(fact, Violation)]) == 2


def storm(net, victim, kinds):
    """Tell a node of thousands of peers that there are not, in the name of a neighbor and in theirs."""
    [neighbor, *_] = net.nodes[victim].machine.active
    for ghost in range(1000, 3000):
        if "join" in kinds:
            net.tell(victim, Received(ghost, JoinRequest(ghost, "undefined", 1)))
        if "walk" in kinds:
            net.tell(victim, Received(neighbor, ForwardJoin(ghost, "undefined", 1, 0, neighbor)))
        if "request" in kinds:
            net.tell(victim, Received(ghost, NeighborRequest(ghost, "high", "undefined", (1, 0), (ghost,))))
        if "shuffle" in kinds:
            net.tell(victim, Received(neighbor, Shuffle(tuple(range(ghost, ghost + 200)), 1, neighbor)))


@pytest.mark.parametrize("kinds", ["join", "walk", "request", "shuffle", "join walk request shuffle"])
def test_a_storm_of_peers_that_there_are_not_costs_no_neighbor_and_few_edges(network, kinds):
    net = joined(network, 30, 8)
    before = active_views(net)
    storm(net, 3, kinds)
    for node in net.nodes.values():
        check(node.machine)
    assert len(net.nodes[3].edges) <= 5 + net.nodes[3].machine.config.most_edges
    net.run(QUIET)
    after = active_views(net)
    assert {*before[3]} <= {*after[3]}
    assert len(net.nodes[3].edges) <= 6  # what could not be reached was given up
    assert not topology.asymmetric(after)
    assert reached(net) == 30


def test_a_node_that_was_told_of_ghosts_alone_finds_its_way_back_when_all_its_neighbors_have_failed(network):
    net = joined(network, 30, 8)
    storm(net, 3, "join")  # they stay out of its views
    for peer in net.nodes[3].machine.active:
        net.crash(peer)
    net.run(QUIET)
    assert not topology.asymmetric(active_views(net))
    assert reached(net) == len(net.nodes)
