"""When to say that we live, and when to believe that the peer does not.

A node that has said nothing for a quarter of `ticktime` sends a frame of no octets. Whatever comes is a sign of life;
a peer from which nothing came for `ticktime` and up to a quarter more is gone.

Source: `net_kernel` of OTP (`net_ticktime`, `net_tickintensity`).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from partisan.machines.machine import Disconnect, Machine, Peer, Send, Start, TimedOut

TICK = "tick"

TICK_OCTETS = 4
"""A frame of no octets has a length."""


@dataclass(frozen=True, slots=True)
class TicksConfig:
    """The options.

    Attributes:
        ticktime: seconds.
        intensity: in so many parts the time is divided.
    """

    ticktime: float = 60.0
    intensity: int = 4


@dataclass(slots=True)
class Tick:
    """Say that we live: a frame of no octets."""


@dataclass(slots=True)
class Moved:
    """So many octets have come and gone since the connection began: told before each timer."""

    received: int
    sent: int


class Ticks(Machine):
    """The ticks of one connection: `Start`, then `Moved` and `TimedOut` in turns; `Send(peer, Tick())`, `Disconnect`."""

    def __init__(self, myself: Peer, config: TicksConfig, rng: Random, *, peer: Peer) -> None:
        super().__init__(myself, config, rng)
        self._peer = peer
        self._received = self._sent = 0
        self._now = Moved(0, 0)
        self._silent = 0  # periods
        self._events = {**self._events, Start: self._start, Moved: self._moved, TimedOut: self._timed_out}

    def _start(self, event: Start, now: float) -> None:
        self._start_timer(TICK, self.config.ticktime / self.config.intensity)

    def _moved(self, event: Moved, now: float) -> None:
        self._now = event

    def _timed_out(self, event: TimedOut, now: float) -> None:
        self._silent = 0 if self._now.received != self._received else self._silent + 1
        if self._silent > self.config.intensity:
            self._disconnect(self._peer, "net_tick_timeout")
            return
        self._received, before, self._sent = self._now.received, self._sent, self._now.sent
        if self._now.sent == before:
            self._send(self._peer, Tick())
            self._sent += TICK_OCTETS  # which is no reason not to say it again
        self._start_timer(TICK, self.config.ticktime / self.config.intensity)


__all__ = ["Disconnect", "Moved", "Send", "Tick", "Ticks", "TicksConfig"]
