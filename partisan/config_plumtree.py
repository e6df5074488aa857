"""The options of the broadcast trees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .config_load import option

__all__ = ["PlumtreeOptions"]

_TIME: dict[str, Any] = {"unit": "s", "live": True, "positive": True}


@dataclass(frozen=True, slots=True)
class PlumtreeOptions:
    """Options of Plumtree: how messages are spread over the trees, and what neighbors compare."""

    lazy_tick_period: float = option(
        1.0, "How often what was not acknowledged is announced again.", source="partisan 5.0.3", **_TIME
    )
    graft_after: float = option(
        0.2,
        "How long after an announcement what it announced is asked for; 0 asks at once, as partisan does.",
        source="paper §3.5",
        unit="s",
        live=True,
        low=0.0,
    )
    graft_again: float = option(0.5, "How long until the next who announced it is asked.", source="paper §3.5", **_TIME)
    exchange_tick_period: float = option(
        10.0, "How often a neighbor is chosen to compare with what handlers have.", source="partisan 5.0.3", **_TIME
    )
    exchange_selection: Literal["optimized", "normal"] = option(
        "optimized", "`optimized` prefers a neighbor that is not on the tree.", source="partisan 5.0.3", live=True
    )
    broadcast_start_exchange_limit: int | None = option(
        None,
        "Exchanges that run at once; without, as many as there are handlers.",
        source="partisan 5.0.3",
        live=True,
        low=1,
    )
    broadcast_heartbeat_interval: float = option(
        10.0, "How often the node says that it lives, if `broadcast` is on.", source="partisan 5.0.3", **_TIME
    )
    most_trees: int = option(
        1024,
        "Trees that are kept; the one unused longest is forgotten, and grows anew.",
        unit="trees",
        live=True,
        low=1,
    )
    most_outstanding: int = option(
        1024,
        "Announcements that are kept for a neighbor; of more the oldest is given up.",
        unit="announcements",
        live=True,
        low=1,
    )
