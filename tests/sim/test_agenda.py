"""The queue gives out by time and order, whatever is added when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from partisan.sim.agenda import SLOTS, Agenda

TIMES = st.floats(0.0, 4.0 / SLOTS) | st.floats(0.0, 100.0)


def entry(at, order):
    return (at, order, 0, None, None, None)


@given(st.lists(TIMES))
def test_entries_come_out_by_time_and_those_of_one_time_in_order(times):
    agenda = Agenda()
    for order, at in enumerate(times):
        agenda.add(entry(at, order))
    assert len(agenda) == len(times)
    found = [(each[0], each[1]) for each in agenda.until(100.0)]
    assert found == sorted((at, order) for order, at in enumerate(times))
    assert len(agenda) == 0


@given(st.lists(st.tuples(TIMES, TIMES), max_size=30), st.lists(TIMES, max_size=5))
def test_what_is_added_while_entries_are_taken_finds_its_place(pairs, stops):
    agenda = Agenda()
    later = {}
    for order, (at, after) in enumerate(pairs):
        agenda.add(entry(at, order))
        later[order] = at + after
    found = []
    for stop in [*sorted(stops), 1000.0]:
        for at, order, *_ in agenda.until(stop):
            assert at <= stop
            found.append((at, order))
            if order in later:
                agenda.add(entry(later[order], order + len(pairs)))
    assert len(found) == 2 * len(pairs)
    assert found == sorted(found)


def test_what_lies_after_the_end_stays_for_the_next_time():
    agenda = Agenda()
    for order, at in enumerate((1.0, 1.0 + 0.1 / SLOTS, 1.0 + 0.2 / SLOTS)):
        agenda.add(entry(at, order))
    assert [each[1] for each in agenda.until(1.0)] == [0]
    agenda.add(entry(1.0 + 0.15 / SLOTS, 3))
    assert [each[1] for each in agenda.until(2.0)] == [1, 3, 2]
