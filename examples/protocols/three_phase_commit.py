"""Three-phase commit (Skeen 1981, "Nonblocking Commit Protocols"): nobody commits while anybody is uncertain.

When all have said yes, the coordinator first tells everybody that (`PreCommit`), and commits when everybody knows. If
it is lost, the first of those who live asks the others where they are, and goes on: if anybody is precommitted all may
commit, and if nobody is nobody can have committed, so all abort. Promises that whoever lives decides, however many
crash: no blocking. That takes a failure detector which is right. If the network is split, each side takes the other for
crashed, and one may have a precommitted node where the other has none. Skeen's remedy ("A Quorum-Based Commit
Protocol", 1982) is that only a majority may go on; a minority blocks, as some must.

As partisan's `skeen_3pc`, which has time-outs where this has a failure detector and a new coordinator.

    python -m examples.protocols.three_phase_commit

looks for crashes, which it survives, and for a split, which it does not unless it asks for a majority.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from partisan import Atom
from partisan.machines.machine import Connected, Disconnected, Peer

from .commit import (
    ABORTED,
    COMMITTED,
    PRECOMMITTED,
    PREPARED,
    Answer,
    Begin,
    Commit,
    Help,
    Inquiry,
    Outcome,
    PreCommit,
    Prepare,
    consistency,
    termination,
)
from .protocol import Id
from .scenario import Crash, Scenario, Split
from .search import main
from .two_phase_commit import WORK

VOTING, SURVEYING, PREPARING = "voting", "surveying", "preparing"


@dataclass(slots=True)
class Lead:
    """What a coordinator knows."""

    phase: str
    awaited: list[Peer]  # who has not answered in it
    answers: dict[Peer, Atom] = field(default_factory=dict)


class ThreePhaseCommit(Commit):
    """One node's part.

    Args:
        quorum: whether a coordinator goes on only if a majority of all members does.
    """

    def __init__(self, *args: Any, quorum: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.quorum = quorum
        self._leads: dict[Id, Lead] = {}
        self._follows: dict[Id, Peer] = {}  # whose PreCommit counts: that of the latest coordinator we have answered
        self._events |= {Begin: self._on_begin}
        self._messages |= {
            Prepare: self._on_prepare,
            PreCommit: self._on_pre_commit,
            Help: self._on_help,
            Inquiry: self._on_inquiry,
            Answer: self._on_answer,
        }

    # The coordinator, the first one and those that follow it.

    def _on_begin(self, event: Begin, now: float) -> None:
        transaction = self._new_id()
        self.state[transaction] = PREPARED
        self._leads[transaction] = Lead(VOTING, self.others)
        self._send_all(Prepare(transaction, event.value))
        if not self.vote(event.value) or any(peer not in self.up for peer in self.others):
            self._conclude(transaction, False)
        else:
            self._go_on(transaction)

    def _ask(self, transaction: Id, phase: str, message: object) -> None:
        self._follows[transaction] = self.myself
        self._leads[transaction] = Lead(phase, [peer for peer in self.others if peer in self.up])
        for peer in self._leads[transaction].awaited:
            self._send(peer, message)
        self._go_on(transaction)

    def _go_on(self, transaction: Id) -> None:
        """If everybody has answered who can, begin the next phase."""
        lead = self._leads[transaction]
        states = [self.state[transaction], *lead.answers.values()]
        if lead.phase != PREPARING and (COMMITTED in states or ABORTED in states):
            self._conclude(transaction, COMMITTED in states)
        elif lead.awaited or (self.quorum and 2 * len(states) <= len(self.members)):
            return
        elif lead.phase == PREPARING:
            self._conclude(transaction, True)
        elif lead.phase == VOTING or PRECOMMITTED in states:
            self.state[transaction] = PRECOMMITTED
            self._ask(transaction, PREPARING, PreCommit(transaction))
        else:
            self._conclude(transaction, False)

    def _conclude(self, transaction: Id, commit: bool) -> None:
        self._leads.pop(transaction, None)
        self._decide(transaction, commit)
        self._send_all(Outcome(transaction, commit))

    def _on_answer(self, peer: Peer, message: Answer, now: float) -> None:
        lead = self._leads.get(message.transaction)
        if lead is not None and peer in lead.awaited and (lead.phase != PREPARING or message.state == PRECOMMITTED):
            lead.awaited.remove(peer)
            lead.answers[peer] = message.state
            self._go_on(message.transaction)

    # Losing each other.

    def _on_disconnected(self, event: Disconnected, now: float) -> None:
        super()._on_disconnected(event, now)
        for transaction, lead in list(self._leads.items()):
            if event.peer in lead.awaited:
                lead.awaited.remove(event.peer)
                if lead.phase == VOTING:
                    lead.answers[event.peer] = ABORTED  # it has not said yes, so nobody can have committed
                self._go_on(transaction)
        self._find_coordinators()

    def _on_connected(self, event: Connected, now: float) -> None:
        super()._on_connected(event, now)
        self._find_coordinators()  # a majority may be there now

    def _find_coordinators(self) -> None:
        """See that whatever is undecided has a coordinator that lives."""
        for transaction in [each for each in self.state if not self._is_decided(each)]:
            coordinator = self._coordinator(transaction)
            lead = self._leads.get(transaction)
            if coordinator != self.myself:
                self._leads.pop(transaction, None)
                if coordinator != self._follows.get(transaction):
                    self._send(coordinator, Help(transaction))
            elif lead is None or not lead.awaited:
                self._ask(transaction, SURVEYING, Inquiry(transaction))

    def _coordinator(self, transaction: Id) -> Peer:
        return next(peer for peer in (transaction[0], *self.members) if peer == self.myself or peer in self.up)

    # The participant.

    def _on_prepare(self, peer: Peer, message: Prepare, now: float) -> None:
        transaction = message.transaction
        if transaction not in self.state and self.vote(message.value):
            self.state[transaction] = PREPARED
            self._follows[transaction] = peer
        self._send(peer, Answer(transaction, self._where(transaction)))

    def _on_pre_commit(self, peer: Peer, message: PreCommit, now: float) -> None:
        transaction = message.transaction
        if self._follows.get(transaction) == peer and not self._is_decided(transaction):
            self.state[transaction] = PRECOMMITTED
            self._send(peer, Answer(transaction, PRECOMMITTED))

    def _on_inquiry(self, peer: Peer, message: Inquiry, now: float) -> None:
        self._follows[message.transaction] = peer
        self._send(peer, Answer(message.transaction, self._where(message.transaction)))

    def _on_help(self, peer: Peer, message: Help, now: float) -> None:
        transaction = message.transaction
        state = self._where(transaction)
        if self._is_decided(transaction):
            self._send(peer, Outcome(transaction, state == COMMITTED))
        elif self._coordinator(transaction) == self.myself and transaction not in self._leads:
            self._ask(transaction, SURVEYING, Inquiry(transaction))

    def _where(self, transaction: Id) -> Atom:
        """Our state; who is asked before it has voted aborts, and is then free to."""
        if transaction not in self.state:
            self._decide(transaction, False)
        return self.state[transaction]


WITH_QUORUM = partial(ThreePhaseCommit, quorum=True)

CRASHES = Scenario("three-phase commit blocks nobody", ThreePhaseCommit, WORK, termination, 4, (Crash,), most=2)
SPLIT = Scenario("but a split deceives it", ThreePhaseCommit, WORK, consistency, 4, (Split,))
REMEDY = Scenario("a majority is not deceived", WITH_QUORUM, WORK, consistency, 4, (Split,))

if __name__ == "__main__":
    main(CRASHES, SPLIT, REMEDY)
