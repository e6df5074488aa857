"""The options of relaying, and of what is known of nodes that are no neighbors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .config_load import option

__all__ = ["RelayOptions"]

_TIME: dict[str, Any] = {"unit": "s", "live": True, "positive": True}


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """Options of relaying, and of what is known of nodes that are no neighbors."""

    timeout: float = option(
        5.0, "How long a relayed message may be without a receipt before it is given up, which is told.", **_TIME
    )
    retry: float = option(
        0.5, "How long until it is sent again, over all neighbors; twice as long each time after.", **_TIME
    )
    silence: float = option(
        4.0,
        "After how many intervals of heartbeats (`plumtree.broadcast_heartbeat_interval`) without any a node that is "
        "no neighbor is down.",
        unit="intervals",
        live=True,
        low=1.5,
    )
    refutation: float = option(
        2.0, "How long a node that a neighbor has lost may take to say that it lives, before it is down.", **_TIME
    )
    max_waiting: int = option(
        1024,
        "How many relayed messages to one node may be without a receipt; a send that would exceed it raises "
        "Overloaded. As many of one sender are held while earlier ones are missing.",
        unit="messages",
        live=True,
        low=1,
    )
    max_waiting_octets: int = option(
        16 * 1024 * 1024,
        "How large these may be together; a single larger message is accepted if nothing waits.",
        unit="octets",
        live=True,
        low=1,
    )
