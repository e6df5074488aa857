"""Measures of graphs whose values are known by hand."""

from __future__ import annotations

import random

import pytest

from partisan.sim import topology

RING = {n: [(n - 1) % 8, (n + 1) % 8] for n in range(8)}
TRIANGLE_WITH_A_TAIL = {0: [1, 2], 1: [0, 2], 2: [0, 1, 3], 3: [2]}


def test_hops_and_the_mean_path_of_a_ring():
    assert topology.reach(RING, 0) == {0: 0, 7: 1, 1: 1, 6: 2, 2: 2, 5: 3, 3: 3, 4: 4}
    assert topology.path_length(RING, RING) == pytest.approx(16 / 7)
    assert topology.path_length({0: []}, [0]) == 0.0


def test_clustering_of_a_triangle_with_a_tail():
    assert topology.clustering(TRIANGLE_WITH_A_TAIL) == pytest.approx((1 + 1 + 1 / 3 + 0) / 4)
    assert topology.clustering(RING) == 0.0
    assert topology.clustering({}) == 0.0
    assert topology.clustering({0: [1, 2], 1: [1, 0], 2: [0]}) == 0.0


def test_in_degrees_count_views_and_only_of_nodes_that_are_there():
    assert topology.in_degrees({0: [1, 9], 1: [0], 2: [1]}) == {0: 1, 1: 2, 2: 0}


def test_asymmetry_and_connection():
    assert topology.asymmetric(RING) == 0
    assert topology.asymmetric({0: [1, 9], 1: []}) == 2
    assert topology.is_connected(RING)
    assert topology.is_connected({})
    assert not topology.is_connected({0: [1], 1: [0], 2: []})


def test_a_sample_is_no_larger_than_there_is():
    rng = random.Random(1)
    assert topology.sample(range(3), 5, rng) == [0, 1, 2]
    assert len({*topology.sample(range(100), 5, rng)}) == 5
