"""HyParView, handler by handler: how nodes come and go. One node whose peers are played by the test."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from partisan.errors import LocalProtocolError
from partisan.machines.hyparview import (
    EDGE_TIMER,
    HIGH,
    PROMOTION_TIMER,
    SHUFFLE_TIMER,
    UNTAGGED,
    Declined,
    Farewell,
    ForwardJoin,
    HyParView,
    HyParViewConfig,
    HyParViewState,
    JoinRequest,
    Neighbor,
    NeighborAccepted,
    NeighborRejected,
    Shuffle,
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
    MembersChanged,
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Retune,
    Save,
    Start,
    StartTimer,
    StopTimer,
    TimedOut,
    Unreachable,
    UpdateMembers,
    Violation,
)
from tests.machines.lone import NEVER, US, Lone, request


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

    @pytest.mark.parametrize("wish", [UpdateMembers(((US, "a"), (7, "old"))), Join((7, "old"))], ids=repr)
    def test_a_join_dials_where_it_says_and_not_where_nobody_has_answered_yet(self, wish):
        config = HyParViewConfig(name=lambda peer: peer[0])
        machine = HyParView((US, "a"), config, Random(1))
        machine.handle(Start(), 0.0)
        machine.handle(wish, 0.0)
        effects = machine.handle(Join((7, "new")), 1.0)
        assert [e for e in effects if isinstance(e, Connect | Disconnect)] == [
            Disconnect((7, "old"), "replaced"),
            Connect((7, "new")),
        ]
        machine.handle(Connected((7, "new"), (7, "new")), 2.0)
        effects = machine.handle(Received((7, "new"), Neighbor((7, "new"), UNTAGGED, NEVER, (US, "a"))), 2.0)
        assert Notify(Joined((7, "new"), (7, "new"))) in effects
        assert machine.active == ((7, "new"),)

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

    @pytest.mark.parametrize(
        "message", [ForwardJoin(7, UNTAGGED, 1, 0, 1), Neighbor(7, UNTAGGED, NEVER, US), request(7, HIGH)], ids=repr
    )
    def test_walks_go_out_for_a_joiner_of_whom_something_else_is_heard_before_it_is_reached(self, message):
        node = Lone().befriend(1, 2)
        node.hear(7, JoinRequest(7, UNTAGGED, 1))
        node.hear(message.sender, message)
        node.up(7)
        assert node.machine.active == (1, 2, 7)
        assert [peer for peer, _ in node.sent(ForwardJoin)] == [1, 2]
        assert [peer for peer, _ in node.sent(Neighbor)] == [7]

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


def asked_at(node, event):
    """Whom the event makes it ask."""
    node.do(event)
    return node.connects()


class TestFarewell:
    def test_the_neighbor_moves_to_the_passive_view_and_another_is_asked(self):
        node = Lone().befriend(1, 2, 3).know(8)
        node.hear(1, Farewell(1, (1, 1)))
        assert node.machine.active == (2, 3)
        assert node.machine.passive == (8, 1)
        assert node.disconnects() == [1]
        assert node.connects() == [8]  # not 1 at once

    def test_one_refusal_ends_the_search_that_it_begins(self):
        node = Lone().befriend(1, 2, 3, 4, 5).know(7, 8, 9)
        node.hear(1, Farewell(1, (1, 1)))
        [asked] = node.connects()
        node.up(asked)
        node.hear(asked, NeighborRejected(asked, ()))
        assert node.disconnects() == [asked]
        assert not node.connects()

    @pytest.mark.parametrize("loss", [Received(1, Farewell(1, (1, 1))), Disconnected(1, "closed")])
    def test_without_replacement_nobody_is_asked_before_promotion_which_asks_for_all_that_are_lacking(self, loss):
        node = Lone(replacement=False).befriend(1, 2, 3, 4, 5).know(*range(7, 17))
        for event in (loss, Disconnected(2, "closed")):
            assert not asked_at(node, event)
        assert node.machine.active == (3, 4, 5)
        node.do(TimedOut(PROMOTION_TIMER))
        assert len({*node.connects()}) == 2

    def test_without_replacement_a_promotion_counts_whom_it_asks_in_vain_whatever_came_of_it(self):
        node = Lone(replacement=False, promotion_requests=5).befriend(1, 2, 3).know(*range(7, 37))
        for _ in range(2):
            node.do(TimedOut(PROMOTION_TIMER))
            asked = node.connects()
            for at in range(5):
                peer = asked[at]
                if at % 3 == 0:
                    node.do(Unreachable(peer, "refused"))
                else:
                    node.up(peer)
                    node.hear(peer, NeighborRejected(peer, ()) if at % 3 == 1 else Farewell(peer, (1, 1)))
                assert bool(node.connects()) is (len(asked) < 5)
                asked += node.connects()
            assert len(asked) == len({*asked}) == 5

    def test_without_replacement_a_promotion_asks_no_more_than_it_may_where_more_are_lacking(self):
        node = Lone(replacement=False, promotion_requests=2).befriend(1).know(*range(7, 17))
        assert len(asked_at(node, TimedOut(PROMOTION_TIMER))) == 2

    def test_without_replacement_and_neighbors_a_promotion_goes_on_until_one_is_reached(self):
        node = Lone(replacement=False, promotion_requests=2, active_max_size=2).know(*range(7, 17))
        node.do(TimedOut(PROMOTION_TIMER))
        asked = []
        while len(asked) < 8:
            asked += node.connects()
            node.do(Unreachable(asked[-1], "refused"))
        [last] = node.connects()
        node.up(last)
        node.hear(last, NeighborAccepted(last, UNTAGGED, NEVER, ()))
        assert node.machine.active == (last,)
        assert not asked_at(node, Disconnected(last, "closed"))

    @pytest.mark.parametrize("loss", [Received(1, Farewell(1, (1, 1))), Disconnected(1, "closed")])
    def test_a_neighbor_that_is_lost_amid_a_promotion_changes_nothing_about_its_requests(self, loss):
        node = Lone(replacement=False, promotion_requests=2).befriend(1, 2, 3, 4).know(*range(7, 17))
        [first] = asked_at(node, TimedOut(PROMOTION_TIMER))
        assert not asked_at(node, loss)
        [second] = asked_at(node, Unreachable(first, "refused"))
        assert not asked_at(node, Unreachable(second, "refused"))

    def test_a_search_that_is_under_way_when_replacement_is_turned_off_is_bounded_from_then_on(self):
        node = Lone().befriend(1, 2).know(*range(7, 37))
        asked = asked_at(node, Disconnected(1, "closed"))
        node.do(Retune(replace(node.machine.config, replacement=False, promotion_requests=2)))
        for at in range(40):
            if at < len(asked):
                asked += asked_at(node, Unreachable(asked[at], "refused"))
        assert len(asked) == 4 + 2

    def test_a_promotion_asks_no_more_than_it_may_and_the_next_one_as_many_again(self):
        node = Lone(promotion_requests=2).befriend(1, 2).know(*range(7, 17))
        for _ in range(2):
            node.do(TimedOut(PROMOTION_TIMER))
            asked = []
            while candidates := node.connects():
                asked += candidates
                node.up(asked[-1])
                node.hear(asked[-1], NeighborRejected(asked[-1], ()))
            assert len({*asked}) == 2

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
