"""What relays say to each other, are asked, and tell: the vocabulary of `partisan.machines.relay`."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from partisan.machines.machine import Peer


@dataclass(frozen=True, slots=True)
class RelayConfig:
    """Options of relaying.

    Attributes:
        ttl: over how many nodes a message may go on its way (partisan 5.0.3).
        max_ttl: what a TTL from elsewhere may be, and that of what everybody is to hear (ours).
        timeout: seconds without a receipt until a message is given up (ours).
        retry: seconds without a receipt until a message is sent again; twice as long each time (ours).
        receipt_after: seconds that a receipt waits for more to tell (ours).
        window: messages of one sender that are held for those before them, and messages of ours to one node without a
            receipt (ours).
        max_octets: how large these may be together (ours).
        most_seen: frames that are remembered, so that none is passed on twice (ours).
        most_nodes: far nodes of which ways, and numbers of messages, are remembered (ours).
    """

    ttl: int = 5
    max_ttl: int = 64
    timeout: float = 5.0
    retry: float = 0.5
    receipt_after: float = 0.02
    window: int = 1024
    max_octets: int = 16 << 20
    most_seen: int = 16_384
    most_nodes: int = 4096


class Kind(Enum):
    """What a neighbor does with a message for another node."""

    SPEAKER = 1  # it takes frames, as we do
    RELAY = 2  # it passes messages on in its own way, and tells nothing
    PLAIN = 3  # it takes what is for itself


# Messages.


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way.

    Attributes:
        number: of the sender's messages to this receiver, ascending by 1.
        base: the lowest number that the sender still waits for a receipt of: those below will not come again.
        load: the message, opaque to relays.
        octets: its size.
    """

    number: int
    base: int
    load: Any
    octets: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """Messages have arrived.

    Attributes:
        of: at whom: the sender of this, or a node that sends none, to which the sender of this has handed them.
        life: of who sent them.
        first, last: their numbers; those to the sender of this begin with 0: all that came before.
    """

    of: Peer
    life: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Word:
    """Something for everybody to hear.

    Attributes:
        node, life: whom it is about.
        by_itself: whether that node says so; else somebody who has lost it does.
    """

    node: Peer
    life: int
    by_itself: bool


Body = Parcel | Receipt | Word


@dataclass(frozen=True, slots=True)
class Frame:
    """What goes from neighbor to neighbor.

    Attributes:
        origin: who has sent it first.
        life: which life of the origin: higher than any before.
        serial: of the origin's frames in that life; each copy that goes another way has the same.
        dest: for whom; None is everybody.
        ttl: over how many more nodes it may go.
        wide: over all neighbors, not along the ways that are known.
        abroad: whether it may be given to neighbors that pass messages on in their own way.
        body: what it carries.
    """

    origin: Peer
    life: int
    serial: int
    dest: Peer | None
    ttl: int
    wide: bool
    abroad: bool
    body: Body


@dataclass(frozen=True, slots=True)
class Handed:
    """To a neighbor that is no `SPEAKER`: a message for it."""

    load: Any


@dataclass(frozen=True, slots=True)
class Abroad:
    """To a neighbor that is a `RELAY`: a message for another node."""

    dest: Peer
    load: Any
    ttl: int


# Commands.


@dataclass(slots=True)
class EdgeUp:
    """A neighbor can be sent to, or is of another kind than before; `NeighborUp` says so of a `SPEAKER`."""

    peer: Peer
    kind: Kind


@dataclass(slots=True)
class Relay:
    """Send a message to a node that is no neighbor.

    Attributes:
        dest: the node.
        load, octets: as in `Parcel`.
        tag: to be repeated in what is told of it; None: nobody waits for that.
        ttl, timeout: instead of those of the options.
        out_links: by these neighbors alone.
    """

    dest: Peer
    load: Any
    octets: int
    tag: Hashable = None
    ttl: int | None = None
    timeout: float | None = None
    out_links: tuple[Peer, ...] | None = None


@dataclass(slots=True)
class Spread:
    """Let everybody hear."""

    word: Word


@dataclass(slots=True)
class Abandon:
    """A node will not send receipts any more: give up what it has not got.

    Attributes:
        reason: a word for logs.
    """

    dest: Peer
    reason: str


# Facts.


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message for us."""

    origin: Peer
    life: int
    load: Any


@dataclass(frozen=True, slots=True)
class Heard:
    """A word for everybody."""

    by: Peer
    word: Word


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A message of ours has arrived; told of those with a tag."""

    dest: Peer
    tag: Hashable


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A message of ours has no receipt; it may have arrived."""

    dest: Peer
    tag: Hashable
    reason: str


@dataclass(slots=True)
class Counts:
    """What a node has done as a relay since it was started.

    Attributes:
        sent: messages of ours; `resent`: how often one was sent again.
        copies: frames that were sent, ours and others', receipts included.
        passed: frames of others that were passed on.
        floods: frames, ours and others', that went to several neighbors as no way was known.
        delivered: messages that came for us.
        duplicates: frames that came again; `again`: messages that did, in another frame.
        expired: frames that had come too far.
        given_up: messages of ours without a receipt.
    """

    sent: int = 0
    resent: int = 0
    copies: int = 0
    passed: int = 0
    floods: int = 0
    delivered: int = 0
    duplicates: int = 0
    again: int = 0
    expired: int = 0
    given_up: int = 0
