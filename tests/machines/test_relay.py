"""Relaying: once, in order, or an error; over any overlay, and whatever hostile neighbors send."""

from __future__ import annotations

import statistics
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines.faults import Omission, Partition
from partisan.machines.machine import (
    Join,
    NeighborDown,
    NeighborUp,
    Received,
    Send,
    Violation,
)
from partisan.machines.relay_messages import (
    Abandon,
    Abroad,
    Acknowledged,
    Arrived,
    EdgeUp,
    Frame,
    GivenUp,
    Handed,
    Heard,
    Kind,
    Parcel,
    Receipt,
    Relay,
    Spread,
    Word,
)
from partisan.sim.latency import Constant
from tests.machines.relays import Lone, far, loads, network, parcel, relay, told

# A network of relays over HyParView.


def test_two_hundred_nodes_reach_each_other_once_in_order_and_soon_by_one_way():
    net = network(200)
    chance = Random(7)
    pairs = [(source, chance.choice(far(net, source))) for source in chance.sample(range(200), 60)]
    copies = []
    for batch in range(3):
        before = sum(relay(net, peer).counts.copies for peer in net.nodes)
        for source, dest in pairs:
            for number in range(5):
                net.tell(source, Relay(dest, (source, dest, 5 * batch + number), 1))
        net.run(20.0)
        copies.append((sum(relay(net, peer).counts.copies for peer in net.nodes) - before) / (5 * len(pairs)))
    arrived = [(peer, fact.load) for peer, fact in told(net, Arrived)]
    for source, dest in pairs:
        assert [load[2] for peer, load in arrived if load[:2] == (source, dest)] == list(range(15))
    assert len(arrived) == 15 * len(pairs)
    assert all(peer == load[1] for peer, load in arrived)
    assert not told(net, GivenUp)
    assert not told(net, Violation)
    assert copies[0] > 200  # the first of them floods
    assert copies[2] < 12  # and then there is a way, of a few hops, for messages and receipts


def test_a_node_that_there_is_not_is_an_error_in_time():
    net = network(30)
    net.tell(3, Relay(999, "x", 1, tag="mine"))
    net.run(4.9)
    assert not told(net, GivenUp)
    net.run(0.2)
    [(peer, fact)] = told(net, GivenUp)
    assert (peer, fact.dest, fact.tag) == (3, 999, "mine")
    assert relay(net, 3).sizes["kept"] == 0


def test_what_is_lost_on_the_way_comes_later_and_in_order():
    net = network(30, seed=3)
    net.inject(Omission(probability=0.2))
    dest = far(net, 0)[0]
    for number in range(100):
        net.tell(0, Relay(dest, number, 1, tag=number, timeout=60.0))
        net.run(0.05)
    net.run(60.0)
    assert [fact.load for _, fact in told(net, Arrived)] == list(range(100))
    assert [fact.tag for _, fact in told(net, Acknowledged)] == list(range(100))
    assert relay(net, 0).counts.resent > 0


def test_after_a_crash_on_the_way_another_way_is_found():
    net = network(40, seed=5)
    dest = far(net, 0)[0]
    net.tell(0, Relay(dest, "first", 1))
    net.run(2.0)
    net.tell(0, Relay(dest, "second", 1))
    net.run(2.0)
    way = relay(net, 0).way(dest)
    assert way is not None
    assert way != dest
    net.crash(way)
    net.tell(0, Relay(dest, "third", 1, timeout=30.0))
    net.run(30.0)
    assert [fact.load for _, fact in told(net, Arrived)] == ["first", "second", "third"]


def test_a_partition_is_an_error_and_its_end_is_not():
    net = network(20, seed=2)
    dest = far(net, 0)[0]
    names = [str(peer) for peer in net.nodes]
    with_zero = [str(peer) for peer in net.nodes if peer != dest]
    assert len(names) == len(with_zero) + 1
    rule = net.inject(Partition(groups=(tuple(with_zero), (str(dest),))))
    net.tell(0, Relay(dest, "cut", 1, tag=1))
    net.run(10.0)
    assert [fact.tag for _, fact in told(net, GivenUp)] == [1]
    net.heal(rule)
    net.run(120.0)
    net.tell(0, Relay(dest, "whole", 1, tag=2, timeout=20.0))
    net.run(30.0)
    assert [fact.load for _, fact in told(net, Arrived)] == ["whole"]


def test_a_word_is_heard_by_everybody_once():
    net = network(60)
    net.tell(7, Spread(Word(3, 1, False)))
    net.run(5.0)
    assert sorted(peer for peer, _ in told(net, Heard)) == [peer for peer in range(60) if peer != 7]
    assert {(fact.by, fact.word) for _, fact in told(net, Heard)} == {(7, Word(3, 1, False))}


def test_a_receiver_that_was_restarted_gets_what_is_sent_from_then_on():
    net = network(20, seed=4, latency=Constant(0.01))
    dest = far(net, 0)[0]
    for number in range(5):
        net.tell(0, Relay(dest, number, 1))
    net.run(5.0)
    net.boot(dest)
    net.tell(dest, Join(0))
    net.run(30.0)
    net.facts.clear()
    for number in range(5, 8):
        net.tell(0, Relay(dest, number, 1, timeout=20.0))
    net.run(30.0)
    assert [fact.load for _, fact in told(net, Arrived)] == [5, 6, 7]


# One relay, and what its neighbors do.


def test_messages_wait_for_those_before_them():
    lone = Lone()
    for serial, number in enumerate((3, 1, 2, 2, 5)):
        lone.get(1, parcel(number, serial=100 + serial))
    assert loads(lone) == [1, 2, 3]
    assert lone.machine.counts.again == 1
    lone.get(1, parcel(6, base=5))
    assert loads(lone) == [1, 2, 3, 5, 6]


def test_what_waits_for_a_message_that_does_not_come_is_dropped_and_taken_when_it_comes_again():
    lone = Lone()
    for number in (1, 3, 4):
        lone.get(1, parcel(number))
    lone.wait(4.0)
    lone.get(1, parcel(5))
    assert lone.machine.sizes["held"] == 3
    lone.wait(1.1)
    assert lone.machine.sizes["held"] == 0
    for number in (3, 4, 2):
        lone.get(1, parcel(number, serial=100 + number))
    assert loads(lone) == [1, 2, 3, 4]
    assert not [timer for timer in lone.timers if timer[1] == "held"]


def test_what_came_of_a_node_that_is_down_waits_no_longer():
    lone = Lone()
    for life in (1, 2):
        lone.get(1, parcel(3, serial=life, life=life))
    lone.get(1, parcel(3, origin=8))
    lone.do(Abandon(9, "it is down"))
    assert lone.machine.sizes["held"] == 1


def test_what_is_over_is_skipped_and_what_was_held_comes_before():
    lone = Lone()
    for number, base in ((1, 1), (3, 1), (4, 1), (9, 8)):
        lone.get(1, parcel(number, base))
    assert loads(lone) == [1, 3, 4]
    lone.get(1, parcel(8, 8))
    assert loads(lone) == [1, 3, 4, 8, 9]


def test_one_receipt_tells_of_many_messages_and_goes_the_way_they_came():
    lone = Lone()
    for number in range(1, 6):
        lone.get(2, parcel(number))
    assert not lone.sent(body=Receipt)
    lone.wait(1.0)
    [frame] = lone.sent(2, Receipt)
    assert frame.dest == 9
    assert frame.body == Receipt(0, 1, 0, 5)
    assert not lone.sent(1)


def test_a_frame_that_comes_twice_is_passed_on_once_and_not_back():
    lone = Lone(speakers=(1, 2, 3))
    for peer in (1, 2, 1):
        lone.get(peer, parcel(1, dest=77))
    assert [effect.peer for effect in lone.effects if type(effect) is Send] == [2, 3]
    assert {frame.ttl for frame in lone.sent()} == {2}
    assert lone.machine.counts.duplicates == 2


def test_a_frame_at_the_end_of_its_way_goes_to_a_neighbor_and_no_further():
    lone = Lone()
    lone.get(1, parcel(1, dest=77, ttl=0))
    assert not lone.sent()
    assert lone.machine.counts.expired == 1
    lone.get(1, parcel(2, dest=2, ttl=0))
    assert [frame.ttl for frame in lone.sent(2)] == [0]


def test_the_first_hop_carries_one_less_as_in_the_reference():
    lone = Lone()
    lone.do(Relay(77, "x", 1))
    assert {frame.ttl for frame in lone.sent()} == {4}
    lone.do(Relay(77, "x", 1, ttl=1))
    assert lone.sent()[-1].ttl == 0


def test_a_way_is_used_and_forgotten_with_its_neighbor():
    lone = Lone(speakers=(1, 2, 3))
    lone.get(2, parcel(1))
    lone.do(Relay(9, "x", 1))
    assert len(lone.sent(body=Parcel)) == len(lone.sent(2, Parcel)) == 1
    lone.do(NeighborDown(2, "closed"))
    lone.do(Relay(9, "y", 1))
    assert [len(lone.sent(peer, Parcel)) for peer in (1, 2, 3)] == [1, 1, 1]


def test_where_links_have_a_direction_no_way_leads_back():
    lone = Lone(speakers=(1, 2, 3), hops=lambda dest, origin: [3], mutual=False)
    lone.get(2, parcel(1))
    lone.do(Relay(9, "x", 1))
    assert [len(lone.sent(peer, Parcel)) for peer in (1, 2, 3)] == [0, 0, 1]


def test_what_is_sent_again_goes_twice_as_far_unless_it_may_not():
    lone = Lone(speakers=(1,), ttl=5, max_ttl=16, timeout=60.0, retry=1.0)
    lone.do(Relay(77, "x", 1))
    lone.do(Relay(77, "y", 1, ttl=3))
    lone.wait(40.0)
    assert [frame.ttl for frame in lone.sent(1) if frame.body.load == "x"] == [4, 9, 15, 15, 15, 15]
    assert {frame.ttl for frame in lone.sent(1) if frame.body.load == "y"} == {2}


def test_what_came_over_all_neighbors_has_its_receipt_over_all_neighbors():
    lone = Lone(speakers=(1, 2, 3), hops=lambda dest, origin: [3])
    lone.get(2, parcel(1))
    lone.wait(1.0)
    assert [len(lone.sent(peer, Receipt)) for peer in (1, 2, 3)] == [0, 1, 0]
    lone.get(2, replace(parcel(1, serial=2), wide=True))
    lone.wait(1.0)
    assert [len(lone.sent(peer, Receipt)) for peer in (1, 2, 3)] == [1, 2, 1]


def test_whom_the_tree_does_not_reach_is_sent_to_over_all_links_until_these_change():
    lone = Lone(speakers=(1, 2), hops=lambda dest, origin: [2], mutual=False, retry=1.0)

    def sent_wide(load):
        lone.do(Relay(9, load, 1))
        return [frame.wide for frame in lone.sent(body=Parcel) if frame.body.load == load]

    assert sent_wide("x") == [False]
    lone.wait(1.5)
    lone.get(1, Frame(9, 1, 1, 0, 3, False, False, Receipt(9, 5, 0, 1)))
    assert sent_wide("y") == [True, True]  # a copy for each link
    lone.do(NeighborUp(3))
    assert sent_wide("z") == [False]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(3, 14), more=st.integers(0, 20))
def test_over_any_links_of_one_direction_that_connect_all_messages_come_once_and_in_order(seed, count, more):
    """Whatever part of its links a node takes for the tree."""
    chance = Random(seed)
    links = {(node, (node + 1) % count) for node in range(count)}
    links |= {tuple(chance.sample(range(count), 2)) for _ in range(more)}
    out = {node: [there for here, there in sorted(links) if here == node] for node in range(count)}
    tree = {node: chance.sample(out[node], chance.randint(1, len(out[node]))) for node in range(count)}
    nodes = {
        node: Lone(speakers=out[node], hops=lambda dest, origin, node=node: tree[node], mutual=False, myself=node,
                   timeout=1000.0)
        for node in range(count)
    }  # fmt: skip
    pairs = [chance.sample(range(count), 2) for _ in range(5)]
    for number in range(6):
        for source, dest in pairs:
            nodes[source].do(Relay(dest, (source, dest, number), 1, (source, dest, number)))
        for _ in range(200):
            for node, lone in nodes.items():
                effects, lone.effects = lone.effects, [each for each in lone.effects if type(each) is not Send]
                for effect in effects:
                    if type(effect) is Send:
                        nodes[effect.peer].get(node, effect.message)
            for lone in nodes.values():
                lone.wait(0.05)
    for source, dest in {tuple(pair) for pair in pairs}:
        found = [load for load in loads(nodes[dest]) if load[:2] == (source, dest)]
        many = pairs.count([source, dest])
        assert found == [(source, dest, number) for number in range(6) for _ in range(many)]
        assert [fact.tag for fact in nodes[source].facts(Acknowledged) if fact.tag[1] == dest] == found
    assert not any(lone.facts(GivenUp) for lone in nodes.values())


def test_only_the_links_that_were_asked_for_are_used():
    lone = Lone(speakers=(1, 2, 3), hops=lambda dest, origin: [2])
    lone.do(Relay(77, "x", 1))
    assert not lone.sent(1)
    assert lone.sent(2)
    lone.do(Relay(77, "y", 1, out_links=(3, 0, 5)))
    assert [frame.body.load for frame in lone.sent(3)] == ["y"]


def test_a_neighbor_without_frames_gets_the_message_and_the_last_relay_sends_the_receipt():
    lone = Lone(kinds={4: Kind.PLAIN})
    lone.get(1, parcel(7, base=3, dest=4, load="x"))
    assert lone.sent(4) == [Handed("x")]
    [frame] = lone.sent(1, Receipt)
    assert frame.dest == 9
    assert frame.body == Receipt(4, 1, 7, 7)


def test_where_nobody_knows_frames_others_relay_in_their_own_way_and_it_counts_as_sent():
    lone = Lone(speakers=(), kinds={4: Kind.PLAIN, 5: Kind.RELAY})
    lone.do(Relay(77, "x", 1, tag="t"))
    assert lone.sent(5) == [Abroad(77, "x", 4)]
    assert not lone.sent(4)
    assert lone.facts(Acknowledged) == [Acknowledged(77, "t")]


def test_a_node_of_frames_is_never_looked_for_abroad():
    lone = Lone(speakers=(1,), kinds={5: Kind.RELAY})
    lone.get(1, parcel(1, dest=77))
    assert not lone.sent(5)
    lone.get(1, parcel(1))
    lone.do(NeighborDown(1, "closed"))
    lone.do(Relay(9, "x", 1))
    assert not lone.sent(5)
    lone.wait(10.0)
    assert lone.facts(GivenUp)


def test_a_neighbor_at_last_gets_what_waits_for_it_directly():
    lone = Lone()
    lone.do(Relay(77, "x", 1))
    lone.do(NeighborUp(77))
    assert [frame.body.load for frame in lone.sent(77)] == ["x"]


def test_a_neighbor_at_last_gets_all_that_waits_for_it():
    lone = Lone()
    for number in range(200):
        lone.do(Relay(77, number, 1))
    lone.do(NeighborUp(77))
    assert [frame.body.load for frame in lone.sent(77)] == list(range(200))


def test_many_that_are_lost_are_sent_again_as_receipts_show_that_there_is_a_way():
    lone = Lone()
    for number in range(1, 201):
        lone.do(Relay(77, number, 1))
    lone.effects.clear()
    lone.wait(0.5)
    assert len({frame.body.number for frame in lone.sent(1)}) == 16  # a node that there is not costs no more
    serial, arrived = 0, 0
    while arrived < 200:
        serial += 1
        assert serial < 6
        arrived = max(frame.body.number for frame in lone.sent(1))
        lone.get(1, Frame(77, 1, serial, 0, 3, False, False, Receipt(77, 5, 0, arrived)))
    assert not [frame for frame in lone.sent(2) if frame.body.number > 16]  # by that way alone
    assert lone.machine.sizes["kept"] == 0


def test_whoever_is_cut_off_for_a_moment_amid_many_messages_gets_all():
    net = network(30, seed=3)
    dest = far(net, 0)[0]
    net.tell(0, Relay(dest, "first", 1))
    net.run(2.0)
    rule = net.inject(Omission(probability=1.0))
    for number in range(500):
        net.tell(0, Relay(dest, number, 1, tag=number))
    net.run(0.1)
    net.heal(rule)
    net.run(10.0)
    assert not told(net, GivenUp)
    assert [fact.load for _, fact in told(net, Arrived)] == ["first", *range(500)]


def test_a_node_that_is_down_is_given_up_at_once():
    lone = Lone()
    for tag in "ab":
        lone.do(Relay(77, "x", 1, tag=tag))
    lone.do(Abandon(77, "it is down"))
    assert lone.facts(GivenUp) == [GivenUp(77, tag, "it is down") for tag in "ab"]
    lone.wait(10.0)
    assert len(lone.facts(GivenUp)) == 2


def test_there_is_no_room_for_more_than_may_wait():
    lone = Lone(window=3, max_octets=100, most_nodes=2)
    for _ in range(3):
        assert lone.machine.room(77, 1)
        lone.do(Relay(77, "x", 1))
    assert not lone.machine.room(77, 1)
    assert lone.machine.room(78, 1000)  # the first of all is taken, however large
    lone.do(Relay(78, "x", 1000))
    assert not lone.machine.room(78, 1)
    assert not lone.machine.room(79, 1)
    lone.wait(10.0)
    assert lone.machine.room(79, 1)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (parcel(1, ttl=10**9), "over 1000000000 nodes"),
        (parcel(1, ttl=-1), "out of bounds"),
        (parcel(1, ttl="5"), "out of bounds"),
        (parcel(1, life=1 << 99), "out of bounds"),
        (parcel(1, base=2), "below those that are over"),
        (parcel(1, dest=None), "for everybody"),
        (parcel(1, origin=[]), "what is no node"),
        (parcel(5000, base=1), "too much ahead"),
        (parcel(1, origin=0, life=6), "in our name"),
        (Frame(9, 1, 1, 0, 1, False, False, "body"), "a frame with a str"),
        (Frame(9, 1, 1, 0, 1, False, False, Receipt(9, 5, 0, 10**6)), "what we have not sent"),
    ],
)
def test_what_makes_no_sense_is_a_violation_and_goes_no_further(frame, said):
    lone = Lone()
    lone.do(Relay(9, "x", 1))
    before = len(lone.sent())
    lone.get(1, frame)
    [violation] = lone.facts(Violation)
    assert said in violation.detail
    assert violation.peer == 1
    assert len(lone.sent()) == before
    assert not loads(lone)


def test_frames_of_ours_that_come_back_are_no_violation():
    lone = Lone()
    lone.do(Relay(77, "x", 1))
    lone.get(2, lone.sent(1)[0])
    assert not lone.facts(Violation)
    assert len(lone.sent()) == 2


SMALL = {"window": 4, "max_octets": 8, "most_seen": 6, "most_nodes": 3, "max_ttl": 8}

numbers = st.integers(-1, 9)
names = st.integers(0, 6)
bodies = st.one_of(
    st.builds(Parcel, numbers, numbers, st.integers(), st.integers(0, 5)),
    st.builds(Receipt, names, st.sampled_from([4, 5, 6]), numbers, numbers),
    st.builds(Word, names, numbers, st.booleans()),
    st.none(),
)
frames = st.builds(
    Frame, names, st.sampled_from([1, 4, 5, 6]), numbers, st.none() | names, st.integers(-1, 10), st.booleans(),
    st.booleans(), bodies,
)  # fmt: skip
events = st.one_of(
    st.builds(Received, names, frames),
    st.builds(Received, names, frames),
    st.builds(NeighborUp, names.filter(bool)),
    st.builds(EdgeUp, names.filter(bool), st.sampled_from(Kind)),
    st.builds(NeighborDown, names.filter(bool), st.just("closed")),
    st.builds(Relay, names.filter(bool), st.integers(), st.integers(0, 5), st.integers()),
    st.builds(Abandon, names.filter(bool), st.just("gone")),
    st.floats(0.0, 3.0),
)


@settings(max_examples=400, deadline=None)
@given(events=st.lists(events, max_size=60))
def test_whatever_comes_state_is_bounded_and_every_message_ends_once(events):
    lone = Lone(**SMALL)
    tags = []
    for event in events:
        before = len(lone.effects)
        if isinstance(event, float):
            lone.wait(event)
        elif type(event) is Relay:
            if lone.machine.room(event.dest, event.octets):
                event.tag = len(tags)
                tags.append(event.tag)
                lone.do(event)
        else:
            lone.do(event)
        for effect in lone.effects[before:]:
            if type(effect) is Send and type(effect.message) is Frame:
                assert effect.peer in lone.machine._speakers or type(event) is float
                assert 0 <= effect.message.ttl <= SMALL["max_ttl"]
        if type(event) is Received:
            sends = [effect for effect in lone.effects[before:] if type(effect) is Send]
            onward = [each.peer for each in sends if getattr(each.message, "origin", None) == event.message.origin]
            assert event.peer not in onward
            assert len(onward) == len(set(onward))
        sizes = lone.machine.sizes
        assert sizes["seen"] <= SMALL["most_seen"]
        assert max(sizes["ways"], sizes["lanes"], sizes["streams"]) <= SMALL["most_nodes"]
        assert sizes["held"] <= SMALL["window"] * SMALL["most_nodes"]
        assert sizes["kept"] <= SMALL["window"] * SMALL["most_nodes"]
    lone.wait(100.0)
    ends = [fact.tag for fact in lone.facts(Acknowledged)] + [fact.tag for fact in lone.facts(GivenUp)]
    assert sorted(ends) == tags


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 10**6), lose=st.floats(0.0, 0.5))
def test_over_any_loss_and_disorder_messages_come_once_and_in_order(seed, lose):
    """Two machines with a line between them that loses, repeats and swaps frames."""
    chance = Random(seed)
    ends = {0: Lone(speakers=(1,)), 9: Lone(speakers=(1,), myself=9)}
    for number in range(20):
        ends[0].do(Relay(9, number, 1, number, timeout=300.0))
        for _ in range(3):
            for here, there in ((0, 9), (9, 0)):
                out = ends[here].sent(1)
                ends[here].effects = [each for each in ends[here].effects if type(each) is not Send]
                chance.shuffle(out)
                for frame in out:
                    for _ in range((chance.random() >= lose) + (chance.random() < 0.1)):
                        ends[there].get(1, frame)
                ends[here].wait(chance.random() * 30.0)
    assert loads(ends[9]) == sorted(set(loads(ends[9])))
    if lose == 0.0:
        assert loads(ends[9]) == list(range(20))
    acknowledged = [fact.tag for fact in ends[0].facts(Acknowledged)]
    assert set(acknowledged) <= set(loads(ends[9]))


def test_copies_of_a_message_are_few_once_there_is_a_way():
    net = network(100, seed=9)
    source, dest = 0, far(net, 0)[3]
    counts = []
    for number in range(30):
        before = sum(relay(net, peer).counts.copies for peer in net.nodes)
        net.tell(source, Relay(dest, number, 1))
        net.run(5.0)
        counts.append(sum(relay(net, peer).counts.copies for peer in net.nodes) - before)
    assert len(told(net, Arrived)) == 30
    assert counts[0] > 100
    assert statistics.median(counts[1:]) <= 12
