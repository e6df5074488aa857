"""Nodes at full load are not taken for dead: no node may be declared down by any other for ten minutes.

    python tests/soak/busy.py --minutes 10 --nodes 5 --busy 2

Each node is a process of its own. The busy ones burn CPU in actors, which never let the loop rest, and in threads,
which fight with it for the interpreter. A node is suspected after four times `--patience` seconds of silence, with
three pings among them. Prints what was seen, and exits with 1 if anybody was declared down.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from overlay import Hosts, Report, end

import partisan
from partisan import Node, Pid, telemetry

LONGEST = 60.0
"""Seconds until the nodes have found each other, at most."""


class Worker:
    """The node of one process, told what to do line by line."""

    def __init__(self) -> None:
        self.node: Node
        self.down: Counter[str] = Counter()  # name of a node -> how often it was declared down
        self.heard: Counter[str] = Counter()  # name of a node -> how many pings it has answered
        self.latest = 0.0  # seconds from a ping to its answer at most
        self.steps = 0

    async def start(self, name: str, overlay: str, patience: float) -> str:
        """Start the node; its address with its name."""
        ping = {"idle_timeout": patience, "timeout": patience, "max_attempts": 3}
        self.node = Node(f"{name}@127.0.0.1:0", peer_service_manager=overlay, connection_ping=ping)
        await self.node.start()
        self.node.telemetry.attach("down", telemetry.PEER_DOWN, self._went_down)
        self.node.telemetry.attach("beat", telemetry.CLIENT_HEARTBEAT, self._answered)
        return f"{self.node.name}:{self.node.listen_addrs[0].port}"

    def _went_down(self, event: str, measured: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        self.down[about["node"]] += 1

    def _answered(self, event: str, measured: Mapping[str, Any], about: Mapping[str, Any]) -> None:
        self.heard[about["node"]] += 1
        self.latest = max(self.latest, measured["latency"])

    async def join(self, contact: str) -> None:
        await self.node.join(contact, timeout=LONGEST)

    async def members(self) -> list[str]:
        return sorted(self.node.members())

    async def forget(self) -> None:
        """Begin to count anew: what went down while the overlay was formed is nobody's fault."""
        self.down.clear()
        self.heard.clear()
        self.latest = 0.0

    async def burn(self, actors: int, threads: int, step: float) -> None:
        """Let so many actors, who hand each other messages, and so many threads take all the CPU that there is."""
        for _ in range(threads):
            threading.Thread(target=spin, daemon=True).start()
        pids = [self.node.spawn(self._burner, step) for _ in range(actors)]
        for place, pid in enumerate(pids):
            self.node.send(pid, pids[place - 1])

    async def _burner(self, step: float) -> None:
        other: Pid = await partisan.receive()
        while True:
            until = time.monotonic() + step
            while time.monotonic() < until:
                pass
            self.steps += 1
            self.node.send(other, other)
            await partisan.receive()

    async def seen(self) -> dict[str, Any]:
        return {"down": self.down, "answers": sum(self.heard.values()), "latest": self.latest, "steps": self.steps}


def spin() -> None:
    """Burn CPU in a thread for ever."""
    number = 1
    while True:
        number = number * 48271 % 2147483647


async def serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    worker = Worker()
    while line := await reader.readline():
        command, *arguments = json.loads(line)
        print(json.dumps(await getattr(worker, command)(*arguments)), flush=True)


async def watch(arguments: argparse.Namespace, report: Report) -> None:
    pipe = asyncio.subprocess.PIPE
    async with contextlib.AsyncExitStack() as stack:
        processes = []
        for _ in range(arguments.nodes):
            process = await asyncio.create_subprocess_exec(sys.executable, __file__, "--serve", stdin=pipe, stdout=pipe)
            stack.callback(end, process)
            processes.append(process)
        hosts = Hosts(processes)
        contacts = [
            await hosts.tell(process, "start", f"n{number}", arguments.overlay, arguments.patience)
            for number, process in enumerate(processes)
        ]
        for process in processes[1:]:
            await hosts.tell(process, "join", contacts[0])
        await hosts.until(LONGEST, lambda: lonely(hosts, arguments), "the members")
        await hosts.tell_all("forget")
        for process in processes[: arguments.busy]:
            await hosts.tell(process, "burn", arguments.actors, arguments.threads, arguments.step)
        await asyncio.sleep(60.0 * arguments.minutes)
        tell(await hosts.tell_all("seen"), arguments, report)


async def lonely(hosts: Hosts, arguments: argparse.Namespace) -> str:
    """Which nodes do not have the members yet that they will have."""
    least = arguments.nodes if arguments.overlay == "pluggable" else 2
    views = await hosts.tell_all("members")
    return ", ".join(f"n{number}" for number, view in enumerate(views) if len(view) < least)


def tell(seen: list[dict[str, Any]], arguments: argparse.Namespace, report: Report) -> None:
    """Note what the nodes have seen."""
    busy, others = seen[: arguments.busy], seen[arguments.busy :]
    report.add("minutes", arguments.minutes)
    report.add("nodes at full load, and in all", f"{len(busy)} of {len(seen)}")
    report.add("steps that their actors have made", min((each["steps"] for each in busy), default=0))
    report.add("pings that were answered", sum(each["answers"] for each in seen))
    report.add("latest answer to a node at rest", max((each["latest"] for each in others), default=0.0), "s")
    report.add("latest answer to a busy node", max((each["latest"] for each in busy), default=0.0), "s")
    report.add("nodes that were declared down", sum(sum(each["down"].values()) for each in seen), below=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--busy", type=int, default=2, help="nodes at full load")
    parser.add_argument("--overlay", choices=("pluggable", "hyparview"), default="pluggable")
    parser.add_argument("--patience", type=float, default=2.0, help="seconds until a ping, and until the next")
    parser.add_argument("--actors", type=int, default=8, help="of a busy node")
    parser.add_argument("--threads", type=int, default=2, help="of a busy node")
    parser.add_argument("--step", type=float, default=0.05, help="seconds that an actor computes at a time")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        partisan.run(serve())
        return
    report = Report()
    asyncio.run(watch(arguments, report))
    if not report.tell():
        sys.exit(1)


if __name__ == "__main__":
    main()
