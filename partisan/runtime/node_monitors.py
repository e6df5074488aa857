"""Which nodes are there, told to processes by messages: `monitor_node` and `monitor_nodes`; not a word on the wire."""

from __future__ import annotations

from typing import Literal, Protocol

from partisan._core.process import Process
from partisan._core.scheduler import Scheduler
from partisan._core.watch import Watch
from partisan.etf import Atom
from partisan.runtime.tie_calls import TieCalls

NodeType = Literal["all", "visible", "hidden"]
"""Partisan has no hidden nodes: of these nothing is told, and all are the visible ones."""

NODE_TYPES = ("all", "visible", "hidden")
NODEUP, NODEDOWN = Atom("nodeup"), Atom("nodedown")
REASON = [(Atom("nodedown_reason"), Atom("noconnection"))]


class Presence(Protocol):
    """Who is there."""

    def is_connected(self, node: str) -> bool:
        """Whether the node is there."""


class Subscription(Watch):
    """Something that a process wants to hear of nodes; it ends with the process.

    Args:
        holder: the process.
        kept: where this is kept until it ends.
        node: of which it wants to hear; None is of every node.
        about: the options: (nodedown_reason, node_type).
    """

    def __init__(
        self, holder: Process, kept: dict[Subscription, None], node: str | None, about: tuple[bool, str] | None = None
    ) -> None:
        self.holder = holder
        self.node = node
        self.about = about
        self._kept = kept
        kept[self] = None
        holder.tie(self, self)

    def drop(self) -> int:
        """The process has ended."""
        self._kept.pop(self, None)
        return 0

    def end(self) -> None:
        """Tell nothing any more."""
        self.holder.untie(self)
        self.drop()


class NodeMonitors:
    """Who wants to hear of which node.

    Args:
        scheduler: of the processes of this node.
        presence: knows which nodes are there.
    """

    def __init__(self, scheduler: Scheduler, presence: Presence) -> None:
        self._scheduler = scheduler
        self._presence = presence
        self._up: dict[str, None] = {}
        self._kept: dict[Subscription, None] = {}

    def edge(self, node: str, up: bool) -> None:
        """The node is there from now on, or no longer."""
        if up and node not in self._up:
            self._up[node] = None
            self._tell(NODEUP, node)
        elif not up and node in self._up and not self._presence.is_connected(node):
            del self._up[node]
            for subscription in [each for each in self._kept if each.node == node]:
                subscription.end()
                self._scheduler.send_local(subscription.holder, (NODEDOWN, Atom(node)))
            self._tell(NODEDOWN, node)

    def one(self, holder: Process, node: str, flag: bool) -> None:
        """As `Node.monitor_node`."""
        if not flag:
            for subscription in [each for each in self._kept if each.holder is holder and each.node == node][-1:]:
                subscription.end()
        elif node == self._scheduler.node or self._presence.is_connected(node):
            Subscription(holder, self._kept, node)
        else:
            self._scheduler.send_local(holder, (NODEDOWN, Atom(node)))

    def every(self, holder: Process, flag: bool, about: tuple[bool, str]) -> None:
        """As `Node.monitor_nodes`."""
        if flag:
            Subscription(holder, self._kept, None, about)
            return
        for subscription in [each for each in self._kept if each.holder is holder and each.about == about]:
            subscription.end()

    def _tell(self, what: Atom, node: str) -> None:
        for subscription in list(self._kept):
            if subscription.about is None:
                continue
            reason, kind = subscription.about
            if kind != "hidden":
                more = ([] if what is NODEUP else REASON,) if reason else ()
                self._scheduler.send_local(subscription.holder, (what, Atom(node), *more))


class NodeMonitorCalls(TieCalls):
    """The methods of a node by which processes hear of other nodes."""

    _node_monitors: NodeMonitors

    def monitor_node(self, name: str | Atom, flag: bool = True) -> bool:
        """Have (nodedown, node) sent to the current process when the last connection to the node is lost: once.

        It comes at once if there is none. Who asks twice is told twice.

        Args:
            flag: False takes one such wish back.
        Raises:
            NotInProcess: there is no current process of this node.
        """
        self._node_monitors.one(self._mine(), name.name if isinstance(name, Atom) else name, flag)
        return True

    def monitor_nodes(
        self, flag: bool = True, *, nodedown_reason: bool = False, node_type: NodeType = "visible"
    ) -> None:
        """Have (nodeup, node) and (nodedown, node) sent to the current process from now on.

        Who asks twice is told twice.

        Args:
            flag: False takes all wishes back that were made with the same options.
            nodedown_reason: the messages have a third element: [], of nodedown [(nodedown_reason, noconnection)].
            node_type: of "hidden" nothing is ever told.
        Raises:
            NotInProcess: there is no current process of this node.
        """
        if node_type not in NODE_TYPES:
            raise ValueError(f"node_type {node_type!r} is none of {', '.join(NODE_TYPES)}")
        self._node_monitors.every(self._mine(), flag, (bool(nodedown_reason), node_type))
