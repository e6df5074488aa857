"""The workloads on a ring: 1,024 partitions that three nodes hold in turn, and clients on each of them.

echo: a client asks a partition at random for its payload, and waits for it.
kvs: each operation is a process of its own, which asks the three replicas of a key and is done when two have answered;
    keys are normal, every tenth operation of "90/10" writes, and a partition takes 10 ms for each request.
head-of-line: echoes of a small payload beside anti-entropy (objects of 1 MiB between all pairs of nodes, sixteen under
    way at once) and the gossip of a ring's state, all on one connection, or each on a channel of its own; where a
    network is emulated each host sends on a line of 1 Gbit/s.

With affinity real nodes are given the number of the partition for a partition key; ours keep a pair of processes to one
connection at a time by themselves, and are given none.

The published harness has Riak Core's ring and vnodes; these are stand-ins of the same shape. A node's share of objects
in memory is bounded: a partition keeps the newest ones.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from importlib.util import find_spec
from typing import Any, ClassVar

from partisan.bench.erlang import Erlang
from partisan.bench.measure import MeasurementFailed
from partisan.bench.paper.cells import Cell, Group, Repetition, writes_of
from partisan.bench.paper.networks import FREE, Line
from partisan.bench.paper.nodes import configuration, free_port, libs, options_of, spec_text, why_no_erlang
from partisan.bench.places import Place
from partisan.bench.procs import Child, gather

from .base import SAMPLES, SLACK_SECONDS, START_SECONDS, Amount, Workload, bound, selected
from .ring_erlang import MODULE, SOURCE

PARTITIONS = 1024
REPLICAS, QUORUM = 3, 2
SERVICE_SECONDS = 0.01
"""How long a partition of the store takes for a request."""

TIMEOUT = 10.0
"""After how many seconds an operation of the store counts as failed."""

KEEP_OCTETS = 3 * 2**20
"""How much a partition keeps; one object at least. That is a gibibyte a node, or more with larger objects."""

STREAM_OCTETS, STREAM_WINDOW = 2**20, 16
GOSSIP_OCTETS, GOSSIP_SECONDS = 2**16, 0.005
POLL = 0.05
"""Seconds between two looks at whether all connections are up."""

LINE = Line(bandwidth=1e9, queue=2**18)
"""Of a host in `head-of-line`: the port of a switch, which anti-entropy fills. What waits there delays all channels."""

CONSTANTS = {
    "PARTITIONS": PARTITIONS,
    "REPLICAS": REPLICAS,
    "QUORUM": QUORUM,
    "KEEP_OCTETS": KEEP_OCTETS,
    "STREAM_OCTETS": STREAM_OCTETS,
    "STREAM_WINDOW": STREAM_WINDOW,
    "GOSSIP_OCTETS": GOSSIP_OCTETS,
    "SERVICE_MILLISECONDS": round(SERVICE_SECONDS * 1000),
    "TIMEOUT_MILLISECONDS": round(TIMEOUT * 1000),
    "GOSSIP_MILLISECONDS": round(GOSSIP_SECONDS * 1000),
}
PURPOSES = {"requests": "vnode", "anti-entropy": "broadcast", "gossip": "gossip"}
"""What travels, and on which of the harness's channels where a configuration has them."""

OTHERS = ("pyzmq", "raw")


def group_of(cell: Cell) -> Group:
    """The configuration of a cell's nodes; in `head-of-line` it is the variant that says which channels there are."""
    if cell.workload != "head-of-line":
        return cell.group
    return replace(
        cell.group, channels=1 if cell.variant == "one connection" else 4, monotonic="monotonic" in cell.variant
    )


def is_write(count: int, writes: int) -> bool:
    """Whether a client's operation of this number, from 1 on, is one of the `writes` of a hundred: evenly spread."""
    return count * writes % 100 < writes


class Ring(Workload):
    """Three nodes, and clients on each."""

    HOSTS: ClassVar[tuple[str, ...]] = ("a", "b", "c")

    def __init__(self, cell: Cell, place: Place) -> None:
        super().__init__(cell, place)
        self._erlang: Erlang | None = None
        self._nodes: dict[str, Child] = {}

    @classmethod
    def why_not(cls, cell: Cell) -> str | None:
        if cell.transport in ("disterl", "partisan-erlang"):
            if cell.transport == "disterl" and cell.workload == "head-of-line" and cell.variant != "one connection":
                return "two Erlang nodes share one connection"
            return why_no_erlang(cell.transport)
        if cell.transport in OTHERS and cell.workload != "echo":
            return f"{cell.transport} stands beside echo only"
        if cell.transport == "pyzmq" and find_spec("zmq") is None:
            return "not installed: pyzmq (pip install 'partisan[bench]')"
        return None

    @classmethod
    def line(cls, cell: Cell) -> Line:
        return LINE if cell.workload == "head-of-line" else FREE

    @classmethod
    def octets_needed(cls, cell: Cell) -> int:
        kept = len(cls.HOSTS) * max(KEEP_OCTETS, cell.octets) * PARTITIONS // 3 if cell.workload == "kvs" else 0
        return 3 * 2**28 + 8 * cell.actors * cell.octets * len(cls.HOSTS) + min(kept, 8 * 2**30)

    def start(self) -> None:
        if self.cell.transport in ("disterl", "partisan-erlang"):
            self._start_erlang(self.cell.transport == "partisan-erlang")
        else:
            self._start_python()
        for host in self.HOSTS:
            self._nodes[host].read_until('"ready"', START_SECONDS)

    def _start_erlang(self, real: bool) -> None:
        definitions = "\n".join(f"-define({name}, {value})." for name, value in CONSTANTS.items())
        source = SOURCE.replace("%% DEFINITIONS", definitions)
        erlang = self._erlang = Erlang(MODULE, source, self.place, self.cell.transport)
        erlang.prepare()
        group = group_of(self.cell)
        names = {host: erlang.name(host, host) for host in self.HOSTS}
        ports = {host: free_port() for host in self.HOSTS}
        flags = ["-by", "partisan" if real else "disterl", "-affinity", str(group.affinity).lower()]
        flags += ["-names", ",".join(names.values()), "-channels", _channels_text(group)]
        for host in self.HOSTS:
            more, environment = list(flags), {}
            if real:
                file = erlang.write(f"{host}.config", configuration(names[host], ports[host], group))
                contacts = [spec_text(names["a"], ports["a"], group)] if host != "a" else []
                more += ["-config", str(file.with_suffix("")), "-contacts", f"[{','.join(contacts)}]"]
                more += ["-connections", str(group.channels * group.parallelism)]
                environment["ERL_LIBS"] = libs()
            self._nodes[host] = erlang.node(host, "hold", more, host=host, name=names[host], environment=environment)
            self._nodes[host].read_until('"listening"', START_SECONDS)

    def _start_python(self) -> None:
        module = {"partisan": "ring_python", "pyzmq": "ring_zmq", "raw": "ring_raw"}[self.cell.transport]
        group = group_of(self.cell)
        names = {host: f"{host}@{self.place.address(host)}" for host in self.HOSTS}
        channels = {purpose: channel if group.channels > 1 else None for purpose, channel in PURPOSES.items()}
        facts: dict[str, Any] = {"names": names, "channels": channels, "options": options_of(group)}
        facts |= {"contact": None, "listening": {}}
        for host in self.HOSTS:
            argv = [sys.executable, "-m", f"{__package__}.{module}", json.dumps(facts | {"host": host})]
            child = self._nodes[host] = Child(f"{self.cell.transport} node {host}", self.place.command(host, argv))
            listening = json.loads(child.read_until('"listening"', START_SECONDS))["listening"]
            facts["listening"][host] = listening
            facts["contact"] = facts["contact"] or f"{host}@{listening}"
        if self.cell.transport in OTHERS:  # nodes that have no membership are told of each other
            for child in self._nodes.values():
                child.write_line(f"peers {' '.join(facts['listening'].values())}")

    def run(self, cell: Cell, amount: Amount) -> Repetition:
        writes = writes_of(cell.variant) if cell.workload == "kvs" else 0
        words = (cell.actors, cell.octets, amount.messages, math.ceil(amount.seconds * 1000), writes)
        order = f"run {cell.workload} {' '.join(map(str, words))} {SAMPLES}"
        seconds = bound(replace(cell, actors=cell.actors * len(self._nodes)), amount.seconds)
        lines = self._all(order, '"done"', seconds)
        if cell.workload == "kvs":
            # Nodes that wait for their next turn must not keep the memory that others have theirs in.
            self._all("forget", '"forgotten"', SLACK_SECONDS)
        return merged([_parsed(child, line) for child, line in lines.items()])

    def _all(self, order: str, mark: str, seconds: float) -> dict[Child, str]:
        """Give every node an order; return the line of each that has the mark. Raises MeasurementFailed."""
        nodes, failures = list(self._nodes.values()), list[str]()
        for child in nodes:
            child.write_line(order)
        lines = gather(nodes, mark, seconds, lambda child, fate: failures.append(f"the {child.title} {fate}"))
        if failures:
            raise MeasurementFailed("; ".join(failures))
        return {child: lines[child] for child in nodes}

    def stop(self) -> None:
        nodes, erlang = list(self._nodes.values()), self._erlang
        self._nodes, self._erlang = {}, None
        try:
            _stop_all(nodes)
        finally:
            if erlang is not None:
                erlang.stop()


def _stop_all(nodes: list[Child]) -> None:
    """Stop every node, also when stopping one of them is interrupted."""
    if nodes:
        try:
            nodes[0].stop()
        finally:
            _stop_all(nodes[1:])


def _channels_text(group: Group) -> str:
    """Which purpose has which channel, as Erlang text."""
    pairs = (f"'{purpose}'=>{channel if group.channels > 1 else 'default'}" for purpose, channel in PURPOSES.items())
    return f"#{{{','.join(pairs)}}}"


def _parsed(child: Child, line: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError as error:
        raise MeasurementFailed(f"the {child.title} answered {line[:200]!r}") from error
    return found


def merged(found: list[dict[str, Any]]) -> Repetition:
    """Make one repetition of what the nodes found. Raises MeasurementFailed if nothing was completed."""
    operations = sum(int(each["operations"]) for each in found)
    failed = sum(int(each["failed"]) for each in found)
    if not operations:
        raise MeasurementFailed(f"no operation was completed; {failed} took longer than {TIMEOUT:g} s")
    seconds = max(float(each["seconds"]) for each in found)
    extra = {"failed": float(failed)} if failed else {}
    for name in dict.fromkeys(name for each in found for name in each["more"]):
        extra[name] = float(sum(each["more"][name] for each in found))
    if "stream_octets" in extra:
        extra["stream_octets_per_second"] = extra.pop("stream_octets") / seconds
    micros = [float(micro) for each in found for micro in each["micros"]]
    return Repetition(operations, seconds, selected(micros), extra)


WORKLOAD = Ring
