"""Two-phase commit (Lampson & Sturgis 1976; Lampson 1981): the coordinator asks all, and commits if all say yes.

Promises that nobody commits what another one aborts, whatever is lost and whoever crashes. The price: between its yes
and the coordinator's word a participant is uncertain. It may do neither, and if the coordinator crashes meanwhile it
waits for its return: the protocol blocks. As partisan's `lampson_2pc`, but that messages are acknowledged and sent
again by `ack=True` instead of by the protocol.

    python -m examples.protocols.two_phase_commit

looks for lost messages, which it survives, and for a crash that blocks it. `cooperative_termination` survives that one.
"""

from __future__ import annotations

from typing import Any

from partisan.machines.machine import Peer, TimedOut

from .commit import ABORTED, PREPARED, Begin, Commit, Outcome, Prepare, Vote, consistency, termination
from .protocol import Id
from .scenario import Crash, Omit, Scenario
from .search import main


class TwoPhaseCommit(Commit):
    """One node's part, as coordinator and as participant.

    Attributes:
        patience: seconds for which the coordinator waits for votes.
    """

    patience = 5.0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._awaited: dict[Id, list[Peer]] = {}  # of what we coordinate: who has not voted
        self._events |= {Begin: self._on_begin}
        self._messages |= {Prepare: self._on_prepare, Vote: self._on_vote}

    # The coordinator.

    def _on_begin(self, event: Begin, now: float) -> None:
        transaction = self._new_id()
        self.state[transaction] = PREPARED
        self._awaited[transaction] = self.others
        self._start_timer(("votes", transaction), self.patience)
        self._send_all(Prepare(transaction, event.value))
        if not self.vote(event.value) or not self.others:
            self._conclude(transaction, self.vote(event.value))

    def _on_vote(self, peer: Peer, message: Vote, now: float) -> None:
        awaited = self._awaited.get(message.transaction, [])
        if peer in awaited:
            awaited.remove(peer)
            if not message.yes or not awaited:
                self._conclude(message.transaction, message.yes)

    def _on_timed_out(self, event: TimedOut, now: float) -> None:
        match event.timer:
            case ("votes", transaction) if transaction in self._awaited:
                self._conclude(transaction, False)

    def _conclude(self, transaction: Id, commit: bool) -> None:
        del self._awaited[transaction]
        self._stop_timer(("votes", transaction))
        self._decide(transaction, commit)
        self._send_all(Outcome(transaction, commit))

    # The participant.

    def _on_prepare(self, peer: Peer, message: Prepare, now: float) -> None:
        transaction = message.transaction
        if transaction not in self.state:
            if self.vote(message.value):
                self.state[transaction] = PREPARED
            else:
                self._decide(transaction, False)
        self._send(peer, Vote(transaction, self.state[transaction] != ABORTED))


WORK = ((1.0, 0, Begin(b"work")),)

OMISSIONS = Scenario(
    "two-phase commit survives lost messages", TwoPhaseCommit, WORK, termination, faults=(Omit,), most=2
)
CRASHES = Scenario("two-phase commit is consistent", TwoPhaseCommit, WORK, consistency, faults=(Crash,), most=2)
BLOCKS = Scenario("two-phase commit blocks", TwoPhaseCommit, WORK, termination, faults=(Crash,))

if __name__ == "__main__":
    main(OMISSIONS, CRASHES, BLOCKS)
