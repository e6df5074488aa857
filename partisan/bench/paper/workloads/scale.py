"""The workload `scale`, simulated: what the advertisement counter costs, over a star and over HyParView.

Every node counts impressions in a grow-only counter, one each 10 s, for 30 minutes of virtual time; each 5 s it sends
its whole counter to every neighbor. Then impressions end, and propagation goes on until all counters agree. Counted are
the octets of all frames in the term format: counters, joins, and what the overlay says for itself.

A simulation has memory for servers of any size, so where a real one gives up must be said: the server fails where it
would have to take in and send out more than SERVER_BOUND octets a second. The published one worked with 256 clients
and failed with 512; this counter makes 0.46 and 1.8 MB/s of these, and the bound is their geometric middle. So the
bound shows where a star ends whose server can do what the published one could; that this one ends there is not
measured.
"""

from __future__ import annotations

import json
import sys

from partisan.bench.measure import MeasurementFailed
from partisan.bench.paper.cells import Cell, Repetition
from partisan.bench.procs import Child

from .base import START_SECONDS, Amount, Workload, answer

SERVER_BOUND = 0.93e6
"""Octets a second that the server of a star can carry, in and out together."""


class Scale(Workload):
    """One process, in which all nodes are simulated."""

    HOSTS = ()
    WARM = False

    _child: Child | None = None
    _seed = 0

    @classmethod
    def octets_needed(cls, cell: Cell) -> int:
        return 256 * 2**20 + cell.actors * 2**20

    def start(self) -> None:
        self._child = Child("simulation", [sys.executable, "-m", f"{__package__}.scale_node"])
        answer(self._child, '"ready"', START_SECONDS)

    def run(self, cell: Cell, amount: Amount) -> Repetition:
        assert self._child is not None, "run() before start()"
        self._seed += 1
        self._child.write_line(json.dumps({"overlay": cell.variant, "nodes": cell.actors, "seed": self._seed}))
        found = answer(self._child, '"octets"', amount.seconds)
        rate = float(found["server_rate"])
        if rate > SERVER_BOUND:
            raise MeasurementFailed(
                f"its server would carry {rate / 1e6:.2f} MB/s, above the {SERVER_BOUND / 1e6:.2f} MB/s at which it is "
                f"taken to fail (published: 256 clients worked, 512 did not); {found['octets']:,} octets without that"
            )
        if not found["agreed"]:
            raise MeasurementFailed("the counters did not agree in the end")
        extra = {name: float(found[name]) for name in ("octets", "overlay_octets", "server_rate", "after")}
        return Repetition(int(found["messages"]), float(found["seconds"]), (), extra)

    def stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.stop()


WORKLOAD = Scale
