"""What the options of a node must be to each other, and the channels that always exist."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .config_groups import ChannelConfig, check_hyparview
from .config_tls import check_tls
from .errors import ConfigError

if TYPE_CHECKING:
    from .config import Config

DEFAULT_CHANNEL = "undefined"
"""The channel of messages that name none, and of every first connection (partisan 5.0.3)."""

MEMBERSHIP_CHANNEL = "partisan_membership"
"""The channel of membership gossip (partisan 5.0.3)."""

DEFAULT_STRATEGY = "full"
"""What the pluggable manager keeps members with unless another strategy is given."""


def check_default(given: Any) -> None:
    """Refuse a parallelism that is given to the default channel: it has the node's."""
    if isinstance(given, Mapping) and "parallelism" in given:
        raise ConfigError(f"channels.{DEFAULT_CHANNEL}.parallelism", "say it in the option parallelism")


def completed(channels: Mapping[str, ChannelConfig], parallelism: int) -> dict[str, ChannelConfig]:
    """Return the channels of a node as partisan 5.0.3 normalises them. Raises ConfigError.

    Args:
        parallelism: the node's: of channels that do not say, and of the default channel.
    """
    done = {
        name: replace(channel, parallelism=channel.parallelism or parallelism) for name, channel in channels.items()
    }
    # What peers are told of the default channel is fixed; how this node queues on it is not. The reference drops
    # what is fixed and says nothing.
    for name, fixed in ((DEFAULT_CHANNEL, ("monotonic", "compression")), (MEMBERSHIP_CHANNEL, ("monotonic",))):
        for each in fixed:
            if name in done and getattr(done[name], each):
                raise ConfigError(f"channels.{name}.{each}", "this channel never is: give it to one of your own")
    done[DEFAULT_CHANNEL] = replace(done.get(DEFAULT_CHANNEL, ChannelConfig()), parallelism=parallelism)
    done.setdefault(MEMBERSHIP_CHANNEL, ChannelConfig(parallelism=1, compression=True))
    return done


def check_together(config: Config) -> None:
    """Raise ConfigError where options, each of which may be so, may not be so together."""
    if config.name is not None and re.fullmatch(r"[^:]*:\d+", config.name):
        problem = f"{config.name!r} has a port: say it in listen_addrs, or give all of it to Node as its first argument"
        raise ConfigError("name", problem)
    for name, channel in config.channels.items():
        if channel.hard_queue_octets < channel.max_queue_octets:
            problem = f"{channel.hard_queue_octets} is below max_queue_octets, {channel.max_queue_octets}"
            raise ConfigError(f"channels.{name}.hard_queue_octets", problem)
    if config.reconnect_backoff_max < config.connection_interval:
        problem = f"{config.reconnect_backoff_max:g} is below connection_interval, {config.connection_interval:g} s"
        raise ConfigError("reconnect_backoff_max", problem)
    if config.retransmit_backoff_max < config.retransmit_interval:
        problem = f"{config.retransmit_backoff_max:g} is below retransmit_interval, {config.retransmit_interval:g} s"
        raise ConfigError("retransmit_backoff_max", problem)
    if config.peer_service_manager == "hyparview":
        check_hyparview(config.hyparview, config.reservations)
        if config.hyparview.xbot_enabled and config.mixed_cluster:
            problem = "nodes of Partisan 5.0.3 do not take part: say mixed_cluster=False"
            raise ConfigError("hyparview.xbot_enabled", problem)
    if config.peer_service_manager == "client_server" and config.tag not in (None, "client", "server"):
        raise ConfigError("tag", f"{config.tag!r} is no role under client_server: client, server or none")
    if config.contacts and config.peer_service_manager != "static":
        raise ConfigError("contacts", f"{config.peer_service_manager} has no static links")
    overlay = config.peer_service_manager
    if overlay != "pluggable" and config.membership_strategy != DEFAULT_STRATEGY:
        problem = f"{overlay} has no strategies: leave it out, or say peer_service_manager='pluggable'"
        raise ConfigError("membership_strategy", problem)
    if overlay != "pluggable" and config.binary_padding and config.mixed_cluster:
        problem = f"a node of Partisan 5.0.3 does not take it off under {overlay}: say mixed_cluster=False"
        raise ConfigError("binary_padding", problem)
    if config.tls or (config.distribution is not None and config.distribution.tls):
        check_tls(config.tls_client_options, config.tls_server_options)
