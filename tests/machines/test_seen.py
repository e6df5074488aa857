"""The memory of what has been seen: as a set would have it, within its bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.machines.outstanding import FIRST_NUMBER, AcknowledgedConfig
from partisan.machines.seen import MOST_RANGES, Receipts, Runs, Window

PEER = "b@h"


def receipts(**options):
    """A receiver's half, and what it acknowledged without being asked."""
    flushed = []
    return Receipts(AcknowledgedConfig(**options), lambda peer, ranges: flushed.append((peer, ranges))), flushed


@given(st.lists(st.integers(0, 30), min_size=1))
def test_runs_are_a_set_of_numbers_without_gaps_inside_a_run(numbers):
    runs, known = Runs(numbers[0], 1000), {numbers[0]}
    for number in numbers[1:]:
        assert runs.add(number) == (number not in known)
        known.add(number)
    assert sorted(known) == [n for s, e in zip(runs.starts, runs.ends, strict=True) for n in range(s, e)]
    assert all(end < start for end, start in zip(runs.ends, runs.starts[1:], strict=False))


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=200))
def test_runs_beyond_the_bound_are_forgotten_from_the_lowest(numbers):
    runs = Runs(numbers[0], 4)
    for number in numbers:
        runs.add(number)
        assert len(runs.starts) == len(runs.ends) <= 4
    assert max(numbers) == runs.ends[-1] - 1


def test_a_million_numbers_in_order_take_the_room_of_one_run():
    runs = Runs(0, 10)
    for number in range(1, 10_000):
        runs.add(number)
    assert (runs.starts, runs.ends) == ([0], [10_000])


def test_a_window_forgets_the_earliest():
    window = Window(3)
    assert [window.add(number, 0) for number in (1, 2, 1, 3, 4, 1, 3)] == [True, True, False, True, True, True, False]
    assert len(window) == 3


def test_a_window_tells_numbers_that_came_again_with_another_content():
    window = Window(10)
    assert window.add(1, 7)
    assert window.add(1, 8)
    assert not window.add(1, 7)


class TestReceipts:
    @given(st.lists(st.integers(0, 60)))
    def test_a_number_of_our_kind_is_new_once_in_whatever_order_it_comes(self, offsets):
        seen, _ = receipts()
        fresh = [offset for offset in offsets if seen.received(PEER, FIRST_NUMBER + offset)]
        assert fresh == list(dict.fromkeys(offsets))
        assert seen.duplicates == len(offsets) - len(fresh)

    def test_numbers_of_two_peers_have_nothing_to_do_with_each_other(self):
        seen, _ = receipts()
        for number in (7, FIRST_NUMBER + 7):
            assert seen.received(PEER, number)
            assert seen.received("c@h", number)

    def test_a_forged_number_far_ahead_hides_none_of_those_before_it(self):
        seen, _ = receipts()
        for forged in (FIRST_NUMBER + 10**6, FIRST_NUMBER + 10**15, (1 << 64) - 1):
            assert seen.received(PEER, forged)
            assert not seen.received(PEER, forged)
        assert all(seen.received(PEER, FIRST_NUMBER + offset) for offset in range(1000))
        assert not any(seen.received(PEER, FIRST_NUMBER + offset) for offset in range(1000))

    def test_another_life_of_a_sender_is_new_whatever_the_former_one_sent(self):
        seen, _ = receipts()
        assert all(seen.received(PEER, (5 << 56) + offset) for offset in range(100))
        assert all(seen.received(PEER, (4 << 56) + offset) for offset in range(100))
        assert not seen.received(PEER, (5 << 56) + 99)

    def test_a_session_without_end_keeps_the_numbers_of_a_real_node(self):
        seen, _ = receipts()
        assert seen.received(PEER, 3, 11)
        assert not seen.received(PEER, 3, 11)
        assert seen.received(PEER, 3, 12)  # a real node whose manager began again

    def test_the_end_of_a_session_forgets_the_numbers_of_a_real_node_and_keeps_those_of_our_kind(self):
        seen, _ = receipts()
        assert seen.received(PEER, 3, 11)
        assert seen.received(PEER, FIRST_NUMBER, 11)
        seen.session_over(PEER)
        assert seen.received(PEER, 3, 11)
        assert not seen.received(PEER, FIRST_NUMBER, 11)

    def test_absent_senders_are_forgotten_from_the_longest_absent_and_present_ones_never(self):
        seen, _ = receipts(max_absent=2)
        for peer in "abcd":
            assert seen.received(peer, FIRST_NUMBER)
        for peer in "abc":
            seen.session_over(peer)
        assert [seen.received(peer, FIRST_NUMBER) for peer in "abcd"] == [True, False, False, False]

    def test_a_sender_that_came_back_is_no_longer_absent(self):
        seen, _ = receipts(max_absent=1)
        seen.received("a", FIRST_NUMBER)
        seen.session_over("a")
        assert not seen.received("a", FIRST_NUMBER)
        seen.received("b", FIRST_NUMBER)
        seen.session_over("b")
        assert not seen.received("a", FIRST_NUMBER)

    @pytest.mark.parametrize("group", [(1 << 18) + 1, (1 << 24) - 1])
    def test_a_run_that_crosses_from_one_group_of_numbers_to_the_next_is_remembered_whole(self, group):
        seen, _ = receipts()
        seen.coalesce(PEER, True)
        first, last = (group << 40) - 3, (group << 40) + 2
        assert seen.received(PEER, first)
        seen.received_run(PEER, first + 1, last)
        assert not any(seen.received(PEER, number) for number in range(first, last + 1))
        assert seen.top(PEER, last) == last + 1
        assert seen.received(PEER, last + 1)
        assert seen.take_acks()[0][1][0] == (first, last)

    def test_acknowledgements_are_collected_as_ranges_copies_too(self):
        seen, _ = receipts()
        seen.coalesce(PEER, True)
        for offset in (0, 1, 2, 7, 8, 2):
            seen.received(PEER, FIRST_NUMBER + offset)
        seen.received("c@h", FIRST_NUMBER)
        ranges = ((FIRST_NUMBER, FIRST_NUMBER + 2), (FIRST_NUMBER + 7, FIRST_NUMBER + 8), (FIRST_NUMBER + 2,) * 2)
        assert seen.take_acks() == [(PEER, ranges)]
        assert seen.take_acks() == []

    def test_more_ranges_than_one_message_takes_are_acknowledged_at_once(self):
        seen, flushed = receipts()
        seen.coalesce(PEER, True)
        for offset in range(MOST_RANGES + 1):
            seen.received(PEER, FIRST_NUMBER + 2 * offset)
        assert [(peer, len(ranges)) for peer, ranges in flushed] == [(PEER, MOST_RANGES)]
        assert seen.take_acks() == [(PEER, ((FIRST_NUMBER + 2 * MOST_RANGES,) * 2,))]

    @pytest.mark.parametrize("absent", [False, True])
    def test_who_no_longer_takes_ranges_is_owed_what_was_collected(self, absent):
        seen, _ = receipts()
        seen.coalesce(PEER, True)
        seen.received(PEER, FIRST_NUMBER)
        if absent:
            seen.session_over(PEER)
        assert seen.coalesce(PEER, False) == ((FIRST_NUMBER, FIRST_NUMBER),)
        assert seen.take_acks() == []
        assert not seen.batches(PEER)
        seen.received(PEER, FIRST_NUMBER + 1)
        assert seen.take_acks() == []
