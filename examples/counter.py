"""A counter that another node uses: a server with a state, calls and casts on a channel, and an orderly end.

python examples/counter.py
"""

from __future__ import annotations

from typing import Any

import partisan
from partisan import Atom, GenServer, Node
from partisan.gen import Reply, Stop
from partisan.gen import server as gen_server

ADD, READ, CLOSE = Atom("add"), Atom("read"), Atom("close")


class Counter(GenServer):
    """Adds up what it is given."""

    def init(self, start: int = 0) -> None:
        self.total = start

    def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case (Atom("add"), int(number)):
                self.total += number
                return self.total
            case Atom("read"):
                return Reply(self.total, timeout=60.0)
            case Atom("close"):
                return Stop(Atom("normal"), reply=self.total)
        return (Atom("error"), request)

    def handle_cast(self, message: Any) -> None:
        self.total += message

    def terminate(self, reason: object) -> None:
        print(f"the counter ends with {self.total}")


async def use(counter: tuple[str, str]) -> None:
    """Call and cast, from another node."""
    print("add 5:", await partisan.call(counter, (ADD, 5), channel="data"))
    for number in range(10):
        partisan.cast(counter, number, channel="data")
    print("after ten casts:", await partisan.call(counter, READ, channel="data"))
    request = gen_server.send_request(counter, CLOSE)
    print("answered at last:", await gen_server.receive_response(request, 5.0))
    try:
        await partisan.call(counter, READ)
    except partisan.NoProc as error:
        print("nobody is there any more:", error)


async def main() -> None:
    async with Node("b@127.0.0.1:0", channels={"data": {}}) as b:
        await Counter.start(name="counter", args=(10,))
        async with Node("a@127.0.0.1:0", channels={"data": {}}) as a:
            await a.sync_join(f"b@{b.listen_addrs[0]}")
            await use(("counter", b.name))


if __name__ == "__main__":
    partisan.run(main())
