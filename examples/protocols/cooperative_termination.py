"""Two-phase commit with cooperative termination (Bernstein, Hadzilacos & Goodman 1987, section 7.4).

A participant that waits too long for the coordinator's word asks the others. Whoever knows the outcome tells it;
whoever has not voted yet aborts, which settles it. Promises that a crash blocks nobody whom somebody could help: but if
the coordinator crashes when all have voted and it has told nobody, all who live are uncertain, and nobody can. As
partisan's `bernstein_ctp`.

    python -m examples.protocols.cooperative_termination

looks for a crash that blocks it all the same. `three_phase_commit` has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from partisan.machines.machine import Peer, TimedOut

from .commit import COMMITTED, PREPARED, Outcome, Prepare, termination
from .protocol import Id
from .scenario import Crash, Omit, Scenario
from .search import main
from .two_phase_commit import WORK, TwoPhaseCommit


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """What has become of this transaction?"""

    transaction: Id


class CooperativeTermination(TwoPhaseCommit):
    """One node's part.

    Attributes:
        uncertainty: seconds for which a participant waits for the outcome before it asks, and asks again.
    """

    uncertainty = 10.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._messages |= {DecisionRequest: self._on_decision_request}

    def _on_prepare(self, peer: Peer, message: Prepare, now: float) -> None:
        super()._on_prepare(peer, message, now)
        if self.state[message.transaction] == PREPARED:
            self._start_timer(("outcome", message.transaction), self.uncertainty)

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        super()._on_timed_out(event, now)
        timer: Any = event.timer
        match timer:
            case ("outcome", transaction) if not self._is_decided(transaction):
                self._start_timer(timer, self.uncertainty)
                self._send_all(DecisionRequest(transaction))

    def _on_decision_request(self, peer: Peer, message: DecisionRequest, now: float) -> None:
        transaction = message.transaction
        if transaction not in self.state:
            self._decide(transaction, False)
        if self._is_decided(transaction):
            self._send(peer, Outcome(transaction, self.state[transaction] == COMMITTED))


OMISSIONS = Scenario("it survives lost messages", CooperativeTermination, WORK, termination, faults=(Omit,), most=2)
BLOCKS = Scenario("it blocks if all who live are uncertain", CooperativeTermination, WORK, termination, faults=(Crash,))

if __name__ == "__main__":
    main(OMISSIONS, BLOCKS)
