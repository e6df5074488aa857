"""A client-server network under virtual time: servers that all know each other, and clients that join some.

Nodes are integers from 0; the first of them are the servers. Messages between clients are not simulated: `route` tells
over which nodes they would go.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from partisan.machines.client_server import CLIENT, SERVER, ClientServer, ClientServerConfig
from partisan.machines.machine import Join, Peer
from partisan.sim.latency import Latency
from partisan.sim.network import Build, Listener, Network


def build(servers: int, config: ClientServerConfig | None = None) -> Build:
    """What makes the machines of a network with so many servers: a node's role follows from its number."""
    shared = config or ClientServerConfig()
    of_servers, of_clients = replace(shared, tag=SERVER), replace(shared, tag=CLIENT)

    def make(peer: Peer, rng: Random, saved: Any) -> ClientServer:
        return ClientServer(peer, of_servers if peer < servers else of_clients, rng, saved)

    return make


def joins(number: int, servers: int, rng: Random, each: int = 1) -> list[int]:
    """Whom the node of that number joins once all before it are there: a server all, a client `each` servers."""
    return list(range(number)) if number < servers else rng.sample(range(servers), min(each, servers))


def client_server(
    nodes: int,
    servers: int,
    seed: int | str = 1,
    *,
    each: int = 1,
    gap: float = 0.0,
    config: ClientServerConfig | None = None,
    latency: Latency | None = None,
    listener: Listener | None = None,
) -> Network:
    """Boot a network, whose nodes have said whom they join; `Network.run` lets them.

    Args:
        nodes: how many, servers included.
        servers: how many of them.
        seed: decides all that is left to chance.
        each: how many servers a client joins, by chance.
        gap: seconds between a node's boot and the next one's.
        config: options of every machine, but for the role.
        latency, listener: see `Network`.
    Raises:
        ValueError: there is no server, or there are more than nodes.
    """
    if not 0 < servers <= nodes:
        raise ValueError(f"{servers} servers among {nodes} nodes")
    network = Network(build(servers, config), seed, latency=latency, listener=listener)
    rng = Random(f"{seed}/joins")
    for number in range(nodes):
        network.boot(number)
        for contact in joins(number, servers, rng, each):
            network.tell(number, Join(contact))
        if gap:
            network.run(gap)
    return network


def formed(network: Network, servers: int) -> bool:
    """Whether servers know each other and all clients that know them, every edge of a member being up."""
    for peer, node in network.nodes.items():
        machine = _machine(network, peer)
        for other in machine.members:
            edge = node.edges.get(other)
            if other != peer and (edge is None or edge.node is None or peer not in _machine(network, other).members):
                return False
        if len(machine.members) < (servers if peer < servers else 2):
            return False
    return True


def route(network: Network, source: Peer, target: Peer) -> list[Peer] | None:
    """The nodes on a shortest way of a message by `next_hops`, both ends included; None if there is none."""
    ways: list[list[Peer]] = [[source]]
    seen = {source: None}
    while ways:
        longer = []
        for way in ways:
            machine = _machine(network, way[-1])
            if target in machine.members and network.nodes[way[-1]].edges[target].node is not None:
                return [*way, target]
            hops = [peer for peer in machine.next_hops(target) if peer not in seen]
            seen.update(dict.fromkeys(hops))
            longer += [[*way, peer] for peer in hops]
        ways = longer
    return None


def _machine(network: Network, peer: Peer) -> ClientServer:
    machine = network.machine(peer)
    if not isinstance(machine, ClientServer):
        raise TypeError(f"{machine!r} is no client or server")
    return machine
