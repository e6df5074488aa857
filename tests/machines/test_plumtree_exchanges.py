"""The exchanges of Plumtree as a machine: with whom, how many, and until when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from partisan.machines.machine import (
    NeighborDown,
    NeighborUp,
    Send,
    StartTimer,
    TimedOut,
    Violation,
)
from partisan.machines.plumtree import EXCHANGE_TIMER
from partisan.machines.plumtree_messages import (
    CancelExchanges,
    Exchange,
    ExchangeCancelled,
    ExchangeOver,
    HandlerFailed,
    Hearing,
    Prune,
    Running,
    Say,
    Talk,
)
from tests.machines.shelves import CONFIG, ME, Chatty, Shelf, facts, machine, sent, told

# Exchanges.


def test_an_exchange_of_messages_goes_on_until_one_side_has_no_more_to_say():
    made = machine((1,), shelf=Chatty(begin=Talk((3,))))
    effects = made.handle(TimedOut(EXCHANGE_TIMER), 10.0)
    assert effects == [StartTimer(EXCHANGE_TIMER, 10.0), Send(1, Say("shelf", 3, ME, "gossip"))]
    assert made.exchanges == (Exchange("shelf", 1, None, 10.0),)
    assert sent(told(made, Say("shelf", 2, 1))) == [(1, Say("shelf", 1, ME, "gossip"))]
    assert made.exchanges == (Exchange("shelf", 1, None, 1.0),)
    told(made, Say("shelf", 0, 1))
    assert made.exchanges == ()


def test_an_exchange_that_gets_no_answer_makes_room_after_a_while():
    made = machine((1,), shelf=Chatty(begin=Talk((3,))))
    assert len(sent(made.handle(TimedOut(EXCHANGE_TIMER), 10.0))) == 1
    assert len(sent(made.handle(TimedOut(EXCHANGE_TIMER), 20.0))) == 0
    assert len(sent(made.handle(TimedOut(EXCHANGE_TIMER), 40.0))) == 1


def test_an_exchange_of_the_application_runs_until_it_says_so_or_is_cancelled():
    made = machine((1,), shelf=Shelf(begin=Running("job")))
    made.handle(TimedOut(EXCHANGE_TIMER), 10.0)
    made.handle(TimedOut(EXCHANGE_TIMER), 90.0)
    running = Exchange("shelf", 1, "job", 10.0)
    assert made.exchanges == (running,)
    for other in (CancelExchanges(peer=2), CancelExchanges(mod="other"), CancelExchanges(job="other")):
        assert made.handle(other, 91.0) == []
    for which in (CancelExchanges(), CancelExchanges(peer=1), CancelExchanges(mod="shelf"), CancelExchanges(job="job")):
        assert facts(made.handle(which, 92.0)) == [ExchangeCancelled(running)]
        made.handle(TimedOut(EXCHANGE_TIMER), 10.0)
    made.handle(ExchangeOver("other"), 93.0)
    assert made.exchanges == (running,)
    made.handle(ExchangeOver("job"), 93.0)
    assert made.exchanges == ()


def test_only_so_many_exchanges_run_at_once():
    shelves = {f"s{n}": Shelf(begin=Running(n)) for n in range(4)}
    made = machine(config=replace(CONFIG, exchange_limit=3), **shelves)
    made.handle(TimedOut(EXCHANGE_TIMER), 10.0)
    assert len(made.exchanges) == 3
    made.handle(TimedOut(EXCHANGE_TIMER), 20.0)
    assert len(made.exchanges) == 3


def test_every_handler_that_exchanges_has_its_turn_however_few_may_run():
    shelves = {"none": Shelf(), **{f"s{n}": Shelf(begin=Talk(("hello",))) for n in range(3)}}
    made = machine(config=replace(CONFIG, exchange_limit=1), **shelves)
    begun = []
    for _ in range(8):
        begun += [
            message.mod for _, message in sent(made.handle(TimedOut(EXCHANGE_TIMER), 10.0)) if type(message) is Say
        ]
        made.handle(CancelExchanges(), 10.0)
    assert len(begun) == 8
    assert set(begun) == {"s0", "s1", "s2"}


def test_an_exchange_that_waits_for_its_answer_keeps_no_other_neighbor_waiting():
    made = machine(none=Shelf(), shelf=Shelf(begin=Talk(("hello",))))
    asked = set()
    for _ in range(50):
        said = sent(made.handle(TimedOut(EXCHANGE_TIMER), 10.0))
        asked |= {peer for peer, message in said if type(message) is Say}
    assert len(asked) == 2


@pytest.mark.parametrize(("selection", "partners"), [("optimized", {2}), ("normal", {1, 2, 3})])
def test_an_exchange_is_rather_with_who_is_not_eager(selection, partners):
    config = replace(CONFIG, exchange_selection=selection, shared_tree=True)
    made = machine(config=config, shelf=Shelf(begin=Running("job")))
    told(made, Prune(ME, 2, "gossip"))
    chosen = set()
    for _ in range(50):
        made.handle(TimedOut(EXCHANGE_TIMER), 10.0)
        chosen.add(made.exchanges[0].peer)
        made.handle(CancelExchanges(), 10.0)
    assert chosen == partners


def partners(made, rounds=50):
    """Whom each handler exchanges with in so many rounds."""
    found = {mod: set() for mod in made.handlers}
    for _ in range(rounds):
        made.handle(TimedOut(EXCHANGE_TIMER), 10.0)
        for exchange in made.exchanges:
            found[exchange.mod].add(exchange.peer)
        made.handle(CancelExchanges(), 10.0)
    return found


@pytest.mark.parametrize("selection", ["optimized", "normal"])
def test_handlers_that_talk_pass_over_neighbors_that_hear_nothing_of_it(selection):
    handlers = {"talks": Chatty(begin=Talk((3,))), "runs": Shelf(begin=Running("job"))}
    made = machine(config=replace(CONFIG, exchange_selection=selection, shared_tree=True), **handlers)
    told(made, Prune(ME, 1, "gossip"))
    for deaf in (1, 3):
        made.handle(Hearing(deaf, False), 1.0)
    both = {1} if selection == "optimized" else {1, 2, 3}
    assert partners(made) == {"talks": {2}, "runs": both}
    made.handle(Hearing(2, False), 1.0)
    assert partners(made)["talks"] == set()
    made.handle(NeighborDown(3, "closed"), 1.0)
    made.handle(Hearing(3, False), 1.0)
    made.handle(NeighborUp(3), 1.0)
    assert partners(made)["talks"] == {3}


def test_what_makes_no_sense_in_an_exchange_is_a_violation():
    made = machine(shelf=Chatty(), plain=Shelf())
    for message in (Say("shelf", "no number", 1), Say("plain", 1, 1), Say("else", 1, 1)):
        assert [type(fact) for fact in facts(told(made, message))] == [Violation]
    made.handlers["shelf"].broken = True
    assert [type(fact) for fact in facts(told(made, Say("shelf", 1, 1)))] == [HandlerFailed]
