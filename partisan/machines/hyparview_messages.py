"""What HyParView nodes say to each other, tell their drivers, and are configured by; `hyparview` has the machine.

Every message names its sender, and peers are the sender's own values: `NodeSpec` in life, anything hashable in
simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from partisan.machines.machine import Peer
from partisan.machines.membership import name_of
from partisan.machines.view import DisconnectId

UNTAGGED = "undefined"
"""The tag of a node that has none (partisan 5.0.3)."""

HIGH, LOW = "high", "low"
"""Priorities of a `NeighborRequest`: none refuses the first for want of room (paper §4.3)."""


def _itself(peer: Any) -> Any:
    return peer


@dataclass(frozen=True, slots=True)
class HyParViewConfig:
    """Options of HyParView. Sizes of the active view count ourselves, as partisan 5.0.3 does and the paper does not.

    Attributes:
        active_max_size: of the active view (partisan 5.0.3: 6; paper §5.1: 5 neighbors, which is the same).
        active_min_size: below it, random promotion asks with high priority (partisan 5.0.3: 3).
        active_rwl: hops of a walk that ends in an active view (partisan 5.0.3 and paper §5.1: 6).
        passive_max_size: of the passive view (partisan 5.0.3 and paper §5.1: 30).
        passive_rwl: hops left at which a walk enters a passive view (partisan 5.0.3: 6; paper §5.1: 3).
        random_promotion: ask a passive peer now and then while there is room (partisan 5.0.3: True).
        random_promotion_interval: seconds between (partisan 5.0.3: 5 s).
        promotion_requests: requests that a promotion makes one after another until one is accepted, at most, at least
            1; to whom no edge comes up does not count (ours; partisan 5.0.3: 1; the paper does not say).
        replacement: who loses a neighbor asks passive peers at once, one for each place that is free; if it has failed,
            one after another until these accept, if it has dropped us, once, and promotion likewise asks only once
            while a single place is free (ours: True). Without, promotion alone looks for neighbors (and an update of
            the members): for all places that are free, and of `promotion_requests` peers in all, whether they refuse
            or no edge comes up; a node without neighbors goes on until one does. With neither of both options a lost
            neighbor is not replaced.
        shuffle_interval: seconds between shuffles (partisan 5.0.3: 10 s).
        shuffle_k_active: active peers in an exchange (partisan 5.0.3 and paper §5.1: 3).
        shuffle_k_passive: passive peers in an exchange (partisan 5.0.3 and paper §5.1: 4).
        xbot: exchange neighbors for nearer ones (partisan 5.0.3: False; `machines/xbot.py`).
        xbot_interval: seconds between attempts on average, half to one and a half of it (ours; partisan 5.0.3: 6 to 65,
            drawn once).
        xbot_candidates: passive peers that are looked at in each (paper: 2, its passive scan length).
        xbot_unbiased: neighbors that are never exchanged for nearer ones (paper: 1).
        tag: our own role (partisan 5.0.3: undefined).
        reservations: tags for one peer each of which a place in the active view is kept free (partisan 5.0.3: none).
        patience: seconds for a peer to be reached, and to answer (ours; partisan 5.0.3 waits 5 s for each send).
        memory: seconds for which a farewell of ours is remembered (ours; partisan 5.0.3: for ever).
        most_remembered: farewells remembered in each direction (ours; partisan 5.0.3: all).
        most_former: how many that have left a view are remembered, for a node that knows nobody else; one that has left
            twice counts twice (ours).
        most_edges: edges to others than neighbors at one time (ours).
        most_advertised: peers in an exchange that are taken (ours).
        most_hops: time to live that is taken; longer than `active_rwl` no walk goes on here anyway (ours).
        partitions: whether a peer may inject a partition; for tests (ours: False; partisan 5.0.3: always).
        key: sort key of the members that are reported.
        name: the name of a peer; two values of one name are one node that changed.
    """

    active_max_size: int = 6
    active_min_size: int = 3
    active_rwl: int = 6
    passive_max_size: int = 30
    passive_rwl: int = 6
    random_promotion: bool = True
    random_promotion_interval: float = 5.0
    promotion_requests: int = 30
    replacement: bool = True
    shuffle_interval: float = 10.0
    shuffle_k_active: int = 3
    shuffle_k_passive: int = 4
    xbot: bool = False
    xbot_interval: float = 10.0
    xbot_candidates: int = 2
    xbot_unbiased: int = 1
    tag: str = UNTAGGED
    reservations: tuple[str, ...] = ()
    patience: float = 5.0
    memory: float = 30.0
    most_remembered: int = 256
    most_former: int = 128
    most_edges: int = 64
    most_advertised: int = 256
    most_hops: int = 255
    partitions: bool = False
    key: Callable[[Any], Any] = _itself
    name: Callable[[Peer], Hashable] = name_of


@dataclass(frozen=True, slots=True)
class HyParViewState:
    """What a node's handshake tells.

    Attributes:
        active: its active view, itself included.
        epoch: how often it has started, as far as it remembers.
    """

    active: tuple[Peer, ...]
    epoch: int


# Messages: values that never change. They are not frozen, as making a frozen one takes three times as long.


@dataclass(slots=True)
class JoinRequest:
    """Take me in.

    Attributes:
        tag: the sender's.
        epoch: the sender's.
    """

    sender: Peer
    tag: str
    epoch: int


@dataclass(slots=True)
class ForwardJoin:
    """A node has joined, and looks for neighbors by a random walk.

    Attributes:
        joiner: that node.
        tag: the joiner's.
        epoch: the joiner's.
        ttl: hops left.
        sender: who forwards it.
    """

    joiner: Peer
    tag: str
    epoch: int
    ttl: int
    sender: Peer


@dataclass(slots=True)
class Neighbor:
    """You are in my active view.

    Attributes:
        tag: the sender's.
        last: the receiver's latest farewell that the sender has read.
        receiver: whom it is for; ignored.
    """

    sender: Peer
    tag: str
    last: DisconnectId
    receiver: Peer


@dataclass(slots=True)
class Farewell:
    """You are no longer in my active view.

    Attributes:
        number: grows with each farewell of the sender to the receiver.
    """

    sender: Peer
    number: DisconnectId


@dataclass(slots=True)
class NeighborRequest:
    """Be my neighbor.

    Attributes:
        priority: `HIGH` or `LOW`.
        tag: the sender's.
        last: as in `Neighbor`.
        exchange: peers that the sender knows.
    """

    sender: Peer
    priority: str
    tag: str
    last: DisconnectId
    exchange: tuple[Peer, ...]


@dataclass(slots=True)
class NeighborAccepted:
    """You asked, and are in my active view.

    Attributes:
        tag: the sender's.
        last: as in `Neighbor`.
        exchange: peers that the sender knows.
    """

    sender: Peer
    tag: str
    last: DisconnectId
    exchange: tuple[Peer, ...]


@dataclass(slots=True)
class NeighborRejected:
    """You asked, and are not in my active view.

    Attributes:
        exchange: peers that the sender knows; a real node that has no room tells none.
    """

    sender: Peer
    exchange: tuple[Peer, ...]


@dataclass(slots=True)
class Shuffle:
    """Peers to mix into the passive view of whoever is at the end of a random walk.

    Attributes:
        exchange: peers that the origin knows, itself among them.
        ttl: hops left.
        sender: the origin, who is answered; a real node that forwards it writes itself here.
    """

    exchange: tuple[Peer, ...]
    ttl: int
    sender: Peer


@dataclass(slots=True)
class ShuffleReply:
    """Peers in return for those of a shuffle.

    Attributes:
        exchange: as many, at most, from the sender's passive view.
    """

    exchange: tuple[Peer, ...]
    sender: Peer


@dataclass(slots=True)
class InjectPartition:
    """Act as if your neighbors could not be reached through others; for tests.

    Attributes:
        ref: names the partition; opaque.
        origin: who forwards it.
        ttl: hops left.
    """

    ref: Any
    origin: Peer
    ttl: int


@dataclass(slots=True)
class ResolvePartition:
    """The partition of that name is over.

    Attributes:
        ref: as it came.
    """

    ref: Any


# Facts.


@dataclass(frozen=True, slots=True)
class Declined:
    """A message was not acted on, because too much is under way already; the peer did nothing wrong.

    Attributes:
        what: the kind of message.
    """

    peer: Peer
    what: str
