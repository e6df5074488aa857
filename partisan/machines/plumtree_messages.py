"""What Plumtree nodes say to each other, tell their drivers, ask of handlers, and are configured by.

Messages name nodes, as the wire does; what the name of a peer is says the configuration. A handler, which is the
application's, is asked in place, not by effects: whether a message is new decides at once whether its sender is pruned,
so that an answer which came as a later event would leave every message pending, in memory that peers control, and let
messages of one peer overtake each other. A handler that acts on nothing but itself leaves the machine pure; one that
raises is told of, and taken to have answered no.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias, runtime_checkable

from partisan.machines.machine import Peer
from partisan.machines.membership import name_of

Name: TypeAlias = Any
"""By which nodes know each other; hashable."""

Id: TypeAlias = Any
"""Names a message among those of one handler; made by the handler."""

DEFAULT_CHANNEL = "undefined"


def _itself(value: Any) -> Hashable:
    hashable: Hashable = value
    return hashable


@dataclass(frozen=True, slots=True)
class PlumtreeConfig:
    """Options of Plumtree.

    Attributes:
        lazy_tick: seconds between announcements, which are repeated until they are acknowledged (partisan 5.0.3: 1 s);
            None announces once, at once, and acknowledges nothing (paper §3.4).
        graft_after: seconds from the first announcement of what is missing until it is asked for (paper §3.5; ours:
            0.2 s; partisan 5.0.3 asks at once, which 0 does).
        graft_again: seconds until the next who announced it is asked (paper §3.5; ours: 0.5 s).
        optimization: an announcement that came by so many hops less than the message makes who sent it an eager peer
            instead (paper §3.8: 3 or 7); None never (partisan 5.0.3). Real nodes do not understand it.
        shared_tree: one tree for all roots (the paper), instead of one for each (partisan 5.0.3).
        per_channel: a tree for each channel of a root, as channels may differ in what is stale (ours: True).
        pruning: whether peers are ever made lazy; a broadcast without is a flood, to compare with.
        exchange_tick: seconds between exchanges with a random peer (partisan 5.0.3: 10 s); None has none.
        exchange_selection: "optimized" prefers peers that are not eager, "normal" takes any (partisan 5.0.3:
            optimized, whose set is always empty, as every peer is eager or lazy: it takes any).
        exchange_limit: exchanges that run at once; None is the number of handlers (partisan 5.0.3).
        exchange_patience: seconds after which an exchange of messages that got no answer is over (ours).
        heartbeat: name of the handler of heartbeats; None sends none (partisan 5.0.3: unless `broadcast` is set).
        heartbeat_interval: seconds between (partisan 5.0.3: 10 s).
        report: tell of each message that is new, as `Merged`.
        most_trees: trees that are kept; the one unused longest is forgotten, and grows anew (ours).
        most_outstanding: announcements kept for each peer; the oldest is given up (ours).
        most_missing: announced messages that are waited for; of more each is asked for at once (ours).
        remember: seconds for which what was broadcast here is announced to another neighbor if all that were told of
            it are lost (ours; 0: never, as the paper and partisan 5.0.3).
        key: what an id is known by; hashable, and different for different ids.
        name: the name of a peer.
    """

    lazy_tick: float | None = 1.0
    graft_after: float = 0.2
    graft_again: float = 0.5
    optimization: int | None = None
    shared_tree: bool = False
    per_channel: bool = True
    pruning: bool = True
    exchange_tick: float | None = 10.0
    exchange_selection: str = "optimized"
    exchange_limit: int | None = None
    exchange_patience: float = 30.0
    heartbeat: str | None = None
    heartbeat_interval: float = 10.0
    report: bool = False
    most_trees: int = 1024
    most_outstanding: int = 1024
    most_missing: int = 1024
    remember: float = 60.0
    key: Callable[[Id], Hashable] = _itself
    name: Callable[[Peer], Name] = name_of


# Handlers.


class Missing(Enum):
    """Why a handler has no payload: later messages have made it void, or it knows none of that id."""

    STALE = "stale"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Found:
    """The payload that was asked for."""

    payload: Any


@dataclass(frozen=True, slots=True)
class Talk:
    """What a handler has to say to the handler of the same name at a peer; another node of Python, or nobody hears it.

    Attributes:
        bodies: to be sent, in order.
        over: the exchange is over on our side, as soon as they are sent.
    """

    bodies: tuple[Any, ...] = ()
    over: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """The application runs the exchange itself: it says `ExchangeOver`, or hears `ExchangeCancelled`.

    Attributes:
        job: by which it knows the exchange, as a pid; hashable.
    """

    job: Hashable


@runtime_checkable
class Handler(Protocol):
    """Keeps what is broadcast; the application's. It must not call the machine, which waits for the answer."""

    def broadcast_data(self, data: Any) -> tuple[Id, Any]:
        """Give a message of our own its id, and keep it: what goes out is not merged here. Return (id, payload)."""

    def merge(self, id: Id, payload: Any) -> bool:
        """Take a message; return whether it is new. Once merged it must be stale for ever, or it goes in circles."""

    def is_stale(self, id: Id) -> bool:
        """Whether nothing is to be gained from the message: it was merged, or is superseded."""

    def graft(self, id: Id) -> Found | Missing:
        """Return the message for a peer that has missed it."""

    def exchange(self, peer: Peer) -> Talk | Running | None:
        """Begin to compare notes with a peer; None has none to compare."""

    def broadcast_channel(self) -> str:
        """Return the channel on which messages of this handler travel."""


@runtime_checkable
class Talker(Handler, Protocol):
    """A handler that exchanges by messages, which need no process."""

    def hear(self, peer: Peer, body: Any) -> Talk:
        """Take what the peer's handler says in an exchange of either side. Raises ValueError if it makes no sense."""


# Messages. They are shared between sends, and never changed. The channel is the one on which they travel, and comes
# not with the message but from where it arrived.


@dataclass(slots=True)
class Push:
    """The message itself.

    Attributes:
        mod: name of the handler.
        round: hops from the root to the sender.
        root: the name of who broadcast it.
        sender: the name of who passes it on.
    """

    id: Id
    payload: Any
    mod: str
    round: int
    root: Name
    sender: Name
    channel: str = DEFAULT_CHANNEL


@dataclass(slots=True)
class Prune:
    """I have what you push by other ways: only announce, in the tree of this root."""

    root: Name
    sender: Name
    channel: str = DEFAULT_CHANNEL


@dataclass(slots=True)
class IHave:
    """A message that the sender could push; see `Push`."""

    id: Id
    mod: str
    round: int
    root: Name
    sender: Name
    channel: str = DEFAULT_CHANNEL


@dataclass(slots=True)
class IgnoredIHave:
    """I do not need what you announced: announce it no more; parts as they were announced."""

    id: Id
    mod: str
    round: int
    root: Name
    sender: Name
    channel: str = DEFAULT_CHANNEL


@dataclass(slots=True)
class Graft:
    """Push the message that you announced, and all later ones of this root; parts as they were announced.

    Attributes:
        mod: None, and the id too, if the message itself has arrived (paper §3.8).
    """

    id: Id
    mod: str | None
    round: int
    root: Name
    sender: Name
    channel: str = DEFAULT_CHANNEL


@dataclass(slots=True)
class Say:
    """What a handler says to that of the same name, in an exchange; only Python nodes have it.

    Attributes:
        body: the handler's.
    """

    mod: str
    body: Any
    sender: Name
    channel: str = DEFAULT_CHANNEL


# Commands.


@dataclass(slots=True)
class Broadcast:
    """Send a message of our own, which the handler has named and kept: see `Plumtree.prepare`."""

    id: Id
    payload: Any
    mod: str


@dataclass(slots=True)
class Hearing:
    """Whether a neighbor hears what handlers say in an exchange; it does until this says that it does not.

    Attributes:
        peer: name of the neighbor; forgotten when it is none any more.
    """

    peer: Name
    hears: bool


@dataclass(slots=True)
class ExchangeOver:
    """The exchange that the application ran under this job has ended."""

    job: Hashable


@dataclass(slots=True)
class CancelExchanges:
    """End exchanges: those that match everything given; with nothing given, all.

    Attributes:
        peer: name of the peer.
        mod: name of the handler.
        job: of a `Running`.
    """

    peer: Name = None
    mod: str | None = None
    job: Hashable = None


# Facts.


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange that runs.

    Attributes:
        mod: name of the handler.
        peer: name of the peer.
        job: of the application, or None if it goes by messages.
        since: when it began.
    """

    mod: str
    peer: Name
    job: Hashable
    since: float


@dataclass(frozen=True, slots=True)
class ExchangeBegun:
    """The application runs this exchange now; see `Running`."""

    exchange: Exchange


@dataclass(frozen=True, slots=True)
class ExchangeCancelled:
    """Somebody wants this exchange ended."""

    exchange: Exchange


@dataclass(frozen=True, slots=True)
class HandlerFailed:
    """A handler raised, and was taken to have answered no.

    Attributes:
        mod: its name.
        callback: which of its methods.
    """

    mod: str
    callback: str
    error: Exception


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A message will not be announced to this peer any more, though it has not said that it has it.

    Attributes:
        reason: "full" (too many others wait), or "unavailable" (the peer asked for it, and the handler has it no more).
    """

    peer: Name
    mod: str
    id: Id
    reason: str


@dataclass(frozen=True, slots=True)
class Merged:
    """A message that was new arrived; only if the configuration wants to know.

    Attributes:
        hops: from its root.
    """

    mod: str
    id: Id
    root: Name
    hops: int


# What messages may be.

_MOST_ROUNDS = 1 << 32
"""Hops that a message can have come (ours)."""


def problem_of(myself: Name, peer: Peer, message: Any, config: PlumtreeConfig) -> str | None:
    """What is wrong with the parts that messages share; None if nothing is.

    Args:
        myself: our name.
        peer: who sent it, as the connection says; None if it does not.
    """
    kind, sender = type(message), message.sender
    if type(sender) is not type(myself) or sender == myself:
        return "the sender is no node's name, or ours"
    if peer is not None and peer != sender and config.name(peer) != sender:
        return "the sender is not who the connection says"
    if kind is not Say and type(message.root) is not type(myself):
        return "the root is no node's name"
    if kind is Prune:
        return None
    if type(message.mod) is not str and not (kind is Graft and message.mod is None):
        return "no name of a handler"
    if kind is not Say and not (type(message.round) is int and 0 <= message.round < _MOST_ROUNDS):
        return "no number of hops"
    return None
