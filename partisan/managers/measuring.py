"""The time to each neighbor and back, measured over the overlay's connections."""

from __future__ import annotations

import time
from collections.abc import Callable

from partisan.machines.distance import Answer, DistanceConfig, Distances, Question
from partisan.machines.machine import Connected, Disconnected, Notify, Received, Send, Start
from partisan.names import NodeSpec
from partisan.net.context import Context
from partisan.net.driver import Driver
from partisan.wire.forward import Distance, distance_to_term

MICRO = 10**6


def time_of(stamp: int) -> tuple[int, int, int]:
    """Microseconds as Erlang's {MegaSeconds, Seconds, MicroSeconds}."""
    return (stamp // MICRO**2, stamp // MICRO % MICRO, stamp % MICRO)


def stamp_of(time: object) -> int | None:
    """The microseconds that a time stands for; None if it is none."""
    match time:
        case (int(mega), int(seconds), int(micro)):
            return mega * MICRO**2 + seconds * MICRO + micro
    return None


class Measuring:
    """Asks neighbors, and answers them.

    Args:
        context: the node's; `distance_enabled` says whether it asks.
        spec: the node's.
        send: callable(node, term): send to the node's manager.
    Attributes:
        spec: in whose name it asks; may change.
    """

    def __init__(self, context: Context, spec: NodeSpec, send: Callable[[str, object], None]) -> None:
        config = context.config
        self.spec = spec
        self._asks = config.distance_enabled
        self._send = send
        self._machine = Distances(spec, DistanceConfig(config.distance_interval), context.rng)
        self._driver = Driver(
            self._machine,
            context.loop,
            {Send: lambda effect: self._ask(effect.peer, effect.message), Notify: lambda effect: None},
            clock=time.monotonic,
        )

    def start(self) -> None:
        """Begin to ask, if that is wanted."""
        if self._asks:
            self._driver.handle(Start())

    def stop(self) -> None:
        """Ask no more."""
        self._driver.stop()

    def edge(self, peer: NodeSpec, up: bool, reason: str) -> None:
        """There is a neighbor more, or one less."""
        if self._asks:
            self._driver.handle(Connected(peer, peer) if up else Disconnected(peer, reason))

    def seconds(self) -> dict[str, float]:
        """Seconds to each neighbor and back, as measured last."""
        return {peer.name: seconds for peer, seconds in self._machine.seconds.items()}

    def take(self, distance: Distance) -> None:
        """Answer a question, or take an answer."""
        if not distance.answer:
            answer = Distance(True, distance.source, distance.destination, distance.time)
            self._send(distance.source.name, distance_to_term(answer))
            return
        stamp = stamp_of(distance.time)
        if stamp is not None and distance.source == self.spec:
            self._driver.handle(Received(distance.destination, Answer(stamp)))

    def _ask(self, peer: NodeSpec, question: Question) -> None:
        self._send(peer.name, distance_to_term(Distance(False, self.spec, peer, time_of(question.stamp))))
