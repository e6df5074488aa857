"""Direct mail: whoever has something new sends it to everybody, once (Demers et al. 1987, section 1.2).

Promises that everybody has it after one message's time, at the least possible cost of n - 1 messages. "Direct mail is
timely and reasonably efficient but not entirely reliable": messages are lost, and not all members may be known. As
partisan's `demers_direct_mail`.

    python -m examples.protocols.direct_mail

looks for a message whose loss keeps a node from ever having the mail. `direct_mail_acked` is free of that.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from partisan.machines.machine import Peer

from .mail import Broadcast, Mail, agreement
from .protocol import Id
from .scenario import Omit, Scenario
from .search import main


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, from its origin."""

    id: Id
    body: object


class DirectMail(Mail):
    """One node's part."""

    def __init__(self, myself: Peer, members: tuple[Peer, ...], rng: Random) -> None:
        super().__init__(myself, members, rng)
        self._messages |= {Letter: self._on_letter}

    def _mail(self, id: Id, body: object) -> None:
        self._send_all(Letter(id, body))

    def _on_letter(self, peer: Peer, message: Letter, now: float) -> None:
        self._hear(message.id, message.body)


MAIL = ((1.0, 0, Broadcast(b"news")), (1.5, 2, Broadcast(b"more")))

LOSS = Scenario("direct mail loses what the network loses", DirectMail, MAIL, agreement, faults=(Omit,))

if __name__ == "__main__":
    main(LOSS)
