"""Which exchanges of a node run, and with whom the next is to be: the schedule, not what is exchanged.

Two kinds run: those of messages (`Talk`), which end with an answer, with the peer, or when nobody has said anything for
too long; and those of the application (`Running`), which end when it says so. There is at most one for each handler and
peer, and only so many at once. Neighbors that hear nothing of what handlers say, as nodes of the BEAM, are passed over
by handlers that talk: to say something to nobody would keep others waiting until it is given up.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING

from partisan.machines.plumtree_messages import CancelExchanges, Exchange, Handler, Name, PlumtreeConfig, Talker
from partisan.machines.plumtree_trees import Trees

if TYPE_CHECKING:
    from random import Random

OPTIMIZED = "optimized"


def choose(trees: Trees, key: Hashable, selection: str, rng: Random, but: Container[Name] = ()) -> Name | None:
    """Draw the name of a neighbor to exchange with; None if there is none.

    Args:
        key: of the tree whose eager neighbors are passed over, as they hear everything anyway.
        selection: `OPTIMIZED` does that, if anybody else is left; anything else does not.
        but: who is not drawn.
    """
    lazy = trees.look(key).lazy if selection == OPTIMIZED else ()
    candidates = [name for name in lazy if name not in but] or [name for name in trees.neighbors if name not in but]
    return rng.choice(candidates) if candidates else None


class Exchanges:
    """Those that run, by handler and peer."""

    __slots__ = ("_deaf", "_running", "_turn")

    def __init__(self) -> None:
        self._turn = 0
        self._running: dict[tuple[str, Name], Exchange] = {}
        self._deaf: tuple[Name, ...] = ()

    @property
    def running(self) -> tuple[Exchange, ...]:
        """All of them, the oldest first."""
        return tuple(self._running.values())

    def hearing(self, name: Name, hears: bool) -> None:
        """Whether the neighbor of that name hears what handlers say."""
        others = tuple(each for each in self._deaf if each != name)
        self._deaf = others if hears else (*others, name)

    def hears(self, name: Name) -> bool:
        """Whether it does; else what is said to it would wait for an answer in vain."""
        return name not in self._deaf

    def draw(
        self, trees: Trees, key: Hashable, handlers: Mapping[str, Handler], config: PlumtreeConfig, rng: Random
    ) -> dict[str, Name]:
        """Draw a neighbor for all handlers, and another for those that talk if that one is deaf; see `choose`."""
        drawn = hearing = choose(trees, key, config.exchange_selection, rng)
        if drawn in self._deaf:
            hearing = choose(trees, key, config.exchange_selection, rng, self._deaf)
        names = {mod: hearing if isinstance(each, Talker) else drawn for mod, each in handlers.items()}
        return {mod: name for mod, name in names.items() if name is not None}

    def due(
        self, drawn: Mapping[str, Name], mods: Sized, config: PlumtreeConfig, now: float
    ) -> Iterator[tuple[str, Name]]:
        """The handlers that may begin an exchange now, and with whom, one after the other while there is room.

        Those that begin none take no room. If there may not be enough for all, another is the first each time.

        Args:
            drawn: with whom each is to exchange.
            mods: all handlers: without an option as many may run at once.
        """
        for key, exchange in list(self._running.items()):
            if exchange.job is None and now - exchange.since >= config.exchange_patience:
                del self._running[key]
        limit = len(mods) if config.exchange_limit is None else config.exchange_limit
        order = list(drawn.items())
        if order and limit < len(self._running) + len(order):
            self._turn = (self._turn + 1) % len(order)
            order = order[self._turn :] + order[: self._turn]
        for pair in order:
            if len(self._running) >= limit:
                return
            if pair not in self._running:
                yield pair

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
