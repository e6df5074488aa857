"""Keepalive: find out that the other end of one connection is gone though its socket says nothing.

One machine a connection. When nothing was heard for a while it sends a ping, and another each time the answer is late;
after so many in vain it gives the connection up. Anything heard is life.

It speaks section 2.7 of the partisan 5.0.3 reference, with these differences:

- a pong that answers an earlier ping than the latest is life; the reference closes the connection. A pong to a ping
  that we never sent is a violation and no more;
- it can be disabled, and then still answers;
- `Probe` pings at once, and again each time the answer is late, and tells when it is there: as both ends keep order,
  everything sent before on this connection was then handled by the peer.

The machine is not told of every frame: who reads the connection calls `heard(now)`, which is one store. The idle timer
looks at that when it fires, and sleeps for what remains.

A real node closes a connection on which we answer a ping after it sent the next one. So of the pings that one read
finds, as after this node stood still, the last alone is answered: when all of that has been taken. As order is kept, an
answer to a ping is one to all probes before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partisan.errors import LocalProtocolError
from partisan.machines.machine import Effect, Event, Machine, Peer, Received, Retune, Start, TimedOut

if TYPE_CHECKING:
    from random import Random

IDLE_TIMER = "idle"
"""Fires when the connection may have been silent for long enough."""

REPLY_TIMER = "reply"
"""Fires when the answer to a ping is late."""

ANSWER_TIMER = "answer"
"""Fires once the frames that were read together have been handled."""

PROBE_TIMER = "probe"
"""Fires when the answer to a probe is late."""

_GRAIN = 0.001
"""Seconds below which the rest of an idle time counts as over: float sums of times are not exact."""

_KEPT_IDS = 64
"""How many unanswered pings are remembered (ours)."""


@dataclass(frozen=True, slots=True)
class KeepaliveConfig:
    """Options of keepalive; defaults of partisan 5.0.3.

    Attributes:
        enabled: False sends no pings of its own accord.
        idle_timeout: seconds of silence before the first ping, on the side that dialled.
        timeout: seconds to wait for the answer to a ping.
        max_attempts: how many pings in vain mean that the peer is gone.
        acceptor_slack: the accepting side waits longer for its first ping, by this part of `idle_timeout`.
    """

    enabled: bool = True
    idle_timeout: float = 20.0
    timeout: float = 10.0
    max_attempts: int = 5
    acceptor_slack: float = 0.25


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks the other end to answer with a `Pong` of the same id and time.

    Attributes:
        sender: the name of the node that asks.
        id: any term.
        sent: any term; ours are milliseconds since the epoch, or since whatever `epoch` says.
    """

    sender: Peer
    id: object
    sent: object


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a `Ping`.

    Attributes:
        sender: the name of the node that answers.
        id: that of the ping, as it came.
        sent: that of the ping, as it came.
    """

    sender: Peer
    id: object
    sent: object


@dataclass(slots=True)
class Probe:
    """Command: ping now; when the answer is there, notify `Probed(tag)`."""

    tag: object


@dataclass(frozen=True, slots=True)
class Probed:
    """Fact: the peer has handled everything that was sent on this connection before `Probe(tag)`.

    Attributes:
        latency: seconds from ping to pong.
    """

    tag: object
    latency: float


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Fact: the peer answered a ping.

    Attributes:
        latency: seconds from ping to pong.
    """

    latency: float


class Keepalive(Machine):
    """One end of one connection.

    Args:
        myself: our node's name.
        config: the options; `Retune` replaces them.
        rng: chance, for the first id.
        peer: the name of the node at the other end, or None while it has not said hello; may be set later.
        acceptor: whether the peer dialled us.
        epoch: the wall clock minus the monotonic clock, in seconds; pings carry wall time.
    """

    config: KeepaliveConfig

    def __init__(
        self,
        myself: Peer,
        config: KeepaliveConfig,
        rng: Random,
        peer: Peer | None = None,
        acceptor: bool = False,
        epoch: float = 0.0,
    ) -> None:
        # Not Machine's: its tables are filled for each instance, and there is one for each end of each connection.
        self.myself = myself
        self.config = config
        self._rng = rng
        self._out: list[Effect] = []
        self.peer = peer
        self.last_heard = 0.0
        self._started = False
        self._acceptor = acceptor
        self._epoch = epoch
        self._next_id = rng.getrandbits(60)
        self._attempts = 0
        self._heard_before_asking = 0.0  # what `last_heard` was when we sent the first ping of those in vain
        self._pings: dict[int, float] = {}  # id of an unanswered ping -> when it was sent
        self._probes: dict[int, tuple[object, float]] = {}  # id of an unanswered probe -> its tag, when it was sent
        self._asked: tuple[Peer, Ping] | None = None  # the latest ping that has no answer yet

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what the world must now do, in order. See `Machine.handle`."""
        takes = _TAKES.get(type(event))
        if takes is None:
            raise LocalProtocolError(f"{type(self).__name__} takes no {type(event).__name__}")
        takes(self, event, now)
        out, self._out = self._out, []
        return out

    def heard(self, now: float) -> None:
        """Note that a frame arrived; cheap, and instead of an event."""
        self.last_heard = now

    @property
    def _idle_timeout(self) -> float:
        return self.config.idle_timeout * (1.0 + self.config.acceptor_slack * self._acceptor)

    def _on_start(self, event: Start, now: float) -> None:
        self.last_heard = now
        self._started = True
        if self.config.enabled:
            self._start_timer(IDLE_TIMER, self._idle_timeout)

    def _on_retune(self, event: Retune, now: float) -> None:
        """Take other options: the silence so far counts, pings in vain so far do not."""
        self.config = event.config
        if not self._started:
            return
        self._attempts = 0
        self._stop_timer(IDLE_TIMER)
        self._stop_timer(REPLY_TIMER)
        if self.config.enabled:
            self._idle(now)

    def _on_received(self, event: Received, now: float) -> None:
        self.last_heard = now
        hears = _HEARS.get(type(event.message))
        if hears is None:
            self._violation(event.peer, f"unexpected {type(event.message).__name__}")
        else:
            hears(self, event.peer, event.message, now)

    def _on_ping(self, peer: Peer, message: Ping, now: float) -> None:
        if self.peer is None or message.sender != self.peer:
            self._violation(peer, "a ping that does not name the peer as its sender")
        else:
            if self._asked is None:
                self._start_timer(ANSWER_TIMER, 0.0)
            self._asked = (peer, message)

    def _answer(self) -> None:
        if self._asked is not None:
            (peer, ping), self._asked = self._asked, None
            self._send(peer, Pong(self.myself, ping.id, ping.sent))

    def _on_pong(self, peer: Peer, message: Pong, now: float) -> None:
        if self.peer is None or message.sender != self.peer:
            self._violation(peer, "a pong that does not name the peer as its sender")
        elif type(message.id) is not int or (message.id not in self._pings and message.id not in self._probes):
            self._violation(peer, "a pong to no ping of ours")
        else:
            self._tell_probes(message.id, now)
            self._tell_heartbeat(message.id, now)

    def _tell_probes(self, until: int, now: float) -> None:
        for probe in [each for each in self._probes if each <= until]:
            tag, sent = self._probes.pop(probe)
            self._notify(Probed(tag, now - sent))
            if not self._probes:
                self._stop_timer(PROBE_TIMER)

    def _tell_heartbeat(self, ping_id: int, now: float) -> None:
        if (sent := self._pings.pop(ping_id, None)) is not None:
            self._notify(Heartbeat(now - sent))
            self._attempts = 0
            self._stop_timer(REPLY_TIMER)
            if self.config.enabled:
                self._start_timer(IDLE_TIMER, self._idle_timeout)

    def _on_probe(self, event: Probe, now: float) -> None:
        if not self._probes:
            self._start_timer(PROBE_TIMER, self.config.timeout)
        self._probes[self._ping(now)] = (event.tag, now)

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        if event.timer == ANSWER_TIMER:
            self._answer()
        elif event.timer == IDLE_TIMER:
            self._idle(now)
        elif event.timer == PROBE_TIMER:
            self._remember(self._ping(now), now)
            self._start_timer(PROBE_TIMER, self.config.timeout)
        elif event.timer == REPLY_TIMER:
            if self.last_heard > self._heard_before_asking:
                self._attempts = 0
                self._idle(now)
            elif self._attempts >= self.config.max_attempts:
                self._disconnect(self.peer, "ping_timeout")
            else:
                self._ask(now)

    def _idle(self, now: float) -> None:
        """Sleep until the peer has been silent for long enough, or ask."""
        remaining = self.last_heard + self._idle_timeout - now
        if remaining > _GRAIN:
            self._start_timer(IDLE_TIMER, remaining)
        else:
            self._heard_before_asking = self.last_heard
            self._ask(now)

    def _ask(self, now: float) -> None:
        self._attempts += 1
        self._remember(self._ping(now), now)
        self._start_timer(REPLY_TIMER, self.config.timeout)

    def _remember(self, ping_id: int, now: float) -> None:
        if len(self._pings) >= _KEPT_IDS:
            del self._pings[next(iter(self._pings))]
        self._pings[ping_id] = now

    def _ping(self, now: float) -> int:
        """Send a ping under a fresh id and return it."""
        ping_id = self._next_id
        self._next_id += 1
        self._send(self.peer, Ping(self.myself, ping_id, int((self._epoch + now) * 1000.0)))
        return ping_id


_TAKES: dict[type, Callable[[Keepalive, Any, float], None]] = {
    Start: Keepalive._on_start,
    TimedOut: Keepalive._on_timed_out,
    Received: Keepalive._on_received,
    Probe: Keepalive._on_probe,
    Retune: Keepalive._on_retune,
}
_HEARS: dict[type, Callable[[Keepalive, Peer, Any, float], None]] = {Ping: Keepalive._on_ping, Pong: Keepalive._on_pong}
