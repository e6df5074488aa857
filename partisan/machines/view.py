"""What overlays with partial views share: bounded samples of peers, and the numbers by which stale news is told.

A view is a plain dict, name -> peer, in order of arrival: small, iterated in an order that does not depend on hashes,
and with room for one value a name. The functions here draw from it.

`DisconnectIds` orders what two nodes tell each other about one edge. Messages on different connections overtake each
other: "you are my neighbor" may have been sent before, and arrive after, "you are no longer". So every farewell carries
(epoch, count), growing for each pair of nodes, and whoever wants to be a neighbor again says which farewell of the
other it has read last; one that has not read the latest is turned away.

Source: section 1.4 of the partisan 5.0.3 reference (upper layers). There both maps grow for ever, and a node that has
lost its own is refused for ever by whoever had turned it away; here a farewell of ours counts for as long as anything
sent before it may be under way, and counts grow over all peers, so that forgetting one never repeats it.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterable
from typing import TYPE_CHECKING, TypeAlias

from partisan.machines.machine import Peer

if TYPE_CHECKING:
    from random import Random

Name: TypeAlias = Hashable
View: TypeAlias = dict[Name, Peer]

DisconnectId: TypeAlias = tuple[int, int]
"""(epoch of the node that sent the farewell, how many it had sent)."""

NO_DISCONNECT: DisconnectId = (1, 0)
"""What stands for "I have read no farewell of yours" (partisan 5.0.3)."""


def choose(view: Iterable[Name], rng: Random, but: Container[Name] = ()) -> Name | None:
    """Draw one name that is not among `but`; None if there is none."""
    names = list(view)
    while names:
        at = int(rng.random() * len(names))
        name = names[at]
        if name not in but:
            return name
        names[at] = names[-1]
        names.pop()
    return None


def sample(view: View, rng: Random, most: int) -> list[Peer]:
    """Draw up to `most` peers, without repetition and in random order."""
    peers = list(view.values())
    count = len(peers)
    if count <= most:
        rng.shuffle(peers)
        return peers
    # As `rng.sample`, in a third of its time: these are a few of a few dozen.
    random = rng.random
    for at in range(most):
        other = at + int(random() * (count - at))
        peers[at], peers[other] = peers[other], peers[at]
    return peers[:most]


def mix(view: View, newcomers: View, most: int, rng: Random, first: Iterable[Name] = ()) -> list[Peer]:
    """Put newcomers in, as many as there are places; whom `first` names makes room first, then somebody at random.

    Returns:
        Who made room.
    """
    gone: list[Peer] = []
    excess = len(view) + len(newcomers) - most
    if excess > 0:
        for name in first:
            if excess > 0 and name in view:
                gone.append(view.pop(name))
                excess -= 1
        former = list(view) if excess > 0 else []
        random, left = rng.random, len(former)
        while excess > 0 and left:
            at = int(random() * left)
            left -= 1
            name, former[at] = former[at], former[left]
            gone.append(view.pop(name))
            excess -= 1
        if excess > 0:
            newcomers = dict(list(newcomers.items())[: max(most, 0)])
    view.update(newcomers)
    return gone


class DisconnectIds:
    """The farewells of one node, sent and read.

    Args:
        epoch: of this life of the node; at least 1.
        keep: seconds for which a farewell of ours is remembered.
        most: farewells remembered in each direction; the oldest are forgotten first.
    """

    __slots__ = ("_count", "_keep", "_most", "_read", "_sent", "epoch")

    def __init__(self, epoch: int, keep: float, most: int) -> None:
        self.epoch = epoch
        self._keep = keep
        self._most = most
        self._count = 0
        self._sent: dict[Name, tuple[int, float]] = {}  # oldest first: its count, and when it was sent
        self._read: dict[Name, tuple[DisconnectId, float]] = {}  # read longest ago first: which, and when

    def limit(self, keep: float, most: int) -> None:
        """Go on with other bounds."""
        self._keep, self._most = keep, most
        for known in (self._sent, self._read):
            while len(known) > most:
                del known[next(iter(known))]

    def next(self, name: Name, now: float) -> DisconnectId:
        """Number a farewell to that node."""
        self._count += 1
        self._sent.pop(name, None)
        self._sent[name] = (self._count, now)
        if len(self._sent) > self._most:
            del self._sent[next(iter(self._sent))]
        return (self.epoch, self._count)

    def expire(self, now: float) -> None:
        """Forget the farewells of ours that have arrived by now."""
        sent = self._sent
        while sent and next(iter(sent.values()))[1] < now - self._keep:
            del sent[next(iter(sent))]

    def sent_lately(self, name: Name, now: float) -> bool:
        """Whether a farewell of ours to that node may still be under way."""
        sent = self._sent.get(name)
        if sent is None or sent[1] >= now - self._keep:
            return sent is not None
        del self._sent[name]
        return False

    def addable(self, name: Name, last: DisconnectId, now: float) -> bool:
        """Whether that node, which says that it has read `last` of ours, has read all of them."""
        return not self.sent_lately(name, now) or last >= (self.epoch, self._sent[name][0])

    def read(self, name: Name, number: DisconnectId, now: float) -> bool:
        """Take note of that node's farewell; False if it is stale: a later one has been read lately.

        Not so lately, the node has begun again without its epoch and counts anew.
        """
        known = self._read.pop(name, None)
        if known is not None and known[1] >= now - self._keep:
            (epoch, count), read = known
            if number[0] <= epoch and number[1] <= count:
                self._read[name] = ((epoch, count), read)
                return False
        self._read[name] = (number, now)
        if len(self._read) > self._most:
            del self._read[next(iter(self._read))]
        return True

    def last_read(self, name: Name) -> DisconnectId:
        """That node's latest farewell that we have read."""
        known = self._read.get(name)
        return NO_DISCONNECT if known is None else known[0]
