"""Causal delivery, one rule at a time. Whole worlds are in `test_causal_worlds`."""

from __future__ import annotations

import random

import pytest

from partisan.errors import LocalProtocolError
from partisan.machines.causal import HEALED, PATIENCE_TIMER, SAVE_TIMER, CausalDelivery
from partisan.machines.causal_messages import (
    FIRST_NUMBER,
    MOST_ENTRIES,
    MOST_NUMBER,
    Arrived,
    CausalConfig,
    Confirmed,
    Forget,
    GivenUp,
    Missing,
    Refused,
    SessionOver,
    Settled,
    Stamped,
    Submit,
    Trimmed,
)
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Join,
    Notify,
    Received,
    Save,
    Send,
    Start,
    StartTimer,
    TimedOut,
    Violation,
)
from tests.work import steps


def machine(name, config=None, **options):
    return CausalDelivery(name, config or CausalConfig(), random.Random(0), **options)


def sent(source, peer, content, kept=False):
    """What the machine sends."""
    [effect] = [each for each in source.handle(Submit(peer, content, kept), 0.0) if type(each) is Send]
    assert effect.peer == peer
    return effect.message


def facts(target, peer, message, now=0.0):
    return [each.fact for each in target.handle(Received(peer, message), now) if type(each) is Notify]


def arrived(target, peer, message):
    return [fact.message for fact in facts(target, peer, message) if type(fact) is Arrived]


def test_the_clocks_are_those_that_the_reference_was_seen_to_send():
    a, b = machine("a", count=0), machine("b", count=0)
    first, second, third = (sent(a, "b", number) for number in (1, 2, 3))
    assert (first.dependencies, first.clock) == ((), (("a", 1),))
    assert (second.dependencies, second.clock) == ((("b", (("a", 1),)),), (("a", 2),))
    assert (third.dependencies, third.clock) == ((("b", (("a", 2),)),), (("a", 3),))
    assert [arrived(b, "a", each) for each in (first, second, third)] == [[1], [2], [3]]
    answer = sent(b, "a", 4)
    assert (answer.dependencies, answer.clock) == ((), (("b", 4), ("a", 3)))


def test_a_message_that_comes_before_its_predecessor_waits_for_it():
    a, b = machine("a"), machine("b")
    first, second, third = (sent(a, "b", number) for number in (1, 2, 3))
    assert arrived(b, "a", third) == []
    assert arrived(b, "a", second) == []
    assert b.waiting == 2
    assert arrived(b, "a", first) == [1, 2, 3]
    assert b.waiting == b.waiting_octets == 0


def test_a_message_waits_for_what_its_sender_knew_of_another():
    a, b, c = machine("a"), machine("b"), machine("c")
    first = sent(a, "b", 1)
    assert arrived(c, "a", sent(a, "c", 2)) == [2]
    third = sent(c, "b", 3)
    assert arrived(b, "c", third) == []
    assert arrived(b, "a", first) == [1, 3]


def test_what_a_node_says_it_has_had_is_told_to_nobody_any_more():
    a, b, c = machine("a"), machine("b"), machine("c")
    arrived(b, "a", sent(a, "b", 1))
    arrived(a, "b", sent(b, "a", 2))
    assert sent(a, "c", 3).dependencies == ()
    arrived(c, "b", sent(b, "c", 4))
    assert "b" not in dict(sent(c, "b", 5).dependencies)


def test_copies_are_dropped_whether_delivered_or_waiting():
    a, b = machine("a"), machine("b")
    first, second = sent(a, "b", 1), sent(a, "b", 2)
    assert facts(b, "a", second) == facts(b, "a", second) == []
    assert arrived(b, "a", first) == [1, 2]
    assert facts(b, "a", first) == facts(b, "a", second) == []
    assert (b.copies, b.delivered) == (3, 2)


def test_a_message_without_a_predecessor_says_that_whatever_is_missing_is_lost():
    a, b = machine("a"), machine("b")
    arrived(b, "a", sent(a, "b", 0))
    sent(a, "b", "lost")
    second = sent(a, "b", 2)
    assert arrived(b, "a", second) == []
    a.handle(Disconnected("b", "closed"), 0.0)
    third = sent(a, "b", 3)
    assert third.dependencies == ()
    found = facts(b, "a", third)
    assert [type(fact) for fact in found] == [Missing, Arrived, Arrived]
    assert [fact.message for fact in found[1:]] == [2, 3]


def test_a_settlement_leaves_out_what_is_kept_until_it_is_confirmed():
    a = machine("a")
    number = sent(a, "b", 1, kept=True).clock[0][1]
    sent(a, "b", 2)
    a.handle(Connected("b", "b"), 0.0)
    a.handle(Disconnected("b", "closed"), 0.0)
    assert a.handle(Connected("b", "b"), 0.0) == [Send("b", Settled(number - 1))]
    assert a.handle(Confirmed("b", number), 0.0) == [Send("b", Settled(number + 1))]
    assert a.handle(Confirmed("b", number), 0.0) == []


def test_what_is_kept_and_given_up_is_settled_at_once():
    a = machine("a")
    a.handle(Connected("b", "b"), 0.0)
    number = sent(a, "b", 1, kept=True).clock[0][1]
    assert a.handle(Confirmed("b", number, arrived=False), 0.0) == [Send("b", Settled(number))]


def test_a_settlement_releases_what_a_third_node_has_made_wait():
    a, b, c = machine("a"), machine("b"), machine("c")
    lost = sent(a, "b", 1)
    arrived(c, "a", sent(a, "c", 2))
    assert arrived(b, "c", sent(c, "b", 3)) == []
    assert arrived(b, "a", Settled(lost.clock[0][1] - 1)) == []
    assert arrived(b, "a", Settled(lost.clock[0][1])) == [3]


def test_patience_ends_the_waiting_and_says_so_and_what_comes_too_late_is_refused():
    a, b = machine("a"), machine("b", CausalConfig(patience=5.0))
    zeroth, first, second = (sent(a, "b", number) for number in range(3))
    arrived(b, "a", zeroth)
    effects = b.handle(Received("a", second), 10.0)
    assert effects == [StartTimer(PATIENCE_TIMER, 5.0)]
    found = [each.fact for each in b.handle(TimedOut(PATIENCE_TIMER), 15.0) if type(each) is Notify]
    assert [type(fact) for fact in found] == [GivenUp, Missing, Arrived]
    number = first.clock[0][1]
    assert facts(b, "a", first) == [Refused("a", number, "late")]


def test_the_alarm_is_set_for_what_waits_next():
    a, b = machine("a"), machine("b", CausalConfig(patience=5.0))
    c = machine("c")
    messages = [sent(a, "b", 0), sent(a, "b", 1)], [sent(c, "b", 0), sent(c, "b", 1)]
    b.handle(Received("a", messages[0][1]), 0.0)
    b.handle(Received("c", messages[1][1]), 3.0)
    effects = b.handle(TimedOut(PATIENCE_TIMER), 5.0)
    assert StartTimer(PATIENCE_TIMER, 3.0) in effects
    assert b.waiting == 1


def test_what_has_waited_too_long_still_does_not_overtake_its_own_sender():
    """The third message came first; the second, which is there, waits for another node."""
    a, b, x = machine("a"), machine("b", CausalConfig(patience=5.0)), machine("x")
    first = sent(a, "b", 1)
    sent(x, "b", "lost")
    arrived(a, "x", sent(x, "a", 0))
    second, third = sent(a, "b", 2), sent(a, "b", 3)
    arrived(b, "a", first)
    b.handle(Received("a", third), 0.0)
    b.handle(Received("a", second), 3.0)
    effects = b.handle(TimedOut(PATIENCE_TIMER), 5.0)
    assert [each.fact for each in effects if type(each) is Notify] == [GivenUp("a", third.clock[0][1])]
    effects = b.handle(TimedOut(PATIENCE_TIMER), 8.0)
    found = [each.fact for each in effects if type(each) is Notify]
    assert found == [GivenUp("a", second.clock[0][1]), Arrived("a", 2), Arrived("a", 3)]


def test_what_is_lost_is_still_so_after_a_restart():
    a, b, c = machine("a"), machine("b"), machine("c")
    lost = sent(a, "b", 1).clock[0][1]
    arrived(c, "a", sent(a, "c", 2))
    arrived(b, "a", Settled(lost))
    again = machine("b", restored=b.state())
    assert arrived(again, "c", sent(c, "b", 3)) == [3]


def test_without_patience_it_waits_for_ever():
    a, b = machine("a"), machine("b", CausalConfig(patience=None))
    sent(a, "b", 1)
    assert b.handle(Received("a", sent(a, "b", 2)), 0.0) == []


@pytest.mark.parametrize(("kept", "after"), [(True, [1]), (False, [1, 2, 3, 5])])
def test_above_the_bound_a_message_is_refused_and_those_after_one_that_is_lost_so_do_not_wait_for_it(kept, after):
    a, b = machine("a"), machine("b", CausalConfig(max_waiting=4))
    one, two, three, four, five = (sent(a, "b", number, kept) for number in range(1, 6))
    assert arrived(b, "a", two) == arrived(b, "a", three) == []
    assert facts(b, "a", four) == [Refused("a", four.clock[0][1], "full")]
    delivered = arrived(b, "a", one)
    delivered += arrived(b, "a", five)
    assert delivered == ([1, 2, 3] if kept else after)
    assert b.waiting == (1 if kept else 0)
    assert arrived(b, "a", four) == ([4, 5] if kept else [])


def test_many_that_are_refused_cost_no_more_each_than_few():
    def work(most):
        a, x, b = machine("a"), machine("x"), machine("b", CausalConfig(max_waiting=most))
        first = sent(x, "b", "first")
        arrived(a, "x", sent(x, "a", "second"))  # so what a sends depends on the first
        messages = [sent(a, "b", number) for number in range(3 * most // 2)]
        delivered = []

        def run():
            for message in messages:
                assert not arrived(b, "a", message)
            delivered.extend(arrived(b, "x", first))
            delivered.extend(arrived(b, "a", sent(a, "b", "last")))

        taken = steps(run)
        assert delivered == ["first", *range(most // 2), "last"]
        return taken

    assert work(400) < 5 * work(100)


def test_octets_are_bounded_too_but_one_message_may_be_larger():
    config = CausalConfig(max_waiting_octets=100)
    a, b = machine("a"), machine("b", config, weigh=len)
    messages = [sent(a, "b", b"x" * size) for size in (1, 500, 1)]
    assert facts(b, "a", messages[1]) == []
    assert b.waiting_octets == 500
    assert facts(b, "a", messages[2]) == [Refused("a", messages[2].clock[0][1], "full")]


def test_one_sender_takes_half_of_the_room_at_most():
    a, b, c = machine("a"), machine("b", CausalConfig(max_waiting=4)), machine("c")
    for number, message in enumerate([sent(a, "b", number) for number in range(4)][1:]):
        assert bool(facts(b, "a", message)) is (number == 2)
    sent(c, "b", 0)
    assert facts(b, "c", sent(c, "b", 1)) == []


def test_a_real_node_that_counts_from_one_again_is_heard_once_its_session_is_over():
    a, b = machine("a", count=0), machine("b")
    first, second, third = (sent(a, "b", number) for number in range(3))
    assert arrived(b, "a", first) == [0]
    facts(b, "a", third)
    b.handle(SessionOver("a"), 0.0)
    again = sent(machine("a", count=0), "b", "again")
    assert facts(b, "a", again) == [Refused("a", 3, "restarted"), Arrived("a", "again")]
    assert facts(b, "a", second) == [Arrived("a", 1)]  # by its numbers it follows


def test_of_a_real_node_only_its_own_last_message_is_waited_for():
    b = machine("b")
    message = Stamped("b", (("b", (("a", 1), ("c", 99))),), (("a", 2), ("c", 99)), "second")
    assert arrived(b, "a", message) == []
    assert arrived(b, "a", Stamped("b", (), (("a", 1), ("c", 50)), "first")) == ["first", "second"]


N = FIRST_NUMBER


@pytest.mark.parametrize(
    "lie",
    [
        Stamped("c", (), (("a", N),), 0),
        Stamped("b", (), (), 0),
        Stamped("b", (), (("c", N),), 0),
        Stamped("b", (), (("a", N), ("a", N)), 0),
        Stamped("b", (), (("a", -1),), 0),
        Stamped("b", (), (("a", MOST_NUMBER),), 0),
        Stamped("b", (), (("a", True),), 0),
        Stamped("b", (), (("a", N), ("b", N + 1)), 0),
        Stamped("b", (("c", (("b", N + 1),)),), (("a", N),), 0),
        Stamped("b", (("b", (("a", N),)),), (("a", N),), 0),
        Stamped("b", (("c", (("a", N + 1),)),), (("a", N),), 0),
        Stamped("b", (("c", ()), ("c", ())), (("a", N),), 0),
        Stamped("b", (("c", None),), (("a", N),), 0),
        Stamped("b", None, (("a", N),), 0),
        Stamped("b", (("c", tuple((number, 1) for number in range(MOST_ENTRIES))),), (("a", N),), 0),
        Settled(-1),
        Settled(MOST_NUMBER),
        Settled("1"),
        "what",
    ],
)
def test_a_lie_is_a_violation_and_changes_nothing_that_is_delivered(lie):
    b = machine("b")
    [fact] = facts(b, "a", lie)
    assert type(fact) is Violation
    assert b.waiting == b.delivered == 0
    assert arrived(b, "a", sent(machine("a"), "b", "true")) == ["true"]


def test_who_knows_higher_numbers_of_us_than_we_do_makes_us_count_on_above_them():
    """As after a restart with a clock that was set back."""
    b = machine("b")
    message = Stamped("b", (), (("a", N), ("b", N + 1000)), "again")
    assert type(facts(b, "a", message)[0]) is Violation
    assert arrived(b, "a", message) == ["again"]
    assert sent(b, "a", 1).clock[0][1] > N + 1000
    assert type(facts(b, "a", Stamped("b", (), (("a", N + 1), ("b", HEALED)), 0))[0]) is Violation
    assert sent(b, "a", 1).clock[0][1] < HEALED


def test_what_others_say_of_strangers_is_not_remembered():
    b = machine("b", known=lambda peer: peer in "abc")
    facts(b, "a", Stamped("b", (("c", (("x", N), ("a", N))), ("y", (("a", N),))), (("a", N + 1), ("z", 1)), 0))
    assert dict(sent(b, "a", 1).dependencies) == {"c": (("a", N),)}


def test_too_much_is_not_sent_and_that_is_said():
    b = machine("b")
    entries = tuple((number, 1) for number in range(MOST_ENTRIES - 10))
    facts(b, "a", Stamped("b", (("c", entries),), (("a", N + 1),), 0))
    first = b.handle(Submit("d", 1), 0.0)
    assert len(first[0].message.dependencies) == 1
    facts(b, "a", Stamped("b", (("e", tuple((number, 1) for number in range(20))),), (("a", N + 2),), 0))
    trimmed, send = b.handle(Submit("d", 1), 0.0)
    assert trimmed == Notify(Trimmed("d"))
    assert [node for node, _ in send.message.dependencies] == ["d"]


def test_a_node_that_has_no_use_for_it_is_sent_only_what_concerns_it():
    a = machine("a")
    sent(a, "b", 1)
    assert a.stamp("c", whole=False)[0] == ()
    before = a.stamp("b", whole=False)[1]
    sent(a, "b", 2)
    assert a.stamp("b", whole=False)[0] == (("b", before),)  # the clock of the last message to it
    assert a.stamp("c")[0] != ()
    assert a.stamp("c") == a.stamp("c")  # nothing has changed


def test_nobody_waits_for_a_peer_that_has_left():
    a, b, c = machine("a"), machine("b"), machine("c")
    sent(a, "b", 1)
    arrived(c, "a", sent(a, "c", 2))
    third, fourth = sent(c, "b", 3), sent(c, "b", 4)
    assert arrived(b, "c", third) == []
    found = [each.fact for each in b.handle(Forget("a"), 0.0) if type(each) is Notify]
    assert found == [Arrived("c", 3)]
    assert arrived(b, "c", fourth) == [4]  # it depends on what a sent as well


def test_what_a_peer_that_has_left_had_sent_before_is_delivered():
    a, b = machine("a"), machine("b")
    sent(a, "b", 1)
    facts(b, "a", sent(a, "b", 2))
    assert [each.fact for each in b.handle(Forget("a"), 0.0) if type(each) is Notify][-1] == Arrived("a", 2)
    assert b.waiting == 0


def test_changes_are_saved_together_and_a_restart_takes_them_up():
    config = CausalConfig(save_interval=0.1, patience=None)
    a, b = machine("a"), machine("b", config)
    first, second = sent(a, "b", 1), sent(a, "b", 2)
    assert b.handle(Received("a", second), 0.0) == [StartTimer(SAVE_TIMER, 0.1)]
    assert b.unsaved
    [save] = b.handle(TimedOut(SAVE_TIMER), 0.1)
    assert type(save) is Save
    assert not b.unsaved
    again = machine("b", config, restored=save.state)
    again.handle(Start(), 0.0)
    assert again.waiting == 1
    assert arrived(again, "a", first) == [1, 2]
    third = machine("b", config, restored=again.state())
    assert arrived(third, "a", first) == []


def test_an_event_of_another_machine_is_refused():
    with pytest.raises(LocalProtocolError):
        machine("a").handle(Join("b"), 0.0)
