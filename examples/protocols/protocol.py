"""What the protocols have in common: a machine that has members and hears which of them it reaches.

A protocol is a `partisan.machines.machine.Machine`: told what happened, it answers with what is to be done. So one
class runs under virtual time (`search.py`) and on nodes (`server.py`), and neither shows in it.

Messages are frozen dataclasses whose fields are terms that can be hashed. Commands and facts never leave the node.
"""

from __future__ import annotations

from random import Random
from typing import ClassVar, TypeAlias

from partisan import Atom
from partisan.machines.machine import Connected, Disconnected, Machine, Peer, Start, TimedOut, UpdateMembers

Id: TypeAlias = tuple[Atom | int, int]
"""Whose it is, and its number there: of a message, a transaction or a request."""


class Protocol(Machine):
    """One node's part in a protocol among members.

    Args:
        myself: our own value among the members.
        members: everybody, ourselves included.
        rng: the only source of chance.
    Attributes:
        acked: whether its messages are sent with `ack=True`: again, until they have arrived.
        up: the members that we can reach, as far as we know: what is called a failure detector.
    """

    acked: ClassVar[bool] = False

    def __init__(self, myself: Peer, members: tuple[Peer, ...], rng: Random) -> None:
        super().__init__(myself, None, rng)
        self.members = members
        self.up: dict[Peer, None] = {}
        self._number = 0
        self._events |= {
            Start: self._on_start,
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            TimedOut: self._on_timed_out,
            UpdateMembers: self._on_update_members,
        }

    @property
    def messages(self) -> tuple[type, ...]:
        """The types of the messages that members send each other."""
        return tuple(self._messages)

    @property
    def events(self) -> tuple[type, ...]:
        """The types of the events that it takes, commands included."""
        return tuple(self._events)

    @property
    def others(self) -> list[Peer]:
        """The members but for ourselves."""
        return [peer for peer in self.members if peer != self.myself]

    def _new_id(self) -> Id:
        self._number += 1
        return self.myself, self._number

    def _send_all(self, message: object) -> None:
        for peer in self.others:
            self._send(peer, message)

    def _some(self, count: int) -> list[Peer]:
        """So many of the others, at random."""
        return self._rng.sample(self.others, min(count, len(self.others)))

    def _on_start(self, event: Start, now: float) -> None:
        for peer in self.others:
            self._connect(peer)

    def _on_connected(self, event: Connected, now: float) -> None:
        self.up[event.peer] = None

    def _on_disconnected(self, event: Disconnected, now: float) -> None:
        self.up.pop(event.peer, None)

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        """A timer has fired; those who start one say what it means."""

    def _on_update_members(self, event: UpdateMembers, now: float) -> None:
        former, self.members = self.others, event.members
        for peer in self.others:
            if peer not in former:
                self._connect(peer)
        for peer in former:
            if peer not in self.members:
                self.up.pop(peer, None)
                self._disconnect(peer, "left")
