"""What a node is, what it knows of others, and which connections are up."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from partisan._core.references import read
from partisan.config import ChannelConfig
from partisan.errors import NotConnected
from partisan.etf import Atom, Pid, Reference
from partisan.names import DEFAULT_CHANNEL, ListenAddress, NodeSpec
from partisan.runtime.parts import NodePart
from partisan.runtime.presence import Presence
from partisan.runtime.relaying import Relaying

NodeKind = Literal["visible", "known", "this", "hidden"]
"""Connected nodes that are not hidden, members, the node itself, connected nodes that are: Erlang's alone may be."""


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """A connection on which messages go out.

    Attributes:
        node: to whom.
        channel: what it is for.
        address: where the node was dialled; of an Erlang node, where the other end is.
        queued_octets: what waits to be written.
    """

    node: str
    channel: str
    address: ListenAddress
    queued_octets: int


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What is to be known about a node.

    Attributes:
        name: `name@host`.
        channels: their options.
        listen_addrs: where it listens.
        metadata: the option of that name.
        connection_count: connections on which messages go out.
        state_error: why its membership could not be saved last, or None.
    """

    name: str
    channels: Mapping[str, ChannelConfig]
    listen_addrs: tuple[ListenAddress, ...]
    metadata: Mapping[str, Any]
    connection_count: int
    state_error: Exception | None


class ConnectionCalls(NodePart):
    """The methods of a node that are about itself and its connections."""

    _presence: Presence
    _relaying: Relaying

    def nodestring(self) -> str:
        """The node's name."""
        return self.name

    def is_alive(self) -> bool:
        """Whether the node runs."""
        return self._running

    def node_info(self) -> NodeInfo:
        """What is to be known about this node."""
        self._check()
        return NodeInfo(
            name=self.name,
            channels=self.config.channels,
            listen_addrs=self.spec.listen_addrs,
            metadata=MappingProxyType(dict(self.config.metadata)),
            connection_count=self.table.count,
            state_error=self._manager.state_error,
        )

    async def node_spec(self, name: str | Atom | None = None, *, timeout: float = 5.0) -> NodeSpec:
        """The spec of this node, or of another: a member's as it is known here.

        Args:
            timeout: seconds to wait for one that is no member yet, but being joined or joining.
        Raises:
            NotConnected: the node is no member, or did not become one in time.
        """
        self._check()
        if isinstance(name, Atom):
            name = name.name
        if name is None or name == self.name:
            return self.spec
        known = self._manager.spec_of(name)
        if known is not None:
            return known
        if not self._manager.expects(name):
            raise NotConnected(name, member=False)
        try:
            async with asyncio.timeout(timeout):
                await self._watching.until(lambda: self._manager.spec_of(name) is not None)
        except TimeoutError:
            raise NotConnected(name, member=False) from None
        found = self._manager.spec_of(name)
        assert found is not None  # just seen
        return found

    def channel_opts(self, channel: str) -> ChannelConfig:
        """The options of a channel. Raises ConfigError if it is not configured."""
        return self.config.channel(channel)

    def default_channel(self) -> str:
        """The channel of messages that name none."""
        return DEFAULT_CHANNEL

    def nodes(self, *kinds: NodeKind) -> list[str]:
        """Names of the nodes of these kinds, each once.

        Args:
            kinds: "visible" (a connection to it is up; this if none is given), "known" (members, this node included,
                and with `broadcast` those of which heartbeats are heard), "this", "hidden" (of Erlang nodes those that
                are).
        """
        self._check()
        found: dict[str, None] = {}
        for kind in kinds or ("visible",):
            found |= dict.fromkeys(self._nodes(kind))
        return list(found)

    def _nodes(self, kind: str) -> list[str]:
        match kind:
            case "visible":
                hidden = () if self._far is None else self._far.peers(hidden=True)
                return [name for name in self.table.nodes() if name not in hidden]
            case "known":
                return sorted({*self._manager.members(), *self._presence.far()})
            case "this":
                return [self.name]
            case "hidden":
                return [] if self._far is None else self._far.peers(hidden=True)
        raise ValueError(f"{kind!r} is no kind of nodes: visible, known, this or hidden")

    def is_connected(self, name: str, channel: str | None = None) -> bool:
        """Whether a connection to the node, or one of the channel, is up. A node is connected to itself."""
        self._check()
        return name == self.name or self.table.is_connected(name, channel)

    def is_fully_connected(self, name: str | NodeSpec) -> bool:
        """Whether every channel of the node's spec has all its connections."""
        self._check()
        name = name.name if isinstance(name, NodeSpec) else name
        if name == self.name:
            return True
        # Between the first connection's hello and its state it is not known yet what else the node wants.
        known = self.table.is_fully_connected(name) and self.table.peer(name).lanes.values()
        return any(lane.configured for lane in known or ())

    def connection_count(self, name: str | None = None, channel: str | None = None) -> int:
        """How many connections to the node, or of its channel, or to all nodes, are up; of one that nobody has, 0."""
        self._check()
        return self.table.count if name is None else self.table.connections(name, channel)

    def connections(self) -> list[ConnectionInfo]:
        """Every connection on which messages go out."""
        self._check()
        found = [
            ConnectionInfo(link.name, link.channel, link.address, len(link.queue))
            for link in self._manager.connections()
        ]
        far = () if self._far is None else self._far.connections()
        return found + [ConnectionInfo(node, DEFAULT_CHANNEL, address, octets) for node, address, octets in far]

    def kill_connections(self, names: str | Iterable[str]) -> list[str]:
        """Close every connection to these nodes; members are dialled again. Returns those that had any."""
        self._check()
        return [name for name in ([names] if isinstance(names, str) else names) if self._kill_connections(name)]

    def _kill_connections(self, name: str) -> bool:
        far = self._far is not None and self._far.disconnect(name)
        return self._manager.disconnect(name) or far

    def relays(self) -> dict[str, int]:
        """What this node has done as a relay since it was started: see docs/overlays.md."""
        self._check()
        return self._relaying.counters()

    def is_local(self, target: object) -> bool:
        """Whether a pid, a reference or a name (as it is sent to, or a remote reference) belongs to this node."""
        found = read(target)
        if isinstance(found, Pid | Reference):
            return found.node == self.name
        target = target if found is None else found
        if isinstance(target, tuple):
            return len(target) == 2 and str(getattr(target[1], "name", target[1])) == self.name
        return isinstance(target, str | Atom)

    def is_local_pid(self, target: object) -> bool:
        """Whether it is a pid of this node."""
        found = read(target)
        return isinstance(found, Pid) and found.node == self.name

    def is_local_reference(self, target: object) -> bool:
        """Whether it is a reference that this node has made."""
        found = read(target)
        return isinstance(found, Reference) and found.node == self.name

    def is_local_name(self, target: object) -> bool:
        """Whether it is a name (alone, or with this node) under which a process of this node is registered."""
        self._check()
        found = read(target)
        target = target if found is None else found
        if isinstance(target, tuple) and len(target) == 2 and self.is_local(target):
            target = target[0]
        name = target.name if isinstance(target, Atom) else target
        return isinstance(name, str) and self.scheduler.whereis(name) is not None

    def is_process_alive(self, pid: Pid) -> bool:
        """Whether a process of this node lives. Raises ValueError for another node's."""
        self._check()
        if not self.is_local_pid(pid):
            raise ValueError(f"{pid!r} is no process of this node")
        process = self.scheduler.find(pid)
        return process is not None and process.alive
