"""Which neighbors are eager and which are lazy, in the tree of each root.

A tree is kept only once something in it was moved; until then it is as the common one, in which everybody is eager.
Trees are bounded, as anybody may name roots: the one unused longest is forgotten, which makes it a flood that prunes
itself anew. Every neighbor is either eager or lazy in every tree.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from partisan.machines.machine import Peer

Name = Any


class Tree:
    """The neighbors, name -> peer, in two parts."""

    __slots__ = ("eager", "lazy")

    def __init__(self, eager: dict[Name, Peer], lazy: dict[Name, Peer]) -> None:
        self.eager = eager
        self.lazy = lazy

    def make_eager(self, name: Name) -> None:
        """Push to the neighbor; does nothing if there is none of that name."""
        if name in self.lazy:
            self.eager[name] = self.lazy.pop(name)

    def make_lazy(self, name: Name) -> None:
        """Only announce to the neighbor; does nothing if there is none of that name."""
        if name in self.eager:
            self.lazy[name] = self.eager.pop(name)


class Trees:
    """All trees of a node.

    Args:
        most: how many are kept.
        shared: there is only one, whatever its key.
    """

    __slots__ = ("_by_key", "common", "most", "shared")

    def __init__(self, most: int, shared: bool) -> None:
        self.common = Tree({}, {})
        self.most = most
        self.shared = shared
        self._by_key: dict[Hashable, Tree] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def neighbors(self) -> dict[Name, Peer]:
        """All of them, those that are eager in the common tree first."""
        return {**self.common.eager, **self.common.lazy}

    def find(self, name: Name) -> Peer | None:
        """The neighbor of that name, if there is one."""
        common = self.common
        return common.eager[name] if name in common.eager else common.lazy.get(name)

    def look(self, key: Hashable) -> Tree:
        """The tree of that key; not to be changed."""
        return self._by_key.get(key, self.common)

    def own(self, key: Hashable) -> Tree:
        """The tree of that key, to be changed."""
        if self.shared:
            return self.common
        tree = self._by_key.pop(key, None)
        if tree is None:
            tree = Tree(dict(self.common.eager), dict(self.common.lazy))
            self.limit(self.most - 1)
        self._by_key[key] = tree
        return tree

    def limit(self, most: int) -> None:
        """Forget the trees unused longest, until there are no more than that many."""
        while len(self._by_key) > max(most, 0):
            del self._by_key[next(iter(self._by_key))]

    def add(self, name: Name, peer: Peer) -> None:
        """There is a neighbor of that name: it is eager in every tree."""
        for tree in (self.common, *self._by_key.values()):
            tree.lazy.pop(name, None)
            tree.eager[name] = peer

    def remove(self, name: Name) -> None:
        """There is no neighbor of that name any more."""
        for tree in (self.common, *self._by_key.values()):
            tree.eager.pop(name, None)
            tree.lazy.pop(name, None)
