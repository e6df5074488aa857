"""Partial views and the numbers of farewells, by themselves."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from partisan.machines.view import NO_DISCONNECT, DisconnectIds, choose, mix, sample

NAMES = st.lists(st.integers(0, 20), unique=True, max_size=10)


@given(NAMES, NAMES, st.integers(-1, 12), NAMES, st.integers(0, 99))
def test_a_mixed_view_is_within_its_size_and_keeps_as_many_newcomers_as_there_are_places(old, new, most, first, seed):
    most = max(most, len(old))
    view, fresh = {name: -name for name in old}, {name: -name for name in new if name not in old}
    mix(view, dict(fresh), most, random.Random(seed), first)
    assert len(view) == min(most, len(old) + len(fresh))
    assert len(fresh.keys() & view.keys()) == min(most, len(fresh))
    assert all(view[name] == -name for name in view)
    excess = max(0, len(old) + len(fresh) - most)
    named = [name for name in first if name in old]
    assert not set(named[:excess]).intersection(view)
    assert set(old).difference(named) <= view.keys() or excess > len(named)


def test_who_makes_room_is_chosen_at_random():
    gone = set()
    for seed in range(100):
        view = dict.fromkeys(range(5))
        mix(view, {9: None}, 5, random.Random(seed))
        gone |= set(range(5)) - view.keys()
    assert gone == set(range(5))


@given(st.dictionaries(st.integers(0, 9), st.integers(), max_size=6), NAMES, st.integers(0, 8), st.integers(0, 99))
def test_what_is_drawn_is_in_the_view_and_not_excepted(view, but, most, seed):
    rng = random.Random(seed)
    name = choose(view, rng, but)
    assert name in view.keys() - set(but) if view.keys() - set(but) else name is None
    drawn = sample(view, rng, most)
    assert len(drawn) == min(most, len(view))
    assert all(drawn.count(peer) <= list(view.values()).count(peer) for peer in drawn)


def test_numbers_grow_for_each_node_also_after_they_were_forgotten():
    ids = DisconnectIds(3, keep=30.0, most=2)
    numbers = [ids.next(name, 0.0) for name in ("a", "b", "c", "d")]
    ids.expire(100.0)
    assert numbers == sorted(set(numbers))
    assert ids.next("a", 100.0) > numbers[-1]
    assert {epoch for epoch, _ in numbers} == {3}


def test_a_node_that_has_not_read_our_latest_farewell_is_not_addable_while_that_may_be_under_way():
    ids = DisconnectIds(3, keep=30.0, most=9)
    assert ids.addable("a", NO_DISCONNECT, 0.0)
    number = ids.next("a", 0.0)
    assert not ids.addable("a", NO_DISCONNECT, 30.0)
    assert ids.addable("a", number, 0.0)
    assert ids.addable("a", (4, 0), 0.0)
    assert ids.addable("b", NO_DISCONNECT, 0.0)
    assert ids.addable("a", NO_DISCONNECT, 30.1)


def test_of_what_was_sent_and_read_the_oldest_is_forgotten_first():
    ids = DisconnectIds(1, keep=30.0, most=2)
    for name in ("a", "b", "a", "c"):
        ids.next(name, 0.0)
        assert ids.read(name, ids.next(name, 0.0), 0.0)
    assert [ids.sent_lately(name, 0.0) for name in "abc"] == [True, False, True]
    assert [ids.last_read(name) == NO_DISCONNECT for name in "abc"] == [False, True, False]
    ids.limit(30.0, 1)
    assert [ids.sent_lately(name, 0.0) for name in "abc"] == [False, False, True]


def test_a_farewell_is_stale_if_a_later_one_was_read_lately():
    ids = DisconnectIds(1, keep=30.0, most=9)
    assert ids.read("a", (2, 5), 0.0)
    assert not ids.read("a", (2, 5), 30.0)
    assert not ids.read("a", (1, 4), 1.0)
    assert ids.last_read("a") == (2, 5)
    assert ids.read("a", (1, 6), 1.0)  # partisan 5.0.3 takes a higher count of any epoch
    assert ids.read("a", (2, 1), 1.0)
    assert ids.read("a", (1, 1), 32.0)
    assert ids.last_read("a") == (1, 1)
