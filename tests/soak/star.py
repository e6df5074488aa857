"""Client-server at size over real sockets: many clients and a few servers in a few processes of one machine.

    python tests/soak/star.py --clients 252 --servers 4 --processes 3

Each server joins the others, each client all servers or as many as `--each` says. Prints, as JSON, how long it takes
until every node is in, until servers know all their clients and are connected with them, what that and what rest costs,
and how long it takes until all is as before when a server was killed and is started again. Exits with 1 if a limit
passes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from typing import Any

from overlay import LIMIT, Host, Hosts, _total

import partisan
from partisan import Node


class StarHost(Host):
    """The nodes of one process; names that begin with `s` are servers."""

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
            places.append(f"{node.name.partition('@')[0]}@{node.listen_addrs[0]}")
        return places

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


async def serve() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    host = StarHost()
    while line := await reader.readline():
        command, *arguments = json.loads(line)
        print(json.dumps(await getattr(host, command)(*arguments)), flush=True)
    os._exit(0)  # nobody is to wait for hundreds of nodes to close


async def whole(hosts: Hosts, expected: dict[str, list[str]], since: float) -> float:
    """Seconds until each node has exactly these neighbors; raises TimeoutError."""
    while True:
        found: dict[str, list[str]] = {}
        for neighbors in await hosts.tell_all("neighbors"):
            found |= neighbors
        wrong = sum(found.get(name) != neighbors for name, neighbors in expected.items())
        if not wrong and len(found) == len(expected):
            return time.monotonic() - since
        print(f"{time.monotonic() - since:.1f} s: {wrong} nodes have other neighbors", file=sys.stderr)
        if time.monotonic() - since > LIMIT:
            raise TimeoutError
        await asyncio.sleep(0.5)


def links(servers: list[str], clients: list[str], each: int) -> dict[str, list[str]]:
    """Whom each node joins, by short names: a server those before it, a client `each` of the servers in turn."""
    wanted = {name: servers[:at] for at, name in enumerate(servers)}
    for at, name in enumerate(clients):
        wanted[name] = [servers[(at + further) % len(servers)] for further in range(each)]
    return wanted


def both_ways(wanted: dict[str, list[str]]) -> dict[str, list[str]]:
    """The neighbors of each node, by full names, when all joins have two sides."""
    found: dict[str, set[str]] = {name: set() for name in wanted}
    for name, contacts in wanted.items():
        for contact in contacts:
            found[name].add(contact)
            found[contact].add(name)
    return {f"{name}@127.0.0.1": sorted(f"{other}@127.0.0.1" for other in near) for name, near in found.items()}


async def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    servers = [f"s{number}" for number in range(arguments.servers)]
    clients = [f"c{number}" for number in range(arguments.clients)]
    wanted = links(servers, clients, min(arguments.each or arguments.servers, arguments.servers))
    expected = both_ways(wanted)
    async with contextlib.AsyncExitStack() as stack:
        processes = []
        for _ in range(arguments.processes):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                __file__,
                "--serve",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=1 << 26,
            )
            stack.callback(process.send_signal, signal.SIGKILL)
            processes.append(process)
        hosts = Hosts(processes)
        begun = time.monotonic()
        at = {name: processes[number % len(processes)] for number, name in enumerate((*servers, *clients))}
        shares = [[name for name in at if at[name] is process] for process in processes]
        places = await asyncio.gather(*map(hosts.tell, processes, ["start"] * len(processes), shares))
        place = {name.partition("@")[0]: name for share in places for name in share}
        started = time.monotonic()
        idle = await hosts.tell_all("cost")
        contacts = {name: [place[other] for other in others] for name, others in wanted.items()}
        failures = await hosts.tell_all("meet", contacts, arguments.at_once)
        joined = time.monotonic() - started
        found: dict[str, Any] = {
            "servers": len(servers),
            "clients": len(clients),
            "processes": len(processes),
            "boot_s": started - begun,
            "joined_s": joined,
            "failed_joins": sum(failures),
            "whole_s": await whole(hosts, expected, started),
            "cost_idle": _total(idle),
            "cost": _total(await hosts.tell_all("cost")),
        }
        before = _total(await hosts.tell_all("cost"))["cpu_s"]
        await asyncio.sleep(arguments.watch)
        found["steady_cores"] = (_total(await hosts.tell_all("cost"))["cpu_s"] - before) / arguments.watch
        victim = servers[-1]
        await hosts.tell(at[victim], "kill", [f"{victim}@127.0.0.1"])
        await asyncio.sleep(arguments.away)
        since = time.monotonic()
        await hosts.tell(at[victim], "start", [place[victim]])
        found["healed_s"] = await whole(hosts, expected, since)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=4)
    parser.add_argument("--clients", type=int, default=252)
    parser.add_argument("--each", type=int, default=0, help="servers that a client joins; 0: all")
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=8, help="joining nodes of a process at one time")
    parser.add_argument("--watch", type=float, default=10.0, help="seconds to measure the cost of rest")
    parser.add_argument("--away", type=float, default=3.0, help="seconds that a server is away")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        partisan.run(serve())
        return
    try:
        print(json.dumps(asyncio.run(measure(arguments)), indent=1))
    except TimeoutError:
        sys.exit("not whole in time")


if __name__ == "__main__":
    main()
