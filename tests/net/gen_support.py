"""Servers on nodes: what the tests of `partisan.gen` share."""

from __future__ import annotations

from typing import Any

from support import eventually

from partisan import Node
from partisan.gen.server import GenServer
from partisan.testing import within


async def calls_agreed(*nodes: Node) -> None:
    """Wait until each node watches the calls of the others."""
    await eventually(lambda: all(a.table.peers[b.name].watches_calls for a in nodes for b in nodes if a is not b))


async def started(node: Node, kind: type[GenServer], **options: Any) -> Any:
    """Start a server on the node."""
    return await within(node, lambda: kind.start(**options))
