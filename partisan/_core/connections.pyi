"""The connection table: (node, channel) to the send queues of its connections."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

from typing_extensions import disjoint_base

from .bound import Bound
from .places import Places
from .sendqueue import SendQueue

__all__ = ["ConnectionTable", "Lane", "Peer"]

@disjoint_base
class Lane:
    """The connections of one (peer, channel), and the slots that spread traffic over them."""

    envelope: Callable[[Any, Any], Any] | None
    """Makes of target and message what the peer's `partisan_python` takes; None sends plainly."""

    def __new__(cls, peer: Peer, channel: str, parallelism: int, configured: bool) -> Self: ...
    @property
    def peer(self) -> Peer: ...
    @property
    def channel(self) -> str: ...
    @property
    def bound(self) -> Bound: ...
    @property
    def parallelism(self) -> int:
        """Connections wanted."""

    @property
    def count(self) -> int:
        """Connections up."""

    @property
    def places(self) -> Places:
        """The connections, and how many of them are shared."""

    @property
    def configured(self) -> bool:
        """Whether the peer's spec names the channel."""

    @property
    def connections(self) -> list[SendQueue]:
        """The queues of the connections that are up, by number."""

    def attach(self, queue: SendQueue) -> int:
        """A connection of this lane is up. Returns its number."""

    def forget(self, queue: SendQueue) -> list[int]:
        """A queue is used no more: slots that used it choose anew at their next message. Returns those slots."""

    def resize(self, parallelism: int, configured: bool) -> None:
        """The peer's spec now wants so many connections; those that are up stay."""

@disjoint_base
class Peer:
    """What is known of the connections to one node."""

    watches_calls: bool
    """Whether the node tells us itself, by Partisan, when a process that we have called ends."""

    def __new__(cls, name: str, table: ConnectionTable) -> Self: ...
    @property
    def name(self) -> str: ...
    @property
    def lanes(self) -> dict[str, Lane]: ...
    @property
    def count(self) -> int:
        """Connections up, of all channels and the foreign one."""

    @property
    def foreign(self) -> SendQueue | None:
        """The connection of another wire than Partisan's."""

    @property
    def lacking(self) -> int:
        """Configured lanes with fewer connections than they want."""

    @property
    def seen(self) -> bool:
        """A connection was up once."""

    @property
    def strayed(self) -> bool:
        """Messages for channels without a lane may have gone out on the default one."""

    def count_lacking(self) -> None:
        """Count anew the lanes that want more connections."""

@disjoint_base
class ConnectionTable:
    """(node, channel) to connections.

    Args:
        bound: makes the octet bound of a (node, channel) when it is first used.
        fallback: use the default channel while a channel has no connection of its own.
        channels: names of the channels that our configuration knows.
        unknown: called with node and channel when a message went to the default channel, because neither the peer's
            channel map nor our configuration knows its own; once for a channel, and for so many channels only.
        shares: let the slots of a channel share as few connections as they can without waiting.
        parted: called when they use more: `gather()` is to be called from now on, until it says no.
    """

    def __new__(
        cls,
        *,
        bound: Callable[[str, str], Bound],
        fallback: bool = True,
        channels: Iterable[str] = (),
        unknown: Callable[[str, str], object] | None = None,
        shares: bool = False,
        parted: Callable[[], object] | None = None,
    ) -> Self: ...
    @property
    def shares(self) -> bool: ...
    @property
    def peers(self) -> dict[str, Peer]: ...
    @property
    def fallback(self) -> bool: ...
    @property
    def channels(self) -> frozenset[str]: ...
    @property
    def count(self) -> int:
        """Connections up, to all nodes."""

    def gather(self) -> bool:
        """Let fewer connections be shared where nobody has waited for some time; whether to ask again."""

    def know(self, channels: Iterable[str]) -> None:
        """From now on these are the names of the channels that our configuration knows."""
    def peer(self, name: str) -> Peer:
        """The node's entry, made if there is none."""

    def lane(self, node: str, channel: str) -> Lane:
        """The pair's lane, made if there is none."""

    def bound_of(self, node: str, channel: str) -> Bound | None:
        """The octet bound that messages to the node on the channel count against; None if none were sent yet."""

    def configure(self, node: str, channels: Mapping[str, int]) -> None:
        """Take the channel map of the node's spec, which governs how it is dialled: {channel: parallelism}."""

    def add(self, node: str, channel: str, queue: SendQueue) -> int:
        """A connection is up. Returns its number; of a foreign one, which has none, -1."""

    def remove(self, node: str, channel: str, queue: SendQueue) -> None:
        """A connection is lost; what waited in its queue was counted by its close()."""

    def retire(self, node: str, channel: str, queue: SendQueue) -> None:
        """This side gives a connection up, of which the peer may not have read all: hold what would overtake that."""

    def release(self, node: str, channel: str, queue: SendQueue) -> None:
        """The peer reads nothing more from a retired connection: what was held goes on."""

    def discard(self, node: str) -> None:
        """Forget a node to which no connection is up or retired, and for which nothing is held.

        If only the foreign one is, forget how many connections its spec asks for.
        """

    def connections(self, node: str, channel: str | None = None) -> int:
        """How many connections to the node, or of one of its channels, are up. A foreign one is of no channel."""

    def is_connected(self, node: str, channel: str | None = None) -> bool:
        """Whether a connection to the node, or one of the channel, is up."""

    def has_own(self, node: str) -> bool:
        """Whether a connection of Partisan's own wire to the node is up."""

    def is_fully_connected(self, node: str) -> bool:
        """Whether every channel of the node's spec has all its connections; not before that is known."""

    def holds(self, node: str) -> bool:
        """Whether messages to the node may be held, while slots change hands."""

    def nodes(self) -> list[str]:
        """Names of the nodes to which a connection is up."""
