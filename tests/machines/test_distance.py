"""Distances: questions at intervals, and which answers count."""

from __future__ import annotations

import random

from partisan.machines.distance import DISTANCE_TIMER, Answer, DistanceConfig, Distances, Question
from partisan.machines.machine import Connected, Disconnected, Received, Send, Start, StartTimer, TimedOut


def machine(*neighbors):
    made = Distances("a", DistanceConfig(10.0), random.Random(1))
    made.handle(Start(), 0.0)
    for peer in neighbors:
        made.handle(Connected(peer, peer), 1.0)
    return made


def test_a_neighbor_is_asked_when_it_comes_up_and_at_each_interval():
    asking = machine()
    assert asking.handle(Connected("b", "b"), 1.0) == [Send("b", Question(1_000_000))]
    timer, question = asking.handle(TimedOut(DISTANCE_TIMER), 11.0)
    assert timer == StartTimer(DISTANCE_TIMER, 10.0)
    assert question == Send("b", Question(11_000_000))


def test_the_distance_is_the_time_until_the_answer():
    asking = machine("b")
    assert asking.handle(Received("b", Answer(1_000_000)), 1.25) == []
    assert asking.seconds == {"b": 0.25}


def test_only_the_answer_to_the_latest_question_counts_and_only_once():
    asking = machine("b")
    asking.handle(TimedOut(DISTANCE_TIMER), 11.0)
    for stamp in (1_000_000, 99):
        asking.handle(Received("b", Answer(stamp)), 11.1)
    asking.handle(Received("c", Answer(11_000_000)), 11.1)
    assert asking.seconds == {}
    asking.handle(Received("b", Answer(11_000_000)), 11.5)
    asking.handle(Received("b", Answer(11_000_000)), 19.0)
    assert asking.seconds == {"b": 0.5}


def test_who_is_gone_has_no_distance_and_is_not_asked():
    asking = machine("b")
    asking.handle(Received("b", Answer(1_000_000)), 1.25)
    asking.handle(Disconnected("b", "closed"), 2.0)
    assert asking.seconds == {}
    assert [type(effect) for effect in asking.handle(TimedOut(DISTANCE_TIMER), 11.0)] == [StartTimer]


def test_a_question_is_answered_with_its_stamp_whoever_asks():
    assert machine().handle(Received("z", Question(7)), 1.0) == [Send("z", Answer(7))]
