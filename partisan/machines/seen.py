"""Which numbers have been seen, in bounded memory: the receiver's half of `partisan.machines.acknowledged`.

`Runs` is for numbers that are dense, as those of one Python sender: it keeps runs of consecutive numbers, so that it
takes as much memory as there are gaps, however many numbers there were. `Window` is for numbers of any pattern: it
keeps the latest.

Both err on the side of "not seen": what they forget is taken for new. A number far off, forged or not, is one more
entry and hides nothing else.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from partisan.machines.machine import Peer
from partisan.machines.outstanding import FIRST_NUMBER

if TYPE_CHECKING:
    from partisan.machines.outstanding import AcknowledgedConfig

Ranges = tuple[tuple[int, int], ...]
"""(first, last) of consecutive numbers, both included."""

MOST_RANGES = 512
"""How many ranges are acknowledged at once, at most (ours)."""

_GROUP = 40
"""Numbers that share all but so many bits belong to one life of their sender, as a rule."""

_LIVES = 4
"""How many groups of a sender's numbers are remembered (ours)."""


class Runs:
    """A set of numbers, as runs of consecutive ones.

    Args:
        first: the first number of the set.
        most: how many runs are kept; the lowest are forgotten.

    Attributes:
        starts: the first number of every run, ascending.
        ends: the number after the last of the same run.
    """

    __slots__ = ("ends", "most", "starts")

    def __init__(self, first: int, most: int) -> None:
        self.starts = [first]
        self.ends = [first + 1]
        self.most = most

    def add(self, number: int) -> bool:
        """Put the number into the set; return False if it is there already."""
        starts, ends = self.starts, self.ends
        above = bisect_right(starts, number)  # the run above the number's place
        joins = above < len(starts) and starts[above] == number + 1
        if above and number < ends[above - 1]:
            return False
        if above and number == ends[above - 1]:
            if joins:
                ends[above - 1] = ends[above]
                del starts[above], ends[above]
            else:
                ends[above - 1] = number + 1
        elif joins:
            starts[above] = number
        else:
            starts.insert(above, number)
            ends.insert(above, number + 1)
            if len(starts) > self.most:
                del starts[0], ends[0]
        return True


class Window:
    """The latest numbers, each with a fingerprint of what it numbered.

    Args:
        most: how many are kept; the earliest are forgotten.
    """

    __slots__ = ("_keys", "_order", "most")

    def __init__(self, most: int) -> None:
        self.most = most
        self._keys: dict[tuple[int, int], None] = {}
        self._order: deque[tuple[int, int]] = deque()

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, number: int, fingerprint: int) -> bool:
        """Remember the number; return False if it is remembered with this fingerprint already."""
        key = (number, fingerprint)
        if key in self._keys:
            return False
        self._keys[key] = None
        self._order.append(key)
        if len(self._order) > self.most:
            del self._keys[self._order.popleft()]
        return True


class _Sender:
    """What is remembered of a peer that sends to us."""

    __slots__ = ("batch", "groups", "peer", "window")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.groups: dict[int, Runs] = {}  # by the upper bits of their numbers, the latest begun last
        self.window: Window | None = None
        self.batch: list[int] | None = None  # first, last, first, last ... to be acknowledged; None if one by one


class Receipts:
    """What has come to one node, and is to be acknowledged.

    Args:
        config: the options; may be replaced at any time.
        flush: callable(peer, ranges): acknowledges these at once, as there are too many to wait.

    Attributes:
        batching: peers of which what comes is acknowledged by `take_acks`; changed by `coalesce`.
        duplicates: copies that came and were not to be handed over, since the start.
    """

    def __init__(self, config: AcknowledgedConfig, flush: Callable[[Peer, Ranges], object]) -> None:
        self.config = config
        self._flush = flush
        self._senders: dict[Peer, _Sender] = {}
        self._absent: dict[Peer, _Sender] = {}  # those whose session is over, the latest last
        self.batching: dict[Peer, None] = {}
        self._owing: list[_Sender] = []  # those whose batch is not empty
        self.duplicates = 0

    def received(self, peer: Peer, number: int, fingerprint: int = 0) -> bool:
        """Whether the message of that number is to be handed over: it has not been before.

        Either way it is to be acknowledged: by `take_acks` if the peer coalesces, else by the caller, at once.

        Args:
            peer: who sent it, as its connection says.
            number: at least 0, and below `MOST_NUMBER`.
            fingerprint: of target and content; needed where the number is below `FIRST_NUMBER`.
        """
        sender = self._senders.get(peer)
        if sender is None:
            sender = self._meet(peer)
        runs = sender.groups.get(number >> _GROUP)
        if runs is not None and runs.ends[-1] == number:
            runs.ends[-1] = number + 1
            fresh = True
        else:
            fresh = self._out_of_line(sender, runs, number, fingerprint)
        batch = sender.batch
        if batch is not None:
            if batch and batch[-1] == number - 1:
                batch[-1] = number
            else:
                self._owe(sender, batch, number)
        return fresh

    def received_run(self, peer: Peer, first: int, last: int) -> None:
        """Take note of messages that are handed over: numbers from first to last, none of them below `top`."""
        while first >> _GROUP != last >> _GROUP:
            edge = (first >> _GROUP) + 1 << _GROUP
            self.received_run(peer, first, edge - 1)
            first = edge
        self.received(peer, first)
        sender = self._senders[peer]
        sender.groups[first >> _GROUP].ends[-1] = last + 1
        if sender.batch is not None:
            sender.batch[-1] = last

    def top(self, peer: Peer, number: int) -> int:
        """The number above all that have come from this life of the sender of a number that has come."""
        return self._senders[peer].groups[number >> _GROUP].ends[-1]

    def take_acks(self) -> list[tuple[Peer, Ranges]]:
        """Return (peer, ranges) to be acknowledged since the last time; for peers that coalesce."""
        taken = []
        for sender in self._owing:
            batch = sender.batch
            if batch:
                taken.append((sender.peer, _pairs(batch)))
                batch.clear()
        self._owing.clear()
        return taken

    def _out_of_line(self, sender: _Sender, runs: Runs | None, number: int, fingerprint: int) -> bool:
        """Look a number up that does not continue the sender's highest run."""
        if number < FIRST_NUMBER:
            if sender.window is None:
                sender.window = Window(self.config.window)
            fresh = sender.window.add(number, fingerprint)
        elif runs is not None:
            fresh = runs.add(number)
        else:
            if len(sender.groups) >= _LIVES:
                del sender.groups[next(iter(sender.groups))]
            sender.groups[number >> _GROUP] = Runs(number, self.config.max_runs)
            fresh = True
        self.duplicates += not fresh
        return fresh

    def _owe(self, sender: _Sender, batch: list[int], number: int) -> None:
        """Begin another range of acknowledgements."""
        if not batch:
            self._owing.append(sender)
        elif len(batch) >= 2 * MOST_RANGES:
            self._flush(sender.peer, _pairs(batch))
            batch.clear()
        batch += (number, number)

    def _meet(self, peer: Peer) -> _Sender:
        sender = self._absent.pop(peer) if peer in self._absent else _Sender(peer)
        self._senders[peer] = sender
        if (sender.batch is not None) != (peer in self.batching):
            sender.batch = [] if peer in self.batching else None
        return sender

    def batches(self, peer: Peer) -> bool:
        """Whether what comes from the peer is acknowledged by `take_acks`."""
        return peer in self.batching

    def coalesce(self, peer: Peer, wanted: bool) -> Ranges:
        """Set whether the peer takes many acknowledgements at once; return what must be acknowledged one by one."""
        if wanted:
            self.batching[peer] = None
        else:
            self.batching.pop(peer, None)
        sender = self._senders.get(peer) or self._absent.get(peer)
        if sender is None or (sender.batch is not None) == wanted:
            return ()
        left = _pairs(sender.batch or [])
        sender.batch = [] if wanted else None
        return left

    def session_over(self, peer: Peer) -> None:
        """The peer's numbers may begin again, if it is a real node."""
        sender = self._senders.pop(peer, None)
        if sender is None:
            return
        sender.window = None
        self._absent[peer] = sender
        if len(self._absent) > self.config.max_absent:
            del self._absent[next(iter(self._absent))]


def _pairs(batch: list[int]) -> tuple[tuple[int, int], ...]:
    return tuple(zip(batch[::2], batch[1::2], strict=True))
