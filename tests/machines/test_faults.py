"""The rules of faults: what each does to a frame, and that equal chance and traffic suffer equally."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.machines.faults import (
    DROPPED,
    KINDS,
    PASSED,
    Cut,
    Delay,
    Delivery,
    Duplication,
    Faults,
    Flip,
    Omission,
    Partition,
    Pipe,
    Reordering,
    Suspicion,
    flipped,
)

NAMES = st.sampled_from(["a", "b", "c", "d"])
NEVER = Random("no rule here draws from this")


def faults(*rules):
    """A rule set of these, and it decides about a frame of a to b unless told otherwise."""
    found = Faults()
    for rule in rules:
        found.add(rule)
    return found


def decide(found, source="a", destination="b", channel="undefined", kind="user", now=0.0, rng=NEVER):
    return found.decide(source, destination, channel, kind, now, rng)


def several(values):
    return st.none() | st.lists(values, min_size=1, max_size=2).map(tuple)


SCOPES = st.fixed_dictionaries(
    {
        "sources": several(NAMES),
        "destinations": several(NAMES),
        "channels": several(st.sampled_from(["undefined", "data"])),
        "kinds": several(st.sampled_from(KINDS)),
        "probability": st.sampled_from([0.0, 0.3, 1.0]),
        "skip": st.integers(0, 2),
        "times": st.none() | st.integers(1, 5),
        "since": st.sampled_from([0.0, 10.0]),
        "until": st.sampled_from([50.0, float("inf")]),
    }
)

MADE = st.one_of(
    st.builds(lambda scope: lambda: Cut(**scope), SCOPES),
    st.builds(lambda scope: lambda: Omission(**scope), SCOPES),
    st.builds(lambda scope, copies: lambda: Duplication(copies=copies, **scope), SCOPES, st.integers(1, 3)),
    st.builds(lambda scope: lambda: Delay(seconds=1.0, **scope), SCOPES),
    st.builds(lambda scope: lambda: Reordering(jitter=2.0, **scope), SCOPES),
    st.builds(lambda scope, bits: lambda: Flip(bits=bits, **scope), SCOPES, st.integers(1, 3)),
    st.just(lambda: Partition(groups=(("a", "b"), ("c",)))),
    st.just(lambda: Suspicion(destinations=("b",), times=3)),
)
"""Rules, made afresh at each call: they count."""

TRAFFIC = st.lists(
    st.tuples(NAMES, NAMES, st.sampled_from(["undefined", "data"]), st.sampled_from(KINDS), st.floats(0.0, 3.0)),
    max_size=40,
)


def run(makers, traffic, seed):
    """What becomes of the traffic, and what is counted."""
    found, rng, now, verdicts = faults(*(make() for make in makers)), Random(seed), 0.0, []
    for source, destination, channel, kind, pause in traffic:
        now += pause
        verdicts.append(found.decide(source, destination, channel, kind, now, rng))
        verdicts.append(found.suspected(source, now, rng))
    return verdicts, found.counts


@given(st.lists(MADE, max_size=6), TRAFFIC, st.integers(0, 2**32))
def test_the_same_seed_and_traffic_give_the_same_verdicts(makers, traffic, seed):
    assert run(makers, traffic, seed) == run(makers, traffic, seed)


@given(st.lists(MADE, max_size=6), TRAFFIC, st.integers(0, 2**32))
def test_every_arrival_is_in_the_future_and_every_flip_inside_the_frame(makers, traffic, seed):
    verdicts, _ = run(makers, traffic, seed)
    for delivery in (each for verdict in verdicts[::2] for each in verdict):
        assert delivery.after >= 0.0
        assert all(0.0 <= position < 1.0 for position in delivery.flips)


@given(TRAFFIC)
def test_without_rules_every_frame_passes_and_no_chance_is_drawn(traffic):
    rng = Random(1)
    before = rng.getstate()
    found = faults()
    assert all(found.decide(*frame, rng) is PASSED for frame in traffic)
    assert rng.getstate() == before


@given(SCOPES, TRAFFIC)
def test_a_rule_touches_no_frame_that_it_does_not_name(scope, traffic):
    scope |= {"probability": 1.0, "skip": 0, "times": None, "since": 0.0, "until": float("inf")}
    found = faults(Omission(**scope))
    for source, destination, channel, kind, now in traffic:
        named = all(
            wanted is None or has in wanted
            for wanted, has in zip(
                (scope["sources"], scope["destinations"], scope["channels"], scope["kinds"]),
                (source, destination, channel, kind),
                strict=True,
            )
        )
        assert found.decide(source, destination, channel, kind, now, NEVER) == (DROPPED if named else PASSED)


def test_a_cut_is_one_way():
    found = faults(Cut(sources=("a",), destinations=("b",)))
    assert decide(found, "a", "b") == DROPPED
    assert decide(found, "b", "a") is PASSED
    assert found.is_cut("a", "b", 0.0)
    assert not found.is_cut("b", "a", 0.0)


@given(NAMES, NAMES)
def test_a_partition_parts_its_groups_both_ways_and_nobody_else(source, destination):
    found = faults(Partition(groups=(("a", "b"), ("c",))))
    parted = ("c" in (source, destination)) and "d" not in (source, destination) and source != destination
    assert decide(found, source, destination) == (DROPPED if parted else PASSED)
    assert found.is_cut(source, destination, 0.0) is parted


@pytest.mark.parametrize("limit", [{"kinds": ("user",)}, {"channels": ("data",)}, {"probability": 0.5}, {"times": 9}])
def test_a_cut_of_some_frames_leaves_connections_alone(limit):
    assert not faults(Cut(**limit)).is_cut("a", "b", 0.0)


def test_rules_add_up_in_their_order():
    found = faults(Delay(seconds=1.0), Duplication(), Delay(seconds=0.5), Flip(positions=(0.25,)))
    assert decide(found) == (Delivery(1.5, False, (0.25,)),) * 2


def test_a_frame_that_is_dropped_is_no_concern_of_the_rules_behind():
    behind = Duplication(times=1)
    found = faults(Omission(times=1), behind)
    assert decide(found) == DROPPED
    assert behind.hits == 0
    assert len(decide(found)) == 2


def test_so_many_are_spared_and_so_many_suffer_and_then_the_rule_is_over():
    found = faults(Omission(skip=2, times=3))
    verdicts = [decide(found) for _ in range(8)]
    assert [verdict is PASSED for verdict in verdicts] == [True] * 2 + [False] * 3 + [True] * 3
    assert len(found) == 0
    assert found.counts == {"omission": 3}


def test_a_rule_holds_from_its_beginning_to_its_end():
    found = faults(Omission(since=1.0, until=2.0))
    assert [bool(decide(found, now=now)) for now in (0.5, 1.0, 1.9, 2.0)] == [True, False, False, True]
    assert len(found) == 0


def test_a_probability_is_kept_on_average():
    found, rng = faults(Omission(probability=0.3)), Random(5)
    lost = sum(not decide(found, rng=rng) for _ in range(5000))
    assert 1400 < lost < 1600


def test_jitter_is_loose_and_within_bounds():
    found, rng = faults(Reordering(jitter=2.0)), Random(5)
    deliveries = [delivery for _ in range(100) for delivery in decide(found, rng=rng)]
    assert all(each.loose and 0.0 <= each.after < 2.0 for each in deliveries)
    assert len({each.after for each in deliveries}) == 100


def test_copies_of_a_frame_suffer_each_for_itself():
    found, rng = faults(Duplication(copies=2), Flip()), Random(5)
    assert len({delivery.flips for delivery in decide(found, rng=rng)}) == 3


def test_a_removed_rule_does_nothing_and_is_removed_once():
    found = faults()
    number = found.add(Omission())
    assert found.remove(number)
    assert not found.remove(number)
    assert decide(found) is PASSED


def test_a_number_is_never_given_again():
    found = faults()
    number = found.add(Omission())
    found.clear()
    assert found.add(Omission()) != number


# The faulty failure detector.


def test_a_suspicion_arises_at_once_and_then_after_pauses_as_often_as_it_may():
    found, rng = faults(Suspicion(destinations=("b",), sources=("a",), every=10.0, times=2, since=5.0)), Random(1)
    assert found.suspected("a", 4.9, rng) == []
    assert found.suspected("a", 5.0, rng) == ["b"]
    assert 15.0 <= found.next_suspicion() <= 20.0
    assert found.suspected("a", 15.0 - 0.01, rng) == []
    assert found.suspected("a", 20.0, rng) == ["b"]
    assert found.next_suspicion() is None
    assert found.suspected("a", 1000.0, rng) == []


def test_only_the_observer_that_is_named_suspects():
    found = faults(Suspicion(destinations=("b",), sources=("a",), since=0.0))
    assert found.suspected("c", 0.0, Random(1)) == []


def test_a_suspicion_lets_every_frame_pass():
    assert decide(faults(Suspicion(destinations=("b",)))) is PASSED


# The pipe.


@given(st.lists(st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 5.0), st.booleans()), max_size=30))
def test_what_is_in_order_arrives_in_order_and_nothing_before_its_time(frames):
    pipe, now, arrived = Pipe(), 0.0, []
    sent = []
    for number, (pause, after, loose) in enumerate(frames):
        until = now + pause
        while pipe.next is not None and pipe.next <= until:
            now = pipe.next
            arrived.append((pipe.due(now), now))
        now = until
        sent.append((now + after, loose))
        if pipe.put(number, Delivery(after, loose), now):
            arrived.append((number, now))
    while pipe.next is not None:
        now = pipe.next
        arrived.append((pipe.due(now), now))
    assert sorted(number for number, _ in arrived) == list(range(len(frames)))
    in_order = [number for number, _ in arrived if not sent[number][1]]
    assert in_order == sorted(in_order)
    for number, when in arrived:
        least, loose = sent[number]
        assert when >= least
        if loose:
            assert when == least


def test_a_frame_without_delay_waits_behind_those_in_order():
    pipe = Pipe()
    assert not pipe.put("late", Delivery(1.0), 0.0)
    assert not pipe.put("behind", Delivery(), 0.5)
    assert pipe.put("loose", Delivery(0.0, loose=True), 0.5)
    assert pipe.due(0.9) is None
    assert [pipe.due(1.0), pipe.due(1.0), pipe.due(1.0)] == ["late", "behind", None]
    assert pipe.put("free", Delivery(), 1.0)


def test_a_drained_pipe_gives_all_in_order_and_holds_nobody_up():
    pipe = Pipe()
    for item, delivery in (("b", Delivery(2.0)), ("a", Delivery(1.0, loose=True)), ("c", Delivery(1.0))):
        pipe.put(item, delivery, 0.0)
    assert pipe.drain() == ["a", "b", "c"]
    assert len(pipe) == 0
    assert pipe.put("next", Delivery(), 0.5)


# Flips.


@given(st.binary(min_size=1), st.floats(0.0, 1.0, exclude_max=True))
def test_a_flip_changes_one_bit_and_the_same_flip_restores_it(octets, position):
    changed = flipped(octets, (position,))
    assert int.from_bytes(octets, "big").bit_count() != int.from_bytes(changed, "big").bit_count()
    assert sum((one ^ other).bit_count() for one, other in zip(octets, changed, strict=True)) == 1
    assert flipped(changed, (position,)) == octets


# What cannot be asked for.


@pytest.mark.parametrize(
    "make",
    [
        lambda: Omission(probability=1.1),
        lambda: Omission(probability=-0.1),
        lambda: Omission(times=0),
        lambda: Omission(skip=-1),
        lambda: Omission(kinds=("users",)),
        lambda: Omission(since=2.0, until=1.0),
        lambda: Omission(since=2.0, until=float("nan")),
        lambda: Duplication(copies=0),
        lambda: Delay(seconds=-1.0),
        lambda: Delay(seconds=float("inf")),
        lambda: Reordering(jitter=-1.0),
        lambda: Flip(bits=0),
        lambda: Flip(positions=(1.0,)),
        lambda: Partition(groups=(("a",),)),
        lambda: Partition(groups=(("a",), ())),
        lambda: Partition(groups=(("a",), ("a", "b"))),
        lambda: Suspicion(),
        lambda: Suspicion(destinations=("a",), every=0.0),
    ],
)
def test_a_rule_out_of_bounds_is_refused(make):
    with pytest.raises(ValueError):
        make()
