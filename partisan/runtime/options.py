"""What a node's options mean to the parts that it is made of."""

from __future__ import annotations

import ipaddress
import logging
from typing import Any, Literal

from partisan.config import Config
from partisan.errors import ConfigError
from partisan.etf import Codec
from partisan.names import ChannelOptions, Contact, ListenAddress

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1:0"
"""Where a node listens that is given no address."""

REMOTE_REFS: dict[str, Literal["list", "tuple"]] = {"improper_list": "list", "tuple": "tuple"}
"""What the codec calls the forms of remote references."""


def check_reachable(address: ListenAddress, *, tls: bool) -> None:
    """Refuse an address that peers cannot dial; warn of one that strangers can, in the clear."""
    ip = ipaddress.ip_address(address.host)
    if ip.is_unspecified:
        raise ConfigError(
            "listen_addrs", f"peers are told to dial {address}, which is nowhere: give one of its addresses"
        )
    if not ip.is_loopback and not tls:
        log.warning("listening on %s without TLS: whoever reaches it can join", address)


def named(name: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """The options with what the first argument of `Node` says: `name@host` or `name@ip:port`."""
    if name is None:
        return options
    if not isinstance(name, str):
        raise ConfigError("name", f"{name!r} is no str such as name@host or name@ip:port")
    if "name" in options:
        raise ConfigError("name", "it is given twice")
    host = name.partition("@")[2]
    if ":" not in host:
        return {"name": name, **options}
    if "listen_addrs" in options:
        raise ConfigError("listen_addrs", f"the name {name!r} says an address already")
    contact = Contact.parse(name, "name")
    return {"name": contact.name, "listen_addrs": [str(contact.address)], **options}


def channel_map(config: Config) -> dict[str, ChannelOptions]:
    """What a node's spec says about its channels."""
    return {
        name: ChannelOptions(channel.parallelism, channel.monotonic, channel.compression)
        for name, channel in config.channels.items()
    }


def make_codec(config: Config) -> Codec:
    """The codec of a node's wire."""
    codec = config.codec
    return Codec(
        none=codec.none,
        strings=codec.strings,
        binaries=codec.binaries,
        remote_refs=True,
        encode_refs=REMOTE_REFS[config.remote_ref_format],
        max_depth=codec.max_depth,
        max_items=codec.max_items,
        max_octets=config.max_frame_octets,
        max_inflated=codec.max_inflated_octets,
    )
