"""The way of a message: from send() to a send queue, and from a frame to a mailbox."""

from collections.abc import Callable, Hashable
from contextvars import ContextVar
from typing import Any, Self

from typing_extensions import disjoint_base

from partisan.etf import Atom, Codec, Pid

from .acknowledged import Acknowledging
from .connections import ConnectionTable
from .frame import FrameReader, Slab
from .process import Process, Scheduler
from .sendqueue import SendQueue

__all__ = ["Inbound", "Router", "current_router_var", "send"]

_Target = Pid | Process | Atom | str | tuple[str | Atom, str | Atom]

NO_NODE: str
"""What is said where there is no current node."""

current_router_var: ContextVar[Router]

def send(
    target: _Target,
    message: Any,
    *,
    channel: str | None = None,
    partition_key: int | None = None,
    key: Hashable = None,
    ack: bool = False,
) -> None:
    """Send a message to a process, from the current node: see `Router.send`."""

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

    receiving: Callable[[Any, Any, Inbound | None], object] | None
    """Called with target, message and reader (or None) of what came from other nodes; it takes the message, and gives
    `hand_over()` what goes on. None for none."""

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
        partition_key: int | None = None,
        key: Hashable = None,
        ack: bool = False,
    ) -> None:
        """Send a message to a process: encode, queue, return.

        Args:
            target: a Pid; a registered name (str or Atom) of this node; or (name, node name).
            message: any term.
            channel: the channel's name; None is the default channel.
            partition_key: an int of at least 0 that chooses the connection (key modulo parallelism); None: the pair of
                sender and receiver does.
            key: on a monotonic channel, which object this message is the state of: it supersedes older ones with the
                same key only.
            ack: keep the message, and send it again, until the other node acknowledges it.
        Raises:
            NotConnected: no connection to the node.
            Overloaded: the channel's queue is full and its policy refuses more.
            NoProc: a name of this node that nobody has.
            EncodeError: the message is no term.
            ValueError: the partition key is no int of at least 0; or there is a key, and the message is to be kept.
        """

    def queue_to(
        self, node: str, target: Pid | Atom, *, channel: str | None = None, partition_key: int | None = None
    ) -> SendQueue:
        """The queue that a message to this pid or name of another node takes: for `push_body`.

        Raises:
            NotConnected: there is none; `known` tells whether the node was connected before.
            Overloaded: the channel's policy refuses more.
        """

    def push_body(self, queue: SendQueue, body: bytes) -> None:
        """Queue a frame that is encoded already, version octet and all."""

    def forward(
        self,
        node: str,
        target: Pid | Atom,
        message: Any,
        *,
        channel: str | None = None,
        partition_key: int | None = None,
        key: Hashable = None,
        ack: bool = False,
    ) -> None:
        """Send to a process of another node, by its pid or the Atom that names it there, past `forwarding`."""

    def hand_over(self, target: Any, message: Any, inbound: Inbound | None = None) -> None:
        """Deliver a message to whom it is for on this node, past `receiving`."""

    def deliver(self, target: Any, message: Any) -> None:
        """Deliver a message to a process of this node, as if it had come over the wire with this target term."""

    def mark(self, queue: SendQueue) -> None:
        """Write this queue at the end of the burst or of the loop turn."""

    def rouse(self) -> None:
        """See to it that turn() is called in the next loop turn."""

    def turn(self) -> None:
        """Step what is ready and write what waits: once a loop turn in which something happened elsewhere."""

@disjoint_base
class Inbound(FrameReader):
    """Frames of one connection on their way to mailboxes.

    Args:
        slab, max_frame: as FrameReader.
        router: of the node.
        link: who owns the connection; sinks are told.
        control: called with every term that is no plain message (handshake, pings, acknowledged messages); while frames
            are held it may return False, for one that must be held, too.
    """

    channel: str | None
    """What the peer said the connection is for; None until its hello."""

    tap: Callable[[bytes, list[bytes] | None], bool] | None
    """Called with the octets of every frame and the large binaries that were cut out of it, or None: whether the frame
    goes on now. None for none."""

    def replay(self, body: bytes, planted: list[bytes] | None = None) -> None:
        """Take a frame that the tap has kept, past the tap: as a burst of its own unless one is under way.

        Raises FrameError, and whatever `control` raises.
        """

    def __init__(
        self, slab: Slab, max_frame: int, *, router: Router, link: Any, control: Callable[[Any], object]
    ) -> None: ...
    def expect(self, peer: str | None) -> None:
        """From now on read the numbers of messages that this node of our kind wants acknowledged; None: of nobody."""

    @property
    def link(self) -> Any: ...
    @property
    def holding(self) -> bool:
        """Whether messages wait for release()."""

    def hold(self) -> None:
        """Deliver no message from now on, but keep what comes, `max_frame` octets at most."""

    def release(self) -> None:
        """Deliver what was held, in the order in which it came. Raises FrameError for what is malformed."""
