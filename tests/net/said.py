"""What node processes of the tests of broadcast run: the process's node keeps what is broadcast, and tells it."""

from __future__ import annotations

import partisan
from partisan import Atom
from partisan.plumtree import LwwMap, Put
from partisan.testing.overlays import View, view_of

NAME = "said"


def keep() -> None:
    """Let the process's node keep what is broadcast."""
    node = partisan.node()
    node.broadcasts.add_handler(NAME, LwwMap(actor=node.name.encode(), epoch=1))


def say(key: str, value: int) -> None:
    """Broadcast from the process's node."""
    partisan.node().broadcast(Put(Atom(key), value), NAME)


def heard(key: str) -> list[str]:
    """The name of the node if it has heard something under that key."""
    node = partisan.node()
    return [node.name] if Atom(key) in node.broadcasts.handler(NAME) else []


def lacks(keys: list[str]) -> dict[str, list[str]]:
    """The node's name -> the keys under which it has not heard anything."""
    node = partisan.node()
    known = node.broadcasts.handler(NAME)
    return {node.name: [key for key in keys if Atom(key) not in known]}


def views() -> dict[str, View]:
    """What the node has for neighbors, by its name."""
    node = partisan.node()
    return {node.name: view_of(node)}
