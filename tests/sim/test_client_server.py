"""A star of a thousand nodes under virtual time, and what happens to it when servers go."""

from __future__ import annotations

import random

import pytest

from partisan.machines.client_server import CLIENT, SERVER
from partisan.machines.machine import Violation
from partisan.sim.client_server import build, client_server, formed, joins, route


def test_a_thousand_nodes_form_a_star_over_four_servers():
    net = client_server(1000, 4, seed=1)
    assert not formed(net, 4)
    net.run(5.0)
    assert formed(net, 4)
    edges = {peer: len(node.edges) for peer, node in net.nodes.items()}
    assert sum(edges.values()) == 2 * (6 + 996)
    assert all(edges[peer] == 1 for peer in range(4, 1000))
    assert not [fact for _, _, fact in net.facts if isinstance(fact, Violation)]


def test_any_client_reaches_any_other_over_two_servers_at_most():
    net = client_server(200, 4, seed=2)
    net.run(5.0)
    rng = random.Random(3)
    lengths = []
    for _ in range(300):
        source, target = rng.sample(range(4, 200), 2)
        way = route(net, source, target)
        assert way is not None
        assert all(hop < 4 for hop in way[1:-1])
        lengths.append(len(way) - 2)
    assert set(lengths) == {1, 2}


def test_clients_of_two_servers_survive_the_loss_of_one():
    net = client_server(100, 3, seed=4, each=2)
    net.run(5.0)
    net.crash(1)
    net.run(5.0)
    assert all(route(net, source, 99) for source in range(3, 99))
    net.boot(1, net.saved[1])
    net.run(60.0)
    assert formed(net, 3)


def test_a_client_without_its_only_server_reaches_nobody():
    net = client_server(10, 1, seed=5)
    net.run(5.0)
    assert route(net, 3, 4) == [3, 0, 4]
    net.crash(0)
    net.run(5.0)
    assert route(net, 3, 4) is None


def test_equal_seeds_give_equal_networks_and_others_do_not():
    digests = []
    for seed in (1, 1, 2):
        net = client_server(50, 3, seed, gap=0.1)
        net.run(30.0)
        digests.append(net.digest())
    assert digests[0] == digests[1] != digests[2]


def test_the_number_of_a_node_says_its_role_and_whom_it_joins():
    make, rng = build(2), random.Random(1)
    assert [make(peer, rng, None).tag for peer in range(4)] == [SERVER, SERVER, CLIENT, CLIENT]
    assert joins(0, 2, rng) == []
    assert joins(1, 2, rng) == [0]
    assert sorted(joins(7, 2, rng, each=5)) == [0, 1]


@pytest.mark.parametrize(("nodes", "servers"), [(3, 0), (3, 4)])
def test_a_network_has_servers_and_no_more_than_nodes(nodes, servers):
    with pytest.raises(ValueError, match="servers"):
        client_server(nodes, servers)
