"""What waits to be delivered in causal order, and what is known of its senders."""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush

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
        skipped: number of a message that was refused for good -> that of one before it; changed by `skip`.
        refused: a heap of these numbers.
        gap: the last numbers that were not waited for: above the first, up to the last.
        doubtful: its numbers may begin anew.
    """

    lost: int = 0
    waiting: dict[int, Waiting] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    octets: int = 0
    blocked: list[tuple[int, int, Waiting]] = field(default_factory=list)
    skipped: dict[int, int] = field(default_factory=dict)
    refused: list[int] = field(default_factory=list)
    gap: tuple[int, int] = (0, 0)
    doubtful: bool = False

    def lowest(self) -> int:
        """The lowest number that waits; MOST_NUMBER if none does."""
        while self.numbers and self.numbers[0] not in self.waiting:
            heappop(self.numbers)
        return self.numbers[0] if self.numbers else MOST_NUMBER

    def skip(self, number: int, predecessor: int) -> None:
        """The message of that number was refused for good."""
        if number not in self.skipped:
            self.skipped[number] = self.before(predecessor)
            heappush(self.refused, number)

    def before(self, number: int) -> int:
        """The number itself, or, if that was refused for good, the next one below that was not."""
        skipped = self.skipped
        found = number
        while found in skipped:
            found = skipped[found]
        while number != found:  # or a long chain would be walked again and again
            skipped[number], number = found, skipped[number]
        return found

    def passed(self, number: int) -> None:
        """That message was delivered: nobody asks for those before it any more."""
        while self.refused and self.refused[0] <= number:
            del self.skipped[heappop(self.refused)]

    def restart(self, lost: int) -> None:
        """Its numbers begin anew, above that one."""
        self.lost, self.gap = lost, (0, 0)
        self.skipped.clear()
        self.refused.clear()
