"""A node under test, in a process of its own, told what to do line by line as the reference's suites tell theirs.

Run as a script it starts a node with the options given as JSON and then answers each line `[command, argument...]` of
its input with `{"ok": answer}` or `{"error": "Class: text"}`. `Peer` is the other end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import partisan
from partisan import Atom, GenServer, Node, Pid, Reference, rpc
from partisan.faults import Delayed
from partisan.gen import NoReply
from partisan.gen.server import call, cast, reply
from partisan.machines.full import Gossip, Summary
from partisan.machines.machine import Received
from partisan.machines.scamp import Heartbeat
from partisan.net.faults import Fault
from partisan.telemetry import QUEUE_DROPPED, QUEUE_RETRANSMITTED

sys.path.insert(0, str(Path(__file__).parents[2]))

from examples.protocols.direct_mail import DirectMail
from examples.protocols.mail import Broadcast
from examples.protocols.server import Server as Mailer

STORE = "store_proc"
SERVER = "gen_server_proc"
MAIL = "demers_direct_mail"


class Server(GenServer):
    """Answers now, answers later, and keeps what is cast."""

    def init(self) -> None:
        self.kept: list[Any] = []

    def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case (Atom("delayed"), value):
                partisan.send_after(0.05, partisan.self(), (Atom("answer"), caller, value))
                return NoReply()
            case Atom("kept"):
                return self.kept
        return request

    def handle_cast(self, message: Any) -> None:
        self.kept.append(message)

    def handle_info(self, message: Any) -> None:
        _, caller, value = message
        reply(caller, value)


def now() -> tuple[int, int, int]:
    """Megaseconds, seconds and microseconds, as Erlang tells the time."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    return (*divmod(seconds, 1_000_000), microseconds)


class Gossips(logging.Handler):
    """Counts the gossip and heartbeats that the membership machine takes, as its driver logs it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        driver = logging.getLogger("partisan.net.driver")
        driver.setLevel(logging.DEBUG)
        driver.propagate = False
        driver.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        event = record.args[1] if record.args else None  # type: ignore[index]
        self.count += isinstance(event, Received) and isinstance(event.message, Gossip | Summary | Heartbeat)


class Commands:
    """What a node can be told."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.stored: list[Any] = []
        self.heard = Gossips()
        self.fault: Fault
        self.partition: Reference
        self.downs: list[str] = []
        node.spawn(self._store, name=STORE)
        node.expose(now, "erlang:now")

    async def _store(self) -> None:
        """Keep what comes as `{store, Value}`."""
        while True:
            match await partisan.receive():
                case (Atom("store"), value):
                    self.stored.append(value)
                case (Atom("ask"), Pid() as caller):
                    self.stored.append(caller.node)
                    partisan.send(caller, self.node.name)

    async def join(self, contact: str) -> str:
        return await self.node.join(contact)

    async def sync_join(self, contact: str) -> str:
        name = await self.node.sync_join(contact)
        assert self.node.is_fully_connected(name)
        return name

    async def watch(self, name: str) -> None:
        """Note when the peer goes down, and when anybody does."""
        self.node.on_down(name, lambda: self.downs.append(name))
        self.node.on_down("_", lambda gone: self.downs.append(f"any: {gone}"))

    async def down(self) -> list[str]:
        """Who went down."""
        return sorted(self.downs)

    async def leave(self, name: str | None = None) -> None:
        await self.node.leave(name)

    async def members(self) -> list[str]:
        return sorted(self.node.members())

    async def fully_connected(self) -> bool:
        return all(self.node.is_fully_connected(name) for name in self.node.members())

    async def connections(self, name: str) -> dict[str, int]:
        """How many connections of each channel of the peer are up."""
        channels = [channel for channel, _ in self.node.spec.channels]
        return {channel: self.node.connection_count(name, channel) for channel in channels}

    async def forward(self, name: str, value: Any, options: dict[str, Any]) -> None:
        """Have the peer's `store_proc` keep a value."""
        self.node.forward_message((STORE, name), (Atom("store"), value), **options)

    async def ask(self, name: str) -> Any:
        """Send the peer's `store_proc` the pid of a process here, and return what that is answered."""
        answer = self.node.loop.create_future()

        async def asker() -> None:
            partisan.send((STORE, name), (Atom("ask"), partisan.self()))
            answer.set_result((await partisan.receive()).decode())

        self.node.spawn(asker)
        async with asyncio.timeout(12.0):
            return await answer

    async def now(self, name: str, options: dict[str, Any]) -> Any:
        """Call `erlang:now` at the peer."""
        return await rpc.call(name, "erlang", "now", timeout=12.0, **options)

    async def server(self) -> None:
        """Start a server."""
        await Server.start(name=SERVER)

    async def call(self, name: str, request: int) -> Any:
        return await call((SERVER, name), request)

    async def call_delayed(self, name: str, request: int) -> Any:
        return await call((SERVER, name), (Atom("delayed"), request))

    async def cast(self, name: str, message: int) -> None:
        cast((SERVER, name), message)

    async def kept(self) -> Any:
        """What was cast to the server here."""
        return sorted(await call(SERVER, Atom("kept")))

    async def gossips(self) -> int:
        """How often a peer has told what it knows of the members."""
        return self.heard.count

    async def wait_acknowledged(self, name: str) -> int:
        """How many messages to the peer wait for their acknowledgement."""
        return self.node.unacknowledged(name)

    async def waiting(self, label: str) -> int:
        """How many messages of the label wait for others."""
        return self.node.causal_waiting(label)

    async def retransmissions(self) -> int:
        """How many messages were sent again."""
        return self.node.telemetry.counters().get(QUEUE_RETRANSMITTED, 0)

    async def dropped(self) -> int:
        """How often messages were dropped."""
        return self.node.telemetry.counters().get(QUEUE_DROPPED, 0)

    async def omit(self, name: str) -> None:
        """Lose every user message to the peer until `heal`."""
        self.fault = self.node.faults.omit(destination=name, kind="user")

    async def heal(self) -> int:
        """Lose no more; how many were lost."""
        self.fault.remove()
        return self.fault.hits

    async def interpose(self, on: str, what: str) -> None:
        """Drop, or delay, every message from now on."""

        def drop(kind: str, peer: str | None, message: Any) -> Any:
            return None

        def delay(kind: str, peer: str | None, message: Any) -> Any:
            return Delayed(message, 0.2)

        self.node.add_interposition("case", {"drop": drop, "delay": delay}[what], on=on)

    async def pass_on(self, on: str) -> bool:
        """Drop and delay no more."""
        return self.node.remove_interposition("case", on=on)

    async def inject(self, origin: str, ttl: int) -> None:
        """Have nodes note a partition."""
        self.partition = self.node.inject_partition(origin, ttl=ttl)

    async def partitioned(self) -> list[str]:
        """Who is noted as partitioned."""
        return sorted({name for _, names in self.node.partitions() for name in names})

    async def resolve(self) -> None:
        """End the partition that was injected here."""
        self.node.resolve_partition(self.partition)

    async def mailer(self) -> None:
        """Take part in direct mail; what comes is kept as a value."""

        async def keep() -> None:
            while True:
                self.stored.append((await partisan.receive()).body)

        await Mailer.start(name=MAIL, args=(MAIL, DirectMail, self.node.spawn(keep)))

    async def mail(self, value: Any) -> None:
        """Mail a value to every member."""
        cast(MAIL, Broadcast(value))

    async def values(self) -> list[Any]:
        return self.stored


async def serve(name: str, options: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with Node(f"{name}@127.0.0.1:0", **options) as node:
        commands = Commands(node)
        print(json.dumps({"ok": str(node.listen_addrs[0])}), flush=True)
        while line := await reader.readline():
            command, *arguments = json.loads(line)
            try:
                answer = {"ok": await getattr(commands, command)(*arguments)}
            except partisan.PartisanError as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)


class Peer:
    """A node process, as the test sees it.

    Attributes:
        name: `name@host`.
        contact: what others join it by.
    """

    def __init__(self, name: str, options: dict[str, Any]) -> None:
        self.short = name
        self.name = f"{name}@127.0.0.1"
        self.options = options
        self.contact: str
        self._process: asyncio.subprocess.Process

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, self.short, json.dumps(self.options), stdin=pipe, stdout=pipe
        )
        self.contact = f"{self.short}@{await self._answer()}"

    async def _answer(self) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(30.0):
            line = await self._process.stdout.readline()
        assert line, f"{self.name} has ended"
        answer = json.loads(line)
        assert "ok" in answer, f"{self.name}: {answer['error']}"
        return answer["ok"]

    async def tell(self, command: str, *arguments: Any) -> Any:
        """Give a command and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, *arguments]).encode() + b"\n")
        return await self._answer()

    async def until(self, wanted: Any, command: str, *arguments: Any, timeout: float = 12.0) -> None:
        """Repeat a command until its answer is the wanted one."""
        answer: Any = None
        try:
            async with asyncio.timeout(timeout):
                while (answer := await self.tell(command, *arguments)) != wanted:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{self.name} {command}: {answer!r}, not {wanted!r}") from None

    async def past(self, count: int, command: str) -> None:
        """Repeat a command until its answer is above a count."""
        async with asyncio.timeout(12.0):
            while await self.tell(command) <= count:
                await asyncio.sleep(0.01)

    async def kill(self) -> None:
        """Kill it as `kill -9` does."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


if __name__ == "__main__":
    partisan.run(serve(sys.argv[1], json.loads(sys.argv[2])))
