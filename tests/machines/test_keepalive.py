"""Keepalive, event by event."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.machines.keepalive import (
    ANSWER_TIMER,
    IDLE_TIMER,
    PROBE_TIMER,
    REPLY_TIMER,
    Heartbeat,
    Keepalive,
    KeepaliveConfig,
    Ping,
    Pong,
    Probe,
    Probed,
)
from partisan.machines.machine import (
    Disconnect,
    Notify,
    Received,
    Retune,
    Send,
    Start,
    StartTimer,
    StopTimer,
    TimedOut,
    Violation,
)


def dialler(**options):
    return Keepalive("a@h", KeepaliveConfig(**options), random.Random(1), peer="b@h")


def pings(effects):
    return [e.message for e in effects if type(e) is Send and type(e.message) is Ping]


def answer(machine, ping, now):
    return machine.handle(Received("b@h", Pong("b@h", ping.id, ping.sent)), now)


def asked(machine, ping):
    """What is answered to a ping once what came with it has been handled."""
    effects = machine.handle(Received("b@h", ping), 1.0)
    return machine.handle(TimedOut(ANSWER_TIMER), 1.0) if effects == [StartTimer(ANSWER_TIMER, 0.0)] else effects


def test_it_pings_after_the_idle_time():
    machine = dialler()
    assert machine.handle(Start(), 100.0) == [StartTimer(IDLE_TIMER, 20.0)]
    send, timer = machine.handle(TimedOut(IDLE_TIMER), 120.0)
    assert send == Send("b@h", Ping("a@h", send.message.id, 120_000))
    assert timer == StartTimer(REPLY_TIMER, 10.0)


def test_the_acceptor_waits_a_quarter_longer():
    machine = Keepalive("a@h", KeepaliveConfig(), random.Random(1), peer="b@h", acceptor=True)
    assert machine.handle(Start(), 0.0) == [StartTimer(IDLE_TIMER, 25.0)]


def test_what_is_heard_postpones_the_ping_without_touching_the_timer():
    machine = dialler()
    machine.handle(Start(), 0.0)
    machine.heard(12.5)
    assert machine.handle(TimedOut(IDLE_TIMER), 20.0) == [StartTimer(IDLE_TIMER, 12.5)]
    assert pings(machine.handle(TimedOut(IDLE_TIMER), 32.5))


def test_a_timer_that_fires_a_hair_early_does_not_spin():
    machine = dialler()
    machine.handle(Start(), 0.0)
    assert pings(machine.handle(TimedOut(IDLE_TIMER), 19.9999999))


def test_pings_carry_wall_time_in_milliseconds():
    machine = Keepalive("a@h", KeepaliveConfig(), random.Random(1), peer="b@h", epoch=1_700_000_000.0)
    machine.handle(Start(), 0.0)
    (ping,) = pings(machine.handle(TimedOut(IDLE_TIMER), 20.0))
    assert ping.sent == 1_700_000_020_000


def test_it_gives_up_after_so_many_pings_in_vain():
    machine = dialler(max_attempts=3)
    machine.handle(Start(), 0.0)
    ids = [p.id for p in pings(machine.handle(TimedOut(IDLE_TIMER), 20.0))]
    for now in (30.0, 40.0):
        ids += [p.id for p in pings(machine.handle(TimedOut(REPLY_TIMER), now))]
    assert len(set(ids)) == 3
    assert machine.handle(TimedOut(REPLY_TIMER), 50.0) == [Disconnect("b@h", "ping_timeout")]


def test_an_answer_begins_a_new_idle_time():
    machine = dialler()
    machine.handle(Start(), 0.0)
    (ping,) = pings(machine.handle(TimedOut(IDLE_TIMER), 20.0))
    assert answer(machine, ping, 20.5) == [
        Notify(Heartbeat(0.5)),
        StopTimer(REPLY_TIMER),
        StartTimer(IDLE_TIMER, 20.0),
    ]


def test_any_frame_is_as_good_as_an_answer():
    machine = dialler(max_attempts=1)
    machine.handle(Start(), 0.0)
    machine.handle(TimedOut(IDLE_TIMER), 20.0)
    machine.heard(29.0)
    assert machine.handle(TimedOut(REPLY_TIMER), 30.0) == [StartTimer(IDLE_TIMER, 19.0)]


def test_a_late_answer_to_an_earlier_ping_is_life():
    machine = dialler(max_attempts=2)
    machine.handle(Start(), 0.0)
    (first,) = pings(machine.handle(TimedOut(IDLE_TIMER), 20.0))
    machine.handle(TimedOut(REPLY_TIMER), 30.0)
    assert answer(machine, first, 31.0) == [
        Notify(Heartbeat(11.0)),
        StopTimer(REPLY_TIMER),
        StartTimer(IDLE_TIMER, 20.0),
    ]


@pytest.mark.parametrize("ping_id", [7, None, b"x", [1], {}, 1.0, True])
def test_an_answer_to_no_ping_is_a_violation(ping_id):
    machine = dialler()
    machine.handle(Start(), 0.0)
    (effect,) = machine.handle(Received("b@h", Pong("b@h", ping_id, 0)), 1.0)
    assert isinstance(effect.fact, Violation)


def test_an_answer_counts_once():
    machine = dialler()
    machine.handle(Start(), 0.0)
    (ping,) = pings(machine.handle(TimedOut(IDLE_TIMER), 20.0))
    answer(machine, ping, 20.5)
    (effect,) = answer(machine, ping, 20.6)
    assert isinstance(effect.fact, Violation)


def test_a_ping_is_answered_with_what_it_carried():
    machine = dialler()
    strange = [b"any", {"term": 1}]
    assert asked(machine, Ping("b@h", strange, -1)) == [Send("b@h", Pong("a@h", strange, -1))]


def test_of_pings_that_are_read_together_the_last_is_answered():
    machine = dialler()
    assert machine.handle(Received("b@h", Ping("b@h", 1, 2)), 1.0) == [StartTimer(ANSWER_TIMER, 0.0)]
    assert machine.handle(Received("b@h", Ping("b@h", 3, 4)), 1.0) == []
    assert machine.handle(TimedOut(ANSWER_TIMER), 1.0) == [Send("b@h", Pong("a@h", 3, 4))]
    assert machine.handle(TimedOut(ANSWER_TIMER), 1.0) == []
    assert asked(machine, Ping("b@h", 5, 6)) == [Send("b@h", Pong("a@h", 5, 6))]


def test_an_answer_to_a_ping_is_one_to_the_probes_before_it():
    machine = dialler()
    machine.handle(Start(), 0.0)
    machine.handle(Probe("first"), 1.0)
    (second,) = pings(machine.handle(Probe("second"), 2.0))
    machine.handle(Probe("third"), 2.5)
    assert answer(machine, second, 3.0) == [Notify(Probed("first", 2.0)), Notify(Probed("second", 1.0))]
    (ping,) = pings(machine.handle(TimedOut(IDLE_TIMER), 25.0))
    facts = [effect.fact for effect in answer(machine, ping, 26.0) if type(effect) is Notify]
    assert facts == [Probed("third", 23.5), Heartbeat(1.0)]


def test_a_ping_in_the_name_of_another_is_ignored():
    machine = dialler()
    (effect,) = machine.handle(Received("b@h", Ping("c@h", 1, 2)), 1.0)
    assert isinstance(effect.fact, Violation)


def test_a_ping_before_the_hello_is_ignored_and_after_it_answered():
    machine = Keepalive("a@h", KeepaliveConfig(), random.Random(1), acceptor=True)
    (effect,) = machine.handle(Received(None, Ping("b@h", 1, 2)), 1.0)
    assert isinstance(effect.fact, Violation)
    machine.peer = "b@h"
    assert asked(machine, Ping("b@h", 1, 2)) == [Send("b@h", Pong("a@h", 1, 2))]


def test_disabled_it_still_answers_and_probes():
    machine = dialler(enabled=False)
    assert machine.handle(Start(), 0.0) == []
    assert asked(machine, Ping("b@h", 1, 2)) == [Send("b@h", Pong("a@h", 1, 2))]
    (ping,) = pings(machine.handle(Probe("tag"), 2.0))
    assert answer(machine, ping, 2.25) == [Notify(Probed("tag", 0.25)), StopTimer(PROBE_TIMER)]


def test_probes_are_told_apart():
    machine = dialler()
    machine.handle(Start(), 0.0)
    (one,) = pings(machine.handle(Probe(1), 1.0))
    (two,) = pings(machine.handle(Probe(2), 1.5))
    assert answer(machine, one, 2.0) == [Notify(Probed(1, 1.0))]
    assert answer(machine, two, 2.0) == [Notify(Probed(2, 0.5)), StopTimer(PROBE_TIMER)]


@pytest.mark.parametrize("enabled", [True, False])
def test_a_probe_whose_answer_is_late_is_sent_again_and_any_answer_counts(enabled):
    machine = dialler(enabled=enabled)
    machine.handle(Start(), 0.0)
    assert StartTimer(PROBE_TIMER, 10.0) in machine.handle(Probe(1), 1.0)
    machine.handle(Probe(2), 2.0)
    (again,) = pings(machine.handle(TimedOut(PROBE_TIMER), 11.0))
    effects = answer(machine, again, 12.0)
    assert effects[:3] == [Notify(Probed(1, 11.0)), Notify(Probed(2, 10.0)), StopTimer(PROBE_TIMER)]
    assert any(effect == StartTimer(IDLE_TIMER, 20.0) for effect in effects) is enabled


def test_unanswered_pings_do_not_pile_up():
    machine = dialler()
    machine.handle(Start(), 0.0)
    for n in range(1000):
        machine.handle(TimedOut(IDLE_TIMER), 20.0 + 40.0 * n)
        machine.heard(21.0 + 40.0 * n)
        machine.handle(TimedOut(REPLY_TIMER), 30.0 + 40.0 * n)
    assert len(machine._pings) <= 64


def test_two_ends_keep_each_other_alive_when_nothing_else_is_said(network):
    net = network(1, lambda peer, rng, restored: Keepalive(peer, KeepaliveConfig(), rng, peer=1 - peer))
    for peer in (0, 1):
        net.boot(peer)
        net.connect(peer, 1 - peer)
    net.run(1000.0)
    assert all(isinstance(fact, Heartbeat) for facts in net.facts.values() for fact in facts)
    assert all(len(facts) >= 20 for facts in net.facts.values())
    net.vanish(1)
    net.run(71.0)
    assert not net.nodes[0].edges


GARBAGE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.binary(), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(), inner, max_size=2)),
    max_leaves=5,
)


@given(
    st.lists(st.one_of(GARBAGE, st.builds(Ping, GARBAGE, GARBAGE, GARBAGE), st.builds(Pong, GARBAGE, GARBAGE, GARBAGE)))
)
def test_nothing_that_a_peer_sends_raises(messages):
    machine = dialler()
    machine.handle(Start(), 0.0)
    for message in messages:
        for effect in machine.handle(Received("b@h", message), 1.0):
            assert isinstance(effect.fact, Violation)


def retuned(machine, now, **options):
    return machine.handle(Retune(KeepaliveConfig(**options)), now)


def test_other_options_hold_at_once_and_the_silence_so_far_counts():
    machine = dialler()
    machine.handle(Start(), 0.0)
    machine.heard(2.0)
    stops = [StopTimer(IDLE_TIMER), StopTimer(REPLY_TIMER)]
    assert retuned(machine, 5.0, idle_timeout=10.0) == [*stops, StartTimer(IDLE_TIMER, 7.0)]
    *stopped, ping, timer = retuned(machine, 6.0, idle_timeout=3.0, timeout=1.0)
    assert (stopped, pings([ping]) != [], timer) == (stops, True, StartTimer(REPLY_TIMER, 1.0))


def test_a_keepalive_can_be_switched_off_and_on_again():
    machine = dialler()
    machine.handle(Start(), 0.0)
    assert retuned(machine, 5.0, enabled=False) == [StopTimer(IDLE_TIMER), StopTimer(REPLY_TIMER)]
    assert retuned(machine, 30.0, enabled=True)[-1] == StartTimer(REPLY_TIMER, 10.0)


def test_pings_in_vain_before_other_options_do_not_count():
    machine = dialler(max_attempts=2)
    machine.handle(Start(), 0.0)
    machine.handle(TimedOut(IDLE_TIMER), 20.0)
    retuned(machine, 25.0, max_attempts=2)
    assert pings(machine.handle(TimedOut(REPLY_TIMER), 35.0))
    assert Disconnect("b@h", "ping_timeout") in machine.handle(TimedOut(REPLY_TIMER), 45.0)


def test_options_that_come_before_the_handshake_wait_for_it():
    machine = dialler()
    assert retuned(machine, 1.0, idle_timeout=4.0) == []
    assert machine.handle(Start(), 2.0) == [StartTimer(IDLE_TIMER, 4.0)]
