"""Full membership: what it costs that every node knows every node.

All nodes boot and join the first one at once. Measured are the time until each knows all, the messages a node sends
until then and in each period of rest, its edges, and the time until one that leaves is known to have left.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from partisan.machines.full import FullConfig, FullMembership
from partisan.machines.machine import Join, Leave, Peer
from partisan.sim.network import Build, Network
from partisan.sim.scenario import Measured, Options, Outcome, Scenario

NODES = 200
STEP = 0.05
"""Seconds between two looks at whether the nodes agree."""

PATIENCE = 600.0
"""Seconds after which they are taken not to agree ever."""

PERIODS = 6


class NoAgreement(RuntimeError):
    """Nodes that should have agreed on the members did not in time."""


def _network(options: Options) -> Network:
    codec = options.codec
    config = FullConfig() if codec is None else FullConfig(key=codec.key)

    def build(peer: Peer, rng: Random, restored: Any) -> FullMembership:
        return FullMembership(peer, config, rng, restored)

    chosen: Build = build
    if options.recorder is not None:
        chosen = options.recorder.recording("full", config, options.seed, build)
    return Network(
        chosen,
        options.seed,
        through=None if codec is None else codec.through,
        flip=None if codec is None else codec.flip,
        listener=lambda *_: None,
    )


def _members(network: Network, peer: Peer) -> tuple[Peer, ...]:
    machine: Any = network.machine(peer)  # a FullMembership, recorded or not
    members: tuple[Peer, ...] = machine.members
    return members


def _wait(network: Network, is_done: Callable[[], bool]) -> float:
    """Let time pass until it is done; return how much."""
    since = network.now
    while not is_done():
        if network.now - since > PATIENCE:
            raise NoAgreement(f"no agreement after {PATIENCE:g} s, seed {network.seed}")
        network.run(STEP)
    return network.now - since


def run(options: Options) -> Outcome:
    """Simulate it."""
    count = options.nodes or NODES
    peers: list[Peer] = list(range(count)) if options.codec is None else [options.codec.peer(n) for n in range(count)]
    network = _network(options)
    for peer in peers:
        network.boot(peer)
    for peer in peers[1:]:
        network.tell(peer, Join(peers[0]))
    joined = _wait(network, lambda: all(len(_members(network, peer)) == count for peer in peers))
    joining = sum(network.sent.values())
    options.say(f"{count} nodes know each other after {joined:.2f} s")
    edges = sum(len(node.edges) for node in network.nodes.values()) / count
    network.run(FullConfig().period)  # the news of the join dies down
    before = sum(network.sent.values())
    network.run(PERIODS * FullConfig().period)
    resting = (sum(network.sent.values()) - before) / PERIODS
    leaver, others = peers[-1], peers[:-1]
    network.tell(leaver, Leave())
    left = _wait(network, lambda: not any(leaver in _members(network, peer) for peer in others))
    measured = [
        Measured("full", "seconds to agree", "join", joined),
        Measured("full", "seconds to agree", "leave", left),
        Measured("full", "messages a node", "join", joining / count),
        Measured("full", "messages a node", "period of rest", resting / count),
        Measured("full", "edges a node", "rest", edges),
    ]
    return Outcome(measured, network.events, [network.digest()])


SCENARIO = Scenario("full-mesh", "every node knows every node", run, codec="full", recorded=True, points=False)
