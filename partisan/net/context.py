"""What every connection of a node shares."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from partisan._core.frame import Slab
from partisan._core.router import Router
from partisan.config import Config
from partisan.net.certificates import TlsMaterial
from partisan.net.faults import LiveFaults
from partisan.net.traffic import Traffic
from partisan.telemetry import Telemetry
from partisan.throttle import ThrottledLog

if TYPE_CHECKING:
    from partisan.net.acknowledged import Acknowledged
    from partisan.net.causal import Causality
    from partisan.net.tracing import Tracing


class Manager(Protocol):
    """What a connection wants of the peer service manager.

    Attributes:
        wire_name: the registered name that peers address managers of its kind by.
        mutual: whether links serve both ways.
        passes_on: whether a real node of its kind relays messages to others.
        knows_ways: whether `next_hops` is to be preferred to the broadcast trees.
    """

    wire_name: ClassVar[str]
    mutual: bool
    passes_on: ClassVar[bool]
    knows_ways: ClassVar[bool]

    def local_state(self, peer: str) -> object:
        """What the handshake tells the peer, which has dialled, about the membership here, as a term."""

    def local_tag(self) -> str:
        """The role that the handshake tells beside it."""

    def members(self) -> list[str]:
        """Names of the members."""

    def next_hops(self, name: str) -> list[str]:
        """Names of the neighbors by whom a message goes to a node that is none."""

    def greeted_python(self, name: str) -> bool:
        """Whether the peer's handshake told that it runs this package."""

    def dialled_by(self, peer: str) -> None:
        """A peer has opened a connection to this node and said its name."""

    def undialled_by(self, peer: str) -> None:
        """A connection that the peer had opened is gone, or now says another name."""

    def receive_bare(self, term: object, link: Any) -> None:
        """Take a frame that is neither a plain message nor part of a handshake or keepalive.

        Raises RemoteProtocolError if it is nothing that a peer may send.
        """


@dataclass(slots=True, eq=False)
class Context:
    """What every connection of a node shares.

    Attributes:
        node: the node's name.
        loop: the node's.
        config: its options; replaced as a whole when they change, so ask for an option when you need it.
        router: where messages go.
        telemetry: where events go.
        rng: ids and jitter; seeded from the system's entropy.
        tls: what connections need for TLS, or None where they are plain.
        tracing: where machines are written to, or None.
        manager: the peer service manager; set before the first connection.
        acknowledged: delivery with acknowledgement; set before the first connection.
        causal: delivery in causal order; set before the first connection.
        slab: the receive buffer that all connections share.
        faults: what goes wrong on purpose.
        traffic: the connections that are open, and what has passed on them.
        log: logs what peers can make us say again and again.
    """

    node: str
    loop: asyncio.AbstractEventLoop
    config: Config
    router: Router
    telemetry: Telemetry
    rng: random.Random
    tls: TlsMaterial | None = None
    tracing: Tracing | None = None
    manager: Manager = field(init=False)
    acknowledged: Acknowledged = field(init=False)
    causal: Causality = field(init=False)
    slab: Slab = field(init=False)
    faults: LiveFaults = field(init=False)
    traffic: Traffic = field(init=False)
    log: ThrottledLog = field(init=False)

    def __post_init__(self) -> None:
        self.slab = Slab(self.config.read_octets)
        self.traffic = Traffic(self.telemetry)
        self.log = ThrottledLog(self.loop.time)
        chance = random.Random(self.rng.getrandbits(64))
        self.faults = LiveFaults(self.node, self.loop, self.config, self.router, self.telemetry, chance)
