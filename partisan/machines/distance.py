"""How far away peers are: a question to each neighbor at intervals, and the time until its answer.

The question carries a stamp, which comes back as it went. Only the answer to the latest question of a peer counts, so a
peer can be found farther away than it is (it may answer late) but not nearer.

Source: sections 3.8 and 3.9 of the partisan 5.0.3 reference (`distance`, `ping`, `pong`), which trusts the time in the
answer instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from partisan.machines.machine import Connected, Disconnected, Machine, Peer, Start, TimedOut

if TYPE_CHECKING:
    from random import Random

DISTANCE_TIMER = "distance"
"""The machine's one timer."""


@dataclass(frozen=True, slots=True)
class DistanceConfig:
    """Options of the measurement.

    Attributes:
        interval: seconds between two questions to a peer (partisan 5.0.3: 10 s).
    """

    interval: float = 10.0


@dataclass(frozen=True, slots=True)
class Question:
    """Asks for an answer. `stamp` is the asker's clock in microseconds; it means nothing to others."""

    stamp: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Answers the question of that stamp."""

    stamp: int


class Distances(Machine):
    """Measures the distances to the neighbors that it is told of by `Connected` and `Disconnected`.

    Attributes:
        seconds: peer -> the time that the latest answered question took, there and back.
    """

    config: DistanceConfig

    def __init__(self, myself: Peer, config: DistanceConfig, rng: Random) -> None:
        super().__init__(myself, config, rng)
        self._events |= {
            Start: self._on_start,
            Connected: self._on_connected,
            Disconnected: self._on_disconnected,
            TimedOut: self._on_timed_out,
        }
        self._messages |= {Question: self._on_question, Answer: self._on_answer}
        self._asked: dict[Peer, tuple[int, float]] = {}  # neighbor -> stamp and time of the question under way
        self._up: dict[Peer, None] = {}
        self.seconds: dict[Peer, float] = {}

    def _on_start(self, event: Start, now: float) -> None:
        # A random phase: nodes that boot together do not all ask together.
        self._start_timer(DISTANCE_TIMER, self.config.interval * self._rng.random())

    def _on_connected(self, event: Connected, now: float) -> None:
        self._up[event.peer] = None
        self._ask(event.peer, now)

    def _on_disconnected(self, event: Disconnected, now: float) -> None:
        for known in (self._up, self._asked, self.seconds):
            known.pop(event.peer, None)

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        if event.timer == DISTANCE_TIMER:
            self._start_timer(DISTANCE_TIMER, self.config.interval)
            for peer in self._up:
                self._ask(peer, now)

    def _ask(self, peer: Peer, now: float) -> None:
        stamp = int(now * 1e6)
        self._asked[peer] = (stamp, now)
        self._send(peer, Question(stamp))

    def _on_question(self, peer: Peer, message: Question, now: float) -> None:
        self._send(peer, Answer(message.stamp))

    def _on_answer(self, peer: Peer, message: Answer, now: float) -> None:
        stamp, asked = self._asked.get(peer, (None, 0.0))
        if stamp == message.stamp:
            del self._asked[peer]
            self.seconds[peer] = now - asked
