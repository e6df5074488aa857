"""Which exchanges of a node run, and with whom the next is to be: the schedule, not what is exchanged.

Two kinds run: those of messages (`Talk`), which end with an answer, with the peer, or when nobody has said anything for
too long; and those of the application (`Running`), which end when it says so. There is at most one for each handler and
peer, and only so many at once.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator
from typing import TYPE_CHECKING

from partisan.machines.machine import Peer
from partisan.machines.plumtree_messages import CancelExchanges, Exchange, Name, PlumtreeConfig
from partisan.machines.plumtree_trees import Trees

if TYPE_CHECKING:
    from random import Random

OPTIMIZED = "optimized"


def choose(trees: Trees, key: Hashable, selection: str, rng: Random) -> tuple[Name, Peer] | None:
    """Draw a neighbor to exchange with; None if there is none.

    Args:
        key: of the tree whose eager neighbors are passed over, as they hear everything anyway.
        selection: `OPTIMIZED` does that, if anybody else is left; anything else does not.
    """
    tree = trees.look(key)
    candidates = list(tree.lazy.items()) if selection == OPTIMIZED else []
    candidates = candidates or list(trees.neighbors.items())
    return rng.choice(candidates) if candidates else None


class Exchanges:
    """Those that run, by handler and peer."""

    __slots__ = ("_running", "_turn")

    def __init__(self) -> None:
        self._turn = 0
        self._running: dict[tuple[str, Name], Exchange] = {}

    @property
    def running(self) -> tuple[Exchange, ...]:
        """All of them, the oldest first."""
        return tuple(self._running.values())

    def due(self, mods: Collection[str], peer: Name, config: PlumtreeConfig, now: float) -> Iterator[str]:
        """The handlers that may begin an exchange with the peer now, one after the other while there is room.

        Those that begin none take no room. If there may not be enough for all, another is the first each time.
        """
        for key, exchange in list(self._running.items()):
            if exchange.job is None and now - exchange.since >= config.exchange_patience:
                del self._running[key]
        limit = len(mods) if config.exchange_limit is None else config.exchange_limit
        order = list(mods)
        if limit < len(self._running) + len(order):
            self._turn = (self._turn + 1) % len(order)
            order = order[self._turn :] + order[: self._turn]
        for mod in order:
            if len(self._running) >= limit:
                return
            if (mod, peer) not in self._running:
                yield mod

    def add(self, mod: str, peer: Name, job: Hashable, now: float) -> None:
        """This one has begun."""
        self._running[mod, peer] = Exchange(mod, peer, job, now)

    def heard(self, mod: str, peer: Name, over: bool, now: float) -> None:
        """The peer's handler has said something, after which ours has no more to say, or still has."""
        exchange = self._running.get((mod, peer))
        if exchange is not None and exchange.job is None:
            if over:
                del self._running[mod, peer]
            else:
                self._running[mod, peer] = Exchange(mod, peer, None, now)

    def over(self, job: Hashable) -> None:
        """The application's exchange has ended."""
        for key, exchange in list(self._running.items()):
            if exchange.job is not None and exchange.job == job:
                del self._running[key]

    def cancel(self, which: CancelExchanges) -> list[Exchange]:
        """Take those out that match; return them."""
        found = [
            exchange
            for exchange in self._running.values()
            if (which.peer is None or which.peer == exchange.peer)
            and (which.mod is None or which.mod == exchange.mod)
            and (which.job is None or which.job == exchange.job)
        ]
        for exchange in found:
            del self._running[exchange.mod, exchange.peer]
        return found
