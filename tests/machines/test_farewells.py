"""Who missed that we left is told so once, in the place of a greeting, and is a stranger after."""

from __future__ import annotations

import random

from partisan.machines.farewells import Farewells
from partisan.machines.full import FullConfig, FullMembership, FullState
from partisan.machines.machine import Leave, Start
from partisan.machines.membership import Membership
from partisan.machines.orset import OrSet


def test_it_is_told_on_all_that_a_node_opens_until_it_has_closed_that() -> None:
    owed = Farewells()
    owed.left(["r", "s"])
    assert not owed.greets("stranger")
    owed.closed("r")  # of before we left: it has not been told
    assert owed.greets("r")
    assert owed.greets("r")
    owed.closed("r")
    assert not owed.greets("r")
    assert owed.greets("s")


def test_who_has_something_open_hears_it_on_what_it_opens_when_that_is_closed() -> None:
    owed = Farewells()
    owed.left(["r", "s"], {"r", "stranger"})
    assert owed.greets("r")  # in vain: it has been greeted there before
    owed.closed("r")
    assert owed.greets("r")
    owed.closed("r")
    assert not owed.greets("r")


def test_who_is_a_member_again_is_not_told() -> None:
    owed = Farewells()
    owed.left(["r", "s"])
    owed.joined(["r", "stranger"])
    assert not owed.greets("r")
    assert owed.greets("s")


def test_who_is_left_once_more_is_told_once_more() -> None:
    owed = Farewells()
    owed.left(["r"])
    owed.greets("r")
    owed.left(["r"])
    owed.closed("r")
    assert owed.greets("r")


def test_whoever_merges_a_farewell_has_us_no_more_and_has_our_greeting_in_vain_before_it() -> None:
    theirs = OrSet({0: {b"0" * 20: True}, 1: {b"1" * 20: True}})
    machine = FullMembership(0, FullConfig(), random.Random(1), FullState(b"\xf4" * 20, theirs))
    machine.handle(Start(), 0.0)
    machine.handle(Leave(), 1.0)
    assert 0 in theirs.merge(machine.greeting.state)
    assert machine.farewell.actor == machine.greeting.actor
    told = theirs.merge(machine.farewell.state)
    assert told.members == (1,)
    assert 0 in told.merge(machine.greeting.state)  # a join on purpose


def test_a_node_that_has_forgotten_what_is_dead_tells_its_greeting() -> None:
    machine = FullMembership(0, FullConfig(), random.Random(1))
    assert machine.farewell == machine.greeting


def test_a_strategy_of_our_own_has_none() -> None:
    machine = FullMembership(0, FullConfig(), random.Random(1), FullState(b"\xf4" * 20, OrSet({0: {b"0" * 20: False}})))
    assert machine.farewell != machine.greeting
    assert Membership.farewell.fget(machine) == machine.greeting
