"""What causal delivery says: its messages, commands and facts, and what is saved of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from partisan.machines.machine import Peer

FIRST_NUMBER = 1 << 40
"""Numbers of our kind are from here on; a real node counts from 1."""

MOST_NUMBER = 1 << 63
"""No number reaches this."""

MOST_ENTRIES = 65_536
"""How many numbers a message may carry (ours): 256 nodes that all wait for all others."""

Clock = tuple[tuple[Peer, int], ...]
"""(node, number): in a clock of a message its sender comes first."""

Dependencies = tuple[tuple[Peer, Clock], ...]
"""(destination, the latest messages to it)."""


@dataclass(frozen=True, slots=True)
class CausalConfig:
    """Options of causal delivery.

    Attributes:
        patience: seconds for which a message waits for others; None waits for ever (partisan 5.0.3).
        max_waiting: how many messages may wait, half of them of one sender (ours).
        max_waiting_octets: how large they may be together, likewise; one message may be larger if it is alone (ours).
        save_interval: seconds from a change to the `Save` that has it; None saves nothing (ours).
    """

    patience: float | None = 3600.0
    max_waiting: int = 10_000
    max_waiting_octets: int = 64 * 1024 * 1024
    save_interval: float | None = None


# Messages.


@dataclass(frozen=True, slots=True)
class Stamped:
    """A message with its place in the order.

    Attributes:
        kept: whether its sender sends it again until it is taken.
    """

    destination: Peer
    dependencies: Dependencies
    clock: Clock
    message: object
    kept: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """Whatever the sender has sent to the receiver up to that number, and is not there, is lost."""

    number: int


# Commands.


@dataclass(slots=True)
class Submit:
    """Send the message; `kept` if it is sent again until `Confirmed`."""

    peer: Peer
    message: object
    kept: bool = False


@dataclass(slots=True)
class Confirmed:
    """A message that was kept has arrived, or (not `arrived`) is sent no more."""

    peer: Peer
    number: int
    arrived: bool = True


@dataclass(slots=True)
class Forget:
    """The peer has left for good: nothing of it or for it matters any more."""

    peer: Peer


@dataclass(slots=True)
class SessionOver:
    """The last connection that the peer had opened to us is gone: a real node may count from 1 again."""

    peer: Peer


# Facts.


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message is delivered."""

    peer: Peer
    message: object


@dataclass(frozen=True, slots=True)
class Refused:
    """A message is not delivered. One that is kept comes again if the reason is "full".

    Attributes:
        reason: "full" (too much waits), "late" (what follows it was delivered, as it was not waited for any longer),
            "restarted" (its sender has lost the line it belongs to).
    """

    peer: Peer
    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A message of the peer does not wait any longer: what it waited for may come later, out of order, or never."""

    peer: Peer
    number: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Messages of the peer are lost: those above the first number, up to the last."""

    peer: Peer
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Trimmed:
    """A message to the peer carries what concerns the peer alone: there was too much."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class State:
    """What a node must know after a restart to go on where it was.

    Attributes:
        count: its own number.
        heard: of each sender, the number of its latest message that was delivered.
        lost: of each sender, up to which number nothing will come.
        rows: as dependencies.
        waiting: (sender, message) of what waits, in the order of arrival.
    """

    count: int
    heard: Clock = ()
    lost: Clock = ()
    rows: Dependencies = ()
    waiting: tuple[tuple[Peer, Stamped], ...] = ()


def problem_of(peer: Peer, stamped: Stamped, myself: Peer) -> str | None:
    """What is wrong with the clocks of a message from the peer to us; None if they may be true."""
    if stamped.destination != myself:
        return "a causal message for another node"
    if type(stamped.clock) is not tuple or type(stamped.dependencies) is not tuple or not stamped.clock:
        return "a causal message without a clock"
    if not _is_clock(stamped.clock):
        return "a causal clock that is none"
    if stamped.clock[0][0] != peer:
        return "a causal message with the clock of another node"
    number, total = stamped.clock[0][1], len(stamped.clock)
    destinations: dict[Peer, None] = {}
    for entry in stamped.dependencies:
        if type(entry) is not tuple or len(entry) != 2 or entry[0] in destinations or not _is_clock(entry[1]):
            return "causal dependencies that are none"
        destinations[entry[0]] = None
        total += len(entry[1])
        if any(node == peer and other >= number for node, other in entry[1]):
            return "a causal message that depends on itself, or on what was sent after it"
    if total > MOST_ENTRIES:
        return f"a causal message with more than {MOST_ENTRIES} numbers"
    return None


def _is_clock(clock: Any) -> bool:
    if type(clock) is not tuple:
        return False
    nodes: dict[Peer, None] = {}
    for entry in clock:
        if type(entry) is not tuple or len(entry) != 2 or type(entry[1]) is not int:
            return False
        if not 0 <= entry[1] < MOST_NUMBER or entry[0] in nodes:
            return False
        nodes[entry[0]] = None
    return True


def claim_of(stamped: Stamped, myself: Peer) -> int:
    """The highest of our numbers that a message claims to know."""
    clocks = (stamped.clock, *(clock for _, clock in stamped.dependencies))
    return max((number for clock in clocks for node, number in clock if node == myself), default=0)
