"""HyParView, handler by handler: how a node finds neighbors, and whom it takes."""

from __future__ import annotations

import pytest

from partisan.errors import ConfigError
from partisan.machines.hyparview import (
    EDGE_TIMER,
    HIGH,
    LOW,
    PROMOTION_TIMER,
    UNTAGGED,
    Farewell,
    Neighbor,
    NeighborAccepted,
    NeighborRejected,
    NeighborRequest,
)
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Leave,
    MembersChanged,
    NeighborDown,
    NeighborUp,
    StartTimer,
    TimedOut,
    Unreachable,
)
from tests.machines.lone import NEVER, US, Lone, request


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
        assert asked.exchange == (US, 8)

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

    def test_who_knows_nobody_else_asks_in_turns_those_that_it_has_known(self):
        node = Lone(active_max_size=2, passive_max_size=2).befriend(1).know(7, 8)
        node.know(10, 11)  # 7 and 8 make room
        node.do(Disconnected(1, "closed"))
        tried = []
        for _ in range(2):  # rounds
            while node.connects():
                [asked] = node.connects()
                tried.append(asked)
                node.do(Unreachable(asked, "refused"))
            node.do(TimedOut(PROMOTION_TIMER))
        first, second = tried[:4], tried[4:]
        assert sorted(first) == [7, 8, 10, 11]  # not 1 at once
        assert sorted(second) == [1, 7, 8, 10, 11]
        [asked] = node.connects()
        node.up(asked)
        [(_, message)] = node.sent(NeighborRequest)
        assert message.priority == HIGH

    def test_those_that_it_has_known_are_asked_at_once_by_a_lonely_node_alone_and_are_few(self):
        node = Lone(passive_max_size=2, most_former=3).befriend(1, 2)
        for peer in range(200, 260, 2):
            node.know(peer, peer + 1)
        node.do(Disconnected(1, "closed"))
        for peer in node.connects():
            node.do(Unreachable(peer, "refused"))
        assert node.machine.passive == ()
        assert not node.connects()
        node.do(Disconnected(2, "closed"))
        asked = node.connects()
        for peer in asked:
            node.do(Unreachable(peer, "refused"))
            asked += node.connects()
        assert asked == [258, 259]  # of the three, 2 has just failed

    def test_who_has_left_or_is_to_be_forgotten_is_not_asked_again(self):
        node = Lone(passive_max_size=1).befriend(1).know(7)
        node.know(8)
        node.do(Leave(7))
        node.do(Disconnected(1, "closed"))
        assert node.connects() == [8]
        node.do(Leave())
        node.do(TimedOut(PROMOTION_TIMER))
        assert not node.connects()

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

    def test_with_room_and_no_passive_peer_one_that_was_known_before_is_asked_in_each_round(self):
        node = Lone(active_max_size=4).befriend(1, 2, 3)
        for peer in (2, 3):
            node.do(Disconnected(peer, "closed"))
        assert not node.connects()
        asked = []
        for _ in range(4):
            node.do(TimedOut(PROMOTION_TIMER))
            asked.append(node.connects())
            node.do(Unreachable(asked[-1][0], "refused"))
            assert not node.connects()
        assert asked == [[2], [3]] * 2
        node.know(7)
        node.do(TimedOut(PROMOTION_TIMER))
        assert node.connects() == [7]

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
        [(dropped, _)] = node.sent(Farewell)
        [(peer, accepted)] = node.sent(NeighborAccepted)
        assert (peer, accepted.sender, accepted.last) == (7, US, NEVER)
        assert US in accepted.exchange
        assert not {1, 2, 3, 4, 5}.intersection(accepted.exchange) - {dropped}
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
        assert len({1, 2, 3, 4, 5}.intersection(rejected.exchange)) == 3
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
