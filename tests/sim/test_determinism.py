"""Equal seeds give equal runs, whatever the hash seed; another seed gives another run."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
import sys
from partisan.machines.faults import Omission, Partition
from partisan.machines.full import FullConfig, FullMembership
from partisan.machines.machine import Join, Leave
from partisan.sim.network import Network

names = [f"node-{n}" for n in range(12)]
net = Network(lambda peer, rng, saved: FullMembership(peer, FullConfig(), rng, saved), sys.argv[1], detail=True)
for name in names:
    net.boot(name)
for name in names[1:]:
    net.tell(name, Join(names[0]))
net.run(15.0)
net.inject(Partition(groups=(tuple(names[:6]), tuple(names[6:])), until=40.0))
net.inject(Omission(probability=0.2, until=50.0))
net.run(10.0)
net.crash(names[3])
net.tell(names[7], Leave())
net.run(40.0)
net.boot(names[3], net.saved[names[3]])
net.run(40.0)
print(net.events, sum(net.sent.values()), net.dropped, net.digest())
"""


def run(seed, hash_seed):
    done = subprocess.run(
        [sys.executable, "-c", CODE, seed],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split()


@pytest.fixture(scope="module")
def first():
    return run("1", "0")


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_equal_seeds_give_equal_digests_whatever_the_hash_seed(first, hash_seed):
    assert int(first[0]) > 500
    assert run("1", hash_seed) == first


def test_another_seed_gives_another_digest(first):
    assert run("2", "0")[-1] != first[-1]
