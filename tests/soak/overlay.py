"""HyParView and Plumtree at size over real sockets: many nodes in a few processes of one machine.

    python tests/soak/overlay.py --nodes 1024

All nodes join one contact. When the views are symmetric and connect all nodes, one node broadcasts until its tree has
settled, and then so many times more that the redundancy of that tree can be told. Then three of ten processes are
killed at once, and the same node broadcasts a hundred times. Prints what that took beside its goals, and exits with 1
if one of them is missed. How long anything takes is the machine's affair as well: CPU seconds say what it costs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "net"))

from views import one_sided, reached

import partisan
from partisan import Node
from partisan.plumtree import LwwMap, Put

LIMIT = 60.0
"""Seconds to form, and to heal."""


MAP = "map"
"""The name of the broadcast handler."""

REDUNDANCY = 0.2
"""Payloads that come in vain, for each that is wanted, at most."""

OPTIONS: dict[str, Any] = {
    "peer_service_manager": "hyparview",
    "connection_jitter": 0.1,
    "read_octets": 16 * 1024,
    "handshake_timeout": 20.0,
    "hyparview": {"patience": 10.0},
}
"""Of every node. Hundreds of them share a core, perhaps with others: whoever is slow is not gone."""


class CountingMap(LwwMap):
    """A map that counts the payloads which it is given by the trees; those of exchanges are none."""

    payloads = 0

    def merge(self, id: Any, payload: Any) -> bool:
        self.payloads += 1
        return super().merge(id, payload)


class Host:
    """The nodes of one process, told what to do line by line."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.maps: list[CountingMap] = []  # of each node
        self.lag = 0.0  # seconds that the loop was late at most

    async def watch(self) -> None:
        """Measure how late the loop is."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + 0.1
            await asyncio.sleep(0.1)
            self.lag = max(self.lag, loop.time() - due)

    async def start(self, names: list[str]) -> list[str]:
        """Start nodes; where each listens."""
        for name in names:
            node = Node(f"{name}@127.0.0.1:0", **OPTIONS)
            self.nodes.append(await node.start())
            self.maps.append(CountingMap(actor=name.encode(), epoch=time.time_ns()))
            node.broadcasts.add_handler(MAP, self.maps[-1])
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
            "lag_s": self.lag,
            "dialled": sum(len(node.connections()) for node in self.nodes),
        }

    async def payloads(self) -> int:
        """How many payloads the trees have brought so far."""
        return sum(held.payloads for held in self.maps)

    async def broadcast(self, numbers: list[int], pause: float) -> None:
        """Let the first node of this process say these numbers, so many seconds apart."""
        for number in numbers:
            self.nodes[0].broadcast(Put(number, number), MAP)
            await asyncio.sleep(pause)

    async def lacking(self, numbers: list[int]) -> int:
        """How many of these numbers have not arrived, over all nodes."""
        return sum(number not in held for held in self.maps for number in numbers)

    async def kill(self, names: list[str]) -> None:
        """End these without a word."""
        gone = set(names)
        dying = [node for node in self.nodes if node.name in gone]
        self.nodes = [node for node in self.nodes if node.name not in gone]
        await asyncio.gather(*(node.stop(grace=0.0) for node in dying))


async def serve() -> None:
    gc.set_threshold(50_000, 20, 20)  # a process of hundreds of nodes: what it has, it keeps
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    host = Host()
    watching = loop.create_task(host.watch())
    while line := await reader.readline():
        command, *arguments = json.loads(line)
        print(json.dumps(await getattr(host, command)(*arguments)), flush=True)
    watching.cancel()
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

    async def until(self, limit: float, look: Callable[[], Any], about: str) -> float:
        """Seconds until `await look()` finds nothing wrong; raises Missed when the limit has passed."""
        since = time.monotonic()
        while wrong := await look():
            print(f"{time.monotonic() - since:.1f} s: {about}: {wrong}", file=sys.stderr)
            if time.monotonic() - since > limit:
                raise Missed(f"{about}: {wrong} after {limit:.0f} s")
            await asyncio.sleep(0.25)
        return time.monotonic() - since

    async def unsound(self, count: int) -> str:
        """What is wrong with the views of so many nodes; nothing if they are symmetric and connect them."""
        views = await self.views()
        wrong, found = one_sided(views), reached(views)
        return "" if not wrong and found == count == len(views) else f"{len(wrong)} one-sided, {found} reached"

    async def total(self, command: str, *arguments: Any) -> int:
        """The sum of what all answer."""
        return sum(await self.tell_all(command, *arguments))

    async def cost(self, count: int | None = None) -> dict[str, Any]:
        """What all processes, or the first so many, have taken so far."""
        return _total((await self.tell_all("cost"))[:count])


class Missed(Exception):
    """Something has not come about in time."""


class Report:
    """What was measured, beside its goal where it has one."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str, bool]] = []

    def add(self, what: str, measured: float | str, unit: str = "", below: float | None = None) -> None:
        """Note a figure, which is to be below its goal if it has one."""
        text = measured if isinstance(measured, str) else f"{measured:.4g}"
        good = below is None or (not isinstance(measured, str) and measured < below)
        goal = "" if below is None else f"< {below:g}"
        self.rows.append((what, f"{text} {unit}".strip(), goal, good))

    def missed(self, why: str) -> None:
        """Note what has not come about."""
        self.rows.append((why, "", "", False))

    def tell(self) -> bool:
        """Print the table; whether every goal is met."""
        width = max(len(what) for what, *_ in self.rows)
        for what, measured, goal, good in self.rows:
            print(f"{what:{width}}  {measured:>14}  {goal:>8}  {'' if good else 'MISSED'}".rstrip())
        return all(good for *_, good in self.rows)


async def form(hosts: Hosts, shares: list[list[str]], at_once: int, report: Report) -> None:
    """Start the nodes and let all join the first of them."""
    count = sum(map(len, shares))
    begun = time.monotonic()
    places = await asyncio.gather(
        *(hosts.tell(process, "start", share) for process, share in zip(hosts.processes, shares, strict=True))
    )
    report.add(f"{count} nodes in {len(shares)} processes have started", time.monotonic() - begun, "s")
    idle = await hosts.cost()
    started = time.monotonic()
    failures = await hosts.total("join", f"{shares[0][0]}@{places[0][0]}", at_once)
    report.add("  CPU", idle["cpu_s"], "s")
    report.add("all have joined one contact", time.monotonic() - started, "s")
    report.add("  attempts that have failed", failures)
    await hosts.until(LIMIT, lambda: hosts.unsound(count), "the views")
    cost = await hosts.cost()
    report.add("views are symmetric and connect all", time.monotonic() - started, "s", below=LIMIT)
    report.add("  CPU", cost["cpu_s"] - idle["cpu_s"], "s")
    report.add("  resident memory of a node", (cost["rss_kib"] - idle["rss_kib"]) / count, "KiB")
    report.add("  connections dialled by a node", cost["dialled"] / count)
    report.add("  most lag of a loop", cost["lag_s"], "s")
    sizes = [len(view) - 1 for view in (await hosts.views()).values()]
    report.add("  neighbors", f"{min(sizes)} to {max(sizes)}, mean {statistics.mean(sizes):.2f}")


async def rest(hosts: Hosts, seconds: float, report: Report) -> None:
    """Measure what the overlay costs when nothing happens."""
    before = await hosts.cost()
    await asyncio.sleep(seconds)
    used = (await hosts.cost())["cpu_s"] - before["cpu_s"]
    report.add("rest takes so much of a core", 100.0 * used / seconds, "%")


async def say(hosts: Hosts, numbers: list[int], gap: float, about: str) -> float:
    """Broadcast, and wait until every node has it all; seconds after the last one was said."""
    await hosts.tell(hosts.processes[0], "broadcast", numbers, gap)
    return await hosts.until(LIMIT, lambda: hosts.total("lacking", numbers), about)


async def redundancy(hosts: Hosts, numbers: range, arguments: argparse.Namespace) -> tuple[float, float]:
    """Broadcast one after the other; payloads in vain for each that is wanted, and seconds until all have one.

    The next waits for the one before, and for its announcements: on a machine that lags, messages that come later than
    their announcements are asked for, and come twice.
    """
    before = await hosts.total("payloads")
    taken = []
    for number in numbers:
        taken.append(await say(hosts, [number], 0.0, f"broadcast {number}"))
        await asyncio.sleep(arguments.pause)
    payloads = await hosts.total("payloads") - before
    return payloads / (len(numbers) * (arguments.nodes - 1)) - 1.0, max(taken)


async def trees(hosts: Hosts, arguments: argparse.Namespace, report: Report) -> None:
    """Broadcast until the tree has settled, and then to learn how many payloads go in vain."""
    first, second = arguments.settle, arguments.settle + arguments.measured
    found, taken = await redundancy(hosts, range(first), arguments)
    report.add(f"each of {first} broadcasts has reached all within", taken, "s")
    report.add("  redundancy while the tree grows", found)
    found, taken = await redundancy(hosts, range(first, second), arguments)
    report.add(f"each of {arguments.measured} more has reached all within", taken, "s")
    report.add("  redundancy now", found, below=REDUNDANCY)


async def massacre(hosts: Hosts, arguments: argparse.Namespace, report: Report) -> None:
    """Kill some processes at once, and broadcast among the nodes of those who are left."""
    processes, count = len(hosts.processes), arguments.nodes
    kept = processes - round(arguments.kill * processes)
    left = sum(map(len, shared(count, processes)[:kept]))
    first = arguments.settle + arguments.measured
    before = await hosts.cost(kept)
    since = time.monotonic()
    for process in hosts.processes[kept:]:
        process.kill()
    del hosts.processes[kept:]
    numbers = range(first, first + arguments.broadcasts)
    report.add(f"nodes that are killed, of {count}", count - left)
    taken = await say(hosts, list(numbers), arguments.gap, "broadcasts after the kill")
    report.add(f"the next {len(numbers)} broadcasts have reached all {left}", taken, "s")
    await hosts.until(LIMIT, lambda: hosts.unsound(left), "the views")
    report.add("views are symmetric and connect all again", time.monotonic() - since, "s", below=LIMIT)
    report.add("  CPU", (await hosts.cost())["cpu_s"] - before["cpu_s"], "s")


def shared(count: int, processes: int) -> list[list[str]]:
    """The names of the nodes of each process. All join at the same pace, so neighbors are of one process by chance."""
    names = [f"n{number}" for number in range(count)]
    return [names[number::processes] for number in range(processes)]


async def measure(arguments: argparse.Namespace, report: Report) -> None:
    pipe = asyncio.subprocess.PIPE
    shares = shared(arguments.nodes, arguments.processes)
    async with contextlib.AsyncExitStack() as stack:
        processes = []
        for _ in shares:
            process = await asyncio.create_subprocess_exec(
                sys.executable, __file__, "--serve", stdin=pipe, stdout=pipe, limit=1 << 26
            )
            stack.callback(end, process)
            processes.append(process)
        hosts = Hosts(processes)
        await form(hosts, shares, arguments.at_once, report)
        await rest(hosts, arguments.watch, report)
        await trees(hosts, arguments, report)
        if arguments.kill:
            await massacre(hosts, arguments, report)


def end(process: asyncio.subprocess.Process) -> None:
    """Kill a process, unless it is gone."""
    if process.returncode is None:
        process.kill()


def _total(costs: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: (max if name == "lag_s" else sum)(cost[name] for cost in costs) for name in costs[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=256)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--at-once", type=int, default=3, help="joins of a process at one time")
    parser.add_argument("--watch", type=float, default=10.0, help="seconds to measure the cost of rest")
    parser.add_argument("--settle", type=int, default=20, help="broadcasts in which the tree settles")
    parser.add_argument("--measured", type=int, default=20, help="broadcasts of which the redundancy is told")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between those")
    parser.add_argument("--kill", type=float, default=0.3, help="part of the processes that is killed at once")
    parser.add_argument("--broadcasts", type=int, default=100, help="after that")
    parser.add_argument("--gap", type=float, default=0.1, help="seconds between those")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        partisan.run(serve())
        return
    report = Report()
    try:
        asyncio.run(measure(arguments, report))
    except Missed as missed:
        report.missed(str(missed))
    if not report.tell():
        sys.exit(1)


if __name__ == "__main__":
    main()
