"""Two nodes in one program: an actor on one greets an actor on the other.

python examples/hello.py
"""

import partisan
from partisan import Atom, Node, Pid


async def greeter() -> None:
    """Answer every {hello, From, Name}."""
    while True:
        _, sender, name = await partisan.receive((Atom("hello"), Pid, bytes))
        partisan.send(sender, (Atom("greeting"), f"Hello {name.decode()}, this is {partisan.node().name}."))


async def visitor() -> str:
    """Greet the process `greeter` of the other node and wait for its answer."""
    partisan.send(("greeter", "b@127.0.0.1"), (Atom("hello"), partisan.self(), "visitor"))
    _, text = await partisan.receive((Atom("greeting"), bytes), timeout=5.0)
    return text.decode()


async def main() -> None:
    async with Node("b@127.0.0.1:0") as b, Node("a@127.0.0.1:0") as a:
        await a.join(f"b@{b.listen_addrs[0]}")
        print("members:", ", ".join(sorted(a.members())))
        b.spawn(greeter, name="greeter")
        print(await a.run(visitor))


if __name__ == "__main__":
    partisan.run(main())
