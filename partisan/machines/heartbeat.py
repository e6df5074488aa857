"""The handler of heartbeats: every node broadcasts now and then that it lives, which also keeps its tree in shape.

A heartbeat is its own id and payload: `(node, epoch, number)`, where the epoch is of one life of the node, and numbers
count from 1. What has been heard is kept as runs of numbers, for each life.

The reference (section 2.5, upper layers) keeps one life for each node name, the one of the highest epoch; older ones
are stale. Its nodes that run without Erlang distribution all call themselves `nonode@nohost`, so each takes the others'
heartbeats for those of an earlier life of itself, and prunes the trees of all but one of them. Here a node speaks under
its own name, and of `nonode@nohost` many lives are kept beside each other: none of them is stale.

What holds: a heartbeat that was merged is stale for as long as its life is kept, whatever was forgotten of it, so that
none goes in circles; names, lives and runs are bounded, the ones unheard of longest being forgotten.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from partisan.machines.machine import Peer
from partisan.machines.plumtree_messages import Found, Missing

MOD = "partisan_plumtree_backend"
"""The name of this handler at real nodes."""

CHANNEL = "partisan_membership"
NOBODY = "nonode@nohost"
"""As whom every real node speaks that has no Erlang distribution."""

MOST_NODES, MOST_LIVES, MOST_RUNS = 16_384, 256, 64
"""Names that are kept, lives of `NOBODY`, and runs of a life (ours)."""

_NOTHING: dict[Any, None] = {}
_BITS = 80
"""Of an epoch or number that is taken (ours)."""

Timestamp = tuple[Any, int, int]


class Runs:
    """A set of numbers as runs of consecutive ones; of too many runs the lowest two become one, with what is between.

    Args:
        most: runs that are kept, at least 1.
    """

    __slots__ = ("ends", "most", "starts")

    def __init__(self, most: int) -> None:
        self.starts: list[int] = []
        self.ends: list[int] = []  # the number after the last of the same run
        self.most = most

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self.starts, number)
        return at > 0 and number < self.ends[at - 1]

    def add(self, number: int) -> None:
        """Put it in."""
        starts, ends = self.starts, self.ends
        at = bisect_right(starts, number)
        if at and number < ends[at - 1]:
            return
        below, above = at > 0 and ends[at - 1] == number, at < len(starts) and starts[at] == number + 1
        if below and above:
            ends[at - 1] = ends.pop(at)
            del starts[at]
        elif below:
            ends[at - 1] = number + 1
        elif above:
            starts[at] = number
        else:
            starts.insert(at, number)
            ends.insert(at, number + 1)
            if len(starts) > self.most:
                del starts[1], ends[0]


class Heartbeats:
    """A `Handler` of Plumtree.

    Args:
        node: our own name, as ids have it; on the wire an atom.
        epoch: of this life: higher than that of any life before, as the nanoseconds of the clock.
        nobody: the name that many nodes share; as ids have it.
        most_nodes: names that are kept.
    Attributes:
        heard: callable(name, epoch): told of each heartbeat of another that is new; None for nobody.
    """

    def __init__(self, node: Any, epoch: int, nobody: Any = NOBODY, most_nodes: int = MOST_NODES) -> None:
        self.node = node
        self.epoch = epoch
        self.heard: Callable[[Any, int], None] | None = None
        self._nobody = nobody
        self._most = most_nodes
        self._number = 0
        self._lives: dict[Any, dict[int, Runs]] = {}  # name -> epoch -> numbers

    def latest(self, node: Any) -> Timestamp | None:
        """The latest heartbeat of the node's latest life that was heard; None if there is none."""
        lives = self._lives.get(node)
        if not lives:
            return None
        epoch = max(lives)
        return (node, epoch, lives[epoch].ends[-1] - 1)

    def broadcast_data(self, data: object = None) -> tuple[Timestamp, Timestamp]:
        """Make the next heartbeat of our own."""
        self._number += 1
        beat = (self.node, self.epoch, self._number)
        self.merge(beat, beat)
        return beat, beat

    def merge(self, id: Any, payload: Any) -> bool:
        """Take a heartbeat; return whether it is new. What is none is not."""
        if not _is_beat(id) or payload != id or self.is_stale(id):
            return False
        node, epoch, number = id
        lives = self._lives.pop(node, {})
        self._lives[node] = lives
        runs = lives.pop(epoch, None) or Runs(MOST_RUNS)
        runs.add(number)
        if node != self._nobody:
            lives.clear()
        lives[epoch] = runs
        if len(lives) > MOST_LIVES:
            del lives[next(iter(lives))]
        if len(self._lives) > self._most:
            del self._lives[next(iter(self._lives))]
        if self.heard is not None and node != self.node:
            self.heard(node, epoch)
        return True

    def is_stale(self, id: Any) -> bool:
        """Whether it was heard, or is of an earlier life; also of what is no heartbeat."""
        if not _is_beat(id):
            return True
        node, epoch, number = id
        lives = self._lives.get(node, {})
        return number in lives.get(epoch, ()) or (node != self._nobody and any(epoch < other for other in lives))

    def graft(self, id: Any) -> Found | Missing:
        """Return the heartbeat, which is its own id, if it was heard."""
        if not _is_beat(id):
            return Missing.UNKNOWN
        node, epoch, number = id
        lives = self._lives.get(node, {})
        if number in lives.get(epoch, ()):
            return Found(id)
        return Missing.STALE if self.is_stale(id) else Missing.UNKNOWN

    def exchange(self, peer: Peer) -> None:
        """Nothing is exchanged: a heartbeat that is lost is followed by another."""

    def broadcast_channel(self) -> str:
        """Heartbeats go by the channel of the membership."""
        return CHANNEL


def _is_beat(id: Any) -> bool:
    if type(id) is not tuple or len(id) != 3:
        return False
    node, epoch, number = id
    if type(epoch) is not int or type(number) is not int or max(epoch.bit_length(), number.bit_length()) > _BITS:
        return False
    try:
        _NOTHING.get(node)
    except TypeError:
        return False
    return number > 0
