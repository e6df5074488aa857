"""A membership strategy of one's own: whoever learns something tells a few neighbors at random, not all of them.
A node takes it by the option `membership_strategy=RandomGossip`, or "random_gossip:RandomGossip".

A node keeps a row for every peer that it has heard of: a version, and whether it is a member. The higher version holds,
of equal ones the departure. A table that lacks something is answered: whoever a rumour has missed learns it then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from partisan.machines.machine import Removed
from partisan.machines.membership import Membership, MembershipConfig

Row = tuple[int, bool]  # version, and whether it is a member
NEVER: Row = (0, False)


@dataclass(frozen=True)
class Table:
    """Peer -> row: what a node knows. It greets with it, sends it, and saves it."""

    rows: Mapping[Any, Row]


def newer(row: Row, other: Row) -> bool:
    return (row[0], not row[1]) > (other[0], not other[1])


class RandomGossip(Membership):
    """One node's part; `few` is how many neighbors are told of a change, and of everything in each round."""

    messages = (Table,)
    few = 2

    def __init__(self, myself: Any, config: MembershipConfig, rng: Random, restored: Table | None = None) -> None:
        super().__init__(myself, config, rng)
        self._messages[Table] = self._on_table
        self.rows: dict[Any, Row] = {} if restored is None else dict(restored.rows)
        self.rows[myself] = self.rows[myself] if self._in(self.rows, myself) else self._next(myself, True)
        self._supersede(self.rows, myself)
        self.members = tuple(sorted((p for p in self.rows if self._in(self.rows, p)), key=config.key))

    @property
    def greeting(self) -> Table:
        return Table(self.rows)

    def _problem_of_greeting(self, greeting: object) -> str | None:
        if not isinstance(greeting, Table) or not isinstance(greeting.rows, Mapping):
            return "no table"
        for peer, row in greeting.rows.items():
            if type(peer) is not type(self.myself) or type(row) is not tuple or [*map(type, row)] != [int, bool]:
                return "a row is none"
        return None

    def _greeted(self, peer: Any, contact: Any, greeting: Table | None, joining: bool, now: float) -> None:
        theirs = {} if greeting is None else greeting.rows
        told = theirs.get(peer, NEVER)
        if not joining and not self._in(theirs, self.myself) and told[0] > self.rows.get(peer, NEVER)[0]:
            theirs = {peer: (told[0] - 1, False)}  # it left the cluster in which we know it, and began again
        rows = self._merged(peer, theirs)
        for party in (peer, self.myself) if joining else ():
            if not self._in(rows, party):
                rows[party] = (rows.get(party, NEVER)[0] + 1, True)
        news = rows != self.rows
        if not news or self._become(rows):
            self._bring_up(peer, contact)
            self._tell(self._few(peer) if news or joining else [peer] if self._lacks(theirs) else [])

    def _on_table(self, peer: Any, message: Table, now: float) -> None:
        if problem := self._problem_of_greeting(message):
            self._violation(peer, problem)
            return
        theirs = message.rows
        stale = self.members == (self.myself,) and theirs.get(self.myself, NEVER)[0] < self.rows[self.myself][0]
        rows = self.rows if stale else self._merged(peer, theirs)
        if stale or (self._in(theirs, peer) and not self._in(rows, peer)):
            self._turn_away(peer)  # it has not heard that we left, or that it was made to
        if rows != self.rows:
            self._tell(self._few(peer) if self._become(rows) else [])
        elif peer in self._up and self._lacks(theirs):
            self._tell([peer])

    def _remove(self, leavers: list[Any], now: float) -> None:
        rows = self.rows | {peer: self._next(peer, False) for peer in leavers}
        self._tell(self._up, rows)  # before the edges of those who leave are given up
        self._become(rows)

    def _leave_ourselves(self, now: float) -> None:
        if len(self.members) > 1:
            self._tell(self._up, self.rows | {self.myself: self._next(self.myself, False)})
            self._begin_again(self.rows[self.myself][0] + 2, "left")
        self._give_up_joins()

    def _replace_ourselves(self, now: float) -> None:
        rows = self.rows | {self.myself: self._next(self.myself, True)}
        self._supersede(rows, self.myself)
        self._become(rows)
        self._tell(self._few())

    def _round(self, now: float) -> None:
        self._tell(self._few())

    def _in(self, rows: Mapping[Any, Row], peer: Any) -> bool:
        return rows.get(peer, NEVER)[1]

    def _next(self, peer: Any, member: bool) -> Row:
        return (self.rows.get(peer, NEVER)[0] + 1, member)

    def _lacks(self, theirs: Mapping[Any, Row]) -> bool:
        return any(newer(row, theirs.get(peer, NEVER)) for peer, row in self.rows.items())

    def _merged(self, sender: Any, theirs: Mapping[Any, Row]) -> dict[Any, Row]:
        rows = self.rows | {p: row for p, row in theirs.items() if newer(row, self.rows.get(p, NEVER))}
        self._supersede(rows, sender)
        return rows

    def _supersede(self, rows: dict[Any, Row], peer: Any) -> None:
        for other, (version, member) in rows.items() if self._in(rows, peer) else ():
            if member and other != peer and self.config.name(other) == self.config.name(peer):
                rows[other] = (version + 1, False)

    def _few(self, *first: Any) -> list[Any]:
        peers = [peer for peer in self._up if peer not in first]
        return [p for p in first if p in self._up] + self._rng.sample(peers, min(self.few, len(peers)))

    def _tell(self, peers: Iterable[Any], rows: Mapping[Any, Row] | None = None) -> None:
        message = Table(self.rows if rows is None else rows)
        for peer in peers:
            self._send(peer, message)

    def _become(self, rows: dict[Any, Row]) -> bool:
        """Take the rows as ours; return False if we are no member by them, and so began again alone."""
        if not self._in(rows, self.myself):
            self._begin_again(rows[self.myself][0] + 1, "removed")
            self._notify(Removed("removed"))
            return False
        self.rows = rows
        self._save(self.greeting)
        self._report(peer for peer in rows if self._in(rows, peer))
        return True

    def _begin_again(self, version: int, reason: str) -> None:
        self._give_up_joins()
        self._drop_edges(reason)
        self.rows = {self.myself: (version, True)}
        self._save(self.greeting)
        self._report([self.myself], reason)
