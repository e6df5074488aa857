"""A membership and what runs over it, as one machine: the simulator and drivers know no difference.

Each has its commands, messages and timers; all that the upper machine does not take goes to the membership. What the
membership tells of neighbors, the upper machine hears at once, before anything else happens: it is never behind. The
effects of both go out in order; what the membership tells still goes to whoever listens.

A stack is a membership again, so another machine may run over it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Protocol

from partisan.machines.machine import (
    Effect,
    Event,
    Machine,
    NeighborDown,
    NeighborUp,
    Notify,
    Received,
    Retune,
    Start,
    TimedOut,
)


class Upper(Protocol):
    """What can run over a membership: a machine that takes `Start`, `NeighborUp` and `NeighborDown`, and besides:

    Attributes:
        TAKES: types of commands.
        HEARS: types of messages.
        PREFIX: what the tuples begin with that are its timers.
        config: a `Retune` with options of this type is for it.
    """

    TAKES: ClassVar[Collection[type]]
    HEARS: ClassVar[Collection[type]]
    PREFIX: ClassVar[str]
    config: Any

    def handle(self, event: Event, now: float) -> list[Effect]:
        """See `Machine.handle`."""


class Stack(Machine):
    """Two machines as one.

    Args:
        membership: any machine that tells of `NeighborUp` and `NeighborDown`.
        upper: what runs over it.
    """

    __slots__ = ("membership", "upper")

    def __init__(self, membership: Machine, upper: Upper) -> None:
        # Not Machine's, whose tables this does not need; nor has it options or chance of its own.
        self.membership = membership
        self.upper = upper

    @property
    def greeting(self) -> object:
        """What handshakes tell: the membership's."""
        return getattr(self.membership, "greeting", None)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; see `Machine.handle`."""
        kind, upper = type(event), self.upper
        if kind is Received:
            if type(event.message) in upper.HEARS:
                return upper.handle(event, now)
        elif kind is TimedOut:
            timer = event.timer
            if type(timer) is tuple and timer and timer[0] == upper.PREFIX:
                return upper.handle(event, now)
        elif kind in upper.TAKES or (kind is Retune and type(event.config) is type(upper.config)):
            return upper.handle(event, now)
        effects = self.membership.handle(event, now)
        heard: list[Effect] | None = None
        for number, effect in enumerate(effects):
            if type(effect) is Notify and type(effect.fact) in _NEIGHBORS:
                if heard is None:
                    heard = effects[:number]
                heard.append(effect)
                heard += upper.handle(effect.fact, now)
            elif heard is not None:
                heard.append(effect)
        if kind is Start:
            return (effects if heard is None else heard) + upper.handle(event, now)
        return effects if heard is None else heard


_NEIGHBORS = (NeighborUp, NeighborDown)
