"""The workload `micro`: pairs of a sender and a receiver on two nodes, stop-and-wait, one payload that all share.

A sender takes the time, sends `{Payload, Node, Self, Time}` to its receiver and waits for `ok`; the receiver writes
down how long that took, one way and queueing included, and says `ok`. The published harness says it by `!`, over
Erlang's distribution whatever carried the message; here it goes over the default channel of the transport at hand.
Both nodes read the machine's monotonic clock. With affinity a sender's number is its partition key; ours keeps a pair
of processes to one connection at a time by itself, and is given none.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

from partisan.bench.erlang import Erlang
from partisan.bench.paper.cells import Cell, Repetition
from partisan.bench.paper.nodes import configuration, free_port, libs, options_of, spec_text, why_no_erlang
from partisan.bench.places import Place
from partisan.bench.procs import Child

from .base import SAMPLES, START_SECONDS, Amount, Workload, answer, bound
from .micro_erlang import MODULE, SOURCE


class Micro(Workload):
    """Two nodes with pairs of actors."""

    def __init__(self, cell: Cell, place: Place) -> None:
        super().__init__(cell, place)
        self._erlang: Erlang | None = None
        self._receivers: Child | None = None
        self._senders: Child | None = None
        self._spec = ""

    @classmethod
    def why_not(cls, cell: Cell) -> str | None:
        if cell.transport in ("disterl", "partisan-erlang"):
            return why_no_erlang(cell.transport)
        return None if cell.transport == "partisan" else f"{cell.transport} has no such pairs of actors"

    def start(self) -> None:
        begin = {"disterl": self._start_disterl, "partisan-erlang": self._start_real, "partisan": self._start_ours}
        begin[self.cell.transport]()
        assert self._senders is not None
        assert self._receivers is not None
        up = answer(self._senders, '"up"', START_SECONDS, [self._receivers])["up"]
        # Each node dials the connections on which it sends; told so, the second one does not wait to hear of the first.
        if self.cell.transport != "disterl":
            self._receivers.write_line(f"join {self._spec or up}")
        answer(self._senders, '"ready"', START_SECONDS, [self._receivers])

    def _start_disterl(self) -> None:
        erlang = self._erlang = Erlang(MODULE, SOURCE, self.place, self.cell.transport)
        erlang.prepare()
        flags = ["-by", "disterl", "-affinity", "false"]
        self._receivers = erlang.node("b", "receivers", flags, host="b")
        node = answer(self._receivers, '"ready"', START_SECONDS)["node"]
        self._senders = erlang.node("a", "senders", [*flags, "-peer", node], host="a")

    def _start_real(self) -> None:
        erlang = self._erlang = Erlang(MODULE, SOURCE, self.place, self.cell.transport)
        erlang.prepare()
        group = self.cell.group
        names = {host: erlang.name(host, host) for host in self.HOSTS}
        ports = {host: free_port() for host in self.HOSTS}
        children = {}
        connections = str(group.channels * group.parallelism)
        arguments = {
            "b": [],
            "a": ["-peer", names["b"], "-spec", spec_text(names["b"], ports["b"], group), "-connections", connections],
        }
        for host, role in (("b", "receivers"), ("a", "senders")):
            file = erlang.write(f"{host}.config", configuration(names[host], ports[host], group))
            flags = ["-config", str(file.with_suffix("")), "-by", "partisan"]
            flags += ["-affinity", str(group.affinity).lower(), *arguments[host]]
            child = erlang.node(host, role, flags, host=host, name=names[host], environment={"ERL_LIBS": libs()})
            children[host] = child
            if host == "b":
                self._receivers = child
                answer(child, '"ready"', START_SECONDS)
        self._senders = children["a"]
        self._spec = spec_text(names["a"], ports["a"], group)

    def _start_ours(self) -> None:
        self._receivers = self._python("b", "receivers", {})
        facts = answer(self._receivers, '"ready"', START_SECONDS)
        contact = {"peer": facts["node"], "contact": facts["address"]}
        self._senders = self._python("a", "senders", contact)

    def _python(self, host: str, role: str, more: dict[str, Any]) -> Child:
        facts = {"address": self.place.address(host), "options": options_of(self.cell.group), **more}
        argv = [sys.executable, "-m", f"{__package__}.micro_python", role, json.dumps(facts)]
        return Child(f"partisan {role}", self.place.command(host, argv))

    def run(self, cell: Cell, amount: Amount) -> Repetition:
        assert self._receivers is not None, "run() before start()"
        assert self._senders is not None, "run() before start()"
        receivers, senders, seconds = self._receivers, self._senders, bound(cell, amount.seconds)
        receivers.write_line(f"arm {cell.actors}")
        answer(receivers, '"armed"', seconds, [senders])
        senders.write_line(f"run {cell.actors} {cell.octets} {amount.messages} {math.ceil(amount.seconds * 1000)}")
        done = answer(senders, '"done"', seconds, [receivers])
        receivers.write_line(f"report {SAMPLES}")
        micros = answer(receivers, '"micros"', seconds, [senders])["micros"]
        return Repetition(int(done["operations"]), float(done["seconds"]), tuple(micros))

    def stop(self) -> None:
        senders, receivers, erlang = self._senders, self._receivers, self._erlang
        self._senders = self._receivers = self._erlang = None
        try:
            if senders is not None:
                senders.stop()
        finally:
            try:
                if receivers is not None:
                    receivers.stop()
            finally:
                if erlang is not None:
                    erlang.stop()


WORKLOAD = Micro
