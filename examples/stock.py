"""A supervised service on three nodes, which survives the crash of any server and the loss of any node.

python examples/stock.py        c is lost; `python examples/stock.py a` loses a

Three processes of the operating system run a node each. On each a supervisor keeps two servers: `store` has a copy of
what there is in stock, `desk` takes orders, has every store write them down, and tells listeners which node is lost.
This program starts the three and is a fourth node, their customer. All of them call on the channel `data`.
"""

import asyncio
import contextlib
import logging
import sys
import time
from asyncio.subprocess import PIPE

import partisan
from partisan import Atom, ChildSpec, GenServer, Node, Pid, Supervisor
from partisan.gen import server as gen_server
from partisan.gen.supervisor import Flags, which_children

OPTIONS = {"channels": {"data": {"parallelism": 2}}, "connection_interval": 0.1, "reconnect_backoff_max": 0.5}
SET, COUNT, PUT, GET, ALL, LISTEN, OK = map(Atom, ("set", "count", "put", "get", "all", "listen", "ok"))
NODEUP, NODEDOWN, DOWN = map(Atom, ("nodeup", "nodedown", "DOWN"))


class Store(GenServer):
    """{thing: (when it was written, how many)}. It begins with what the stores of the other nodes have."""

    async def init(self):
        self.stock = {}
        copies, _ = await gen_server.multi_call(partisan.nodes(), "store", ALL, timeout=2.0, channel="data")
        for _, stock in copies:
            for thing, entry in stock.items():
                self.keep(thing, entry)

    def keep(self, thing, entry):
        self.stock[thing] = max(entry, self.stock.get(thing, entry))  # the latest holds

    def handle_call(self, request, caller):
        match request:
            case (Atom("put"), thing, (int(), int()) as entry):
                self.keep(thing, entry)
                return OK
            case (Atom("get"), thing):
                return self.stock.get(thing, (0, 0))[1]
            case Atom("all"):
                return dict(self.stock)
        raise ValueError("no request for a store")


class Desk(GenServer):
    """What customers call. It keeps nothing but who listens."""

    def init(self):
        self.listeners = []
        partisan.monitor_nodes()

    async def handle_call(self, request, caller):
        match request:
            case (Atom("set"), thing, int(count)):
                put = (PUT, thing, (time.time_ns(), count))
                kept, _ = await gen_server.multi_call(None, "store", put, timeout=2.0, channel="data")
                return len(kept)
            case (Atom("count"), thing):
                return await partisan.call("store", (GET, thing))
            case (Atom("listen"), Pid() as listener):
                self.listeners.append(listener)
                return OK
        raise ValueError("no request for a desk")

    def handle_info(self, message):
        match message:
            case (Atom("nodedown"), lost):
                for listener in self.listeners:
                    with contextlib.suppress(partisan.NotConnected):  # it is lost, too
                        partisan.send(listener, (NODEDOWN, lost, partisan.node().name))


class Tree(Supervisor):
    """Starts a server again that crashes, but gives up when six do so within ten seconds."""

    def init(self):
        partisan.register("tree", partisan.self())
        servers = ChildSpec("store", Store, name="store"), ChildSpec("desk", Desk, name="desk")
        return Flags(strategy="one_for_one", intensity=5, period=10.0), servers


async def serve(address, contacts):
    """Be one of the three: join the others, run the tree, say so, and end with the standard input."""
    async with Node(address, **OPTIONS) as node:
        for contact in contacts:
            await node.sync_join(contact)
        await node.start_application(Tree)
        print(f"{node.name}:{node.listen_addrs[0].port}", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def start(address, *contacts):
    """Start one of the three; return its process, and its address when it serves."""
    command = [sys.executable, __file__, "serve", address, *contacts]
    child = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    return child, (await child.stdout.readline()).decode().strip()


def at(name):
    return f"{name}@127.0.0.1"


async def order(name, *request):
    """Call the desk of a node."""
    return await partisan.call(("desk", at(name)), request, channel="data")


async def crash(server, name):
    """Ask a server what it does not know. Its supervisor hears of its end before we do, and answers afterwards."""
    try:
        await partisan.call((server, at(name)), "nonsense", channel="data")
    except partisan.Exit as error:
        (kind, text), _ = error.reason
    children = await which_children(("tree", at(name)), channel="data")
    running = sum(isinstance(child.pid, Pid) for child in children)
    print(f"{server} of {name} crashed: {kind.name}: {text.decode()}; {running} servers run there")


async def customer(children, addresses, victim):
    """Order, while servers crash and a node is lost and comes back."""
    for name, thing in {"a": "apples", "b": "pears", "c": "plums"}.items():
        print(f"3 {thing} written down at {name}: {await order(name, SET, thing, 3)} nodes keep it")
    for name in "abc":
        await crash("store", name)
        await crash("desk", name)
    print("plums:", ", ".join([f"{await order(name, COUNT, 'plums')} at {name}" for name in "abc"]))

    left, right = (name for name in "abc" if name != victim)
    for name in left, right:
        await order(name, LISTEN, partisan.self())
    monitor = partisan.monitor(("desk", at(victim)))
    partisan.monitor_nodes()
    children[victim].kill()  # as `kill -9` does
    await children[victim].wait()
    *_, reason = await partisan.receive((DOWN, monitor, ..., ..., ...), timeout=10.0)
    print(f"{victim} is killed, its desk is down: {reason.name}")
    heard = [await partisan.receive((NODEDOWN, Atom(at(victim)), bytes), timeout=10.0) for _ in (left, right)]
    print("missed by", " and ".join(sorted(teller.decode() for *_, teller in heard)))
    try:
        await order(victim, COUNT, "plums")
    except partisan.NodeDown as error:
        print("no order there:", error)
    print(f"7 figs written down at {left}: {await order(left, SET, 'figs', 7)} nodes keep it")
    print(f"figs: {await order(right, COUNT, 'figs')} at {right}")

    me = f"{partisan.node().name}:{partisan.node().listen_addrs[0].port}"
    children[victim], _ = await start(addresses[victim], addresses[left], addresses[right], me)
    await partisan.receive((NODEUP, Atom(at(victim))), timeout=10.0)
    stock = [f"{await order(victim, COUNT, thing)} {thing}" for thing in ("apples", "pears", "plums", "figs")]
    print(f"{victim} is back:", ", ".join(stock))


async def main(victim="c"):
    children, addresses = {}, {}
    async with Node("customer@127.0.0.1:0", **OPTIONS) as node:
        for name in "abc":
            children[name], addresses[name] = await start(f"{at(name)}:0", *addresses.values())
            await node.sync_join(addresses[name])
        try:
            await node.run(customer, children, addresses, victim)
        finally:
            for child in children.values():
                child.stdin.close()  # which ends it
                await child.wait()


if __name__ == "__main__":
    logging.getLogger("partisan").setLevel(logging.CRITICAL)  # its reports of the crashes would be in our way
    if sys.argv[1:2] == ["serve"]:
        partisan.run(serve(sys.argv[2], sys.argv[3:]))
    else:
        partisan.run(main(*sys.argv[1:]))
