"""HyParView, handler by handler: shuffles, forged senders, commands."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from partisan.machines.hyparview import (
    HIGH,
    SHUFFLE_TIMER,
    UNTAGGED,
    Farewell,
    ForwardJoin,
    HyParView,
    HyParViewConfig,
    InjectPartition,
    JoinRequest,
    Neighbor,
    NeighborAccepted,
    NeighborRejected,
    ResolvePartition,
    Shuffle,
    ShuffleReply,
)
from partisan.machines.machine import (
    Connect,
    Connected,
    Join,
    JoinFailed,
    Leave,
    MembersChanged,
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Respec,
    Retune,
    Send,
    Start,
    StartTimer,
    TimedOut,
    UpdateMembers,
    Violation,
)
from tests.machines.lone import NEVER, US, Lone, request


class TestShuffling:
    def test_a_random_neighbor_gets_random_samples_of_both_views(self):
        picked, sampled = Counter(), Counter()
        for seed in range(100):
            node = Lone(seed=seed).befriend(1, 2, 3, 4, 5).know(*range(10, 30))
            node.do(TimedOut(SHUFFLE_TIMER))
            assert StartTimer(SHUFFLE_TIMER, 10.0) in node.effects
            [(peer, shuffle)] = node.sent()
            assert (shuffle.ttl, shuffle.sender, shuffle.exchange[0]) == (6, US, US)
            assert len(set(shuffle.exchange)) == 8
            assert len([each for each in shuffle.exchange if each < 10]) == 3
            picked[peer] += 1
            sampled.update(shuffle.exchange[1:])
        assert set(picked) == {1, 2, 3, 4, 5}
        assert set(sampled) == {1, 2, 3, 4, 5, *range(10, 30)}

    def test_a_node_without_neighbors_does_not_shuffle(self):
        node = Lone()
        assert node.do(TimedOut(SHUFFLE_TIMER)) == [StartTimer(SHUFFLE_TIMER, 10.0)]

    def test_a_shuffle_goes_on_and_keeps_its_origin(self):
        node = Lone().befriend(1, 2)
        node.hear(1, Shuffle((9, 8), 4, 9))
        assert node.sent() == [(2, Shuffle((9, 8), 3, 9))]
        assert not node.machine.passive

    def test_at_its_end_as_many_passive_peers_go_to_the_origin_and_no_edge_stays(self):
        node = Lone().befriend(1, 2).know(20, 21, 22, 23)
        node.hear(1, Shuffle((9, 8), 1, 9))
        assert node.connects() == [9]
        node.up(9)
        [(peer, reply)] = node.sent()
        assert (peer, reply.sender, len(reply.exchange)) == (9, US, 2)
        assert {20, 21, 22, 23}.issuperset(reply.exchange)
        assert node.disconnects() == [9]
        assert set(node.machine.passive) == {20, 21, 22, 23, 9, 8}

    def test_with_nowhere_to_go_it_ends_here_and_is_answered(self):
        node = Lone().befriend(1)
        node.hear(1, Shuffle((1, 8), 6, 1))
        assert node.sent() == [(1, ShuffleReply((), US))]
        assert node.machine.passive == (8,)
        assert not node.disconnects()

    def test_our_own_that_comes_back_is_not_answered(self):
        node = Lone().befriend(1)
        node.hear(1, Shuffle((US, 8), 0, US))
        assert not node.effects

    def test_what_was_given_away_makes_room_first(self):
        node = Lone(passive_max_size=4, shuffle_k_active=0, shuffle_k_passive=2).befriend(1, 2, 3).know(20, 21, 22, 23)
        node.do(TimedOut(SHUFFLE_TIMER))
        [(_, shuffle)] = node.sent()
        given = shuffle.exchange[1:]
        node.hear(9, ShuffleReply((30, 31), 9))
        assert set(node.machine.passive) == {20, 21, 22, 23}.difference(given) | {30, 31}

    def test_the_passive_view_stays_within_its_size_and_takes_no_neighbor_and_not_ourselves(self):
        node = Lone(passive_max_size=5).befriend(1, 2)
        node.hear(1, ShuffleReply((US, 1, 2, 10, 10, *range(11, 40)), 1))
        assert len(node.machine.passive) == 5
        assert not {US, 1, 2}.intersection(node.machine.passive)

    @pytest.mark.parametrize("message", [Shuffle(tuple(range(1000)), 1, 1), ShuffleReply(tuple(range(1000)), 1)])
    def test_a_peer_that_advertises_a_thousand_neighbors_breaks_the_protocol(self, message):
        node = Lone().befriend(1)
        node.hear(1, message)
        assert len(node.facts(Violation)) == 1
        assert not node.machine.passive

    @pytest.mark.parametrize("exchange", [None, [8], (8, "9"), (8, None), (8, [])])
    def test_an_exchange_of_something_else_than_peers_is_a_violation(self, exchange):
        for message, what in (
            (Shuffle(exchange, 1, 1), "shuffle"),
            (ShuffleReply(exchange, 1), "shuffle_reply"),
            (request(1, exchange=exchange), "neighbor_request"),
            (NeighborAccepted(1, UNTAGGED, NEVER, exchange), "neighbor_accepted"),
            (NeighborRejected(1, exchange), "neighbor_rejected"),
        ):
            node = Lone().befriend(1)
            node.hear(1, message)
            node.refuses(what)

    def test_a_passive_view_of_no_size_keeps_nobody(self):
        node = Lone(passive_max_size=0).befriend(1)
        node.hear(1, ShuffleReply((8, 9), 1))
        assert node.machine.passive == ()


class TestForgedSenders:
    @pytest.mark.parametrize("sender", [2, US, "1", None, [1]])
    @pytest.mark.parametrize(
        ("what", "make"),
        [
            ("join", lambda who: JoinRequest(who, UNTAGGED, 1)),
            ("forward_join", lambda who: ForwardJoin(9, UNTAGGED, 1, 3, who)),
            ("neighbor", lambda who: Neighbor(who, UNTAGGED, NEVER, US)),
            ("disconnect", lambda who: Farewell(who, (9, 9))),
            ("neighbor_request", request),
            ("neighbor_accepted", lambda who: NeighborAccepted(who, UNTAGGED, NEVER, ())),
            ("neighbor_rejected", lambda who: NeighborRejected(who, ())),
            ("shuffle_reply", lambda who: ShuffleReply((), who)),
        ],
    )
    def test_a_message_in_the_name_of_another_is_a_violation(self, sender, what, make):
        node = Lone().befriend(1, 2)
        node.hear(1, make(sender))
        node.refuses(what)
        assert node.machine.active == (1, 2)

    @pytest.mark.parametrize("sender", ["1", None, [1]])
    def test_a_shuffle_of_an_origin_that_is_no_peer_is_a_violation(self, sender):
        node = Lone().befriend(1)
        node.hear(1, Shuffle((), 1, sender))
        node.refuses("shuffle")

    def test_where_the_connection_has_not_said_its_name_the_message_is_believed(self):
        node = Lone()
        node.hear(None, JoinRequest(1, UNTAGGED, 1))
        assert node.connects() == [1]

    def test_somebody_who_is_no_neighbor_and_shuffles_in_the_name_of_another_is_not_heard(self):
        node = Lone().befriend(1)
        node.hear(7, Shuffle((9,), 1, 9))
        assert not node.effects


class TestLeaving:
    def test_all_neighbors_are_told_and_everything_is_given_up(self):
        node = Lone().befriend(1, 2).know(7)
        node.do(Join("somewhere"))
        node.do(Leave())
        assert [peer for peer, _ in node.sent(Farewell)] == [1, 2]
        assert {1, 2, "somewhere"}.issubset(node.disconnects())
        assert JoinFailed("somewhere", "left") in node.facts()
        assert node.facts()[-1] == MembersChanged((US,))
        assert node.machine.passive == ()

    def test_who_has_left_turns_everybody_away_but_a_joiner(self):
        node = Lone()
        node.do(Leave())
        node.hear(1, request(1, HIGH, exchange=(8,)))
        node.up(1)
        assert node.sent() == [(1, NeighborRejected(US, ()))]
        node.hear(2, Neighbor(2, UNTAGGED, NEVER, US))
        node.up(2)
        assert [(peer, type(message)) for peer, message in node.sent()] == [(2, Farewell)]
        node.hear(3, NeighborAccepted(3, UNTAGGED, NEVER, (8,)))
        node.up(3)
        assert [(peer, type(message)) for peer, message in node.sent()] == [(3, Farewell)]
        node.hear(4, ShuffleReply((8,), 4))
        assert node.machine.passive == ()
        node.hear(5, JoinRequest(5, UNTAGGED, 1))
        node.up(5)
        assert node.machine.active == (5,)

    def test_a_peer_that_is_made_to_leave_is_only_forgotten_here(self):
        node = Lone().befriend(1, 2).know(7)
        node.do(Leave(1))
        assert [peer for peer, _ in node.sent(Farewell)] == [1]
        node.do(Leave(7))
        assert node.machine.active == (2,)
        assert node.machine.passive == ()


class TestCommands:
    def test_an_update_of_the_members_fills_the_passive_view_and_asks_if_neighbors_lack(self):
        node = Lone()
        node.do(UpdateMembers((US, 1, 2)))
        assert sorted(node.connects()) == [1, 2]
        assert sorted(node.machine.passive) == [1, 2]

    def test_a_node_that_is_alone_joins_the_first_contact_that_an_update_names_and_then_the_next(self):
        node = Lone()
        for expected in ("elsewhere", "somewhere"):
            node.do(UpdateMembers(("somewhere", "elsewhere")))
            assert node.connects() == [expected]
        node.do(UpdateMembers(("somewhere", "elsewhere")))
        assert not node.connects()
        node = Lone().befriend(1)
        node.do(UpdateMembers(("somewhere",)))
        assert not node.connects()

    def test_a_contact_that_was_not_reached_is_given_up_by_an_update_that_does_not_name_it(self):
        node = Lone()
        node.do(UpdateMembers((US, "here", "there")))
        node.do(UpdateMembers((US, "there")))
        assert node.disconnects() == ["here"]
        assert node.facts(JoinFailed) == [JoinFailed("here", "left")]
        assert node.connects() == ["there"]
        node.do(UpdateMembers(()))
        assert not node.disconnects()
        node.befriend(1)
        node.do(UpdateMembers((US, 1)))
        assert node.disconnects() == ["there"]

    def test_a_join_that_somebody_waits_for_is_not_given_up_by_an_update(self):
        node = Lone()
        node.do(UpdateMembers((US, "here")))
        node.do(Join("here"))
        node.do(Join("there"))
        node.do(UpdateMembers((US, "elsewhere")))
        assert not node.disconnects()
        assert not node.facts(JoinFailed)

    def test_smaller_views_take_effect_at_once(self):
        node = Lone().befriend(1, 2, 3, 4, 5).know(*range(10, 20))
        node.do(Retune(HyParViewConfig(active_max_size=3, passive_max_size=4, shuffle_interval=100.0)))
        assert len(node.machine.active) == 2
        assert len(node.machine.passive) == 4
        assert len(node.sent(Farewell)) == 3
        assert any(isinstance(e, StartTimer) and e.timer == SHUFFLE_TIMER for e in node.effects)

    def test_another_value_of_our_own_is_told_as_a_farewell_and_a_beginning(self):
        named = HyParViewConfig(name=lambda peer: peer[0])
        node = HyParView(("us", 1), named, random.Random(1))
        node.handle(Start(), 0.0)
        node.handle(Received(("a", 1), Neighbor(("a", 1), UNTAGGED, NEVER, ("us", 1))), 0.0)
        node.handle(Connected(("a", 1), ("a", 1)), 0.0)
        effects = node.handle(Respec(("us", 2)), 0.0)
        assert [e.message for e in effects if isinstance(e, Send)] == [
            Farewell(("us", 1), (1, 1)),
            Neighbor(("us", 2), UNTAGGED, NEVER, ("a", 1)),
        ]
        assert node.members == (("a", 1), ("us", 2))
        assert node.handle(Respec(("them", 2)), 0.0) == []

    def test_a_peer_that_comes_back_as_another_value_replaces_the_former(self):
        named = HyParViewConfig(name=lambda peer: peer[0])
        node = HyParView(("us", 1), named, random.Random(1))
        node.handle(Start(), 0.0)
        for value in (1, 2):
            peer = ("a", value)
            effects = node.handle(Received(peer, Neighbor(peer, UNTAGGED, NEVER, ("us", 1))), 0.0)
            assert Connect(peer) in effects
            node.handle(Connected(peer, peer), 0.0)
            assert node.active == (peer,)
        effects = node.handle(Connected(("a", 3), ("a", 2)), 0.0)
        facts = [e.fact for e in effects if isinstance(e, Notify)]
        assert facts[:2] == [NeighborDown(("a", 2), "replaced"), NeighborUp(("a", 3))]
        assert node.active == (("a", 3),)
        node.handle(Received(("b", 1), ShuffleReply((("a", 9), ("c", 1), ("c", 2)), ("b", 1))), 0.0)
        assert node.passive == (("c", 1),)  # what others say of a name replaces nothing


class TestPartitions:
    def test_a_peer_may_not_inject_one_unless_that_is_allowed(self):
        node = Lone().befriend(1)
        node.hear(1, InjectPartition("ref", 1, 3))
        node.refuses("inject_partition")

    def test_one_floods_once_and_so_does_its_end(self):
        node = Lone(partitions=True).befriend(1, 2)
        node.hear(1, InjectPartition("ref", 1, 3))
        assert node.sent() == [(1, InjectPartition("ref", US, 2)), (2, InjectPartition("ref", US, 2))]
        assert node.machine.partitions == (("ref", 1), ("ref", 2), ("ref", US))
        node.hear(2, InjectPartition("ref", 2, 2))
        assert not node.effects
        node.hear(1, ResolvePartition("ref"))
        assert node.sent() == [(1, ResolvePartition("ref")), (2, ResolvePartition("ref"))]
        node.hear(2, ResolvePartition("ref"))
        assert not node.effects
