"""Acknowledged direct mail: as `direct_mail`, and every message is sent again until it has arrived.

Promises that everybody has what its origin lives long enough to send: lost messages do no harm. As partisan's
`demers_direct_mail_acked`; the retransmission is `ack=True`. What Demers et al. 1987 say of direct mail still holds of
the origin itself: it alone knows whom it has not told, and if it crashes between two letters nobody goes on. Their
remedy is that everybody compares what it has with others now and then (`anti_entropy`).

    python -m examples.protocols.direct_mail_acked

looks for lost messages, which it survives, and for a crash, which it does not; then for either with anti-entropy.
"""

from __future__ import annotations

from .anti_entropy import AntiEntropy
from .direct_mail import MAIL, DirectMail
from .mail import agreement
from .scenario import Crash, Omit, Scenario
from .search import main


class AckedDirectMail(DirectMail):
    """One node's part."""

    acked = True


class BackedDirectMail(AckedDirectMail, AntiEntropy):
    """The same, with anti-entropy behind it."""


OMISSIONS = Scenario(
    "acknowledged, direct mail loses nothing", AckedDirectMail, MAIL, agreement, faults=(Omit,), most=2
)
CRASH = Scenario("but for what its origin takes along", AckedDirectMail, MAIL, agreement, faults=(Crash,))
REMEDY = Scenario("anti-entropy finds that", BackedDirectMail, MAIL, agreement, faults=(Omit, Crash), window=5.0)

if __name__ == "__main__":
    main(OMISSIONS, CRASH, REMEDY)
