"""What node processes of the tests of broadcast run: the nodes of one process keep what is broadcast, and tell it."""

from __future__ import annotations

import asyncio
from typing import Any

import partisan
from partisan import Atom, Node
from partisan.plumtree import LwwMap, Put
from partisan.testing.overlays import View, view_of

NAME = "said"
nodes: list[Node] = []
"""Those of this process that keep what is broadcast."""


def keep(node: Node | None = None) -> None:
    """Let the process's node, or another one, keep what is broadcast."""
    node = node or partisan.node()
    node.broadcasts.add_handler(NAME, LwwMap(actor=node.name.encode(), epoch=1))
    nodes.append(node)


async def host(names: list[str], contact: str, options: dict[str, Any]) -> None:
    """Start more nodes in this process, which join the contact."""
    more = [Node(f"{name}@127.0.0.1:0", **options) for name in names]
    for node in more:
        await node.start()
        keep(node)
    await asyncio.gather(*(node.join(contact, timeout=30.0) for node in more))


def say(key: str, value: int) -> None:
    """Broadcast from the process's node."""
    partisan.node().broadcast(Put(Atom(key), value), NAME)


def heard(key: str) -> list[str]:
    """The names of the nodes here that have heard something under that key."""
    return [node.name for node in nodes if Atom(key) in node.broadcasts.handler(NAME)]


def lacks(keys: list[str]) -> dict[str, list[str]]:
    """Name of each node here -> the keys under which it has not heard anything."""
    handlers = {node.name: node.broadcasts.handler(NAME) for node in nodes}
    return {name: [key for key in keys if Atom(key) not in known] for name, known in handlers.items()}


def views() -> dict[str, View]:
    """What each node here has for neighbors."""
    return {node.name: view_of(node) for node in nodes}
