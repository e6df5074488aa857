"""A node in an operating-system process of its own, told what to do line by line.

Run as a script it starts a node, prints `{"ready": port}` and then answers each line of JSON on its standard input,
`[command, argument...]`, with one on its standard output. `NodeProcess` is the other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
from collections import Counter, defaultdict
from typing import Any

import partisan
from partisan import Node, telemetry
from partisan.gen import event

CHANNELS = {"data": {"parallelism": 2}, "bulk": {"parallelism": 1, "compression": True}}


class Commands:
    """What a node can be told. It counts what its process `sink` receives as {sender: {channel: [number, ...]}}."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._received: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
        self._refused: Counter[str] = Counter()
        self._hoard: list[int] = []
        node.telemetry.attach("refused", telemetry.SOCKET_ERROR, self._note)
        node.spawn(self._sink, name="sink")

    async def _sink(self) -> None:
        while True:
            sender, channel, number, _ = await partisan.receive()
            self._received[sender.decode()][channel.decode()].append(number)

    def _note(self, event: str, measurements: Any, about: Any) -> None:
        if about["acceptor"] and isinstance(about["error"], str):
            assert set(about) == set(telemetry.EVENTS[event].metadata)
            self._refused[about["error"]] += 1

    async def refused(self) -> dict[str, int]:
        """How many connections were not accepted, by the reason that the events gave."""
        return self._refused

    async def reasons(self) -> list[str]:
        """The reasons that there have been."""
        return sorted(self._refused)

    async def limit_descriptors(self, soft: int) -> None:
        """Have no more than so many descriptors from now on."""
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    async def hoard_descriptors(self) -> None:
        """Take every descriptor that is left."""
        with contextlib.suppress(OSError):
            while True:
                self._hoard.append(os.open(os.devnull, os.O_RDONLY))

    async def free_descriptors(self) -> None:
        """Give them back."""
        while self._hoard:
            os.close(self._hoard.pop())

    async def join(self, contact: str) -> str:
        return await self._node.join(contact)

    async def leave(self) -> None:
        await self._node.leave()

    async def members(self) -> list[str]:
        return sorted(self._node.members())

    async def meshed(self) -> bool:
        return all(self._node.is_fully_connected(name) for name in self._node.members())

    async def connected(self) -> list[str]:
        return sorted(self._node.nodes())

    async def send(self, to: str, channel: str | None, count: int, octets: int) -> None:
        """Have a process of its own send numbered messages."""
        done = self._node.loop.create_future()

        async def sender() -> None:
            me, lane = self._node.name.encode(), (channel or "undefined").encode()
            for number in range(count):
                partisan.send(("sink", to), (me, lane, number, b"x" * octets), channel=channel)
                await partisan.checkpoint()
            done.set_result(None)

        self._node.spawn(sender)
        await done

    async def send_causal(self, to: str, first: int, count: int, ack: bool) -> None:
        """Send numbered messages in the causal order `default`."""
        me = self._node.name.encode()
        for number in range(first, first + count):
            self._node.send(("sink", to), (me, b"causal", number, b""), ack=ack, causal_label="default")

    async def lose(self, to: str, times: int) -> None:
        """Lose the next messages that are sent to the node."""
        self._node.faults.omit(destination=to, kind="user", times=times)

    async def waiting(self) -> int:
        """How many messages wait for others in the causal order `default`."""
        return self._node.causal_waiting("default")

    async def unacknowledged(self, to: str) -> int:
        return self._node.unacknowledged(to)

    async def supervise(self, manager: str, to: str, handler: str) -> None:
        """Have a process of its own supervise a handler of an event manager elsewhere."""
        done = self._node.loop.create_future()

        async def owner() -> None:
            await event.add_sup_handler((manager, to), handler)
            done.set_result(None)
            await partisan.receive()

        self._node.spawn(owner)
        await done

    async def received(self) -> dict[str, dict[str, list[int]]]:
        return self._received


async def serve(name: str, port: int, more: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    options = {"connection_interval": 0.05, "connection_jitter": 0.02, "reconnect_backoff_max": 0.2, **more}
    async with Node(f"{name}@127.0.0.1:{port}", channels=CHANNELS, **options) as node:
        commands = Commands(node)
        print(json.dumps({"ready": node.listen_addrs[0].port}), flush=True)
        while line := await reader.readline():
            command, *arguments = json.loads(line)
            answer = await getattr(commands, command)(*arguments)
            print(json.dumps(answer), flush=True)


class NodeProcess:
    """A node process, as the test sees it.

    Attributes:
        name: `name@host`.
        port: where it listens.
    """

    def __init__(self, name: str) -> None:
        self.short = name
        self.name = f"{name}@127.0.0.1"
        self.port: int
        self._process: asyncio.subprocess.Process

    @property
    def address(self) -> str:
        return f"{self.name}:{self.port}"

    async def start(self, loop_name: str, port: int = 0, **options: Any) -> NodeProcess:
        """Start it, or start it again after it was killed, with more options."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            __file__,
            self.short,
            str(port),
            loop_name,
            json.dumps(options),
            stdin=pipe,
            stdout=pipe,
        )
        self.port = (await self._answer())["ready"]
        return self

    async def _answer(self) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(20.0):
            line = await self._process.stdout.readline()
        assert line, f"{self.name} has ended"
        return json.loads(line)

    async def tell(self, command: str, *arguments: Any) -> Any:
        """Give a command and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([command, *arguments]).encode() + b"\n")
        return await self._answer()

    async def until(self, command: str, wanted: Any, timeout: float = 10.0) -> None:
        """Repeat a command until its answer is the wanted one."""
        answer: Any = None
        try:
            async with asyncio.timeout(timeout):
                while (answer := await self.tell(command)) != wanted:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"{self.name} {command}: {answer!r}, not {wanted!r}") from None

    async def kill(self) -> None:
        """Kill it as `kill -9` does."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """End it by closing its standard input; its exit status."""
        if self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
        async with asyncio.timeout(10.0):
            return await self._process.wait()


if __name__ == "__main__":
    main = serve(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[4]))
    partisan.run(main, loop="asyncio" if sys.argv[3] == "asyncio" else "uvloop")
