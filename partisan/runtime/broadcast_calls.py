"""The broadcast as a method of a node; the rest is `node.broadcasts` and `partisan.plumtree`."""

from __future__ import annotations

from typing import Any

from partisan.etf import Atom
from partisan.runtime.broadcasting import Broadcasts, text
from partisan.runtime.parts import NodePart


class BroadcastCalls(NodePart):
    """The method of a node that broadcasts.

    Attributes:
        broadcasts: its handlers and trees.
    """

    broadcasts: Broadcasts

    def broadcast(self, data: Any, name: str | Atom) -> None:
        """Send a message to every node, by the handler of that name; see `partisan.plumtree.broadcast`."""
        self._check()
        self.broadcasts.broadcast(data, text(name))
