"""Ticks of Erlang's distribution, period by period."""

from __future__ import annotations

import random

from partisan.dist.ticks import TICK, TICK_OCTETS, Disconnect, Moved, Send, Tick, Ticks, TicksConfig
from partisan.machines.machine import Start, StartTimer, TimedOut


class Line:
    """A connection as the machine sees it.

    Attributes:
        received, sent: octets.
    """

    def __init__(self, **options):
        self.ticks = Ticks("a@h", TicksConfig(**options), random.Random(1), peer="b@h")
        self.received = self.sent = 0
        self.began = self.ticks.handle(Start(), 0.0)

    def period(self):
        """Let one pass; what was said."""
        self.ticks.handle(Moved(self.received, self.sent), 0.0)
        effects = self.ticks.handle(TimedOut(TICK), 0.0)
        self.sent += TICK_OCTETS * sum(isinstance(effect, Send) for effect in effects)
        return effects


def kinds(effects):
    return [type(effect) for effect in effects]


def test_a_period_is_a_part_of_the_time():
    line = Line(ticktime=8.0, intensity=4)
    assert line.began == [StartTimer(TICK, 2.0)]


def test_who_says_nothing_ticks_in_every_period():
    line = Line()
    for _ in range(10):
        line.received += 1
        effects = line.period()
        assert kinds(effects) == [Send, StartTimer]
        assert isinstance(effects[0].message, Tick)


def test_who_says_something_else_need_not_tick():
    line = Line()
    for _ in range(10):
        line.received += 1
        line.sent += 100
        assert kinds(line.period()) == [StartTimer]
    line.received += 1
    assert kinds(line.period()) == [Send, StartTimer]


def test_a_silent_peer_is_gone_after_the_time_and_a_quarter_more_at_most():
    for intensity in (4, 7):
        line = Line(intensity=intensity)
        line.received += 1
        for _ in range(intensity + 1):
            assert Disconnect not in kinds(line.period())
        assert kinds(line.period()) == [Disconnect]


def test_any_octet_is_a_sign_of_life():
    line = Line()
    for _ in range(5):
        for _ in range(4):
            assert Disconnect not in kinds(line.period())
        line.received += 1
        assert Disconnect not in kinds(line.period())
