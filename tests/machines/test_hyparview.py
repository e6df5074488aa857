"""HyParView, handler by handler: one node whose peers are played by the test."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from partisan.errors import ConfigError, LocalProtocolError
from partisan.machines.hyparview import (
    EDGE_TIMER,
    HIGH,
    LOW,
    PROMOTION_TIMER,
    SHUFFLE_TIMER,
    UNTAGGED,
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
    JoinFailed,
    Leave,
    MembersChanged,
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Respec,
    Retune,
    Save,
    Send,
    Start,
    StartTimer,
    StopTimer,
    TimedOut,
    Unreachable,
    UpdateMembers,
    Violation,
)

NEVER = (1, 0)
US = 100


class Lone:
    """One machine, called 100, and what it did last."""

    def __init__(self, restored=None, seed=1, **options):
        self.now = 0.0
        self.machine = HyParView(US, HyParViewConfig(**options), random.Random(seed), restored)
        self.effects = []
        self.do(Start())

    def do(self, event):
        self.effects = self.machine.handle(event, self.now)
        return self.effects

    def up(self, peer, contact=None):
        return self.do(Connected(peer, peer if contact is None else contact))

    def hear(self, peer, message):
        return self.do(Received(peer, message))

    def befriend(self, *peers, tag=UNTAGGED):
        for peer in peers:
            self.hear(peer, Neighbor(peer, tag, NEVER, US))
            self.up(peer)
            assert peer in self.machine.active
        return self

    def know(self, *peers):
        """Put peers into the passive view."""
        self.hear(99, ShuffleReply(peers, 99))
        assert set(peers).issubset(self.machine.passive)
        return self

    def sent(self, kind=object):
        return [(e.peer, e.message) for e in self.effects if isinstance(e, Send) and isinstance(e.message, kind)]

    def facts(self, kind=object):
        return [e.fact for e in self.effects if isinstance(e, Notify) and isinstance(e.fact, kind)]

    def connects(self):
        return [e.peer for e in self.effects if isinstance(e, Connect)]

    def disconnects(self):
        return [e.peer for e in self.effects if isinstance(e, Disconnect)]

    def refuses(self, what):
        assert [fact.detail.partition(":")[0] for fact in self.facts(Violation)] == [what]
        assert not self.sent()
        assert not self.connects()


def request(peer, priority=LOW, tag=UNTAGGED, last=NEVER, exchange=()):
    return NeighborRequest(peer, priority, tag, last, exchange)


class TestStarting:
    def test_it_saves_its_epoch_tells_that_it_is_alone_and_starts_both_timers_at_a_random_phase(self):
        node = Lone(restored=6)
        assert node.machine.epoch == 7
        assert [e.state for e in node.effects if isinstance(e, Save)] == [7]
        assert node.facts() == [MembersChanged((US,))]
        after = {e.timer: e.after for e in node.effects if isinstance(e, StartTimer)}
        assert 0.0 <= after[SHUFFLE_TIMER] < 10.0
        assert 0.0 <= after[PROMOTION_TIMER] < 5.0
        assert node.machine.greeting == HyParViewState((US,), 7)

    def test_the_first_epoch_is_one(self):
        assert Lone().machine.epoch == 1

    def test_random_promotion_can_be_off(self):
        assert StopTimer(PROMOTION_TIMER) in Lone(random_promotion=False).effects

    def test_it_takes_no_event_that_it_does_not_know(self):
        with pytest.raises(LocalProtocolError, match="takes no str"):
            Lone().do("start")

    def test_a_message_that_it_does_not_know_is_a_violation(self):
        node = Lone()
        node.hear(1, "hello")
        assert node.facts() == [Violation(1, "unexpected str")]


class TestJoining:
    def test_a_join_dials_the_contact_and_asks_it_once_it_is_reached(self):
        node = Lone(tag="blue")
        node.do(Join(1))
        assert node.connects() == [1]
        assert not node.sent()
        node.up(1)
        assert node.sent() == [(1, JoinRequest(US, "blue", 1))]
        assert not node.machine.active

    def test_the_join_is_done_when_the_contact_says_that_we_are_neighbors(self):
        node = Lone()
        node.do(Join(("contact", 1)))
        node.up(1, ("contact", 1))
        node.hear(1, Neighbor(1, UNTAGGED, NEVER, US))
        assert node.facts() == [NeighborUp(1), Joined(("contact", 1), 1), MembersChanged((1, US))]
        assert StopTimer((EDGE_TIMER, 1)) in node.effects

    def test_a_join_is_repeated_until_it_is_answered(self):
        node = Lone()
        node.do(Join(1))
        node.do(TimedOut((EDGE_TIMER, 1)))
        assert not node.sent()  # not reached yet
        node.up(1)
        for _ in range(3):
            node.do(TimedOut((EDGE_TIMER, 1)))
            assert node.sent(JoinRequest)
            assert StartTimer((EDGE_TIMER, 1), 5.0) in node.effects

    def test_a_join_survives_failed_dials_and_broken_edges(self):
        node = Lone()
        node.do(Join(1))
        node.do(Unreachable(1, "refused"))
        assert not node.disconnects()
        node.up(1)
        node.do(Disconnected(1, "closed"))
        assert not node.disconnects()
        node.up(1)
        assert node.sent(JoinRequest)

    def test_giving_a_join_up_ends_its_edge(self):
        node = Lone()
        node.do(Join(1))
        node.do(GiveUp(1))
        assert node.facts() == [JoinFailed(1, "left")]
        assert node.disconnects() == [1]
        node.up(1)
        assert not node.effects

    def test_a_join_of_ourselves_fails(self):
        node = Lone()
        node.do(Join(US))
        assert node.facts() == [JoinFailed(US, "self")]
        node.do(Join("somewhere"))
        node.up(US, "somewhere")
        assert JoinFailed("somewhere", "self") in node.facts()
        assert node.disconnects() == [US]

    def test_a_join_of_a_neighbor_is_done_at_once(self):
        node = Lone().befriend(1)
        node.do(Join(1))
        assert node.facts() == [Joined(1, 1)]
        node.do(Join("somewhere"))
        node.up(1, "somewhere")
        assert node.facts() == [Joined("somewhere", 1)]
        assert node.machine.active == (1,)

    def test_a_contact_of_another_overlay_is_not_sent_anything(self):
        node = Lone()
        node.do(Join("somewhere"))
        node.do(Connected(1, "somewhere", ("full_v1",)))
        assert [type(fact) for fact in node.facts()] == [Violation, JoinFailed]
        assert not node.sent()
        assert node.disconnects() == [1]


class TestAJoinRequest:
    def test_the_joiner_is_taken_in_once_it_is_reached_and_walks_go_to_all_other_neighbors(self):
        node = Lone(active_rwl=4).befriend(1, 2)
        node.hear(3, JoinRequest(3, "blue", 9))
        assert node.connects() == [3]
        assert node.machine.active == (1, 2)
        node.up(3)
        walk = ForwardJoin(3, "blue", 9, 4, US)
        assert node.sent() == [(3, Neighbor(US, UNTAGGED, NEVER, 3)), (1, walk), (2, walk)]
        assert node.facts() == [NeighborUp(3), MembersChanged((1, 2, 3, US))]

    def test_a_full_active_view_drops_somebody_for_it_with_a_farewell(self):
        node = Lone().befriend(1, 2, 3, 4, 5)
        node.hear(6, JoinRequest(6, UNTAGGED, 1))
        node.up(6)
        [(dropped, farewell)] = node.sent(Farewell)
        assert farewell == Farewell(US, (1, 1))
        assert dropped in node.machine.passive
        assert node.disconnects() == [dropped]
        assert NeighborDown(dropped, "dropped") in node.facts()
        assert len(node.machine.active) == 5

    def test_who_is_dropped_is_chosen_at_random(self):
        dropped = Counter()
        for seed in range(200):
            node = Lone(seed=seed).befriend(1, 2, 3, 4, 5)
            node.hear(6, JoinRequest(6, UNTAGGED, 1))
            node.up(6)
            dropped[node.sent(Farewell)[0][0]] += 1
        assert set(dropped) == {1, 2, 3, 4, 5}
        assert min(dropped.values()) > 15

    def test_a_joiner_that_cannot_be_reached_evicts_nobody(self):
        node = Lone().befriend(1, 2, 3, 4, 5)
        node.hear(6, JoinRequest(6, UNTAGGED, 1))
        node.do(TimedOut((EDGE_TIMER, 6)))
        assert node.machine.active == (1, 2, 3, 4, 5)
        assert node.disconnects() == [6]

    def test_a_neighbor_that_joins_again_is_told_again_and_no_walks_are_sent(self):
        node = Lone().befriend(1, 2)
        node.hear(1, JoinRequest(1, UNTAGGED, 1))
        assert node.sent() == [(1, Neighbor(US, UNTAGGED, NEVER, 1))]

    def test_whatever_its_epoch_a_joiner_that_was_dropped_is_taken_in(self):
        node = Lone(restored=41, active_max_size=2).befriend(1)
        node.befriend(2)  # drops 1 with a number of epoch 42
        node.hear(1, JoinRequest(1, UNTAGGED, 1))
        node.up(1)
        assert node.machine.active == (1,)

    def test_a_storm_of_joins_opens_a_bounded_number_of_edges_and_says_so(self):
        node = Lone(most_edges=10).befriend(1, 2)
        declined = []
        for peer in range(1000, 2000):
            node.hear(peer, JoinRequest(peer, UNTAGGED, 1))
            declined += node.facts(Declined)
        assert len(declined) == 990
        assert declined[0] == Declined(1010, "JoinRequest")
        assert node.machine.active == (1, 2)

    @pytest.mark.parametrize("message", [JoinRequest(1, None, 1), JoinRequest(1, UNTAGGED, 1.0)])
    def test_one_without_tag_or_epoch_is_a_violation(self, message):
        node = Lone()
        node.hear(1, message)
        node.refuses("join")


class TestAWalk:
    def test_it_goes_on_to_another_neighbor_with_a_hop_less(self):
        node = Lone(passive_rwl=3).befriend(1, 2)
        node.hear(1, ForwardJoin(9, "blue", 7, 5, 1))
        assert node.sent() == [(2, ForwardJoin(9, "blue", 7, 4, US))]
        assert not node.machine.passive

    def test_where_few_hops_are_left_the_joiner_enters_the_passive_view(self):
        node = Lone(passive_rwl=3).befriend(1, 2)
        node.hear(1, ForwardJoin(9, UNTAGGED, 1, 3, 1))
        assert node.machine.passive == (9,)
        assert node.sent() == [(2, ForwardJoin(9, UNTAGGED, 1, 2, US))]

    @pytest.mark.parametrize(("neighbors", "ttl"), [((1, 2, 3), 0), ((1,), 5)])
    def test_at_its_end_the_joiner_becomes_a_neighbor(self, neighbors, ttl):
        node = Lone().befriend(*neighbors)
        node.hear(1, ForwardJoin(9, UNTAGGED, 1, ttl, 1))
        assert node.connects() == [9]
        node.up(9)
        assert node.sent() == [(9, Neighbor(US, UNTAGGED, NEVER, 9))]
        assert node.machine.active == (*neighbors, 9)

    def test_it_never_goes_to_the_joiner_or_back(self):
        for seed in range(50):
            node = Lone(seed=seed).befriend(1, 2, 9)
            node.hear(1, ForwardJoin(9, UNTAGGED, 1, 5, 1))
            assert [peer for peer, _ in node.sent()] == [2]

    def test_our_own_goes_no_further(self):
        node = Lone().befriend(1, 2)
        node.hear(1, ForwardJoin(US, UNTAGGED, 1, 5, 1))
        assert not node.effects

    def test_a_longer_one_than_ours_is_cut_short(self):
        node = Lone(active_rwl=6).befriend(1, 2)
        node.hear(1, ForwardJoin(9, UNTAGGED, 1, 200, 1))
        assert node.sent() == [(2, ForwardJoin(9, UNTAGGED, 1, 5, US))]

    @pytest.mark.parametrize("ttl", [10**9, -1, 1.5, None, True])
    @pytest.mark.parametrize("kind", ["forward_join", "shuffle"])
    def test_a_time_to_live_that_is_none_is_a_violation(self, ttl, kind):
        node = Lone().befriend(1, 2)
        node.hear(1, ForwardJoin(9, UNTAGGED, 1, ttl, 1) if kind == "forward_join" else Shuffle((1, 9), ttl, 1))
        node.refuses(kind)
        assert not node.machine.passive

    @pytest.mark.parametrize("joiner", ["9", None, (9,), [9]])
    def test_a_joiner_that_is_no_peer_is_a_violation(self, joiner):
        node = Lone().befriend(1, 2)
        node.hear(1, ForwardJoin(joiner, UNTAGGED, 1, 3, 1))
        node.refuses("forward_join")

    def test_one_from_somebody_who_is_no_neighbor_is_not_taken_and_the_sender_is_told(self):
        node = Lone().befriend(1)
        node.hear(7, ForwardJoin(9, UNTAGGED, 1, 0, 7))
        assert node.connects() == [7]
        node.up(7)
        assert node.sent() == [(7, Farewell(US, (1, 1)))]
        assert node.disconnects() == [7]
        node.hear(7, ForwardJoin(9, UNTAGGED, 1, 0, 7))
        assert not node.effects  # it is under way


class TestNeighbor:
    def test_who_has_us_as_a_neighbor_becomes_ours_once_it_is_reached(self):
        node = Lone()
        node.hear(1, Neighbor(1, UNTAGGED, NEVER, US))
        assert node.connects() == [1]
        assert not node.machine.active
        node.up(1)
        assert node.facts() == [NeighborUp(1), MembersChanged((1, US))]
        assert not node.sent()

    def test_one_that_crossed_our_farewell_is_ignored(self):
        node = Lone(active_max_size=2).befriend(1, 2)
        node.hear(1, Neighbor(1, UNTAGGED, NEVER, US))
        assert not node.effects
        node.hear(1, Neighbor(1, UNTAGGED, (1, 1), US))
        assert node.connects() == [1]

    def test_a_farewell_of_ours_that_must_have_arrived_is_held_against_nobody(self):
        node = Lone(active_max_size=2, memory=30.0).befriend(1, 2)
        node.now = 31.0
        node.hear(1, Neighbor(1, UNTAGGED, NEVER, US))
        assert node.connects() == [1]

    def test_what_we_say_names_the_farewell_that_we_read_last(self):
        node = Lone(active_max_size=3).befriend(1, 2)
        node.hear(1, Farewell(1, (4, 2)))
        node.hear(1, JoinRequest(1, UNTAGGED, 4))
        node.up(1)
        assert (1, Neighbor(US, UNTAGGED, (4, 2), 1)) in node.sent()

    @pytest.mark.parametrize("last", [None, (1,), (1, 2, 3), (1, 0.0), [1, 0], (True, 1)])
    def test_one_without_a_disconnect_id_is_a_violation(self, last):
        node = Lone()
        node.hear(1, Neighbor(1, UNTAGGED, last, US))
        node.refuses("neighbor")

    def test_one_that_cannot_be_reached_has_its_own_edge_closed_too(self):
        node = Lone()
        node.hear(1, Neighbor(1, UNTAGGED, NEVER, US))
        node.do(Unreachable(1, "refused"))
        assert node.disconnects() == [1]
        assert not node.machine.active


class TestFarewell:
    def test_the_neighbor_moves_to_the_passive_view_and_another_is_asked(self):
        node = Lone().befriend(1, 2, 3).know(8)
        node.hear(1, Farewell(1, (1, 1)))
        assert node.machine.active == (2, 3)
        assert node.machine.passive == (8, 1)
        assert node.disconnects() == [1]
        assert node.connects() == [8]  # not 1 at once

    def test_a_stale_one_is_ignored(self):
        node = Lone().befriend(1)
        node.hear(1, Farewell(1, (2, 5)))
        node.befriend(1)
        node.hear(1, Farewell(1, (2, 5)))
        node.hear(1, Farewell(1, (1, 5)))
        assert node.machine.active == (1,)
        node.hear(1, Farewell(1, (2, 6)))
        assert node.machine.active == ()

    def test_one_of_a_node_that_has_lost_its_count_is_taken_after_a_while(self):
        node = Lone().befriend(1)
        node.hear(1, Farewell(1, (2, 5)))
        node.befriend(1)
        node.now = 31.0
        node.hear(1, Farewell(1, (1, 1)))
        assert node.machine.active == ()

    def test_it_ends_what_was_asked_of_the_peer(self):
        node = Lone().befriend(1)
        node.know(8, 9)
        node.do(TimedOut(PROMOTION_TIMER))
        [asked] = node.connects()
        node.hear(asked, Farewell(asked, (1, 1)))
        assert node.disconnects() == [asked]
        assert node.connects() == [17 - asked]

    @pytest.mark.parametrize("number", [None, 1, (1, "2")])
    def test_one_without_a_number_is_a_violation(self, number):
        node = Lone().befriend(1)
        node.hear(1, Farewell(1, number))
        node.refuses("disconnect")
        assert node.machine.active == (1,)


class TestLosingANeighbor:
    def test_it_goes_from_both_views_and_a_passive_peer_is_asked_with_low_priority(self):
        node = Lone().befriend(1, 2, 3, 4, 5).know(8)
        node.do(Disconnected(1, "closed"))
        assert node.facts() == [NeighborDown(1, "closed"), MembersChanged((2, 3, 4, 5, US))]
        assert node.machine.passive == (8,)
        assert node.disconnects() == [1]
        assert node.connects() == [8]
        node.up(8)
        [(peer, asked)] = node.sent()
        assert (peer, asked.sender, asked.priority, asked.last) == (8, US, LOW, NEVER)

    def test_a_node_without_neighbors_asks_one_with_high_priority_and_the_others_with_low(self):
        node = Lone().befriend(1).know(7, 8, 9)
        node.do(Disconnected(1, "closed"))
        assert sorted(node.connects()) == [7, 8, 9]
        priorities = []
        for peer in (7, 8, 9):
            node.up(peer)
            priorities += [message.priority for _, message in node.sent(NeighborRequest)]
        assert sorted(priorities) == [HIGH, LOW, LOW]

    def test_who_cannot_be_reached_is_purged_and_the_next_is_asked(self):
        node = Lone(active_max_size=2).befriend(1).know(7, 8, 9)
        node.do(Disconnected(1, "closed"))
        tried = []
        for event in (lambda p: Unreachable(p, "refused"), lambda p: TimedOut((EDGE_TIMER, p))):
            [asked] = node.connects()
            tried.append(asked)
            node.do(event(asked))
            assert asked not in node.machine.passive
            assert node.disconnects() == [asked]
        [last] = node.connects()
        assert sorted([*tried, last]) == [7, 8, 9]
        node.up(last)
        [(_, asked)] = node.sent()
        assert asked.priority == HIGH

    def test_who_was_reached_and_then_lost_stays_known(self):
        node = Lone(active_max_size=2).befriend(1).know(7)
        node.do(Disconnected(1, "closed"))
        node.up(7)
        node.do(Disconnected(7, "closed"))
        assert node.machine.passive == (7,)
        assert not node.connects()  # until the next round

    def test_who_does_not_answer_is_purged(self):
        node = Lone(active_max_size=2).befriend(1).know(7)
        node.do(Disconnected(1, "closed"))
        node.up(7)
        node.do(TimedOut((EDGE_TIMER, 7)))
        assert node.machine.passive == ()

    def test_the_news_of_an_edge_that_was_given_up_changes_nothing(self):
        node = Lone().befriend(1)
        for event in (Disconnected(9, "closed"), Unreachable(9, "refused"), Unreachable(1, "late"), Connected(9, 9)):
            node.do(event)
            assert not node.effects


class TestRandomPromotion:
    def test_below_the_smallest_size_one_peer_is_asked_with_high_priority(self):
        node = Lone().befriend(1).know(7, 8)
        node.do(TimedOut(PROMOTION_TIMER))
        assert StartTimer(PROMOTION_TIMER, 5.0) in node.effects
        [asked] = node.connects()
        node.up(asked)
        assert [message.priority for _, message in node.sent()] == [HIGH]

    def test_with_room_one_peer_is_asked_with_low_priority(self):
        node = Lone().befriend(1, 2, 3).know(7, 8)
        node.do(TimedOut(PROMOTION_TIMER))
        [asked] = node.connects()
        node.up(asked)
        assert [message.priority for _, message in node.sent()] == [LOW]

    def test_without_room_nobody_is_asked(self):
        node = Lone().befriend(1, 2, 3, 4, 5).know(7, 8)
        node.do(TimedOut(PROMOTION_TIMER))
        assert not node.connects()


class TestANeighborRequest:
    def test_one_of_high_priority_is_accepted_though_somebody_must_go(self):
        node = Lone().befriend(1, 2, 3, 4, 5)
        node.hear(7, request(7, HIGH, exchange=(7, 8)))
        node.up(7)
        assert len(node.sent(Farewell)) == 1
        [(peer, accepted)] = node.sent(NeighborAccepted)
        assert (peer, accepted.sender, accepted.last) == (7, US, NEVER)
        assert US in accepted.exchange
        assert 7 in node.machine.active
        assert 8 in node.machine.passive

    def test_one_of_low_priority_is_accepted_if_there_is_room(self):
        node = Lone().befriend(1, 2, 3, 4)
        node.hear(7, request(7))
        node.up(7)
        assert [peer for peer, _ in node.sent(NeighborAccepted)] == [7]

    def test_one_of_low_priority_is_rejected_if_there_is_none_and_its_exchange_is_mixed_in(self):
        node = Lone().befriend(1, 2, 3, 4, 5)
        node.hear(7, request(7, exchange=(7, 8)))
        node.up(7)
        [(peer, rejected)] = node.sent()
        assert (peer, type(rejected), rejected.sender) == (7, NeighborRejected, US)
        assert US in rejected.exchange
        assert node.disconnects() == [7]
        assert node.machine.passive == (7, 8)

    def test_the_last_place_goes_to_one_of_two_who_ask_at_once(self):
        node = Lone().befriend(1, 2, 3, 4)
        node.hear(7, request(7))
        node.hear(8, request(8))
        node.up(8)
        assert node.sent(NeighborAccepted)
        node.up(7)
        assert [peer for peer, _ in node.sent(NeighborRejected)] == [7]
        assert not node.sent(Farewell)

    def test_one_that_crossed_our_farewell_is_rejected_whatever_its_priority(self):
        node = Lone(active_max_size=2).befriend(1, 2)
        node.hear(1, request(1, HIGH))
        node.up(1)
        assert [peer for peer, _ in node.sent(NeighborRejected)] == [1]

    def test_a_neighbor_that_asks_is_told_that_it_is_one(self):
        node = Lone().befriend(1, 2, 3, 4, 5)
        node.hear(1, request(1))
        assert [peer for peer, _ in node.sent(NeighborAccepted)] == [1]
        assert len(node.machine.active) == 5

    def test_requests_that_cross_make_one_edge(self):
        node = Lone().befriend(1, 2, 3).know(7)
        node.do(TimedOut(PROMOTION_TIMER))
        node.up(7)
        node.hear(7, request(7))
        assert node.facts(NeighborUp) == [NeighborUp(7)]
        node.hear(7, NeighborAccepted(7, UNTAGGED, NEVER, ()))
        assert not node.effects
        assert node.machine.active == (1, 2, 3, 7)


class TestAnAnswer:
    def ask(self, *friends, **options):
        node = Lone(**options).befriend(*friends).know(7, 8)
        node.do(TimedOut(PROMOTION_TIMER))
        [self.asked] = node.connects()
        node.up(self.asked)
        return node

    def test_an_acceptance_makes_a_neighbor(self):
        node = self.ask(1)
        node.hear(self.asked, NeighborAccepted(self.asked, UNTAGGED, NEVER, (20, 21)))
        assert node.machine.active == (1, self.asked)
        assert set(node.machine.passive) == {15 - self.asked, 20, 21}
        assert not node.connects()

    def test_an_acceptance_that_comes_when_the_view_is_full_is_declined(self):
        node = self.ask(1, 2, 3, 4)
        node.befriend(5)
        node.hear(self.asked, NeighborAccepted(self.asked, UNTAGGED, NEVER, ()))
        assert node.sent() == [(self.asked, Farewell(US, (1, 1)))]
        assert node.disconnects() == [self.asked]
        assert node.machine.active == (1, 2, 3, 4, 5)

    def test_an_acceptance_that_nobody_asked_for_is_as_good_as_any_if_there_is_room(self):
        node = Lone().befriend(1)
        node.hear(9, NeighborAccepted(9, UNTAGGED, NEVER, ()))
        node.up(9)
        assert node.machine.active == (1, 9)

    @pytest.mark.parametrize("exchange", [(), (20,)])
    def test_a_rejection_ends_the_edge_and_after_a_loss_asks_the_next(self, exchange):
        node = Lone(active_max_size=4).befriend(1, 2, 3).know(7, 8)
        node.do(Disconnected(1, "closed"))
        [asked] = node.connects()
        node.up(asked)
        node.hear(asked, NeighborRejected(asked, exchange))
        assert node.disconnects() == [asked]
        assert asked in node.machine.passive
        assert len(node.connects()) == 1
        assert asked not in node.connects()

    def test_after_a_rejection_by_all_nobody_is_asked_until_the_next_round(self):
        node = self.ask(1)
        for peer in (self.asked, 15 - self.asked):
            node.up(peer)
            node.hear(peer, NeighborRejected(peer, ()))
        assert not node.connects()
        node.do(TimedOut(PROMOTION_TIMER))
        assert len(node.connects()) == 1

    def test_if_one_neighbor_alone_lacks_one_rejection_ends_the_round(self):
        node = self.ask(1, 2, 3, 4)
        node.hear(self.asked, NeighborRejected(self.asked, ()))
        assert node.disconnects() == [self.asked]
        assert not node.connects()
        node.do(TimedOut(PROMOTION_TIMER))
        assert len(node.connects()) == 1

    def test_a_rejection_that_nobody_waits_for_asks_nobody(self):
        node = Lone().befriend(1).know(7)
        node.hear(9, NeighborRejected(9, ()))
        assert not node.effects


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


class TestReservedPlaces:
    def test_a_place_is_kept_free_for_a_peer_of_the_tag(self):
        node = Lone(active_max_size=4, reservations=("blue",)).befriend(1, 2)
        node.hear(3, request(3))
        node.up(3)
        assert node.sent(NeighborRejected)
        node.hear(4, request(4, tag="blue"))
        node.up(4)
        assert node.machine.active == (1, 2, 4)
        assert node.machine.reserved("blue") == 4

    def test_who_has_a_reserved_place_is_never_dropped(self):
        for seed in range(30):
            node = Lone(seed=seed, active_max_size=4, reservations=("blue",)).befriend(1, tag="blue").befriend(2, 3)
            node.befriend(4)
            assert 1 in node.machine.active

    def test_a_place_is_free_again_when_its_peer_has_gone(self):
        node = Lone(active_max_size=4, reservations=("blue",)).befriend(1, tag="blue").befriend(2, 3)
        node.do(Disconnected(1, "closed"))
        assert node.machine.reserved("blue") is None
        node.befriend(5)
        assert len(node.machine.active) == 2
        node.befriend(6, tag="blue")
        assert node.machine.reserved("blue") == 6

    def test_if_all_places_are_reserved_nobody_else_gets_in_and_is_told_so(self):
        node = Lone(active_max_size=2, reservations=("blue",))
        node.hear(1, Neighbor(1, UNTAGGED, NEVER, US))
        node.up(1)
        assert node.sent() == [(1, Farewell(US, (1, 1)))]
        assert node.disconnects() == [1]

    def test_more_reservations_than_places_are_refused(self):
        with pytest.raises(ConfigError, match="reservations"):
            Lone(active_max_size=3, reservations=("a", "b", "c"))
        node = Lone(active_max_size=3, reservations=("a",))
        assert node.machine.reserve("a")
        assert node.machine.reserve("b")
        assert not node.machine.reserve("c")


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

    def test_a_node_that_is_alone_joins_a_contact_that_an_update_names(self):
        node = Lone()
        node.do(UpdateMembers(("somewhere", "elsewhere")))
        assert node.connects() == ["somewhere"]

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
