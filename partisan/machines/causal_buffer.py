"""What waits to be delivered in causal order, and what is known of its senders."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop

from partisan.machines.causal_messages import MOST_NUMBER, Stamped
from partisan.machines.machine import Peer


@dataclass(slots=True, eq=False)
class Waiting:
    """A message that cannot be delivered yet."""

    peer: Peer
    number: int
    stamped: Stamped
    wanted: dict[Peer, int]  # sender -> number of its message that must have been delivered here
    begins: bool  # it has no predecessor
    since: float
    octets: int = 0
    forced: bool = False


@dataclass(slots=True)
class Sender:
    """What is known of one sender, besides what was heard.

    Attributes:
        lost: up to which number what is not there will not come.
        waiting: number -> message.
        numbers: a heap of these numbers, and of some that wait no more.
        octets: of these messages.
        blocked: a heap of (number, serial, message): what waits for that message of this sender.
        skipped: number of a message that was refused for good -> its predecessor's.
        gap: the last numbers that were not waited for: above the first, up to the last.
        doubtful: its numbers may begin anew.
    """

    lost: int = 0
    waiting: dict[int, Waiting] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    octets: int = 0
    blocked: list[tuple[int, int, Waiting]] = field(default_factory=list)
    skipped: dict[int, int] = field(default_factory=dict)
    gap: tuple[int, int] = (0, 0)
    doubtful: bool = False

    def lowest(self) -> int:
        """The lowest number that waits; MOST_NUMBER if none does."""
        while self.numbers and self.numbers[0] not in self.waiting:
            heappop(self.numbers)
        return self.numbers[0] if self.numbers else MOST_NUMBER
