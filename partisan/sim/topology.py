"""Measures of an overlay, taken from who is whose neighbor.

A graph is a mapping from each node to those it has in its view; nodes that are not keys of it are not there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from partisan.machines.machine import Peer

if TYPE_CHECKING:
    from random import Random

Graph = Mapping[Peer, Collection[Peer]]


def reach(graph: Graph, source: Peer) -> dict[Peer, int]:
    """How many hops away each node is that can be reached, the source included."""
    hops = {source: 0}
    front = [source]
    far = 0
    while front:
        far += 1
        following = []
        for node in front:
            for peer in graph[node]:
                if peer not in hops and peer in graph:
                    hops[peer] = far
                    following.append(peer)
        front = following
    return hops


def path_length(graph: Graph, sources: Iterable[Peer]) -> float:
    """The mean of the shortest paths from these nodes to all others that they reach, in hops; 0 if there are none."""
    total = count = 0
    for source in sources:
        hops = reach(graph, source)
        total += sum(hops.values())
        count += len(hops) - 1
    return total / count if count else 0.0


def clustering(graph: Graph) -> float:
    """The mean over all nodes of the share of pairs of neighbors that are neighbors of each other.

    A node with fewer than two neighbors counts as 0.
    """
    total = 0.0
    for node, peers in graph.items():
        near = [peer for peer in dict.fromkeys(peers) if peer in graph and peer != node]
        pairs = len(near) * (len(near) - 1)
        if pairs:
            total += sum(a != b and b in graph[a] for a in near for b in near) / pairs
    return total / len(graph) if graph else 0.0


def in_degrees(graph: Graph) -> dict[Peer, int]:
    """In how many views each node is."""
    degrees = dict.fromkeys(graph, 0)
    for peers in graph.values():
        for peer in peers:
            if peer in degrees:
                degrees[peer] += 1
    return degrees


def asymmetric(graph: Graph) -> int:
    """How many edges have none in the other direction, or lead to a node that is not there."""
    return sum(peer not in graph or node not in graph[peer] for node, peers in graph.items() for peer in peers)


def is_connected(graph: Graph) -> bool:
    """Whether every node can be reached from the first one, by edges that are used in their own direction."""
    first = next(iter(graph), None)
    return first is None or len(reach(graph, first)) == len(graph)


def sample(peers: Collection[Peer], most: int, rng: Random) -> list[Peer]:
    """So many of them by chance, or all."""
    known = list(peers)
    return known if len(known) <= most else rng.sample(known, most)
