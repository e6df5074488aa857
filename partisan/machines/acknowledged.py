"""Acknowledged delivery: a message is kept and sent again until its receiver says that it arrived.

One machine a node, in both roles. The sender numbers each message, keeps it in a bounded store, and sends it again
after `retransmit_interval`, then after ever longer pauses, and whenever an edge to the receiver comes up; an
acknowledgement or `expiry` ends that. The receiver acknowledges every copy, and hands over the first.

It speaks section 3.3 of the partisan 5.0.3 reference: the number travels as the clock `{undefined, [{Sender, Number}]}`
which a receiver sends back as it came. It differs in what the reference leaves out: back-off, expiry, bounds, facts,
de-duplication. `retransmission` is what the documentation says, and not inverted as there: a message without it is sent
once, and still reported as delivered or expired.

Numbers
    A real node has one counter, from 1 at each start, which also counts what goes to others; so its numbers have gaps
    for ever, and come again after a restart. Ours are dense for each receiver and begin at a random number of 58 bits
    in each life, above all of a real node's. A former life's are met again with a chance of (how many both lives sent)
    in 2**58.

What is promised, while both nodes live and the peer does not forget its store
    - At least once: a message that was taken is delivered if the two are connected for long enough before it expires.
    - At most once, from one of our kind: across cuts, reconnections and whatever order, as long as the numbers that are
      missing between those that arrived are fewer than `max_runs` (the receiver's memory; a sender has never more than
      `max_messages` outstanding to a peer). A restarted sender is told by its numbers, so nothing of it is taken for a
      copy; a restarted receiver sees again what its former life did not acknowledge.
    - At most once, from a real node: within a session, that is while at least one connection of it is open to us, and
      among its latest `window` messages. A copy has the number and the fingerprint (of target and content). With
      `SessionOver` the numbers may begin again, so everything is forgotten: what was in doubt at a cut may be seen
      twice, as with the reference, but the first messages after a restart are not lost. If the restart goes unnoticed
      (its old connections linger), only a message that has the same number and the same content is lost.
    - Order is that of the first sending as long as nothing is sent again. A retransmission comes after what was sent
      since; nothing is held back for it.

A forged number makes one entry in the memory of the peer that sent it, and harms nobody else: memory goes by whom the
connection says, and what is sent in another's name is not de-duplicated (`received` is not asked).

Two doors
    `handle` is for the simulator: `Submit`, `Received(peer, Acknowledged | Ack | Acks)`. The driver's fast path calls
    `sent` and `seen` instead, which make no event and, for the usual message, no effect; whatever effects there are
    wait in `outbox` for `take_effects`. Everything else is an event for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from partisan.errors import Unacknowledged
from partisan.machines.machine import Connected, Disconnected, Effect, Machine, Peer, TimedOut
from partisan.machines.outstanding import FIRST_NUMBER as FIRST_NUMBER
from partisan.machines.outstanding import RETRANSMIT_TIMER, Outstanding
from partisan.machines.outstanding import AcknowledgedConfig as AcknowledgedConfig
from partisan.machines.outstanding import Delivered as Delivered
from partisan.machines.outstanding import Expired as Expired
from partisan.machines.outstanding import Fresh as Fresh
from partisan.machines.outstanding import Lane as Lane
from partisan.machines.seen import MOST_RANGES as MOST_RANGES
from partisan.machines.seen import Ranges, Receipts

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

ACK_TIMER = "acks"
"""Fires when acknowledgements have been collected and not been taken; `handle` alone starts it."""

MOST_NUMBER = 1 << 64
"""No number reaches this."""


# Messages.


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A message that wants an acknowledgement.

    Attributes:
        number: the sender's.
        message: what it is about.
        fingerprint: of target and content; 0 where the number alone will do.
    """

    number: int
    message: object
    fingerprint: int = 0


@dataclass(frozen=True, slots=True)
class Ack:
    """The message of that number arrived."""

    number: int


@dataclass(frozen=True, slots=True)
class Acks:
    """The messages of these numbers arrived.

    Attributes:
        ranges: (first, last) of consecutive numbers, both included.
    """

    ranges: Ranges


# Commands.


@dataclass(slots=True)
class Submit:
    """Send the message, and keep it until it is acknowledged.

    Attributes:
        octets: its size.
        tag: if given, `Delivered` or `Expired` tells it.
        retransmission: False sends it once.
        expiry: seconds for which it is kept, instead of the configured ones.
    """

    peer: Peer
    message: object
    octets: int = 0
    tag: object = None
    retransmission: bool = True
    expiry: float | None = None


@dataclass(slots=True)
class Forget:
    """Give up everything to the peer, as when it has left: it expires now."""

    peer: Peer
    reason: str


@dataclass(slots=True)
class Coalesce:
    """Whether the peer takes `Acks`; until it is said, a peer does not."""

    peer: Peer
    wanted: bool


@dataclass(slots=True)
class SessionOver:
    """The last connection that the peer had opened to us is gone, or it is known to have restarted."""

    peer: Peer


# Facts, besides those of `outstanding`.


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message arrived for the first time; only where it came through `handle`."""

    peer: Peer
    message: object


@dataclass(frozen=True, slots=True)
class Refused:
    """A `Submit` was not taken, because the store has no room."""

    peer: Peer
    tag: object
    error: Unacknowledged


class AcknowledgedDelivery(Machine):
    """One node's acknowledged messages.

    Args:
        myself: our own value among peers.
        config: the options; replaced by `reconfigure`.
        rng: chance, for first numbers and jitter.
        fresh: callable(first number) -> Fresh: what holds the messages that were sent once.

    Attributes:
        sent: the sender's half, with its counters.
        seen: the receiver's half, with its counter.
    """

    config: AcknowledgedConfig

    def __init__(
        self, myself: Peer, config: AcknowledgedConfig, rng: Random, fresh: Callable[[int], Fresh] = Fresh
    ) -> None:
        super().__init__(myself, config, rng)
        self._events |= {
            Submit: self._on_submit,
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            TimedOut: self._on_timed_out,
            Forget: self._on_forget,
            Coalesce: self._on_coalesce,
            SessionOver: self._on_session_over,
        }
        self._messages |= {Acknowledged: self._on_acknowledged, Ack: self._on_ack, Acks: self._on_acks}
        self.sent = Outstanding(config, rng, self._emit, fresh)
        self.seen = Receipts(config, self._acknowledge)

    @property
    def outbox(self) -> list[Effect]:
        """Effects of direct calls, which wait for `take_effects`; empty most of the time."""
        return self._out

    def take_effects(self) -> list[Effect]:
        """Return what the world must now do, in order, after direct calls."""
        out, self._out = self._out, []
        return out

    def reconfigure(self, config: AcknowledgedConfig) -> None:
        """Use other options from now on; what is scheduled stays so."""
        self.config = self.sent.config = self.seen.config = config

    def _emit(self, effect: Effect) -> None:
        self._out.append(effect)

    def _acknowledge(self, peer: Peer, ranges: Ranges) -> None:
        self._send(peer, Acks(ranges))

    def _on_submit(self, event: Submit, now: float) -> None:
        lane = self.sent.lane(event.peer)
        message = Acknowledged(lane.next, event.message)
        try:
            self.sent.submit_with(
                lane,
                message,
                event.octets,
                now,
                event.tag,
                retransmission=event.retransmission,
                expiry=event.expiry,
            )
        except Unacknowledged as error:
            self._notify(Refused(event.peer, event.tag, error))
        else:
            self._send(event.peer, message)

    def _on_ack(self, peer: Peer, message: Ack, now: float) -> None:
        if type(message.number) is not int:
            self._violation(peer, "an acknowledgement of no number")
        else:
            self.sent.acked(peer, message.number, now)

    def _on_acks(self, peer: Peer, message: Acks, now: float) -> None:
        ranges = message.ranges
        if type(ranges) is not tuple or not all(
            type(pair) is tuple and len(pair) == 2 and type(pair[0]) is int and type(pair[1]) is int for pair in ranges
        ):
            self._violation(peer, "acknowledgements of no numbers")
        else:
            self.sent.acked_ranges(peer, ranges, now)

    def _on_connected(self, event: Connected, now: float) -> None:
        self.sent.connected(event.peer, now)

    def _on_disconnected(self, event: Disconnected, now: float) -> None:
        self.sent.disconnected(event.peer)

    def _on_forget(self, event: Forget, now: float) -> None:
        self.sent.forget(event.peer, event.reason)

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        if event.timer == RETRANSMIT_TIMER:
            self.sent.fired(now)
        elif event.timer == ACK_TIMER:
            for peer, ranges in self.seen.take_acks():
                self._acknowledge(peer, ranges)

    def _on_acknowledged(self, peer: Peer, message: Acknowledged, now: float) -> None:
        number, fingerprint = message.number, message.fingerprint
        if type(number) is not int or not 0 <= number < MOST_NUMBER or type(fingerprint) is not int:
            self._violation(peer, "a message to be acknowledged without a number")
            return
        if self.seen.received(peer, number, fingerprint):
            self._notify(Arrived(peer, message.message))
        if not self.seen.batches(peer):
            self._send(peer, Ack(number))
        else:
            self._start_timer(ACK_TIMER, 0.0)

    def _on_coalesce(self, event: Coalesce, now: float) -> None:
        for first, last in self.seen.coalesce(event.peer, event.wanted):
            for number in range(first, last + 1):
                self._send(event.peer, Ack(number))

    def _on_session_over(self, event: SessionOver, now: float) -> None:
        self.seen.session_over(event.peer)
