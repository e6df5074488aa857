"""The protocol of links as a value: two nodes, every order of what they do and of what arrives."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import pytest

from partisan.etf import Atom, Pid
from partisan.runtime.links import LinkEnds, Pair, Signal, Tell, Tie, Untie

HERE, THERE = Pid("a@host", 1), Pid("b@host", 2)
PAIR: Pair = (HERE, THERE)
LINKS = Atom("links")
BOOM = Atom("boom")


def test_a_link_is_told_once_and_taken_away_with_an_answer() -> None:
    ends = LinkEnds()
    assert ends.link(PAIR) == [Tie(PAIR), Tell(PAIR, (LINKS, Atom("link"), HERE, THERE))]
    assert ends.link(PAIR) == []
    assert ends.unlink(PAIR) == [Tell(PAIR, (LINKS, Atom("unlink"), HERE, THERE, 1))]
    assert ends.unlink(PAIR) == []
    assert len(ends) == 1
    assert ends.received((LINKS, Atom("unlinked"), THERE, HERE, 1), PAIR, True) == []
    assert len(ends) == 0


def test_an_exit_of_a_link_that_was_taken_away_is_dropped_even_if_there_is_a_new_one() -> None:
    ends = LinkEnds()
    ends.link(PAIR)
    ends.unlink(PAIR)
    ends.link(PAIR)
    assert ends.received((LINKS, Atom("exit"), THERE, HERE, BOOM), PAIR, True) == []
    ends.received((LINKS, Atom("unlinked"), THERE, HERE, 1), PAIR, True)
    again = ends.received((LINKS, Atom("exit"), THERE, HERE, Atom("noproc")), PAIR, True)
    assert again == [Signal(PAIR, Atom("noproc"))]
    assert len(ends) == 0


def test_an_answer_to_an_earlier_unlink_does_not_end_a_later_one() -> None:
    ends = LinkEnds()
    for _ in range(2):
        ends.link(PAIR)
        ends.unlink(PAIR)
    ends.received((LINKS, Atom("unlinked"), THERE, HERE, 1), PAIR, True)
    ends.link(PAIR)
    assert ends.received((LINKS, Atom("exit"), THERE, HERE, BOOM), PAIR, True) == []


def test_a_link_to_a_dead_process_is_answered_with_noproc() -> None:
    ends = LinkEnds()
    answer = ends.received((LINKS, Atom("link"), THERE, HERE), PAIR, False)
    assert answer == [Tell(PAIR, (LINKS, Atom("exit"), HERE, THERE, Atom("noproc")))]
    assert len(ends) == 0


def test_the_loss_of_a_node_breaks_its_links_and_forgets_what_was_under_way() -> None:
    ends = LinkEnds()
    other: Pair = (HERE, Pid("c@host", 3))
    third: Pair = (HERE, Pid("b@host", 4))
    for pair in (PAIR, other, third):
        ends.link(pair)
    ends.unlink(third)
    assert ends.lost("b@host") == [Signal(PAIR, Atom("noconnection"))]
    assert len(ends) == 1
    assert ends.active(other)


class Side:
    """One node of the two, whose process may end once."""

    def __init__(self, mine: Pid, theirs: Pid) -> None:
        self.pair = (mine, theirs)
        self.ends = LinkEnds()
        self.tied = False
        self.alive = True
        self.unlinked = 0  # how often it has returned from unlink() since it last was linked
        self.inbox: deque[tuple[Any, ...]] = deque()

    def do(self, effects: list[Any], other: Side) -> None:
        for effect in effects:
            if isinstance(effect, Tell):
                other.inbox.append(effect.message)
            elif isinstance(effect, Tie):
                assert self.alive
                self.tied = True
            elif isinstance(effect, Untie):
                self.tied = False
            else:
                assert self.tied, "an exit signal of a link that was taken away"
                self.tied = False


@pytest.mark.parametrize("seed", range(300))
def test_both_ends_agree_whatever_the_order(seed: int) -> None:
    chance = random.Random(seed)
    one, two = Side(HERE, THERE), Side(THERE, HERE)
    for _ in range(60):
        side, other = (one, two) if chance.random() < 0.5 else (two, one)
        [act] = chance.choices(["link", "unlink", "take", "end"], [30, 30, 40, 2])
        if act == "take" and side.inbox:
            message = side.inbox.popleft()
            side.do(side.ends.received(message, side.pair, side.alive), other)
        elif side.alive and act == "link":
            side.do(side.ends.link(side.pair), other)
            side.tied = True
        elif side.alive and act == "unlink":
            side.do(side.ends.unlink(side.pair), other)
            side.tied = False
        elif side.alive and act == "end":
            side.alive = side.tied = False
            side.do(side.ends.ended(side.pair, BOOM), other)
    while one.inbox or two.inbox:
        for side, other in ((one, two), (two, one)):
            while side.inbox:
                side.do(side.ends.received(side.inbox.popleft(), side.pair, side.alive), other)
    assert one.tied == two.tied == one.ends.active(one.pair) == two.ends.active(two.pair)
    assert not one.tied or (one.alive and two.alive)
    assert len(one.ends) == len(two.ends) == one.tied
