"""Heartbeats: each is new once, nobody's hide another's, and what is kept is bounded."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines import heartbeat
from partisan.machines.heartbeat import CHANNEL, NOBODY, Heartbeats, Runs
from partisan.machines.plumtree_messages import Found, Handler, Missing


def test_a_node_counts_under_its_own_name():
    beats = Heartbeats("a@h", 7)
    assert [beats.broadcast_data()[0] for _ in range(2)] == [("a@h", 7, 1), ("a@h", 7, 2)]
    assert beats.is_stale(("a@h", 7, 2))
    assert beats.latest("a@h") == ("a@h", 7, 2)
    assert isinstance(beats, Handler)
    assert beats.broadcast_channel() == CHANNEL == "partisan_membership"
    assert beats.exchange("b@h") is None


def test_a_later_life_makes_the_earlier_stale():
    beats = Heartbeats("a@h", 1)
    assert beats.merge(("b@h", 5, 3), ("b@h", 5, 3))
    assert not beats.is_stale(("b@h", 5, 2))
    assert beats.merge(("b@h", 6, 1), ("b@h", 6, 1))
    assert beats.is_stale(("b@h", 5, 9))
    assert not beats.merge(("b@h", 5, 9), ("b@h", 5, 9))
    assert beats.graft(("b@h", 5, 3)) is Missing.STALE
    assert beats.graft(("b@h", 6, 1)) == Found(("b@h", 6, 1))
    assert beats.graft(("b@h", 6, 2)) is Missing.UNKNOWN
    assert beats.latest("b@h") == ("b@h", 6, 1)
    assert beats.latest("c@h") is None


def test_nodes_that_share_the_name_of_nobody_do_not_hide_each_other():
    beats = Heartbeats("a@h", 1)
    for number in (1, 2, 3):
        for epoch in (30, 10, 20):
            assert beats.merge((NOBODY, epoch, number), (NOBODY, epoch, number))
            assert not beats.merge((NOBODY, epoch, number), (NOBODY, epoch, number))


def test_names_lives_and_runs_are_bounded():
    beats = Heartbeats("a@h", 1, most_nodes=3)
    for n in range(10):
        assert beats.merge((n, 1, 1), (n, 1, 1))
    assert [beats.latest(n) is not None for n in range(10)] == [False] * 7 + [True] * 3
    for epoch in range(heartbeat.MOST_LIVES + 10):
        assert beats.merge((NOBODY, epoch, 1), (NOBODY, epoch, 1))
    assert not beats.is_stale((NOBODY, 9, 1))
    assert beats.is_stale((NOBODY, 10, 1))


@pytest.mark.parametrize(
    "beat",
    [None, 1, (), ("a", 1), ("a", 1, 0), ("a", 1, True), ("a", "1", 1), ([], 1, 1), ("a", 1 << 99, 1), ("a", 1, -1)],
)
def test_what_is_no_heartbeat_is_never_new(beat):
    beats = Heartbeats("a@h", 1)
    assert not beats.merge(beat, beat)
    assert beats.is_stale(beat)
    assert beats.graft(beat) is Missing.UNKNOWN


def test_a_payload_that_is_another_heartbeat_is_not_taken():
    assert not Heartbeats("a@h", 1).merge(("b@h", 1, 1), ("b@h", 1, 2))


@settings(max_examples=300)
@given(numbers=st.lists(st.integers(1, 60), max_size=60), most=st.integers(1, 5))
def test_a_number_once_put_in_is_never_forgotten_and_runs_are_bounded(numbers, most):
    runs = Runs(most)
    for at, number in enumerate(numbers):
        runs.add(number)
        assert all(each in runs for each in numbers[: at + 1])
        assert len(runs.starts) == len(runs.ends) <= most
        pairs = list(zip(runs.starts, runs.ends, strict=True))
        assert all(start < end for start, end in pairs)
        assert all(a[1] < b[0] for a, b in itertools.pairwise(pairs))


@given(numbers=st.lists(st.integers(1, 30), max_size=30))
def test_while_there_is_room_nothing_else_is_in(numbers):
    runs = Runs(64)
    for number in numbers:
        runs.add(number)
    assert [n for n in range(40) if n in runs] == sorted({*numbers})
