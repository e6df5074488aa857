"""An overlay of one's own: a ring, on which each node is a neighbor of the two nearest on either side.

A node's place is the hash of its name. It knows more peers than it has neighbors, the eight nearest on either side, so
that when a neighbor dies the next one takes its place. An age tells how long ago a peer was heard of: so the dead are
forgotten everywhere. Whatever a node learns, it tells its neighbors: so all rings that meet become one.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from zlib import crc32

from partisan.machines.membership import MembershipConfig
from partisan.machines.partial import PartialView


@dataclass(frozen=True)
class Near:
    """Whom a node knows, and how many rounds ago each was heard of; and whether it is "here", joins, or is "gone"."""

    ages: Mapping[Any, int]
    word: str = "here"


class Ring(PartialView):
    """One node's part."""

    messages = (Near,)
    neighbors, known = 2, 8  # on either side
    old = 12  # rounds

    def __init__(self, myself: Any, config: MembershipConfig, rng: Random, restored: Near | None = None) -> None:
        super().__init__(myself, config, rng)
        self._messages[Near] = self._on_near
        self._ages: Mapping[Any, int] = {} if restored is None else dict.fromkeys(restored.ages, 0)
        self._doubts: Mapping[Any, int] = {}  # who is dead or gone, and for how many rounds nobody else's word counts
        self._away = restored is not None and restored.word == "gone"
        self.members = tuple(sorted(self._around(), key=config.key))

    def _place(self, peer: Any) -> tuple[int, str]:
        name = str(self.config.name(peer))
        return crc32(name.encode()), name

    def _nearest(self, ages: Mapping[Any, int], count: int) -> list[Any]:
        """So many on either side of us."""
        ring = sorted(ages, key=self._place)
        at = bisect(ring, self._place(self.myself), key=self._place)
        ring = ring[at:] + ring[:at]
        return ring if len(ring) <= 2 * count else ring[:count] + ring[-count:]

    def _around(self) -> list[Any]:
        return [self.myself, *self._nearest(self._ages, self.neighbors)]

    def _learn(self, teller: Any, told: Mapping[Any, int]) -> None:
        self._doubts = {peer: rounds for peer, rounds in self._doubts.items() if peer != teller}
        ages = dict(self._ages)
        named = {self.config.name(peer): peer for peer in ages}
        for peer, age in {**{peer: age + 1 for peer, age in told.items()}, teller: 0}.items():
            name = self.config.name(peer)
            held = named.get(name, peer)
            if name == self._name or peer in self._doubts or age > min(self.old, ages.get(held, self.old)):
                continue
            if held != peer:  # it came back at another address
                del ages[held]
            ages[peer], named[name] = age, peer
        self._settle(ages)

    def _settle(self, ages: Mapping[Any, int], gone: str = "far") -> None:
        """Know the nearest of these, and be a neighbor of the nearest of all."""
        before = self.members
        self._ages = {peer: ages[peer] for peer in self._nearest(ages, self.known)}
        self._report(self._around(), gone)
        if self.members != before:
            self._save(self.greeting)
            self._tell(self._up)

    def _forget(self, peer: Any, why: str) -> None:
        self._doubts = dict([*self._doubts.items()][-self.config.max_members :]) | {peer: self.old}
        self._settle({known: age for known, age in self._ages.items() if known != peer}, why)

    def _tell(self, peers: Iterable[Any], word: str = "here") -> None:
        message = Near(self._ages, word)
        for peer in peers:
            self._send(peer, message)

    @property
    def greeting(self) -> Near:
        return Near(self._ages, "gone" if self._away else "here")

    def _problem_of_greeting(self, greeting: object) -> str | None:
        if not isinstance(greeting, Near) or not isinstance(greeting.ages, Mapping) or type(greeting.word) is not str:
            return "not what a node of a ring says"
        if any(type(p) is not type(self.myself) or type(a) is not int or a < 0 for p, a in greeting.ages.items()):
            return "whom it knows is none"
        return None

    def _greeted(self, peer: Any, contact: Any, greeting: Near | None, joining: bool, now: float) -> None:
        told = greeting or Near({})
        if told.word == "gone" and not joining:
            self._forget(peer, "left")
            return
        self._away = self._away and not joining
        if joining or peer not in self._up:
            self._tell([peer], "join" if joining else "here")
        self._bring_up(peer, contact)
        self._learn(peer, told.ages)
        if peer not in self.members:
            self._drop(peer, "far")  # whoever was joined is no neighbor, but has told where they are

    def _on_near(self, peer: Any, message: Near, now: float) -> None:
        if problem := self._problem_of_greeting(message):
            self._violation(peer, problem)
        elif message.word == "gone":
            self._forget(peer, "left")
        elif self._away and message.word != "join":
            self._disconnect(peer, "left")  # it has not heard; it learns it when it dials again
        else:
            self._away = False
            self._learn(peer, message.ages)
            if peer not in self.members:
                self._disconnect(peer, "far")  # if it takes us for a neighbor, it dials again and hears who is nearer

    def _lost(self, peer: Any, now: float) -> None:
        self._forget(peer, "unreachable")
        if not self._ages:  # nobody is left, or we were cut off: try them all again
            again, self._doubts = self._doubts, {}
            self._settle(dict.fromkeys(again, 0))

    def _leave_ourselves(self, now: float) -> None:
        self._away = self._away or len(self.members) > 1
        self._tell(self._up, "gone")
        self._give_up_joins()
        self._drop_edges("left")
        self._doubts = {}
        self._settle({}, "left")

    def _replace_ourselves(self, now: float) -> None:
        self._settle(self._ages)

    def _round(self, now: float) -> None:
        if self._up:  # else it is us who are not heard of
            self._doubts = {peer: rounds - 1 for peer, rounds in self._doubts.items() if rounds > 1}
            self._settle({peer: age + 1 for peer, age in self._ages.items() if age < self.old}, "silent")
            self._tell(self._some())
