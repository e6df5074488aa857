"""Acknowledged delivery, machine by machine: what is kept, sent again, refused, given up and reported."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.errors import LocalProtocolError, Overloaded, Unacknowledged
from partisan.machines.acknowledged import (
    ACK_TIMER,
    FIRST_NUMBER,
    MOST_NUMBER,
    RETRANSMIT_TIMER,
    Ack,
    Acknowledged,
    AcknowledgedConfig,
    AcknowledgedDelivery,
    Acks,
    Arrived,
    Coalesce,
    Delivered,
    Expired,
    Forget,
    Refused,
    SessionOver,
    Submit,
)
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Notify,
    Received,
    Send,
    Start,
    StartTimer,
    TimedOut,
    Violation,
)

PEER, OTHER = "b@h", "c@h"


class Bench:
    """One machine, its time and its one timer.

    Attributes:
        sent: (when, peer, message) of every Send.
        facts: of every Notify.
    """

    def __init__(self, seed=1, connected=(PEER, OTHER), **options):
        self.machine = AcknowledgedDelivery("a@h", AcknowledgedConfig(**options), random.Random(seed))
        self.now = 0.0
        self.alarms = {}
        self.sent, self.facts = [], []
        for peer in connected:
            self.tell(Connected(peer, peer))

    def tell(self, *events):
        for event in events:
            self.carry_out(self.machine.handle(event, self.now))

    def carry_out(self, effects):
        for effect in effects:
            if isinstance(effect, Send):
                self.sent.append((self.now, effect.peer, effect.message))
            elif isinstance(effect, StartTimer):
                self.alarms[effect.timer] = self.now + effect.after
            else:
                assert isinstance(effect, Notify)
                self.facts.append(effect.fact)

    def run(self, seconds):
        until = self.now + seconds
        while self.alarms and min(self.alarms.values()) <= until:
            timer = min(self.alarms, key=self.alarms.__getitem__)
            self.now = max(self.now, self.alarms.pop(timer))
            self.tell(TimedOut(timer))
        self.now = until

    def submit(self, message, peer=PEER, **options):
        """Submit it and return its number."""
        self.tell(Submit(peer, message, **options))
        return self.sent[-1][2].number

    def times(self, number):
        return [when for when, _, message in self.sent if message.number == number]

    def taken(self, kind):
        return [fact for fact in self.facts if isinstance(fact, kind)]


class TestNumbers:
    def test_the_numbers_to_one_peer_follow_each_other_whatever_goes_to_others(self):
        bench = Bench()
        first = bench.submit("x")
        bench.submit("y", OTHER)
        assert bench.submit("z") == first + 1
        assert first >= FIRST_NUMBER

    def test_each_life_and_each_peer_begins_somewhere_else(self):
        lives = [Bench(seed) for seed in range(20)]
        firsts = [bench.submit("x", peer) for bench in lives for peer in (PEER, OTHER)]
        assert len(dict.fromkeys(first >> 40 for first in firsts)) == 40

    def test_a_lane_says_the_next_number_so_that_a_driver_can_write_it_into_the_frame(self):
        bench = Bench()
        sent = bench.machine.sent
        number = sent.lane(PEER).next
        assert sent.submit(sent.lane(PEER), b"frame", 5, 0.0) == number
        assert sent.lane(PEER).next == number + 1
        bench.carry_out(bench.machine.take_effects())
        bench.run(1.0)
        assert bench.sent == [(1.0, PEER, b"frame")]


class TestRetransmission:
    def test_a_message_is_sent_again_after_the_interval_and_then_after_pauses_that_double_up_to_a_limit(self):
        bench = Bench(jitter=0.0, retransmit_interval=1.0, retransmit_backoff_max=5.0)
        number = bench.submit("x")
        bench.run(20.0)
        assert bench.times(number) == pytest.approx([0, 1, 3, 7, 12, 17])
        assert [message for _, _, message in bench.sent] == [Acknowledged(number, "x")] * 6
        assert bench.machine.sent.retransmitted == 5

    def test_jitter_lengthens_each_pause_by_up_to_its_part(self):
        pauses = []
        for seed in range(20):
            bench = Bench(seed, jitter=0.5, retransmit_backoff_max=2.0)
            number = bench.submit("x")
            bench.run(30.0)
            times = bench.times(number)
            pauses += [later - before for before, later in itertools.pairwise(times[1:])]
        assert 2.0 <= min(pauses) < 2.2
        assert 2.8 < max(pauses) <= 3.0

    def test_a_message_that_is_acknowledged_is_not_sent_again_and_the_timer_comes_to_rest(self):
        bench = Bench()
        number = bench.submit("x")
        bench.tell(Received(PEER, Ack(number)))
        bench.run(100.0)
        assert len(bench.sent) == 1
        assert len(bench.machine.sent) == 0
        assert bench.alarms == {}

    def test_one_timer_serves_all_messages(self):
        bench = Bench(jitter=0.0)
        numbers = []
        for _ in range(5):
            numbers.append(bench.submit("x"))
            bench.run(0.1)
        assert list(bench.alarms) == [RETRANSMIT_TIMER]
        bench.run(1.5)
        assert [bench.times(number)[1] for number in numbers] == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.4])

    def test_a_timer_that_waits_for_an_expiry_far_off_is_brought_forward(self):
        bench = Bench(connected=(PEER,), jitter=0.0)
        bench.submit("x", OTHER)
        bench.run(10.0)
        assert bench.alarms == {RETRANSMIT_TIMER: 3600.0}
        number = bench.submit("y")
        bench.run(1.5)
        assert bench.times(number) == [10.0, 11.0]

    def test_a_message_without_retransmission_is_sent_once_and_still_reported(self):
        bench = Bench(expiry=10.0)
        told = bench.submit("x", retransmission=False, tag="told")
        lost = bench.submit("x", retransmission=False, tag="lost")
        bench.tell(Disconnected(PEER, "closed"), Connected(PEER, PEER))
        bench.tell(Received(PEER, Ack(told)))
        bench.run(20.0)
        assert len(bench.sent) == 2
        assert bench.facts == [Delivered(PEER, told, "told"), Expired(PEER, lost, "lost", "expired")]

    def test_a_message_without_retransmission_expires_even_if_nothing_else_does(self):
        bench = Bench(expiry=None)
        bench.submit("x", retransmission=False)
        bench.run(61.0)
        assert len(bench.taken(Expired)) == 1

    def test_nothing_is_sent_again_to_a_peer_that_is_not_connected(self):
        bench = Bench()
        bench.submit("x")
        bench.run(1.5)
        bench.submit("y")
        assert len(bench.sent) == 3
        bench.tell(Disconnected(PEER, "closed"))
        bench.run(100.0)
        assert len(bench.sent) == 3
        lane = bench.machine.sent.lane(PEER)
        assert (len(lane.fresh), len(lane.kept)) == (1, 1)  # it costs no work to wait

    def test_a_peer_that_is_connected_again_gets_everything_at_once_in_order(self):
        bench = Bench()
        first = bench.submit("x")
        bench.run(5.0)
        numbers = [first, *(bench.submit("x") for _ in range(3))]
        bench.tell(Disconnected(PEER, "closed"))
        numbers.append(bench.submit("late"))
        bench.run(50.0)
        before = len(bench.sent)
        bench.tell(Connected(PEER, PEER))
        assert [message.number for _, _, message in bench.sent[before:]] == numbers
        bench.run(1.5)
        assert len(bench.sent) == before + 5
        bench.run(1.0)
        assert len(bench.sent) == before + 10

    def test_many_messages_are_sent_again_in_bursts(self):
        bench = Bench(connected=(), burst=10)
        numbers = [bench.submit("x") for _ in range(35)]
        bench.sent.clear()
        bench.tell(Connected(PEER, PEER))
        assert len(bench.sent) == 10
        for total in (20, 30, 35):
            assert bench.alarms[RETRANSMIT_TIMER] == bench.now
            bench.tell(TimedOut(RETRANSMIT_TIMER))
            assert len(bench.sent) == total
        assert [message.number for _, _, message in bench.sent] == numbers

    def test_a_burst_also_bounds_what_had_been_sent_again_before_and_what_is_made_ready(self):
        bench = Bench(burst=10, retransmit_backoff_max=1000.0, retransmit_interval=1.0)
        for _ in range(35):
            bench.submit("x")
        bench.run(2.0)
        bench.tell(Disconnected(PEER, "closed"))
        for _ in range(35):
            bench.submit("y")
        bench.sent.clear()
        bench.tell(Connected(PEER, PEER))
        assert len(bench.sent) == 10
        assert len(bench.machine.sent.lane(PEER).kept) <= 35 + 10
        bench.run(0.0)
        assert [message.message for _, _, message in bench.sent] == ["x"] * 35 + ["y"] * 35

    def test_a_peer_that_acknowledges_late_is_given_more_time(self):
        bench = Bench(jitter=0.0)
        for _ in range(50):
            number = bench.submit("x")
            bench.machine.sent.acked(PEER, number, bench.now + 5.0)
        bench.sent.clear()
        bench.submit("x")
        bench.run(8.0)
        assert len(bench.sent) == 1
        bench.run(4.0)
        assert len(bench.sent) == 2

    def test_deadlines_of_acknowledged_messages_do_not_pile_up(self):
        bench = Bench(retransmit_backoff_max=1000.0, retransmit_interval=500.0)
        sent = bench.machine.sent
        sent.submit_with(sent.lane(PEER), "in front of them all", 1, bench.now, expiry=400.0)
        for _ in range(20):
            first = sent.lane(PEER).next
            for _ in range(500):
                sent.submit_with(sent.lane(PEER), "x", 1, bench.now, expiry=10_000.0)
            for number in range(first, sent.lane(PEER).next):
                sent.acked(PEER, number, bench.now)
            bench.tell(TimedOut(RETRANSMIT_TIMER))
        assert len(sent._deadlines) <= 1024 + 500
        bench.run(450.0)
        assert len(bench.taken(Expired)) == 1


class TestExpiry:
    def test_a_message_expires_and_its_sender_is_told(self):
        bench = Bench(expiry=5.0)
        number = bench.submit("x", tag="t", octets=7)
        bench.run(4.9)
        assert bench.facts == []
        bench.run(0.2)
        assert bench.facts == [Expired(PEER, number, "t", "expired")]
        assert (len(bench.machine.sent), bench.machine.sent.lane(PEER).octets) == (0, 0)
        bench.run(100.0)
        assert bench.alarms == {}

    def test_a_message_to_a_peer_that_never_connects_expires(self):
        bench = Bench(connected=(), expiry=5.0)
        number = bench.submit("x")
        bench.run(5.1)
        assert bench.facts == [Expired(PEER, number, None, "expired")]

    @pytest.mark.parametrize(("expiry", "tries"), [(0.5, 1), (2.0, 2), (50.0, 6)])
    def test_a_message_may_have_an_expiry_of_its_own(self, expiry, tries):
        bench = Bench(expiry=5.0, jitter=0.0)
        number = bench.submit("x", expiry=expiry)
        bench.run(expiry - 0.01)
        assert len(bench.times(number)) == tries
        bench.run(0.02)
        assert bench.facts == [Expired(PEER, number, None, "expired")]

    def test_without_an_expiry_a_message_is_sent_for_ever(self):
        bench = Bench(expiry=None)
        number = bench.submit("x")
        bench.run(10_000.0)
        assert bench.facts == []
        assert len(bench.times(number)) > 200

    def test_what_is_outstanding_to_a_peer_that_is_forgotten_expires_now(self):
        bench = Bench()
        numbers = [bench.submit("x", tag="t"), bench.submit("y", expiry=7.0)]
        bench.submit("z", OTHER)
        bench.tell(Forget(PEER, "left"))
        assert sorted(fact.number for fact in bench.taken(Expired)) == numbers
        assert bench.taken(Expired)[0].reason == "left"
        assert len(bench.machine.sent) == 1
        before = len(bench.sent)
        bench.run(1.1)
        assert [peer for _, peer, _ in bench.sent[before:]] == [OTHER]


class TestBounds:
    def test_more_messages_than_the_bound_are_refused_and_nothing_is_dropped(self):
        bench = Bench(max_messages=3)
        numbers = [bench.submit("x") for _ in range(3)]
        bench.tell(Submit(PEER, "y", tag="t"))
        (refused,) = bench.taken(Refused)
        assert (refused.peer, refused.tag, refused.error.messages) == (PEER, "t", 3)
        assert [message.number for _, _, message in bench.sent] == numbers
        bench.tell(Received(PEER, Ack(numbers[1])))
        assert bench.submit("y") == numbers[2] + 1
        assert bench.machine.sent.refused == 1

    def test_more_octets_than_the_bound_are_refused_unless_the_message_is_alone(self):
        bench = Bench(max_octets=10)
        sent = bench.machine.sent
        big = sent.submit(sent.lane(PEER), "x", 1000, 0.0)
        with pytest.raises(Unacknowledged, match=r"1 messages to b@h, of 1000 octets") as caught:
            sent.submit(sent.lane(PEER), "x", 0, 0.0)
        assert isinstance(caught.value, Overloaded)
        sent.acked(PEER, big, 0.0)
        for octets in (5, 5):
            sent.submit(sent.lane(PEER), "x", octets, 0.0)
        with pytest.raises(Unacknowledged):
            sent.submit_with(sent.lane(PEER), "x", 1, 0.0, retransmission=False)

    def test_the_bound_of_one_peer_is_not_that_of_another(self):
        bench = Bench(max_messages=1)
        bench.submit("x")
        bench.submit("x", OTHER)
        assert bench.taken(Refused) == []

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=60))
    def test_the_account_of_octets_is_that_of_what_is_outstanding(self, steps):
        bench = Bench(max_messages=8, max_octets=40, expiry=4.0)
        open_ones = {}
        for kind, value in steps:
            if kind == 0:
                bench.tell(Submit(PEER, "x", octets=value))
                if bench.sent and not bench.facts:
                    open_ones[bench.sent[-1][2].number] = value
                bench.facts.clear()
            elif kind == 1 and open_ones:
                number = list(open_ones)[value % len(open_ones)]
                del open_ones[number]
                bench.tell(Received(PEER, Ack(number)))
            else:
                bench.run(value / 3)
                for fact in bench.taken(Expired):
                    del open_ones[fact.number]
                bench.facts.clear()
            lane = bench.machine.sent.lane(PEER)
            assert (len(lane), lane.octets) == (len(open_ones), sum(open_ones.values()))
            assert len(lane) <= 8
            assert lane.octets <= 40


class TestAcknowledgements:
    def test_only_who_asked_is_told_of_a_delivery(self):
        bench = Bench()
        told, untold = bench.submit("x", tag="t"), bench.submit("y")
        bench.tell(Received(PEER, Acks(((told, untold),))))
        assert bench.facts == [Delivered(PEER, told, "t")]
        assert bench.machine.sent.delivered == 2

    def test_a_second_acknowledgement_is_late_and_no_violation(self):
        bench = Bench()
        number = bench.submit("x")
        bench.tell(*[Received(PEER, Ack(number))] * 2, Received(PEER, Acks(((number, number),))))
        assert bench.facts == []
        assert bench.machine.sent.late_acks == 2

    @pytest.mark.parametrize("retransmitted", [False, True])
    def test_an_acknowledgement_without_a_name_is_taken_for_the_peer_that_was_sent_the_number(self, retransmitted):
        bench = Bench()
        number = bench.submit("x", tag="t")
        bench.run(2.0 * retransmitted)
        bench.machine.sent.acked(None, number, bench.now)
        assert len(bench.machine.sent) == 0
        bench.carry_out(bench.machine.take_effects())
        assert bench.facts == [Delivered(PEER, number, "t")]

    @pytest.mark.parametrize(
        "forged",
        [
            lambda n: Received(OTHER, Ack(n)),
            lambda n: Received("d@h", Ack(n)),
            lambda n: Received(None, Ack(n + 2)),
            lambda n: Received(PEER, Ack(n - 1)),
            lambda n: Received(PEER, Ack(n + 1)),
            lambda n: Received(PEER, Ack(1 << 4000)),
            lambda n: Received(OTHER, Acks(((n, n),))),
            lambda n: Received("d@h", Acks(((n, n),))),
            lambda n: Received(PEER, Acks(((n, n + 1),))),
            lambda n: Received(PEER, Acks(((n, 1 << 4000),))),
        ],
    )
    def test_an_acknowledgement_of_what_the_peer_was_never_sent_is_counted_and_changes_nothing(self, forged):
        bench = Bench()
        number = bench.submit("x", tag="t")
        bench.submit("y", OTHER)
        bench.tell(forged(number))
        assert bench.facts == []
        assert bench.machine.sent.strange_acks == 1
        assert len(bench.machine.sent) == 2

    @pytest.mark.parametrize(
        "forged",
        [
            lambda n: Ack(1),
            lambda n: Ack(-n),
            lambda n: Ack(b""),
            lambda n: Acks(((0, 1 << 4000),)),
            lambda n: Acks(((n, n - 1),)),
            lambda n: Acks(((n,),)),
            lambda n: Acks((n, n)),
            lambda n: Acks(7),
            lambda n: "garbage",
        ],
    )
    def test_an_acknowledgement_that_no_life_of_ours_can_have_earned_is_a_violation(self, forged):
        bench = Bench()
        number = bench.submit("x", tag="t")
        bench.tell(Received(PEER, forged(number)))
        (fact,) = bench.facts
        assert isinstance(fact, Violation)
        assert fact.peer == PEER
        assert len(bench.machine.sent) == 1

    @given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6), st.booleans())
    def test_ranges_acknowledge_what_they_hold_as_single_ones_would(self, ranges, again):
        one, many = Bench(), Bench()
        for bench in (one, many):
            for n in range(30):
                bench.submit("x", octets=n)
            bench.run(1.5 * again)
        first = one.sent[0][2].number
        sound = [(first + low, first + high) for low, high in ranges if low <= high < 30]
        for low, high in sound:
            for number in range(low, high + 1):
                one.tell(Received(PEER, Ack(number)))
        many.tell(Received(PEER, Acks(tuple(sound))))
        lanes = [bench.machine.sent.lane(PEER) for bench in (one, many)]
        left = [sorted([*lane.fresh, *lane.kept]) for lane in lanes]
        overlap = any(a is not b and a[0] <= b[1] and b[0] <= a[1] for a in sound for b in sound)
        if overlap:  # which no receiver of ours says; what is missed is acknowledged when it comes again
            assert all(number in left[1] for number in left[0])
        else:
            assert left[0] == left[1]
            assert lanes[0].octets == lanes[1].octets
        assert one.facts == many.facts == []

    def test_ranges_in_any_order_acknowledge_what_is_left_if_they_hold_more(self):
        bench = Bench()
        numbers = [bench.submit("x", octets=1) for _ in range(30)]
        bench.run(1.5)
        bench.tell(Received(PEER, Acks(((numbers[0], numbers[19]),))))
        bench.tell(Received(PEER, Acks(((numbers[25], numbers[28]), (numbers[10], numbers[22]), (numbers[0],) * 2))))
        lane = bench.machine.sent.lane(PEER)
        assert sorted(lane.kept) == [*numbers[23:25], numbers[29]]
        assert lane.octets == 3
        assert bench.machine.sent.late_acks == 11

    def test_a_range_of_many_that_were_acknowledged_long_ago_costs_no_more_than_what_is_outstanding(self):
        bench = Bench(max_messages=10)
        sent = bench.machine.sent
        lane = sent.lane(PEER)
        lane.fresh.next += 10**15
        number = sent.submit(lane, "x", 1, 0.0)
        sent.acked_ranges(PEER, [(lane.first, number)] * 3, 0.0)
        assert len(sent) == 0


class TestReceiver:
    def test_every_copy_is_acknowledged_and_the_first_handed_over(self):
        bench = Bench()
        bench.tell(*[Received(PEER, Acknowledged(FIRST_NUMBER, "x"))] * 3)
        assert [message for _, _, message in bench.sent] == [Ack(FIRST_NUMBER)] * 3
        assert bench.facts == [Arrived(PEER, "x")]
        assert bench.machine.seen.duplicates == 2

    @pytest.mark.parametrize("number", [None, b"x", True, -1, MOST_NUMBER, 1 << 4000, 1.5])
    def test_a_number_that_is_none_is_a_violation(self, number):
        bench = Bench()
        bench.tell(Received(PEER, Acknowledged(number, "x")))
        assert [type(fact) for fact in bench.facts] == [Violation]

    def test_who_takes_many_acknowledgements_gets_them_together(self):
        bench = Bench()
        bench.tell(Coalesce(PEER, True))
        for offset in (0, 1, 3):
            bench.tell(Received(PEER, Acknowledged(FIRST_NUMBER + offset, offset)))
        bench.tell(Received(OTHER, Acknowledged(FIRST_NUMBER, "x")))
        assert list(bench.alarms) == [ACK_TIMER]
        bench.run(0.0)
        ranges = ((FIRST_NUMBER, FIRST_NUMBER + 1), (FIRST_NUMBER + 3, FIRST_NUMBER + 3))
        assert [entry[1:] for entry in bench.sent] == [(OTHER, Ack(FIRST_NUMBER)), (PEER, Acks(ranges))]

    def test_who_no_longer_takes_them_gets_what_is_owed_one_by_one(self):
        bench = Bench()
        bench.tell(Coalesce(PEER, True))
        for offset in range(2):
            bench.tell(Received(PEER, Acknowledged(FIRST_NUMBER + offset, "x")))
        bench.tell(Coalesce(PEER, False))
        assert [entry[2] for entry in bench.sent] == [Ack(FIRST_NUMBER), Ack(FIRST_NUMBER + 1)]
        bench.run(0.0)
        assert len(bench.sent) == 2

    def test_the_end_of_a_session_makes_the_first_numbers_of_a_real_node_new_again(self):
        bench = Bench()
        for event in (Received(PEER, Acknowledged(1, "x", 5)), SessionOver(PEER)) * 2:
            bench.tell(event)
        assert bench.facts == [Arrived(PEER, "x")] * 2


def test_options_may_be_replaced_while_messages_are_outstanding():
    bench = Bench(jitter=0.0)
    bench.submit("x")
    bench.machine.reconfigure(AcknowledgedConfig(jitter=0.0, expiry=2.0, max_messages=1))
    bench.tell(Submit(PEER, "y"))
    bench.run(3.0)
    assert [type(fact) for fact in bench.facts] == [Refused, Expired]


def test_what_is_no_event_of_this_machine_is_our_own_error():
    with pytest.raises(LocalProtocolError, match="takes no Start"):
        Bench().tell(Start())


class TestAwaited:
    def test_it_is_over_when_each_that_was_wanted_is_acknowledged_or_given_up_and_not_before(self):
        bench = Bench(expiry=50.0, retransmit_interval=10.0)
        plain = bench.submit("wanted")
        bench.submit("other")
        kept = bench.submit("wanted", expiry=20.0)
        far = bench.submit("wanted", OTHER)
        wanted = lambda kept: kept.message == "wanted"  # noqa: E731
        awaited = bench.machine.sent.awaited([PEER], wanted)
        everybody = bench.machine.sent.awaited([PEER, OTHER, "stranger@h"], wanted)
        later = bench.submit("wanted")
        assert not awaited.over()
        bench.tell(Received(PEER, Ack(plain)))
        assert not awaited.over()
        bench.run(25.0)  # the one with a time of its own has expired, the others were sent again
        assert awaited.over()
        assert not everybody.over()
        assert not bench.machine.sent.awaited([PEER], lambda kept: kept.number == later).over()
        bench.tell(Forget(OTHER, "left"))
        assert everybody.over()
        assert (kept, far) == tuple(fact.number for fact in bench.taken(Expired))

    def test_nothing_is_waited_for_where_nothing_is_outstanding(self):
        sent = Bench().machine.sent
        assert sent.awaited([PEER, "stranger@h"], lambda kept: True).over()
        assert sent.peers() == []

    def test_it_is_not_mistaken_by_what_is_sent_to_a_peer_that_was_forgotten(self):
        bench = Bench()
        bench.submit("x")
        awaited = bench.machine.sent.awaited([PEER], lambda kept: True)
        bench.tell(Forget(PEER, "left"))
        bench.submit("y")
        assert awaited.over()
