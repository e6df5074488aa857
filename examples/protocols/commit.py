"""What the commit protocols have in common: transactions, on whose outcome everybody who takes part must agree.

Nodes do not start again here, so nothing is written to a log, and a coordinator remembers outcomes for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from partisan import Atom
from partisan.machines.machine import Peer

from .protocol import Id, Protocol
from .scenario import Run

PREPARED, PRECOMMITTED, COMMITTED, ABORTED = map(Atom, ("prepared", "precommitted", "committed", "aborted"))


@dataclass(frozen=True, slots=True)
class Begin:
    """Command: be the coordinator of a transaction in which all members take part."""

    value: object


@dataclass(frozen=True, slots=True)
class Decided:
    """Fact: the transaction is committed here, or it is aborted."""

    transaction: Id
    commit: bool


# Messages of two-phase commit, and of others.


@dataclass(frozen=True, slots=True)
class Prepare:
    """Can you commit this? If so, you are bound to do what I say."""

    transaction: Id
    value: object


@dataclass(frozen=True, slots=True)
class Vote:
    """Yes, I am prepared; or no, and I have aborted."""

    transaction: Id
    yes: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """The word of the coordinator, or of whoever knows it."""

    transaction: Id
    commit: bool


# Messages of three-phase commit.


@dataclass(frozen=True, slots=True)
class PreCommit:
    """All have said yes; answer when you know."""

    transaction: Id


@dataclass(frozen=True, slots=True)
class Help:
    """The coordinator is lost: be it."""

    transaction: Id


@dataclass(frozen=True, slots=True)
class Inquiry:
    """I am the coordinator now: where are you?"""

    transaction: Id


@dataclass(frozen=True, slots=True)
class Answer:
    """Where I am. To `Prepare`, PREPARED is a yes, and ABORTED is a no."""

    transaction: Id
    state: Atom


class Commit(Protocol):
    """What a node knows of transactions.

    Args:
        vote: (value) -> whether we can commit it.
    Attributes:
        state: transaction -> where it is here. From PREPARED on, only others can say what becomes of it.
    """

    acked = True

    def __init__(
        self, myself: Peer, members: tuple[Peer, ...], rng: Random, *, vote: Callable[[object], bool] = lambda _: True
    ) -> None:
        super().__init__(myself, members, rng)
        self.vote = vote
        self.state: dict[Id, Atom] = {}
        self._messages |= {Outcome: self._on_outcome}

    def _on_outcome(self, peer: Peer, message: Outcome, now: float) -> None:
        self._decide(message.transaction, message.commit)

    def _is_decided(self, transaction: Id) -> bool:
        return self.state.get(transaction) in (COMMITTED, ABORTED)

    def _decide(self, transaction: Id, commit: bool) -> None:
        """Commit or abort here, if neither is done."""
        if not self._is_decided(transaction):
            self.state[transaction] = COMMITTED if commit else ABORTED
            self._notify(Decided(transaction, commit))


def termination(run: Run) -> str | None:
    """Whoever lives and has voted decides, and all decide the same."""
    for peer in run.alive:
        for transaction, state in run.protocol(peer).state.items():
            if state not in (COMMITTED, ABORTED):
                return f"node {peer} is {state.name} to commit {transaction}, and never learns what becomes of it"
    return consistency(run)


def consistency(run: Run) -> str | None:
    """No two nodes decide differently, those that crash later included."""
    outcomes: dict[Id, tuple[Peer, bool]] = {}
    for step in run.facts(Decided):
        first, commit = outcomes.setdefault(step.what.transaction, (step.node, step.what.commit))
        if commit != step.what.commit:
            done, undone = (first, step.node) if commit else (step.node, first)
            return f"node {done} commits {step.what.transaction}, and node {undone} aborts it"
    return None
