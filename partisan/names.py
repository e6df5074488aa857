"""Plain values that every layer may know: node names, listen addresses, channel maps and node specs.

A node is named `name@host`, as in Erlang. What a node tells its peers about itself is its `NodeSpec`: real nodes
compare specs as whole terms, so a spec that was learnt from a peer keeps exactly what the peer sent (an option that the
peer left out stays out) and is never completed or invented here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from .config import DEFAULT_CHANNEL as DEFAULT_CHANNEL
from .config import MEMBERSHIP_CHANNEL as MEMBERSHIP_CHANNEL
from .config import NODE_NAME, NODE_NAME_FORM
from .errors import ConfigError

HOST_NAME = r"(?=.{1,253}$)(?:[A-Za-z0-9_-]{1,63}\.)*(?!\d+\.?$)[A-Za-z0-9_-]{1,63}\.?"
"""What every host name matches; the last label is no number, as in a mistyped IP address."""


def check_node_name(name: str, option: str = "name") -> str:
    """Return `name` if it has the form `name@host`; raise ConfigError that blames `option` otherwise."""
    if not isinstance(name, str) or not re.fullmatch(NODE_NAME, name):
        raise ConfigError(option, f"{name!r} is not {NODE_NAME_FORM}")
    return name


@dataclass(frozen=True, slots=True, order=True)
class ListenAddress:
    """An IP address and port at which a node can be dialled.

    Attributes:
        host: a numeric IPv4 or IPv6 address.
        port: 0 to 65535; 0 asks the system for a free one and never leaves the node.
    """

    host: str
    port: int

    def __post_init__(self) -> None:
        try:
            canonical = str(ipaddress.ip_address(self.host))
        except ValueError as error:
            raise ConfigError(
                "listen_addrs", f"{self.host!r} is no numeric IP address (names are not looked up here)"
            ) from error
        object.__setattr__(self, "host", canonical)
        if type(self.port) is not int or not 0 <= self.port <= 65535:
            raise ConfigError("listen_addrs", f"{self.port!r} is no port between 0 and 65535")

    @classmethod
    def parse(cls, text: str) -> ListenAddress:
        """Read `127.0.0.1:10200` or `[::1]:10200`."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal():
            raise ConfigError("listen_addrs", f"{text!r} is no address of the form ip:port, with a numeric ip")
        return cls(host.removeprefix("[").removesuffix("]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """What a node says about one of its channels. An option that is None is absent from its spec.

    Attributes:
        parallelism: how many connections a peer should open for the channel, at least 1.
        monotonic: newer frames may supersede older ones that still wait to be sent.
        compression: False, True (level 6) or a zlib level 0 to 9.
    """

    parallelism: int = 1
    monotonic: bool | None = False
    compression: bool | int | None = False

    def __post_init__(self) -> None:
        if isinstance(self.parallelism, bool) or not isinstance(self.parallelism, int) or self.parallelism < 1:
            raise ConfigError("channels.parallelism", f"{self.parallelism!r} is no number of connections (1 or more)")
        if self.monotonic is not None and not isinstance(self.monotonic, bool):
            raise ConfigError("channels.monotonic", f"{self.monotonic!r} is neither true nor false")
        level = self.compression
        if level is not None and not isinstance(level, bool) and not (isinstance(level, int) and 0 <= level <= 9):
            raise ConfigError("channels.compression", f"{level!r} is neither true, false nor a level 0 to 9")

    def __eq__(self, other: object) -> bool:
        """Equality of the terms that they stand for: level 1 is not true."""
        if not isinstance(other, ChannelOptions):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[object, ...]:
        return self.parallelism, self.monotonic, type(self.compression), self.compression

    @property
    def compression_level(self) -> int:
        """The zlib level to use: 0 for none."""
        if self.compression is True:
            return 6
        return int(self.compression or 0)


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What a node tells its peers about itself: name, where it listens, which channels it wants.

    Attributes:
        name: `name@host`.
        listen_addrs: where it can be dialled, in the order it says; at least one.
        channels: (channel name, options), sorted by name. The default channel's name is "undefined".
    """

    name: str
    listen_addrs: tuple[ListenAddress, ...]
    channels: tuple[tuple[str, ChannelOptions], ...]
    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        check_node_name(self.name)
        if not self.listen_addrs:
            raise ConfigError("listen_addrs", f"{self.name} has no address at which it can be dialled")
        addresses, channels = self.listen_addrs, self.channels
        if type(addresses) is not tuple or not all(type(address) is ListenAddress for address in addresses):
            raise ConfigError("listen_addrs", f"{addresses!r} is no tuple whose items are all ListenAddress")
        if type(channels) is not tuple or not all(
            type(pair) is tuple and [*map(type, pair)] == [str, ChannelOptions] for pair in channels
        ):
            raise ConfigError("channels", f"{channels!r} is no tuple whose items are all (name, ChannelOptions)")
        if len(dict(channels)) != len(channels):
            raise ConfigError("channels", f"{[name for name, _ in channels]} names a channel twice")
        object.__setattr__(self, "_hash", hash((self.name, self.listen_addrs, self.channels)))

    def __hash__(self) -> int:
        return self._hash

    @classmethod
    def of(cls, name: str, listen_addrs: tuple[ListenAddress, ...], channels: Mapping[str, ChannelOptions]) -> NodeSpec:
        """Build this node's own spec: addresses and channels sorted, as a real node sorts them."""
        return cls(name, tuple(sorted(set(listen_addrs))), tuple(sorted(channels.items())))

    def channel(self, name: str) -> ChannelOptions | None:
        """The options of the channel, or None if the node has no such channel."""
        for key, options in self.channels:
            if key == name:
                return options
        return None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Contact:
    """A node to join of which only an address is known, and perhaps its name; its spec is learnt from it.

    Attributes:
        address: where to dial.
        name: `name@host` to insist on, or None to take whoever answers.
        others: where to dial as well, in turn: what else its host name stands for.
    """

    address: ListenAddress
    name: str | None = None
    others: tuple[ListenAddress, ...] = ()

    def __post_init__(self) -> None:
        if type(self.others) is not tuple or not all(type(each) is ListenAddress for each in self.addresses):
            raise ConfigError("contact", f"{self.address!r} and {self.others!r} are not all ListenAddress")
        if self.name is not None:
            check_node_name(self.name, "contact")

    @property
    def addresses(self) -> tuple[ListenAddress, ...]:
        """Where to dial, in turn."""
        return (self.address, *self.others)

    @classmethod
    def parse(cls, text: str, option: str = "contact") -> Contact:
        """Read `b@127.0.0.1:10201` (the host must be numeric), `127.0.0.1:10201` or `[::1]:10201`.

        Raises ConfigError, which blames `option`.
        """
        place = HostContact.parse(text, option)
        try:
            return cls(ListenAddress(place.host, place.port), place.name)
        except ConfigError as error:
            problem = f"{text!r} has not the form name@ip:port or ip:port, with a numeric ip"
            raise ConfigError(option, problem) from error

    def __str__(self) -> str:
        return f"{self.name or '?'} at {', '.join(map(str, self.addresses))}"


@dataclass(frozen=True, slots=True)
class HostContact:
    """A node to join as it was written: its host may be a name that is yet to be looked up.

    Attributes:
        host: a numeric IP address in its canonical form, or a host name.
        port: 0 to 65535.
        name: `name@host` to insist on, or None to take whoever answers.
    """

    host: str
    port: int
    name: str | None = None

    @classmethod
    def parse(cls, text: str, option: str = "contact") -> HostContact:
        """Read `b@myhost:10201`, `myhost:10201`, or the same with an IP address: `b@127.0.0.1:10201`, `[::1]:10201`.

        Raises ConfigError, which blames `option`.
        """
        name, at, place = text.rpartition("@")
        host, _, port = place.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        try:
            host = str(ipaddress.ip_address(host))
        except ValueError as error:
            if not re.fullmatch(HOST_NAME, host):
                raise ConfigError(option, f"{text!r} has not the form name@host:port or host:port") from error
        if not port.isascii() or not port.isdecimal():
            raise ConfigError(option, f"{text!r} has not the form name@host:port or host:port")
        if len(port) > 5 or int(port) > 65535:
            raise ConfigError(option, f"the port of {text!r} is not between 0 and 65535")
        return cls(host, int(port), check_node_name(f"{name}@{host}", option) if at else None)
