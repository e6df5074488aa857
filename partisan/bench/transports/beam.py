"""A Python node and a stock Erlang node, over Erlang's distribution: either may be the one that sends.

The Erlang side runs the module of the transport `disterl`, the Python side the actors of the transport `partisan`; the
messages are the same.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import partisan
from partisan.bench import child
from partisan.bench.erlang import Erlang, why_not
from partisan.bench.measure import Point
from partisan.bench.procs import Child

from .base import Transport
from .disterl import MODULE, SOURCE
from .partisan import Answerer, echo, run, sink


def drive(facts: dict[str, Any]) -> None:
    """Be the Python side: a client of an Erlang node, or a server for one."""
    partisan.run(_serve(facts) if "actors" in facts else _drive(facts))


def _node(name: str, facts: dict[str, Any]) -> partisan.Node:
    return partisan.Node(name, distribution={"cookie": facts["cookie"], "net_ticktime": 60.0})


async def _serve(facts: dict[str, Any]) -> None:
    child.end_with_parent()
    async with _node("p@127.0.0.1", facts) as node:
        for i in range(facts["actors"]):
            node.spawn(sink, name=f"sink_{i}")
            node.spawn(echo, node, name=f"echo_{i}")
            await Answerer.start(name=f"call_{i}")
        child.announce(node=node.name)
        await asyncio.Event().wait()


async def _drive(facts: dict[str, Any]) -> None:
    async with _node("p@127.0.0.1", facts) as node:
        if not await node.connect_node(facts["node"]):
            raise SystemExit(f"cannot connect to {facts['node']}")
        child.announce()
        while (job := await asyncio.to_thread(child.next_job)) is not None:
            child.reply(await run(node, facts["node"], job))


class Beam(Transport):
    """Between the two, both of the installed versions."""

    def __init__(self) -> None:
        super().__init__()
        self._erlang = Erlang(MODULE, SOURCE)

    def why_not(self) -> str | None:
        return why_not()

    def why_skip(self, point: Point) -> str | None:
        return "there is one connection" if point.workload == "hol" else None

    def start(self, actors: int) -> None:
        self._erlang.prepare()
        super().start(actors)

    def _python(self, **facts: Any) -> Child:
        package = __package__.rpartition(".")[0]
        facts["cookie"] = self._erlang.cookie
        command = [sys.executable, "-m", f"{package}.child", "beam", "client", json.dumps(facts)]
        return Child(f"{self.name} Python node", command, self._erlang.environment)

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            self._erlang.stop()


class ToErlang(Beam):
    """The Python node sends, calls, and is echoed."""

    name = "python-erl"

    def start_server(self, actors: int) -> Child:
        return self._erlang.node("b", "server", ["-actors", str(actors)])

    def start_client(self, facts: dict[str, Any]) -> Child:
        return self._python(node=facts["node"])


class FromErlang(Beam):
    """The Erlang node does."""

    name = "erl-python"

    def start_server(self, actors: int) -> Child:
        return self._python(actors=actors)

    def start_client(self, facts: dict[str, Any]) -> Child:
        return self._erlang.node("a", "client", ["-server", facts["node"]])


TRANSPORT = ToErlang
