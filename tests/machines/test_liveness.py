"""Who lives: by edges, heartbeats and obituaries, and what nobody can feign for long."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines.liveness import (
    Accuse,
    EdgeDown,
    EdgeUp,
    HeartbeatOf,
    Liveness,
    LivenessConfig,
    NodeDown,
    NodeUp,
    Obituary,
    Refute,
)
from partisan.machines.machine import Notify, Start, StartTimer, StopTimer, TimedOut


class Lone:
    def __init__(self, **options):
        self.machine = Liveness("us", LivenessConfig(**options), Random(1), life=5)
        self.now = 0.0
        self.timers = {}
        self.facts = []
        self.do(Start())

    def do(self, *events):
        before = len(self.facts)
        for event in events:
            for effect in self.machine.handle(event, self.now):
                if type(effect) is StartTimer:
                    self.timers[effect.timer] = self.now + effect.after
                elif type(effect) is StopTimer:
                    self.timers.pop(effect.timer, None)
                elif type(effect) is Notify:
                    self.facts.append(effect.fact)
        return self.facts[before:]

    def wait(self, seconds):
        end, before = self.now + seconds, len(self.facts)
        while self.timers and min(self.timers.values()) <= end:
            timer = min(self.timers, key=lambda each: self.timers[each])
            self.now = max(self.now, self.timers.pop(timer))
            self.do(TimedOut(timer))
        self.now = end
        return self.facts[before:]

    def changes(self):
        return [(type(fact) is NodeUp, fact.node) for fact in self.facts if type(fact) in (NodeUp, NodeDown)]


def test_a_far_node_is_up_from_its_first_heartbeat_until_it_is_silent():
    lone = Lone(silence=40.0)
    assert lone.do(HeartbeatOf("b", 1)) == [NodeUp("b")]
    for _ in range(20):
        assert lone.wait(10.0) == []
        assert lone.do(HeartbeatOf("b", 1)) == []
    assert lone.machine.up == ["b"]
    assert [type(fact) for fact in lone.wait(51.0)] == [NodeDown]
    assert not lone.machine.is_up("b")
    assert lone.do(HeartbeatOf("b", 1)) == [NodeUp("b")]


def test_an_obituary_that_nobody_refutes_is_the_end():
    lone = Lone(refutation=2.0)
    lone.do(HeartbeatOf("b", 1))
    assert lone.do(Obituary("b", 1)) == []
    assert lone.wait(1.9) == []
    assert lone.wait(0.2) == [NodeDown("b", "a neighbor has lost it")]


def test_the_accused_that_lives_refutes_it():
    lone = Lone()
    lone.do(HeartbeatOf("b", 1), Obituary("b", 1), HeartbeatOf("b", 1))
    assert lone.wait(10.0) == []
    assert lone.do(Obituary("us", 5)) == [Refute()]
    assert lone.do(Obituary("us", 4)) == []


def test_who_has_an_edge_to_the_accused_knows_better():
    lone = Lone()
    lone.do(EdgeUp("b"), HeartbeatOf("b", 1), Obituary("b", 1))
    assert lone.wait(100.0) == []
    assert lone.machine.is_up("b")


def test_a_neighbor_that_is_lost_is_down_at_once_and_everybody_is_told():
    lone = Lone()
    lone.do(EdgeUp("b"), HeartbeatOf("b", 1))
    assert lone.do(EdgeDown("b", lost=True)) == [Accuse("b", 1), NodeDown("b", "its connection is lost")]
    assert lone.do(HeartbeatOf("b", 1)) == [NodeUp("b")]


def test_a_neighbor_that_was_given_up_lives_on_far_away_if_it_has_heartbeats():
    lone = Lone()
    lone.do(EdgeUp("b"), HeartbeatOf("b", 1), EdgeUp("c"))
    assert lone.do(EdgeDown("b", lost=False)) == []
    assert lone.machine.is_up("b")
    assert lone.do(EdgeDown("c", lost=False)) == [NodeDown("c", "it is no neighbor any more")]


def test_who_leaves_is_believed_and_its_late_heartbeats_are_not():
    lone = Lone()
    lone.do(HeartbeatOf("b", 1))
    assert lone.do(Obituary("b", 1, by_itself=True)) == [NodeDown("b", "it has left")]
    assert lone.do(HeartbeatOf("b", 1)) == []
    assert lone.do(HeartbeatOf("b", 2)) == [NodeUp("b")]


def test_a_neighbor_that_has_left_goes_with_its_edge():
    lone = Lone()
    lone.do(EdgeUp("b"), HeartbeatOf("b", 1))
    assert lone.do(Obituary("b", 1, by_itself=True)) == []
    assert [type(fact) for fact in lone.do(EdgeDown("b", lost=False))] == [NodeDown]


def test_a_node_that_was_restarted_is_down_before_it_is_up():
    lone = Lone()
    lone.do(HeartbeatOf("b", 1))
    assert lone.do(HeartbeatOf("b", 2)) == [NodeDown("b", "it was restarted"), NodeUp("b")]
    assert lone.do(HeartbeatOf("b", 1)) == []
    lone.do(EdgeUp("b"))
    assert lone.do(HeartbeatOf("b", 3)) == [NodeDown("b", "it was restarted"), NodeUp("b")]


def test_a_neighbor_that_came_back_is_not_told_of_twice():
    lone = Lone()
    lone.do(EdgeUp("b"), HeartbeatOf("b", 1), EdgeDown("b", lost=True))
    assert lone.do(EdgeUp("b")) == [NodeUp("b")]
    assert lone.do(HeartbeatOf("b", 2)) == []


def test_of_what_is_unknown_nothing_is_believed():
    lone = Lone(most_nodes=2)
    assert lone.do(Obituary("b", 1)) == []
    assert len(lone.machine) == 0
    lone.do(HeartbeatOf("b", 3), HeartbeatOf("c", 1))
    assert lone.do(HeartbeatOf("d", 1)) == []
    assert lone.do(Obituary("b", 2)) == []
    assert lone.wait(30.0) == []
    lone.wait(2000.0)
    assert len(lone.machine) == 0


names = st.sampled_from(["us", *"bcdef"])
lives = st.integers(0, 6)
events = st.one_of(
    st.builds(HeartbeatOf, names, lives),
    st.builds(EdgeUp, st.sampled_from("bcdef")),
    st.builds(EdgeDown, st.sampled_from("bcdef"), st.booleans()),
    st.builds(Obituary, names, lives, st.booleans()),
    st.floats(0.0, 30.0),
)


@settings(max_examples=400, deadline=None)
@given(events=st.lists(events, max_size=60))
def test_up_and_down_alternate_whatever_comes_and_the_silent_end_down(events):
    lone = Lone(most_nodes=4)
    near = set()
    for event in events:
        if isinstance(event, float):
            lone.wait(event)
        elif type(event) is EdgeUp:
            if event.node not in near:
                near.add(event.node)
                lone.do(event)
        elif type(event) is EdgeDown:
            if event.node in near:
                near.remove(event.node)
                lone.do(event)
        else:
            lone.do(event)
        assert len(lone.machine) <= 4
        assert all(lone.machine.is_up(node) for node in near if node in lone.machine._nodes)
        states = {}
        for up, node in lone.changes():
            assert states.get(node, False) is not up
            states[node] = up
        assert {node for node, up in states.items() if up} == set(lone.machine.up)
        assert "us" not in states
    lone.wait(10_000.0)
    assert set(lone.machine.up) <= near
    assert len(lone.machine) <= len(near)
