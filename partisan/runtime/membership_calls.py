"""Who belongs to the cluster: join and leave, and hear of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from partisan.errors import ConnectFailed, NotConnected, Unsupported
from partisan.managers.hyparview import HyParViewManager
from partisan.names import Contact, NodeSpec, check_node_name
from partisan.net.acknowledged import Acknowledged
from partisan.net.resolve import resolved
from partisan.runtime.connection_calls import ConnectionCalls
from partisan.runtime.current import process
from partisan.runtime.parts import seconds_of
from partisan.runtime.python_peers import PythonPeers
from partisan.runtime.watching import ANY, Kind, Subscriber, Subscription

Who = str | NodeSpec | Contact
"""A node to join: the name of a member, `name@host:port`, `host:port`, or a spec. The host may be a name or an ip."""

RESOLVE_TIMEOUT = 10.0
"""Seconds in which each host of `update_members` is looked up, at most."""


AGREEMENT = 1.0
"""Seconds that a join waits for a Python node to say what it understands, at most."""


class MembershipCalls(ConnectionCalls):
    """The methods of a node that are about members."""

    _python: PythonPeers

    _acknowledged: Acknowledged

    async def join(self, contact: Who, *, timeout: float = 10.0) -> str:
        """Join the cluster of a node; return its name once each of the two is a member for the other and connected.

        When it returns, this node has a connection of the default channel to the contact and has merged its members,
        and the contact has dialled this node: so either can send to the other. The rest comes in the background:
        further connections of either, and that the other members hear of this node and are connected with it.

        A contact that has not dialled back within `connection_interval` (a firewall may be in between) is a member all
        the same, and a warning says so. A join that fails, or is cancelled before its members are ours, is given up,
        and removes nobody.

        Args:
            contact: `name@host:port`, `host:port`, the node's spec, or the name of a member. A host name is looked up
                once, and its addresses are dialled in turn; the node's name stays as given.
            timeout: seconds.
        Raises:
            ConfigError: it has another form, or is a name alone and no member's: nobody knows where that listens.
            ConnectFailed: it could not be found, reached or joined in time, or it is this node; or its greeting is none
                that this node's strategy understands.
            HandshakeError: another node, or something else, answered.
        """
        self._check()
        end = self.loop.time() + seconds_of(timeout)
        found = await self._resolved(contact, timeout)
        self._check()  # it may have stopped meanwhile
        name = await self._manager.join(found, end - self.loop.time())
        await self._agree(name, end)
        return name

    async def _agree(self, name: str, end: float) -> None:
        """Wait, for a moment at most, until it is agreed with a Python node what goes beyond plain Partisan."""
        if name != self.name and self._manager.may_be_python(name):
            await self._python.agreement(name, max(0.0, min(AGREEMENT, end - self.loop.time())))

    async def _resolved(self, contact: Who, timeout: float) -> Who:
        """The contact with addresses for its host; a member's name, whatever it looks like, is one already."""
        if isinstance(contact, str) and self._manager.spec_of(contact) is not None:
            return contact
        return await resolved(contact, timeout)

    async def sync_join(self, contact: Who, *, timeout: float = 10.0) -> str:
        """Join, and wait until this node has all connections that the contact wants of it, on every channel.

        That is one direction: what `join` has established holds, and `is_fully_connected` of the contact here. The
        contact may still lack connections to this node, and nothing is said of other members: who needs both directions
        calls it at both ends. A node is connected to itself: for this node's own name or spec it returns at once.

        Args:
            contact, timeout: see `join`; the time is that of the join and of the connections together.
        Raises:
            ConnectFailed: as `join`; or it is a member now, but connections were missing at the end of the time.
            HandshakeError: see `join`.
        """
        self._check()
        end = self.loop.time() + seconds_of(timeout)
        found = await self._resolved(contact, timeout)
        self._check()
        if found == self.name or self._manager.target_of(found).name == self.name:
            return self.name
        name = await self._manager.join(found, end - self.loop.time())
        await self._agree(name, end)
        try:
            async with asyncio.timeout_at(end):
                await self._watching.until(lambda: self.is_fully_connected(name) or self._manager.spec_of(name) is None)
        except TimeoutError:
            raise ConnectFailed(str(contact), f"it is a member, but not fully connected within {timeout} s") from None
        if self._manager.spec_of(name) is None:
            raise ConnectFailed(str(contact), "it was a member, and is none any more")
        return name

    async def leave(self, name: str | NodeSpec | None = None, *, grace: float = 5.0) -> None:
        """Leave the cluster, or make another member leave it; what waits is written first.

        Args:
            name: whom; this node if not given.
            grace: seconds to wait for the acknowledgements of what was sent with `ack` before this, to members that are
                connected. What then is not acknowledged is given up: `deliver` raises NotAcknowledged.
        Raises:
            NotConnected: the other is no member.
            Unsupported: under HyParView nobody makes another node leave.
        """
        self._check()
        who = name.name if isinstance(name, NodeSpec) else name
        leaver = None if who == self.name else who
        if leaver is not None and self._manager.spec_of(leaver) is None:
            raise NotConnected(leaver, member=False)
        if leaver is None or self.table.is_connected(leaver):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    await self._acknowledged.confirmed(leaver)
        self._check()
        if leaver is None:
            self._presence.farewell()
            await self._manager.leave(None)
            self._presence.reborn(self.broadcasts.reborn())
        elif self._manager.spec_of(leaver) is not None:  # else it has left meanwhile
            await self._manager.leave(leaver)

    async def disconnect_node(self, name: str) -> bool:
        """Make the node leave the cluster, as `leave`; return False if it is no member. This node itself leaves.

        The connection to an Erlang node is closed.
        """
        if self._far is not None and self._far.disconnect(name):
            return True
        try:
            await self.leave(name)
        except NotConnected:
            return False
        return True

    async def update_members(self, members: Iterable[Who]) -> None:
        """Make these the members: begin to join who is new, make leave who is missing.

        This node must be among them, or it leaves itself. Nobody at all changes nothing. A member that is not
        connected, and is given with another address than it had, is tried there too. It returns as soon as host
        names are looked up: joins go on in the background until they are done, or until an update without them. What
        keeps one is logged as a warning, at most once a minute, and told as `partisan.socket.error` each time.

        Raises:
            ConnectFailed: a host name among them is not found; nothing has changed.
            ConfigError: one of them is no contact; nothing has changed.
            TypeError: this is one contact, not several.
        """
        self._check()
        if isinstance(members, str | NodeSpec):
            raise TypeError(f"{members!r} is one contact: give a list of all members")
        found = [await self._resolved(member, RESOLVE_TIMEOUT) for member in members]
        self._check()
        self._manager.update_members(found)

    def members(self) -> list[str]:
        """Names of the members, this node included, sorted."""
        self._check()
        return sorted(self._manager.members())

    def member(self, name: str | NodeSpec) -> bool:
        """Whether the node is a member; a spec must be the one by which it is known."""
        self._check()
        if isinstance(name, NodeSpec):
            return name in self._manager.specs()
        return self._manager.spec_of(name) is not None

    def members_for_orchestration(self) -> list[NodeSpec]:
        """Specs of the members, this node included, in Erlang's term order."""
        self._check()
        return self._manager.specs()

    def get_local_state(self) -> Any:
        """The state of the membership, as the strategy keeps it and handshakes tell it."""
        self._check()
        return self._manager.greeting()

    def manager(self) -> str:
        """The name of the peer service manager, as peers address it."""
        self._check()
        return self._manager.wire_name

    def send_message(self, name: str, message: object) -> None:
        """Send a message to the peer service manager of a node; one that it has no use for is dropped there."""
        self._check()
        self.router.send((self._manager.wire_name, name), message)

    def reserve(self, tag: object) -> None:
        """Keep a place in the active view for one peer of that tag. Raises NoAvailableSlots: a full mesh has none."""
        self._check()
        self._manager.reserve(tag)

    def reserved(self, tag: object) -> str | None:
        """The name of the neighbor that has the place which is kept for the tag; None if it is free, or none is kept.

        Raises Unsupported: a full mesh has no places.
        """
        self._check()
        return self._partial().reserved(tag)

    def active(self) -> list[NodeSpec]:
        """The active view: this node and its neighbors, in Erlang's term order.

        Raises Unsupported: a full mesh has no views.
        """
        self._check()
        return self._partial().active()

    def passive(self) -> list[NodeSpec]:
        """The passive view: peers to replace neighbors from. Raises Unsupported: a full mesh has no views."""
        self._check()
        return self._partial().passive()

    def _partial(self) -> HyParViewManager:
        """The manager, if it keeps views. Raises Unsupported."""
        if not isinstance(self._manager, HyParViewManager):
            raise Unsupported(self.config.peer_service_manager, "it keeps no views")
        return self._manager

    def distances(self) -> dict[str, float]:
        """Seconds to each neighbor and back, as measured last; empty unless `distance_enabled`."""
        self._check()
        return self._manager.distances()

    def on_up(self, node: str, subscriber: Subscriber, *, channel: str | None = None) -> Subscription:
        """Tell the subscriber whenever the node comes up: exactly once a change.

        A node is up while the edge to it is usable, a channel of it while a connection of that channel is. One that is
        up already is not told.

        Args:
            node: its name, or "_" for every node.
            subscriber: a function of the node's name or of nothing, called on the loop outside of everything; or a pid,
                which gets `(nodeup, Node)`, or `(nodeup, Node, Channel)` (of `on_down`: nodedown), until it ends.
            channel: of this channel instead; one that this node has, or that a member has told of.
        Returns:
            A handle; its `cancel()` ends it.
        Raises:
            ConfigError: the name is none, or neither this node nor any member has such a channel.
        """
        return self._on("up", node, subscriber, channel)

    def on_down(self, node: str, subscriber: Subscriber, *, channel: str | None = None) -> Subscription:
        """Tell the subscriber whenever the node goes down; see `on_up`."""
        return self._on("down", node, subscriber, channel)

    def _on(self, kind: Kind, node: str, subscriber: Subscriber, channel: str | None) -> Subscription:
        self._check()
        every = node in (ANY, "any")
        if channel is not None:
            self._check_channel(channel)
        return self._watching.subscribe(
            kind, subscriber, node=None if every else check_node_name(node, "node"), channel=channel
        )

    def add_callback(self, subscriber: Subscriber) -> Subscription:
        """Call the function with the sorted names of the members whenever they change (a pid: `(members, [Node])`)."""
        self._check()
        return self._watching.subscribe("members", subscriber)

    def add_sup_callback(self, subscriber: Subscriber) -> Subscription:
        """As `add_callback`, until the current process ends. Raises NotInProcess outside of one."""
        self._check()
        return self._watching.subscribe("members", subscriber, owner=process().pid)
