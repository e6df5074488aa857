"""Client-server at size over real sockets: many clients and a few servers in a few processes of one machine.

    python tests/soak/star.py --clients 252 --servers 4 --processes 3

Each server joins the others, each client all servers or as many as `--each` says. When all have the neighbors that this
makes, each client sends a message to each of its servers, one client broadcasts, and each client sends a message to the
next one, which servers have to pass on. Then a server is killed and started again. Prints what that took beside its
goals, and exits with 1 if one of them is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping

from overlay import LIMIT, MAP, CountingMap, Host, Hosts, Missed, Report, end, rest, say

import partisan
from partisan import Node

SINK = "sink"
"""The name of the process that counts what its node is sent."""


class StarHost(Host):
    """The nodes of one process; names that begin with `s` are servers."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: dict[str, Counter[str]] = {}  # name of a node -> who has sent it a message, and how often

    async def start(self, names: list[str]) -> list[str]:
        """Start nodes, `name` or `name@ip:port`; where each listens."""
        places = []
        for name in names:
            node = Node(
                name if "@" in name else f"{name}@127.0.0.1:0",
                peer_service_manager="client_server",
                tag="server" if name.startswith("s") else "client",
                connection_jitter=0.1,
                read_octets=16 * 1024,
                reconnect_backoff_max=2.0,
            )
            self.nodes.append(await node.start())
            self.maps.append(CountingMap(actor=node.name.encode(), epoch=time.time_ns()))
            node.broadcasts.add_handler(MAP, self.maps[-1])
            node.spawn(self._count, self.heard.setdefault(node.name, Counter()), name=SINK)
            places.append(f"{node.name.partition('@')[0]}@{node.listen_addrs[0]}")
        return places

    async def _count(self, heard: Counter[str]) -> None:
        while True:
            heard[(await partisan.receive()).decode()] += 1

    async def meet(self, wanted: dict[str, list[str]], at_once: int) -> int:
        """Each node joins its contacts, so many nodes at a time; how many attempts failed."""
        failures = 0
        slots = asyncio.Semaphore(at_once)

        async def one(node: Node) -> None:
            nonlocal failures
            async with slots:
                for contact in wanted.get(node.name.partition("@")[0], ()):
                    while True:
                        try:
                            await node.join(contact, timeout=20.0)
                            break
                        except partisan.PartisanError:
                            failures += 1

        await asyncio.gather(*(one(node) for node in self.nodes))
        return failures

    async def neighbors(self) -> dict[str, list[str]]:
        """Of each node, the members to which it has all connections."""
        return {
            node.name: sorted(name for name in node.members() if name != node.name and node.is_fully_connected(name))
            for node in self.nodes
        }

    async def tell(self, wanted: dict[str, list[str]], relayed: bool) -> int:
        """Each node sends a message with its name to each of these nodes; how many could not be sent."""
        failures = 0
        for node in self.nodes:
            for name in wanted.get(node.name, ()):
                try:
                    node.send((SINK, name), node.name.encode(), transitive=relayed)
                except partisan.PartisanError as error:
                    print(f"{node.name} cannot send to {name}: {error}", file=sys.stderr)
                    failures += 1
        return failures

    async def unheard(self, wanted: dict[str, list[str]]) -> int:
        """How many of these messages have not arrived at the nodes of this process, or more than once."""
        return sum(
            self.heard[name][sender] != 1 for sender, names in wanted.items() for name in names if name in self.heard
        )

    async def forget(self) -> None:
        """Begin to count anew."""
        for heard in self.heard.values():
            heard.clear()


async def serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    host = StarHost()
    watching = loop.create_task(host.watch())
    while line := await reader.readline():
        command, *arguments = json.loads(line)
        print(json.dumps(await getattr(host, command)(*arguments)), flush=True)
    watching.cancel()
    os._exit(0)  # nobody is to wait for hundreds of nodes to close


async def wrong(hosts: Hosts, expected: Mapping[str, list[str]]) -> str:
    """What is wrong with the neighbors of the nodes; nothing if each has exactly these."""
    found: dict[str, list[str]] = {}
    for neighbors in await hosts.tell_all("neighbors"):
        found |= neighbors
    names = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    return f"{len(names)} nodes have other neighbors: {', '.join(names[:5])}" if names else ""


def links(servers: list[str], clients: list[str], each: int) -> dict[str, list[str]]:
    """Whom each node joins, by short names: a server those before it, a client `each` of the servers in turn."""
    wanted = {name: servers[:at] for at, name in enumerate(servers)}
    for at, name in enumerate(clients):
        wanted[name] = [servers[(at + further) % len(servers)] for further in range(each)]
    return wanted


def full(names: Iterable[str]) -> list[str]:
    """Short names with their host."""
    return [f"{name}@127.0.0.1" for name in names]


def both_ways(wanted: dict[str, list[str]]) -> dict[str, list[str]]:
    """The neighbors of each node, by full names, when all joins have two sides."""
    found: dict[str, set[str]] = {name: set() for name in wanted}
    for name, contacts in wanted.items():
        for contact in contacts:
            found[name].add(contact)
            found[contact].add(name)
    return {f"{name}@127.0.0.1": sorted(full(near)) for name, near in found.items()}


class Star:
    """The nodes, in the processes that have them.

    Args:
        arguments: those of the command line.
        hosts: the processes.
    """

    def __init__(self, arguments: argparse.Namespace, hosts: Hosts) -> None:
        self.hosts = hosts
        self.servers = [f"s{number}" for number in range(arguments.servers)]
        self.clients = [f"c{number}" for number in range(arguments.clients)]
        self.joins = links(self.servers, self.clients, min(arguments.each or arguments.servers, arguments.servers))
        self.expected = both_ways(self.joins)
        names, count = [*self.servers, *self.clients], len(hosts.processes)
        self.at = {name: hosts.processes[number % count] for number, name in enumerate(names)}
        self.places: dict[str, str] = {}

    async def form(self, at_once: int, report: Report) -> None:
        """Start the nodes, and let each join whom it is to."""
        hosts, count = self.hosts, len(self.at)
        begun = time.monotonic()
        shares = [[name for name in self.at if self.at[name] is process] for process in hosts.processes]
        started = await asyncio.gather(*map(hosts.tell, hosts.processes, ["start"] * len(shares), shares))
        self.places = {place.partition("@")[0]: place for share in started for place in share}
        report.add(f"{count} nodes in {len(shares)} processes have started", time.monotonic() - begun, "s")
        idle, since = await hosts.cost(), time.monotonic()
        contacts = {name: [self.places[other] for other in others] for name, others in self.joins.items()}
        failures = await hosts.total("meet", contacts, at_once)
        report.add("all joins are done", time.monotonic() - since, "s")
        report.add("  attempts that have failed", failures)
        await hosts.until(LIMIT, lambda: wrong(hosts, self.expected), "the neighbors")
        report.add("each has its neighbors, with all connections", time.monotonic() - since, "s", below=LIMIT)
        cost, edges = await hosts.cost(), sum(map(len, self.expected.values())) / 2
        report.add("  CPU", cost["cpu_s"] - idle["cpu_s"], "s")
        report.add("  resident memory of an edge", (cost["rss_kib"] - idle["rss_kib"]) / edges, "KiB")
        report.add("  most lag of a loop", cost["lag_s"], "s")

    async def send(self, wanted: Mapping[str, list[str]], relayed: bool, what: str, report: Report) -> None:
        """Each node sends a message to each of these; every one arrives, once."""
        hosts, count = self.hosts, sum(map(len, wanted.values()))
        await hosts.tell_all("forget")
        since = time.monotonic()
        failures = await hosts.total("tell", wanted, relayed)
        report.add(f"{what}: could not be sent, of {count}", failures, below=1)
        await hosts.until(LIMIT, lambda: hosts.total("unheard", wanted), what)
        report.add(f"{what}: all have arrived, once", time.monotonic() - since, "s", below=LIMIT)

    async def talk(self, broadcasts: int, report: Report) -> None:
        """Clients to their servers, a client to all, each client to the next one."""
        clients = full(self.clients)
        await self.send({name: self.expected[name] for name in clients}, False, "clients to servers", report)
        await self.send(
            {name: [clients[at - 1]] for at, name in enumerate(clients)}, True, "clients to clients", report
        )
        taken = await say(self.hosts, [*range(broadcasts)], 0.1, "broadcasts")
        report.add(f"{broadcasts} broadcasts have reached all {len(self.at)}", taken, "s", below=LIMIT)

    async def heal(self, report: Report) -> None:
        """Kill a server and start it again when all have noticed: all is as before."""
        victim = self.servers[-1]
        [gone] = full([victim])
        others = {
            name: [other for other in near if other != gone] for name, near in self.expected.items() if name != gone
        }
        await self.hosts.tell(self.at[victim], "kill", [gone])
        await self.hosts.until(LIMIT, lambda: wrong(self.hosts, others), "the neighbors of a server that is killed")
        since = time.monotonic()
        await self.hosts.tell(self.at[victim], "start", [self.places[victim]])
        await self.hosts.until(
            LIMIT, lambda: wrong(self.hosts, self.expected), "the neighbors of a server that is back"
        )
        report.add("all is as before a server was killed", time.monotonic() - since, "s", below=LIMIT)


async def measure(arguments: argparse.Namespace, report: Report) -> None:
    pipe = asyncio.subprocess.PIPE
    async with contextlib.AsyncExitStack() as stack:
        processes = []
        for _ in range(arguments.processes):
            process = await asyncio.create_subprocess_exec(
                sys.executable, __file__, "--serve", stdin=pipe, stdout=pipe, limit=1 << 26
            )
            stack.callback(end, process)
            processes.append(process)
        hosts = Hosts(processes)
        star = Star(arguments, hosts)
        await star.form(arguments.at_once, report)
        await rest(hosts, arguments.watch, report)
        await star.talk(arguments.broadcasts, report)
        await star.heal(report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument("--clients", type=int, default=252)
    parser.add_argument("--each", type=int, default=0, help="servers that a client joins; 0: all")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=8, help="joining nodes of a process at one time")
    parser.add_argument("--watch", type=float, default=10.0, help="seconds to measure the cost of rest")
    parser.add_argument("--broadcasts", type=int, default=10)
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
