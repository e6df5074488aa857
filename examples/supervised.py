"""A small tree: a store, and a counter that keeps its count there and may crash as often as it likes.

python examples/supervised.py
"""

import logging

import partisan
from partisan import Node
from partisan.gen.server import GenServer, call
from partisan.gen.supervisor import ChildSpec, Flags, Supervisor, which_children


class Store(GenServer):
    """Keeps values for others, which may crash."""

    def init(self):
        self.values = {}

    def handle_call(self, request, caller):
        match request:
            case "get", key, default:
                return self.values.get(key, default)
            case "put", key, value:
                self.values[key] = value
                return value
            case _:
                raise ValueError(f"what is {request}?")


class Counter(GenServer):
    """Counts; it crashes on what it does not understand, and goes on where it was."""

    async def init(self, first):
        self.count = await call("store", ("get", "count", first))

    async def handle_call(self, request, caller):
        self.count += int(request)
        await call("store", ("put", "count", self.count))
        return self.count


class Tree(Supervisor):
    """If the store fails, the counter starts again after it; if the counter fails, only that does."""

    def init(self, first):
        return Flags(strategy="rest_for_one", intensity=5, period=10.0), [
            ChildSpec("store", Store, name="store"),
            ChildSpec("counter", Counter, (first,), name="counter"),
        ]


async def crash(tree, name, request):
    """Ask a server what it does not understand, and see what is running then."""
    try:
        await call(name, request)
    except partisan.Exit as error:
        (kind, text), _ = error.reason
        print(f"{name} crashed: {kind.name}: {text}")
    children = await which_children(tree)
    print("running:", ", ".join(child.id for child in reversed(children) if child.pid is not None))


async def main():
    logging.getLogger("partisan").setLevel(logging.CRITICAL)  # its reports of the crashes would be in our way
    async with Node("a@127.0.0.1:0") as node:
        application = await node.start_application(Tree, 10)
        print("count:", await call("counter", "5"))
        await crash(application.pid, "counter", "five")
        print("count:", await call("counter", "1"))  # as it was kept by the store
        await crash(application.pid, "store", "five")
        print("count:", await call("counter", "1"))  # the store was lost, and the counter began again
    print("ended:", application.reason.name)


if __name__ == "__main__":
    partisan.run(main())
