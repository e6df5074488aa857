"""Groups of options of a node: channels, the keepalive, the codec, and the overlays that have options of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from .config_load import option
from .errors import ConfigError

MIB = 1024 * 1024

MAX_PARALLELISM = 1024
"""Connections of one channel to one peer at most, by our own options as by a peer's spec."""

PARALLELISM: dict[str, Any] = {"source": "partisan 5.0.3", "unit": "connections", "live": True, "high": MAX_PARALLELISM}
"""What all options of that name say of themselves."""


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """Options of one channel: the first three are told to peers, the others govern what this node sends on it."""

    parallelism: int = option(
        0,
        "How many connections a peer opens for the channel; 0 is replaced by the node's `parallelism`. Live unless a "
        "node of the BEAM is a member.",
        low=0,
        **PARALLELISM,
    )
    monotonic: bool = option(
        False,
        "Newer frames supersede older ones that still wait to be sent; see `send_window`.",
        source="partisan 5.0.3",
        live=True,
    )
    compression: bool | int = option(
        False, "False, True (level 6) or a zlib level.", source="partisan 5.0.3", live=True, low=0, high=9
    )
    payload: Literal["etf", "msgpack"] = option(
        "etf", "The codec of user messages; msgpack is used only where the peer has agreed to it.", live=True
    )
    max_queue_octets: int = option(
        8 * MIB,
        "High-water mark of what waits to be sent to a peer on the channel, shared by its connections; above it "
        "`queue_policy` decides.",
        unit="octets",
        live=True,
        low=1,
    )
    hard_queue_octets: int = option(
        64 * MIB,
        "What the same queue never exceeds, whatever the policy: a send that would raises Overloaded. A single frame "
        "larger than this is accepted into an empty queue.",
        unit="octets",
        live=True,
        low=1,
    )
    queue_policy: Literal["wait", "error", "drop_oldest"] = option(
        "wait",
        "What a send above the high-water mark does: suspend the sender at its next await, raise Overloaded, or drop "
        "the oldest frame and count it.",
        live=True,
    )
    send_window: float = option(
        1.0,
        "On a monotonic channel with frames waiting, at most one older frame is sent per this time.",
        source="partisan 5.0.3",
        unit="s",
        live=True,
        low=0,
    )


@dataclass(frozen=True, slots=True)
class PingConfig:
    """Options of the keepalive on every connection."""

    enabled: bool = option(True, "Whether silent connections are probed at all.", source="partisan 5.0.3", live=True)
    idle_timeout: float = option(
        20.0,
        "Silence before the first ping; the side that accepted waits a quarter longer.",
        source="partisan 5.0.3",
        unit="s",
        live=True,
        positive=True,
    )
    timeout: float = option(
        10.0, "How long to wait for an answer.", source="partisan 5.0.3", unit="s", live=True, positive=True
    )
    max_attempts: int = option(
        5,
        "How many pings without an answer mean that the peer is gone.",
        source="partisan 5.0.3",
        unit="pings",
        live=True,
        low=1,
    )


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """Options of the term codec: how Python values and Erlang terms stand for each other, and what is refused."""

    none: Literal["undefined", "nil"] = option("undefined", "The atom that None stands for.")
    strings: Literal["binary", "list", "atom"] = option("binary", "What a str is encoded as.")
    binaries: Literal["bytes", "str"] = option(
        "bytes", "What a binary is decoded to; str applies to valid UTF-8 only, anything else stays bytes."
    )
    max_depth: int = option(1024, "How deep terms may be nested.", unit="levels", low=1, high=8_000)
    max_items: int = option(16_777_216, "How many elements one term may have in all.", unit="items", low=1)
    max_inflated_octets: int = option(
        256 * MIB, "How large a compressed term may become.", unit="octets", low=1, high=2**31 - 1
    )


@dataclass(frozen=True, slots=True)
class HyParViewOptions:
    """Options of HyParView. Sizes of the active view count the node itself, as Partisan 5.0.3 does."""

    active_max_size: int = option(
        6,
        "The most members of the active view: the node and its neighbors (the paper has 5 neighbors, which is this).",
        source="partisan 5.0.3",
        unit="nodes",
        live=True,
        low=2,
        high=1024,
    )
    active_min_size: int = option(
        3,
        "With fewer, a node asks peers that must take it.",
        source="partisan 5.0.3",
        unit="nodes",
        live=True,
        low=1,
        high=1024,
    )
    active_rwl: int = option(
        6,
        "How far a walk goes that ends in an active view.",
        source="partisan 5.0.3",
        unit="hops",
        live=True,
        low=0,
        high=255,
    )
    passive_max_size: int = option(
        30,
        "The most peers that are known besides, without connections.",
        source="partisan 5.0.3",
        unit="nodes",
        live=True,
        low=0,
        high=65_536,
    )
    passive_rwl: int = option(
        6,
        "How many hops are left of a walk where it enters a passive view (the paper has 3).",
        source="partisan 5.0.3",
        unit="hops",
        live=True,
        low=0,
        high=255,
    )
    random_promotion: bool = option(
        True,
        "A node that has room for neighbors asks a peer of the passive view at intervals.",
        source="partisan 5.0.3",
        live=True,
    )
    random_promotion_interval: float = option(
        5.0, "Time between such requests.", source="partisan 5.0.3", unit="s", live=True, positive=True
    )
    shuffle_interval: float = option(
        10.0,
        "Time between two exchanges of samples of the views.",
        source="partisan 5.0.3",
        unit="s",
        live=True,
        positive=True,
    )
    shuffle_k_active: int = option(
        3, "Neighbors in a sample.", source="partisan 5.0.3", unit="nodes", live=True, low=0, high=128
    )
    shuffle_k_passive: int = option(
        4, "Peers of the passive view in a sample.", source="partisan 5.0.3", unit="nodes", live=True, low=0, high=127
    )
    patience: float = option(
        5.0,
        "How long a peer may take to be reached, and to answer, before the next one is asked "
        "(partisan 5.0.3 waits as long for each message that it sends).",
        unit="s",
        live=True,
        positive=True,
    )
    xbot_enabled: bool = option(
        False,
        "Whether neighbors are exchanged for nearer ones (X-BOT); among Python nodes alone, so `mixed_cluster` must be "
        "off.",
        source="partisan 5.0.3",
        live=True,
    )
    xbot_interval: float = option(
        10.0,
        "Time between two attempts on average: half to one and a half of it, at random (partisan 5.0.3: 6 to 65 s, "
        "drawn once).",
        unit="s",
        live=True,
        positive=True,
    )
    xbot_candidates: int = option(
        2,
        "Peers of the passive view that are looked at in an attempt (the paper has 2).",
        unit="nodes",
        live=True,
        low=1,
        high=1024,
    )
    xbot_unbiased: int = option(
        1,
        "Neighbors that are never exchanged for nearer ones, those that have been neighbors longest (the paper has 1).",
        unit="nodes",
        live=True,
        low=0,
        high=1024,
    )
    xbot_oracle: Any = option(  # noqa: RUF009 - its default is None
        None,
        "What tells how much a link costs: a function of a peer's `NodeSpec` that returns a number, the less the "
        "better, or None if it does not know; or the place of one as `module:function`. Without one it is the round "
        "trip, which is measured.",
    )


def check_hyparview(options: HyParViewOptions, reservations: tuple[str, ...]) -> None:
    """Raise ConfigError if options contradict each other."""
    most = options.active_max_size
    if options.active_min_size > most:
        problem = f"{options.active_min_size} is above hyparview.active_max_size, {most}"
        raise ConfigError("hyparview.active_min_size", problem)
    if len(set(reservations)) >= most:
        problem = f"{len(set(reservations))} are more than the {most - 1} places that hyparview.active_max_size leaves"
        raise ConfigError("reservations", problem)
