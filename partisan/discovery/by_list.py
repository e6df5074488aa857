"""Nodes whose addresses the configuration says, as `partisan_peer_discovery_list`.

Host names are looked up at each lookup, by the system. One that is not found does not stop the others: the node stays
if it is a member, and is told of otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address

from partisan.config_discovery import ListDiscoveryConfig
from partisan.errors import ConfigError, ConnectFailed
from partisan.names import Contact, HostContact
from partisan.net.resolve import resolved
from partisan.runtime.discovery_backend import Here
from partisan.runtime.membership_calls import Who

__all__ = ["ListDiscovery", "with_port"]

OPTION = "peer_discovery.config.addresses"


def with_port(address: str, port: int) -> str:
    """Return `name@host:port` for the same, or for `name@host`. Raises ConfigError if it is neither."""
    name, at, host = address.rpartition("@")
    if not at or not name:
        raise ConfigError(OPTION, f"{address!r} has not the form name@host:port or name@host")
    bare = host.removeprefix("[").removesuffix("]")
    try:
        ip_address(bare)
    except ValueError:
        address = address if ":" in host else f"{address}:{port}"
    else:
        address = f"{name}@[{bare}]:{port}" if ":" in bare else f"{address}:{port}"
    HostContact.parse(address, OPTION)
    return address


class ListDiscovery:
    """See the module."""

    def __init__(self, config: ListDiscoveryConfig, here: Here) -> None:
        for address in config.addresses:
            with_port(address, 1)
        self._addresses = config.addresses
        self._here = here

    async def lookup(self) -> Sequence[Who]:
        """Look the hosts up."""
        addresses = [with_port(address, self._here.port) for address in self._addresses]
        return await asyncio.gather(*(self._find(address) for address in addresses))

    async def _find(self, address: str) -> Who:
        timeout = self._here.config.peer_discovery.timeout
        try:
            found = await resolved(address, timeout / 2)  # one that does not answer shall not take it all
        except ConnectFailed as error:
            self._here.skip(address, error)
            place = HostContact.parse(address)
            return str(place.name)
        assert isinstance(found, Contact)  # it has a port
        return Contact(found.address, found.name, tuple(sorted(found.others)))

    async def close(self) -> None:
        """Nothing is held."""
