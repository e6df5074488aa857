"""The way of a message: from send() to a send queue, and from a frame to a mailbox."""

from collections.abc import Awaitable, Callable, Hashable, Iterable
from contextvars import ContextVar
from typing import Any, Self, final

from typing_extensions import disjoint_base

from partisan.etf import Atom, Codec, ImproperList, Pid

from .acknowledged import Acknowledging
from .connections import ConnectionTable
from .frame import FrameReader
from .process import Process
from .scheduler import Scheduler
from .sendqueue import SendQueue

__all__ = ["Origin", "PairKey", "Router", "current_router_var", "send"]

_Target = (
    Pid | Process | Atom | str | tuple[str | Atom, str | Atom] | tuple[str | Atom, Any, Any] | ImproperList | bytes
)

MOST_SERVED: int
"""Requests that one node has sent and that wait for their answer here, at most."""

NO_CHANNEL: str
NO_NODE: str
"""What is said where there is no current node."""

current_router_var: ContextVar[Router]

def send(
    target: _Target,
    message: Any,
    *,
    channel: str | None = None,
    partition_key: int | PairKey | None = None,
    key: Hashable = None,
    ack: bool = False,
    causal_label: str | None = None,
    clock: Any = None,
    transitive: bool = False,
    out_links: Iterable[str] | None = None,
    broadcast: bool = False,
) -> None:
    """Send a message to a process, from the current node: see `Router.send`."""

@final
class PairKey:
    """Stands for a partition key where messages are to keep their order with those of a pair, and share as they do.

    Args:
        value: modulo the slots of pairs it is the slot.
    """

    def __init__(self, value: int) -> None: ...
    @property
    def value(self) -> int: ...

@disjoint_base
class Origin(FrameReader):
    """Abstract: the connection on which a message came, as far as its receivers know it."""

    channel: str | None
    """What the peer said the connection is for; None until its hello."""

    @property
    def link(self) -> Any:
        """Who owns the connection."""

@disjoint_base
class Router:
    """One node's messages.

    Args:
        codec: of messages on the wire.
        scheduler, table: this node's processes and connections.
        clock: gives monotonic seconds.
        call_soon: arranges that a function is called in the next loop turn.
        undeliverable: called with target and message for a message that nobody here is the target of.

    Not thread-safe: methods belong to the thread that made it and raise WrongThread elsewhere.
    """

    after_burst: Callable[[], object] | None
    """Called at the end of every burst and turn; None for none."""

    acknowledging: Acknowledging
    """Of what is sent with `ack`; set before the first such message."""

    forwarding: Callable[[str, Any, Any, str | None, int | None, Hashable, bool], object] | None
    """Called with node, target, message, channel, partition key, key and ack of what is sent to other nodes; it takes
    the message, and gives `forward()` what goes on. None for none."""

    receiving: Callable[[Any, Any, Origin | None], object] | None
    """Called with target, message and reader (or None) of what came from other nodes; it takes the message, and gives
    `hand_over()` what goes on. None for none."""

    ordering: Callable[[tuple[Any, ...], Origin], bool] | None
    """Called with a message that looks causal, and its reader: whether it takes the message. None for nobody."""

    foreign_parts: frozenset[str]
    """Names of parts of the node that are addressed over a foreign connection, and over no other."""

    optioned: Callable[..., object]
    """Called with what is sent with options that are none of every message, and its options."""

    relaying: Callable[[str, Any, Any, str | None, bool], bool] | None
    """Called with node, target, message, channel and ack of what is for a node without a connection: whether it takes
    the message. None for nobody."""

    call_outside: Callable[..., Awaitable[Any]]
    """Called with the arguments of `calls.call`: a call from code that is no process's own."""

    call_monitored: Callable[..., Awaitable[Any]]
    """The same: a call of a node that watches no calls for us."""

    call_unreached: Callable[..., Awaitable[Any] | None] | None
    """The same: a call of a node that is not connected; it returns None if that cannot be mended. None for none."""

    refuse: Callable[[Pid, Any, str | None, Any], object]
    """Called with caller, tag, channel and reason: nobody will answer the request."""

    read_caller: Callable[[Any], Pid | tuple[str, str] | None]
    """Reads the rarer forms of a reference to who asks; None if it is none."""

    undeliverable: Callable[[Any, Any], object]
    """Called with target and message for what nobody here is the target of."""

    padding: bytes | None
    """What user messages to other nodes are padded with; None: they are not."""

    def __new__(
        cls,
        node: str,
        *,
        codec: Codec,
        scheduler: Scheduler,
        table: ConnectionTable,
        clock: Callable[[], float],
        call_soon: Callable[[Callable[[], object]], object],
        undeliverable: Callable[[Any, Any], object],
    ) -> Self: ...
    @property
    def node(self) -> str: ...
    @property
    def outside(self) -> Pid:
        """In whose name code that is no process's own asks."""

    @property
    def codec(self) -> Codec: ...
    @property
    def scheduler(self) -> Scheduler: ...
    @property
    def table(self) -> ConnectionTable: ...
    @property
    def undelivered(self) -> int:
        """Messages for nobody."""

    def send(
        self,
        target: _Target,
        message: Any,
        *,
        channel: str | None = None,
        partition_key: int | PairKey | None = None,
        key: Hashable = None,
        ack: bool = False,
        causal_label: str | None = None,
        clock: Any = None,
        transitive: bool = False,
        out_links: Iterable[str] | None = None,
        broadcast: bool = False,
    ) -> None:
        """Send a message to a process: encode, queue, return.

        Args:
            target: a Pid; a registered name (str or Atom) of this node; or (name, node name).
            message: any term.
            channel: the channel's name; None is the default channel.
            partition_key: an int of at least 0 that chooses the connection (key modulo parallelism). None: the pair of
                sender and receiver does, and pairs share one as long as none would wait there.
            key: on a monotonic channel, which object this message is the state of: it supersedes older ones with the
                same key only.
            ack: keep the message, and send it again, until the other node acknowledges it.
            causal_label: deliver it in the causal order of this label, one of `causal_labels`.
            clock: with `ack`: a term, under which it is acknowledged.
            transitive, broadcast: have other nodes pass it on, if the node is no neighbor; either says so.
            out_links: the same, by these neighbors alone.
        Raises:
            NotConnected: no connection to the node, and nobody to pass the message on.
            Overloaded: the channel's queue is full and its policy refuses more.
            NoProc: a name of this node that nobody has.
            EncodeError: the message is no term.
            UnknownLabel: this node has no such causal label.
            ValueError: the partition key is no int of at least 0; or there is a key, and the message is to be kept or
                is causal; or a clock without `ack`.
        """

    def queue_to(
        self, node: str, target: Pid | Atom, *, channel: str | None = None, partition_key: int | PairKey | None = None
    ) -> SendQueue:
        """The queue that a message to this pid or name of another node takes: for `push_body`.

        Raises:
            NotConnected: there is none; `known` tells whether the node was connected before.
            Overloaded: the channel's policy refuses more.
        """

    def pair_key(self, sender: Pid, target: Pid) -> PairKey:
        """What stands for a partition key of messages that are to keep their order with those between two processes."""

    def own_key(self, target: Pid | Atom) -> PairKey:
        """The same for the running process and a pid, or the Atom of a name."""

    def push_body(self, queue: SendQueue, body: bytes) -> None:
        """Queue a frame that is encoded already, version octet and all."""

    def forward(
        self,
        node: str,
        target: Pid | Atom,
        message: Any,
        *,
        channel: str | None = None,
        partition_key: int | PairKey | None = None,
        key: Hashable = None,
        ack: bool = False,
    ) -> None:
        """Send to a process of another node, by its pid or the Atom that names it there, past `forwarding`."""

    def hand_over(self, target: Any, message: Any, inbound: Origin | None = None) -> None:
        """Deliver a message to whom it is for on this node, past `receiving`."""

    def deliver(self, target: Any, message: Any, inbound: Origin | None = None) -> None:
        """Deliver a message to a process of this node, as if it had come over the wire with this target term.

        Args:
            inbound: whose frame it was taken out of. What is no process, as the manager, takes nothing from there.
        """

    def mark(self, queue: SendQueue) -> None:
        """Write this queue at the end of the burst or of the loop turn."""

    def rouse(self) -> None:
        """See to it that turn() is called in the next loop turn."""

    def at_end(self, function: Callable[[], object]) -> None:
        """Call a function when what was read together has been taken, before anybody acts on it; or now."""

    def turn(self) -> None:
        """Step what is ready and write what waits: once a loop turn in which something happened elsewhere."""
