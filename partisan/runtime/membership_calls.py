"""Who belongs to the cluster, and which connections are up."""

from __future__ import annotations

from partisan.names import NodeSpec
from partisan.runtime.parts import NodePart


class MembershipCalls(NodePart):
    """The methods of a node that are about members and connections."""

    async def join(self, contact: str | NodeSpec, *, timeout: float = 10.0) -> str:
        """Join the cluster of a node; return its name once it is connected and its members are ours.

        A join that fails, or is cancelled before that, is given up, and removes nobody.

        Args:
            contact: `name@ip:port`, `ip:port`, or the node's spec.
            timeout: seconds.
        Raises:
            ConnectFailed: it could not be reached or joined in time, or it is this node.
            HandshakeError: another node, or something else, answered.
        """
        self._check()
        return await self._manager.join(contact, timeout)

    async def leave(self, name: str | None = None) -> None:
        """Leave the cluster, or make another node leave it; what waits is written first."""
        self._check()
        await self._manager.leave(name)

    def members(self) -> list[str]:
        """Names of the members, this node included."""
        self._check()
        return self._manager.members()

    def is_connected(self, name: str, channel: str | None = None) -> bool:
        """Whether a connection to the node, or one of the channel, is up. A node is connected to itself."""
        self._check()
        return name == self.name or self.table.is_connected(name, channel)

    def is_fully_connected(self, name: str) -> bool:
        """Whether every channel of the node's spec has all its connections."""
        self._check()
        return name == self.name or self.table.is_fully_connected(name)

    def connection_count(self, name: str | None = None, channel: str | None = None) -> int:
        """How many connections to the node, or of its channel, or to all nodes, are up."""
        self._check()
        return self.table.count if name is None else self.table.connections(name, channel)

    def nodes(self) -> list[str]:
        """Names of the nodes to which a connection is up."""
        self._check()
        return self.table.nodes()
