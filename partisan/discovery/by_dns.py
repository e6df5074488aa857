"""Nodes that DNS knows, as `partisan_peer_discovery_dns`: records A, AAAA and SRV of a name, or reverse lookups.

    a, aaaa     each address IP is the node Base@IP
    srv         each target HOST is the node Base@HOST, at the port of its record; its addresses are asked for
    fqdns       each address is the node Base@HOST, HOST being what a reverse lookup of the address gives

Names are full names: no search list is used. An answer that DNS gives in parts, or not in time, is none: a node is not
taken for gone because its server is. What a server tells is a stranger's: names that are none, ports 0 and hosts
without an address are left out and told, and more records than `max_nodes` are no answer.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
import dns.reversename

from partisan.config import NODE_NAME
from partisan.config_discovery import DnsDiscoveryConfig
from partisan.errors import ConfigError, DiscoveryFailed
from partisan.names import HOST_NAME, Contact, ListenAddress
from partisan.runtime.discovery_backend import Here
from partisan.runtime.membership_calls import Who

__all__ = ["DnsDiscovery", "Target", "targets_of"]

AT_ONCE = 16
"""How many hosts are asked for at a time (ours)."""

DNS_PORT = 53


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """Where an SRV record leads."""

    host: str
    port: int


def targets_of(records: Iterable[Any]) -> list[Target]:
    """The distinct targets of SRV records, in order; the target "." means that there is no such service (RFC 2782)."""
    found = {Target(host_of(record.target), int(record.port)) for record in records if record.target != dns.name.root}
    return sorted(found)


def host_of(name: Any) -> str:
    """A name as text, in small letters and without the last dot."""
    text: str = name.to_text(omit_final_dot=True)
    return text.lower()


def place_of(server: Any) -> tuple[Any, int]:
    """Where a nameserver is asked, or who has given an answer."""
    if isinstance(server, dns.resolver.Answer):
        return server.nameserver, server.port or DNS_PORT
    return getattr(server, "address", server), getattr(server, "port", DNS_PORT)


def nameserver(text: str, option: str) -> dns.nameserver.Nameserver:
    """Read `ip`, `ip:port` or `[ip]:port`. Raises ConfigError."""
    try:
        address = ListenAddress(text.removeprefix("[").removesuffix("]"), DNS_PORT)
    except ConfigError:
        try:
            address = ListenAddress.parse(text)
        except ConfigError as error:
            raise ConfigError(option, f"{text!r} has not the form ip, ip:port or [ip]:port") from error
    return dns.nameserver.Do53Nameserver(address.host, address.port)


class DnsDiscovery:
    """See the module."""

    def __init__(self, config: DnsDiscoveryConfig, here: Here) -> None:
        option = "peer_discovery.config"
        if not re.fullmatch(NODE_NAME, f"{config.node_basename}@h"):
            raise ConfigError(f"{option}.node_basename", f"{config.node_basename!r} cannot stand before an @")
        try:
            self._query = dns.name.from_text(config.query)
        except dns.exception.DNSException as error:
            raise ConfigError(f"{option}.query", f"{config.query!r} is no name: {error}") from error
        servers = [nameserver(text, f"{option}.nameservers") for text in config.nameservers]
        servers += [nameserver(text, f"{option}.alt_nameservers") for text in config.alt_nameservers]
        self._config = config
        self._here = here
        self._servers = servers
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def lookup(self) -> Sequence[Who]:
        """Ask for the records."""
        self._resolver = self._make_resolver()  # anew: the system's nameservers change, as with its network
        if self._config.record_type == "srv":
            records = await self._ask(self._query, "SRV")
            found = targets_of(records)
            self._check_count(len(found))
            return await self._all(self._target, found)
        addresses = await self._addresses(self._query, self._config.record_type == "aaaa" or self._inet6)
        self._check_count(len(addresses))
        if self._config.record_type == "fqdns":
            return await self._all(self._reverse, addresses)
        return [contact for host in addresses for contact in self._contact(host, [host])]

    @property
    def _inet6(self) -> bool:
        return self._config.inet6 and self._config.record_type in ("srv", "fqdns")

    async def close(self) -> None:
        """Nothing is held between lookups."""

    async def _all(self, ask: Any, places: Sequence[Any]) -> list[Who]:
        """What all of these give; addresses of one name belong to one node. Raises DiscoveryFailed if any does."""

        async def one(place: Any) -> list[Who]:
            async with self._turn:
                found: list[Who] = await ask(place)
                return found

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(place)) for place in places]
        except ExceptionGroup as errors:
            failed, other = errors.split(DiscoveryFailed)
            if failed is None or other is not None:
                raise
            raise failed.exceptions[0] from None
        return gathered(who for task in tasks for who in task.result())

    async def _target(self, target: Target) -> list[Who]:
        try:
            addresses = await self._addresses(dns.name.from_text(target.host), self._inet6)
        except DiscoveryFailed as error:
            if error.reason != "not_found":
                raise
            self._here.skip(target.host, error)
            name = f"{self._config.node_basename}@{target.host}"
            return [name] if re.fullmatch(NODE_NAME, name) else []
        return self._contact(target.host, addresses, target.port)

    async def _reverse(self, address: str) -> list[Who]:
        try:
            records = await self._ask(dns.reversename.from_address(address), "PTR")
        except DiscoveryFailed as error:
            if error.reason != "not_found":
                raise
            self._here.skip(address, error)
            return []
        # Of several names the first in order counts, so that each lookup gives the same.
        return self._contact(min(host_of(record.target) for record in records), [address])

    def _contact(self, host: str, addresses: Sequence[str], port: int | None = None) -> list[Who]:
        """The node of that host, or nothing if there can be none."""
        where = self._config.port or self._here.port if port is None else port
        name = f"{self._config.node_basename}@{host}"
        is_ip = addresses and host == addresses[0]
        if not re.fullmatch(NODE_NAME, name) or not (is_ip or re.fullmatch(HOST_NAME, host)):
            self._here.skip(host, "it is no host name")
        elif not addresses or not where:
            self._here.skip(host, f"nobody listens on port {where}" if addresses else "it has no address")
        else:
            first, *others = (ListenAddress(address, where) for address in addresses)
            return [Contact(first, name, tuple(others))]
        return []

    async def _addresses(self, name: dns.name.Name, inet6: bool) -> list[str]:
        """The addresses of a name, in order. Raises DiscoveryFailed."""
        records = await self._ask(name, "AAAA" if inet6 else "A")
        return sorted({record.address for record in records})

    async def _ask(self, name: dns.name.Name, kind: str) -> list[Any]:
        """The records of a name; there is at least one. Raises DiscoveryFailed."""
        resolver = self._resolver
        assert resolver is not None  # the lookup has made it
        what = f"{kind} of {name.to_text(omit_final_dot=True)}"
        lifetime = self._here.config.peer_discovery.timeout
        try:
            answer = await resolver.resolve(name, kind, lifetime=lifetime, raise_on_no_answer=True)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer) as error:
            raise DiscoveryFailed("dns", "not_found", f"{what}: {error}") from error
        except dns.resolver.LifetimeTimeout as error:
            raise DiscoveryFailed("dns", "timeout", f"{what}: {error}") from error
        except dns.resolver.NoNameservers as error:
            raise DiscoveryFailed("dns", "refused", f"{what}: {error}") from error
        except (dns.exception.DNSException, OSError) as error:
            raise DiscoveryFailed("dns", "malformed", f"{what}: {error!r}") from error
        # One that is silent costs each question seconds: the others of this lookup begin with who has answered.
        resolver.nameservers = sorted(resolver.nameservers, key=lambda each: place_of(each) != place_of(answer))
        return list(answer)

    def _make_resolver(self) -> dns.asyncresolver.Resolver:
        try:
            resolver = dns.asyncresolver.Resolver(configure=not self._servers)
        except dns.exception.DNSException as error:
            raise DiscoveryFailed("dns", "unreachable", f"the system has no nameservers: {error}") from error
        if self._servers:
            resolver.nameservers = self._servers
        return resolver

    def _check_count(self, count: int) -> None:
        most = self._here.config.peer_discovery.max_nodes
        if count > most:
            raise DiscoveryFailed("dns", "too_many", f"{count} records, above max_nodes, {most}")


def gathered(found: Iterable[Who]) -> list[Who]:
    """Contacts of one name and port as one, with all addresses; the rest as it is."""
    nodes: dict[str, list[ListenAddress]] = {}
    names: list[Who] = []
    for who in found:
        if isinstance(who, Contact) and who.name is not None:
            nodes.setdefault(who.name, []).extend(who.addresses)
        else:
            names.append(who)
    contacts = []
    for name, addresses in nodes.items():
        first, *others = sorted(set(addresses))
        contacts.append(Contact(first, name, tuple(others)))
    return [*contacts, *names]
