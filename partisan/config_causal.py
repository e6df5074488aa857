"""The options of causal delivery."""

from __future__ import annotations

from dataclasses import dataclass

from .config_load import option

__all__ = ["CausalConfig"]


@dataclass(frozen=True, slots=True)
class CausalConfig:
    """Options of causal delivery, for each label."""

    persist: bool = option(
        True,
        "Whether clocks, and messages that wait for others, are kept on disk, where there is a directory for it "
        "(`persist_dir`).",
    )
    save_interval: float = option(
        0.05,
        "How long what has changed may be in memory alone; what is acknowledged is on disk before.",
        unit="s",
        positive=True,
    )
    patience: float | None = option(
        3600.0,
        "How long a message waits for those that it depends on, before it is delivered without them; None waits for "
        "ever, as partisan 5.0.3 does.",
        unit="s",
        live=True,
        positive=True,
    )
    max_waiting: int = option(
        10_000,
        "How many messages may wait for others, half of them of one sender; above that a message is refused: dropped, "
        "or, if it is acknowledged, sent again later.",
        unit="messages",
        live=True,
        low=2,
    )
    max_waiting_octets: int = option(
        64 * 1024 * 1024,
        "How large these may be together, likewise; a single larger message is accepted if nothing waits.",
        unit="octets",
        live=True,
        low=1,
    )
