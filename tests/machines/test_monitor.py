"""Monitors between nodes, event by event and under chance."""

from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan.machines.machine import (
    Connected,
    Disconnected,
    Notify,
    Received,
    Send,
    StartTimer,
    StopTimer,
    TimedOut,
    Violation,
)
from partisan.machines.monitor import (
    Ask,
    Begin,
    Down,
    End,
    Ended,
    Failed,
    Fired,
    Held,
    Monitor,
    MonitorConfig,
    Placed,
    Refused,
    Unask,
    Unplaced,
    Unsent,
    Unwatch,
    Watch,
)

NOTHING = {"asked": 0, "held": 0, "watched": 0, "early": 0, "owed": 0}


def machine(*up, name="a", **options):
    numbers = itertools.count(1)
    made = Monitor(name, MonitorConfig(**options), random.Random(1), lambda: (name, next(numbers)))
    for peer in up:
        made.handle(Connected(peer, peer), 0.0)
    return made


def sent(effects, kind=object):
    return [e.message for e in effects if type(e) is Send and isinstance(e.message, kind)]


def facts(effects):
    return [e.fact for e in effects if type(e) is Notify]


def begin(made, key="k", node="b", target="t"):
    """Begin a monitor; the origin of its request."""
    (ask,) = sent(made.handle(Begin(key, node, target), 0.0), Ask)
    return ask.origin


def held(made, key="k", node="b", reference="r"):
    made.handle(Received(node, Placed(begin(made, key, node), reference)), 0.0)


def test_a_monitor_asks_the_node_of_the_process_on_its_channel():
    made = machine("b")
    send, timer = made.handle(Begin("k", "b", "t", "data", 3), 0.0)
    assert send == Send("b", Ask(send.message.origin, "t", "data", beside=3))
    assert timer == StartTimer(("answer", send.message.origin), 5.0)


def test_a_placed_monitor_fires_once_with_the_reason_that_is_told():
    made = machine("b")
    origin = begin(made)
    stop, fact = made.handle(Received("b", Placed(origin, "r")), 1.0)
    assert stop == StopTimer(("answer", origin))
    assert fact == Notify(Held("k"))
    assert facts(made.handle(Received("b", Down("r", "t", "bye")), 2.0)) == [Fired("k", "bye")]
    assert made.handle(Received("b", Down("r", "t", "bye")), 3.0) == []
    assert made.counts == NOTHING


def test_an_end_that_overtakes_the_answer_is_not_lost():
    made = machine("b")
    origin = begin(made)
    assert made.handle(Received("b", Down("r", "t", None)), 1.0) == []
    assert facts(made.handle(Received("b", Placed(origin, "r")), 2.0)) == [Fired("k", None)]
    assert made.counts == NOTHING


def test_an_early_end_is_kept_only_while_requests_to_its_node_are_not_answered():
    made = machine("b", "c")
    begin(made, node="c")
    made.handle(Received("b", Down("r", "t", "bye")), 0.0)
    assert made.counts["early"] == 0
    origin = begin(made, "other", "b")
    made.handle(Received("b", Down("r", "t", "bye")), 0.0)
    assert made.counts["early"] == 1
    made.handle(Received(None, Refused(origin)), 0.0)
    assert made.counts["early"] == 0


def test_early_ends_are_bounded_and_the_oldest_goes():
    made = machine("b", max_early=2)
    origin = begin(made)
    for reference in "rst":
        effects = made.handle(Received("b", Down(reference, "t", "bye")), 0.0)
    assert [type(fact) for fact in facts(effects)] == [Violation]
    assert made.counts["early"] == 2
    assert facts(made.handle(Received("b", Placed(origin, "t")), 0.0)) == [Fired("k", "bye")]


def test_a_name_that_the_node_does_not_know_is_no_process():
    made = machine("b")
    assert Notify(Failed("k", "noproc")) in made.handle(Received(None, Refused(begin(made))), 1.0)
    assert made.counts == NOTHING


def test_no_answer_in_time_fires_with_timeout_and_the_late_answer_is_taken_back():
    made = machine("b")
    origin = begin(made)
    assert facts(made.handle(TimedOut(("answer", origin)), 5.0)) == [Failed("k", "timeout")]
    (unask,) = sent(made.handle(Received("b", Placed(origin, "r")), 6.0))
    assert unask == Unask(unask.origin, "r")
    assert made.handle(Received(None, Unplaced(unask.origin)), 7.0) == []
    assert made.counts == NOTHING


def test_a_node_that_is_not_connected_fires_at_once():
    made = machine()
    assert made.handle(Begin("k", "b", "t"), 0.0) == [Notify(Failed("k", "noconnection"))]
    made = machine("b")
    made.handle(Disconnected("b", "closed"), 0.0)
    assert made.handle(Begin("k", "b", "t"), 0.0) == [Notify(Failed("k", "noconnection"))]


def test_a_request_that_cannot_be_sent_fires_with_noconnection():
    made = machine("b")
    assert facts(made.handle(Unsent(begin(made)), 0.0)) == [Failed("k", "noconnection")]
    assert made.counts == NOTHING


def test_the_loss_of_a_node_fires_all_that_is_monitored_there_and_nothing_else():
    made = machine("b", "c")
    held(made, "k1", reference="r1")
    begin(made, "k2")
    held(made, "k3", "c", "r3")
    lost = made.handle(Disconnected("b", "closed"), 9.0)
    assert sorted(fact.key for fact in facts(lost)) == ["k1", "k2"]
    assert {fact.why for fact in facts(lost)} == {"noconnection"}
    assert made.counts == {**NOTHING, "held": 1}


def test_an_end_before_the_answer_takes_the_monitor_back_when_that_comes():
    made = machine("b")
    origin = begin(made)
    assert made.handle(End("k"), 1.0) == []
    effects = made.handle(Received("b", Placed(origin, "r")), 2.0)
    assert [type(message) for message in sent(effects)] == [Unask]
    assert not facts(effects)
    assert made.counts == NOTHING


def test_an_end_whose_process_has_ended_before_the_answer_takes_nothing_back():
    made = machine("b")
    origin = begin(made)
    made.handle(End("k"), 1.0)
    made.handle(Received("b", Down("r", "t", "bye")), 1.5)
    assert made.handle(Received("b", Placed(origin, "r")), 2.0) == [StopTimer(("answer", origin))]


def test_an_end_of_what_never_began_is_nothing():
    assert machine("b").handle(End("k"), 0.0) == []


def test_monitors_that_share_a_reference_all_fire_and_the_last_one_takes_it_back():
    made = machine("b")
    for key in ("k1", "k2", "k3"):
        held(made, key, reference="dummy")
    assert made.handle(End("k2"), 0.0) == []
    assert facts(made.handle(Received("b", Down("dummy", "t", "bye")), 0.0)) == [Fired("k1", "bye"), Fired("k3", "bye")]
    assert made.counts == NOTHING
    held(made, "k4", reference="dummy")
    assert [type(message) for message in sent(made.handle(End("k4"), 0.0))] == [Unask]


def test_an_asked_node_answers_then_watches_and_tells_the_end_on_the_channel():
    made = machine("b")
    placed, watch = made.handle(Received("b", Ask("from", "t", "data")), 0.0)
    reference = placed.message.reference
    assert placed == Send("b", Placed("from", reference))
    assert watch == Notify(Watch(reference, "t"))
    assert made.handle(Ended(reference, "bye"), 1.0) == [Send("b", Down(reference, "t", "bye", "data"))]
    assert made.handle(Ended(reference, "bye"), 1.0) == []
    assert made.counts == NOTHING


def test_a_hasty_node_is_not_told_an_end_before_it_can_know_the_monitor():
    made = machine("b")
    reference = sent(made.handle(Received("b", Ask("from", "t", "data", True)), 1.0))[0].reference
    (timer,) = made.handle(Ended(reference, "noproc"), 1.03)
    assert timer == StartTimer(("ripe", reference), pytest.approx(0.02))
    assert made.handle(Ended(reference, "noproc"), 1.04) == []
    assert made.handle(TimedOut(("ripe", reference)), 1.05) == [Send("b", Down(reference, "t", "noproc", "data"))]
    reference = sent(made.handle(Received("b", Ask("from", "t", None, True)), 2.0))[0].reference
    assert sent(made.handle(Ended(reference, "bye"), 2.1)) == [Down(reference, "t", "bye")]
    assert made.counts == NOTHING


@pytest.mark.parametrize("why", ["taken back", "lost"])
def test_an_end_that_waits_to_be_told_is_forgotten_with_its_watch(why):
    made = machine("b")
    reference = sent(made.handle(Received("b", Ask("from", "t", None, True)), 1.0))[0].reference
    made.handle(Ended(reference, "noproc"), 1.0)
    event = Received("b", Unask("x", reference)) if why == "taken back" else Disconnected("b", "closed")
    effects = made.handle(event, 1.01)
    assert StopTimer(("ripe", reference)) in effects
    assert not facts(effects)
    assert made.counts == NOTHING


def test_what_cannot_be_read_is_refused():
    assert machine("b").handle(Received("b", Ask("from", None)), 0.0) == [Send("b", Refused("from"))]


def test_a_watch_is_taken_back_by_the_node_that_asked_for_it_alone():
    made = machine("b", "c")
    reference = sent(made.handle(Received("b", Ask("from", "t")), 0.0))[0].reference
    assert made.handle(Received("c", Unask("x", reference)), 0.0) == [Send("c", Unplaced("x"))]
    assert made.handle(Received("b", Unask("y", reference)), 0.0) == [
        Send("b", Unplaced("y")),
        Notify(Unwatch(reference)),
    ]
    assert made.handle(Received("b", Unask("z", reference)), 0.0) == [Send("b", Unplaced("z"))]
    assert made.counts == NOTHING


def test_the_watches_of_a_lost_node_are_dropped():
    made = machine("b", "c")
    lost = sent(made.handle(Received("b", Ask("from", "t")), 0.0))[0].reference
    kept = sent(made.handle(Received("c", Ask("from", "t")), 0.0))[0].reference
    assert facts(made.handle(Disconnected("b", "closed"), 1.0)) == [Unwatch(lost)]
    assert made.handle(Ended(lost, "bye"), 2.0) == []
    assert sent(made.handle(Ended(kept, "bye"), 2.0)) == [Down(kept, "t", "bye")]


def test_a_request_waits_for_the_connection_that_its_answer_needs():
    made = machine()
    assert made.handle(Received("b", Ask("from", "t")), 0.0) == [StartTimer(("owed", "b"), 5.0)]
    stop, placed, watch = made.handle(Connected("b", "b"), 1.0)
    assert stop == StopTimer(("owed", "b"))
    assert type(placed.message) is Placed
    assert type(watch.fact) is Watch


def test_requests_that_wait_in_vain_are_given_up_and_bounded():
    made = machine(max_owed=2)
    for _ in range(2):
        assert not facts(made.handle(Received("b", Ask("from", "t")), 0.0))
    assert [type(f) for f in facts(made.handle(Received("b", Ask("from", "t")), 0.0))] == [Violation]
    made.handle(Received("c", Ask("from", "t")), 0.0)
    assert [type(f) for f in facts(made.handle(Received("d", Ask("from", "t")), 0.0))] == [Violation]
    for peer in "bc":
        assert [type(f) for f in facts(made.handle(TimedOut(("owed", peer)), 5.0))] == [Violation]
    assert made.counts == NOTHING
    assert not made._nodes
    assert not sent(made.handle(Connected("b", "b"), 6.0))


def test_how_much_a_node_may_have_watched_is_bounded():
    made = machine("b", "c", max_watched=1)
    made.handle(Received("b", Ask(1, "t")), 0.0)
    assert [type(effect.fact) for effect in made.handle(Received("b", Ask(2, "t")), 0.0)] == [Violation]
    assert sent(made.handle(Received("c", Ask(1, "t")), 0.0))


@pytest.mark.parametrize("origin", [1, "x", (), ("a", 1), True, None])
def test_answers_to_nothing_do_nothing(origin):
    made = machine("b")
    for message in (Refused(origin), Unplaced(origin)):
        assert made.handle(Received("b", message), 0.0) == []
    assert machine().handle(Received("b", Placed(origin, "r")), 0.0) == []


def test_a_node_that_asks_itself_is_answered():
    made = machine()
    assert [type(m) for m in sent(made.handle(Received("a", Ask("from", "t")), 0.0))] == [Placed]


class Pair:
    """Two machines and lanes between them that chance orders; processes that chance ends."""

    LANES = ("first", "second")

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.machines = {name: machine(name=name) for name in "ab"}
        self.lanes = {(name, lane): [] for name in "ab" for lane in self.LANES}
        self.timers = {name: {} for name in "ab"}
        self.alive = {f"p{number}": True for number in range(6)}  # of b
        self.watches = {}
        self.fired = Counter()
        self.wanted = {}  # key -> target, of monitors that are not ended
        self.keys = itertools.count()
        self.up = False

    def do(self, name, event):
        for effect in self.machines[name].handle(event, 0.0):
            if type(effect) is Send:
                lane = self.chance.choice(self.LANES)
                self.lanes[name, lane].append(effect.message)
            elif type(effect) is StartTimer:
                self.timers[name][effect.timer] = True
            elif type(effect) is StopTimer:
                self.timers[name].pop(effect.timer, None)
            elif type(effect.fact) is not Held:
                self.note(name, effect.fact)

    def note(self, name, fact):
        if type(fact) in (Fired, Failed):
            assert name == "a"
            assert fact.key in self.wanted, "it fired after its end, or twice"
            target = self.wanted.pop(fact.key)
            if type(fact) is Fired:
                assert not self.alive[target]
        elif type(fact) is Watch:
            self.watches[fact.reference] = fact.target
            if not self.alive[fact.target]:
                del self.watches[fact.reference]
                self.do(name, Ended(fact.reference, "noproc"))
        elif type(fact) is Unwatch:
            del self.watches[fact.reference]
        else:
            assert type(fact) is Violation

    def connect(self):
        self.up = True
        for name, other in ("ab", "ba"):
            self.do(name, Connected(other, other))

    def cut(self):
        self.up = False
        for lane in self.lanes.values():
            lane.clear()
        for name, other in ("ab", "ba"):
            self.do(name, Disconnected(other, "closed"))

    def begin(self):
        key, target = next(self.keys), self.chance.choice(list(self.alive))
        self.wanted[key] = target
        self.do("a", Begin(key, "b", target))

    def end(self):
        if self.wanted:
            key = self.chance.choice(list(self.wanted))
            del self.wanted[key]
            self.do("a", End(key))

    def kill(self):
        target = self.chance.choice(list(self.alive))
        self.alive[target] = False
        for reference in [r for r, t in self.watches.items() if t == target]:
            del self.watches[reference]
            self.do("b", Ended(reference, "bye"))

    def carry(self):
        full = [at for at, lane in self.lanes.items() if lane]
        if full:
            at = self.chance.choice(full)
            self.do("b" if at[0] == "a" else "a", Received(at[0], self.lanes[at].pop(0)))

    def late(self):
        name = self.chance.choice("ab")
        if self.timers[name]:
            timer = self.chance.choice(list(self.timers[name]))
            del self.timers[name][timer]
            self.do(name, TimedOut(timer))

    def settle(self):
        while any(self.lanes.values()):
            self.carry()


@given(st.integers(0, 2**32), st.lists(st.sampled_from("bbbbekcccccccccclx"), max_size=300))
@settings(deadline=None)
def test_whatever_happens_each_monitor_fires_at_most_once_and_none_is_forgotten(seed, script):
    pair = Pair(seed)
    pair.connect()
    acts = {"b": pair.begin, "e": pair.end, "k": pair.kill, "c": pair.carry, "l": pair.late}
    for act in script:
        if act == "x":
            pair.cut() if pair.up else pair.connect()
        else:
            acts[act]()
    pair.settle()
    if pair.up:
        # Whoever still waits, waits for a process that lives; and is told when it ends.
        assert all(pair.alive[target] for target in pair.wanted.values())
        assert sorted(pair.wanted.values()) == sorted(pair.watches.values())
        for target in pair.alive:
            pair.alive[target] = False
        for reference in list(pair.watches):
            del pair.watches[reference]
            pair.do("b", Ended(reference, "bye"))
        pair.settle()
    assert not pair.wanted
    assert not pair.watches
    for made in pair.machines.values():
        assert made.counts == NOTHING


@given(st.integers(0, 2**32), st.integers(1, 40))
@settings(deadline=None)
def test_every_end_that_overtakes_its_answer_arrives_with_its_reason(seed, count):
    chance = random.Random(seed)
    made = machine("b")
    origins = [begin(made, key) for key in range(count)]
    messages = [Placed(origin, ("b", origin)) for origin in origins]
    messages += [Down(("b", origin), "t", ("bye", origin)) for origin in origins]
    chance.shuffle(messages)
    found = [fact for message in messages for fact in facts(made.handle(Received("b", message), 0.0))]
    found = [fact for fact in found if type(fact) is not Held]
    assert sorted(found, key=lambda fact: fact.key) == [
        Fired(key, ("bye", origin)) for key, origin in enumerate(origins)
    ]
    assert made.counts == NOTHING
