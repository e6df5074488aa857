"""HyParView at size over real sockets: many nodes in a few processes of one machine, formed from one contact.

    python tests/soak/overlay.py --nodes 1024 --processes 4

Prints, as JSON, how long it takes until every node is in, until the views are symmetric and connect all nodes, how
large views, connections, memory and CPU time are, and, with `--kill 0.3`, how long it takes to be so again when that
part of the nodes is killed at once. Exits with 1 if a limit of time passes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "net"))

from views import one_sided, reached

import partisan
from partisan import Node

LIMIT = 60.0
"""Seconds to form, and to heal."""


OPTIONS: dict[str, Any] = {"peer_service_manager": "hyparview", "connection_jitter": 0.1, "read_octets": 16 * 1024}
"""Of every node."""


class Host:
    """The nodes of one process, told what to do line by line."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    async def start(self, names: list[str]) -> list[str]:
        """Start nodes; where each listens."""
        for name in names:
            node = Node(f"{name}@127.0.0.1:0", **OPTIONS)
            self.nodes.append(await node.start())
        return [str(node.listen_addrs[0]) for node in self.nodes]

    async def join(self, contact: str, at_once: int) -> int:
        """All join the contact, so many at a time; how many attempts failed."""
        failures = 0
        slots = asyncio.Semaphore(at_once)

        async def one(node: Node) -> None:
            nonlocal failures
            async with slots:
                while True:
                    try:
                        await node.join(contact, timeout=20.0)
                        return
                    except partisan.PartisanError:
                        failures += 1

        await asyncio.gather(*(one(node) for node in self.nodes if not contact.startswith(node.name)))
        return failures

    async def views(self) -> dict[str, list[str]]:
        return {node.name: node.members() for node in self.nodes}

    async def cost(self) -> dict[str, Any]:
        """What the process has taken so far."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu_s": used.ru_utime + used.ru_stime,
            "rss_kib": used.ru_maxrss,
            "descriptors": len(os.listdir("/proc/self/fd")),
            "dialled": sum(len(node.connections()) for node in self.nodes),
        }

    async def kill(self, names: list[str]) -> None:
        """End these without a word."""
        gone = set(names)
        dying = [node for node in self.nodes if node.name in gone]
        self.nodes = [node for node in self.nodes if node.name not in gone]
        await asyncio.gather(*(node.stop(grace=0.0) for node in dying))


async def serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    host = Host()
    while line := await reader.readline():
        command, *arguments = json.loads(line)
        print(json.dumps(await getattr(host, command)(*arguments)), flush=True)
    os._exit(0)  # nobody is to wait for a thousand nodes to close


class Hosts:
    """The processes, from outside."""

    def __init__(self, processes: list[asyncio.subprocess.Process]) -> None:
        self.processes = processes

    async def tell(self, process: asyncio.subprocess.Process, *command: Any) -> Any:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(command).encode() + b"\n")
        return json.loads(await process.stdout.readline())

    async def tell_all(self, *command: Any) -> list[Any]:
        return list(await asyncio.gather(*(self.tell(process, *command) for process in self.processes)))

    async def views(self) -> dict[str, list[str]]:
        merged: dict[str, list[str]] = {}
        for views in await self.tell_all("views"):
            merged |= views
        return merged

    async def sound(self, count: int, since: float) -> float:
        """Seconds until the views of so many nodes are symmetric and connect them; raises TimeoutError."""
        while True:
            views = await self.views()
            wrong, found = one_sided(views), reached(views)
            if not wrong and found == count == len(views):
                return time.monotonic() - since
            print(f"{time.monotonic() - since:.1f} s: {len(wrong)} one-sided, {found} reached", file=sys.stderr)
            if time.monotonic() - since > LIMIT:
                raise TimeoutError
            await asyncio.sleep(0.5)


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    pipe = asyncio.subprocess.PIPE
    count = arguments.nodes
    names = [f"n{number}" for number in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        processes = []
        for _ in range(arguments.processes):
            process = await asyncio.create_subprocess_exec(
                sys.executable, __file__, "--serve", stdin=pipe, stdout=pipe, limit=1 << 26
            )
            stack.callback(process.send_signal, signal.SIGKILL)
            processes.append(process)
        hosts = Hosts(processes)
        begun = time.monotonic()
        shares = [names[number :: arguments.processes] for number in range(arguments.processes)]
        places = await asyncio.gather(
            *(hosts.tell(process, "start", share) for process, share in zip(processes, shares, strict=True))
        )
        contact = f"n0@{places[0][0]}"
        started = time.monotonic()
        idle = await hosts.tell_all("cost")
        failures = await hosts.tell_all("join", contact, arguments.at_once)
        joined = time.monotonic() - started
        found: dict[str, Any] = {
            "nodes": count,
            "processes": arguments.processes,
            "boot_s": started - begun,
            "joined_s": joined,
            "failed_joins": sum(failures),
            "sound_s": await hosts.sound(count, started),
        }
        sizes = [len(view) - 1 for view in (await hosts.views()).values()]
        found["neighbors"] = {"min": min(sizes), "mean": statistics.mean(sizes), "max": max(sizes)}
        found["cost"] = _total(await hosts.tell_all("cost"))
        found["rss_kib_idle"] = _total(idle)["rss_kib"]
        before = _total(await hosts.tell_all("cost"))["cpu_s"]
        await asyncio.sleep(arguments.watch)
        after = _total(await hosts.tell_all("cost"))["cpu_s"]
        found["steady_cores"] = (after - before) / arguments.watch
        if arguments.kill:
            victims = random.Random(arguments.seed).sample(names[1:], int(arguments.kill * count))
            since = time.monotonic()
            gone = [f"{name}@127.0.0.1" for name in victims]
            await hosts.tell_all("kill", gone)
            found["killed"] = len(gone)
            found["healed_s"] = await hosts.sound(count - len(gone), since)
        return found


def _total(costs: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(cost[name] for cost in costs) for name in costs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=256)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--at-once", type=int, default=16, help="joins of a process at one time")
    parser.add_argument("--watch", type=float, default=10.0, help="seconds to measure the cost of rest")
    parser.add_argument("--kill", type=float, default=0.0, help="part of the nodes that is killed at once")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        partisan.run(serve())
        return
    try:
        print(json.dumps(asyncio.run(measure(arguments)), indent=1))
    except TimeoutError:
        sys.exit("not sound in time")


if __name__ == "__main__":
    main()
