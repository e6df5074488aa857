"""Nodes in processes of the operating system: started, told what to run, killed as `kill -9` does, started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, Literal

from partisan.runtime.allow import name_for
from partisan.testing.clusters import FAST, Each
from partisan.testing.overlays import missing
from partisan.testing.waiting import PATIENCE, eventually

LONGEST = 1 << 26
"""Octets of a line between this program and a node process, at most."""

_COMMANDS = "partisan.testing.commands"


class RanFailed(Exception):
    """What a function raised in a node process.

    Attributes:
        node: the node's name.
        kind: the name of the exception's class.
        text: what the exception said.
        traceback: as it was printed there.
    """

    def __init__(self, node: str, kind: str, text: str, traceback: str) -> None:
        super().__init__(node, kind, text, traceback)
        self.node, self.kind, self.text, self.traceback = node, kind, text, traceback

    def __str__(self) -> str:
        return f"at {self.node}: {self.kind}: {self.text}\n{self.traceback}"


class ProcessEnded(Exception):
    """A node process has ended before it answered.

    Attributes:
        node: the node's name.
        status: as `subprocess` gives it: -9 after `kill -9`.
    """

    def __init__(self, node: str, status: int) -> None:
        super().__init__(node, status)
        self.node, self.status = node, status

    def __str__(self) -> str:
        return f"the process of {self.node} has ended with status {self.status}"


class NodeProcess:
    """A node in a process of its own; it ends when this program does.

    Args:
        name: without host: `a` is `a@127.0.0.1`.
        loop: on which it runs.
        path: where it finds modules; those of this program if not given.
        options: of the node, as JSON can say them; those of `FAST` are their defaults here.
    Attributes:
        name: `name@host`.
        port: where it listens; known when it has started.
        pid: of the operating system.
        options: of the node.
    """

    def __init__(
        self,
        name: str,
        *,
        loop: Literal["uvloop", "asyncio"] = "uvloop",
        path: Iterable[str] | None = None,
        **options: Any,
    ) -> None:
        self.name = f"{name}@127.0.0.1"
        self.port = 0
        self.pid = 0
        self._start = {"name": name, "loop": loop, "path": list(sys.path if path is None else path)}
        self.options = {**FAST, **options}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._count = 0

    def __repr__(self) -> str:
        return f"<NodeProcess {self.name} {'up' if self.is_alive() else 'down'}>"

    @property
    def address(self) -> str:
        """What another node joins it by."""
        return f"{self.name}:{self.port}"

    @property
    def is_static(self) -> bool:
        """Whether it has static links, which are made from either end."""
        return self.options.get("peer_service_manager") == "static"

    def is_alive(self) -> bool:
        """Whether the process runs, as far as is known."""
        return self._process is not None and self._process.returncode is None

    async def start(self, port: int = 0) -> NodeProcess:
        """Start it, at a free port if none is given. Raises ProcessEnded if the node cannot start."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "partisan.testing.node",
            stdin=pipe,
            stdout=pipe,
            limit=LONGEST,
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._write({**self._start, "port": port, "options": self.options})
        assert self._process.stdout is not None  # it is a pipe
        async with asyncio.timeout(PATIENCE):
            line = await self._process.stdout.readline()
        if not line:
            raise ProcessEnded(self.name, await self._process.wait())
        self.port = json.loads(line)["port"]
        self._reading = asyncio.ensure_future(self._read(self._process))
        return self

    async def run(
        self, function: str | Callable[..., Any], *args: Any, timeout: float = PATIENCE, **kwargs: Any
    ) -> Any:
        """Run a function in a process of the node; return what it returns.

        Args:
            function: `module:function`, or the function, if the node process can import it by its module and name. It
                may be plain or async.
            args, kwargs: as JSON can say them, as must be what it returns; of that, atoms and binaries become text.
            timeout: seconds.
        Raises:
            RanFailed: it raised something.
            ProcessEnded: the process ended meanwhile, or had ended before.
            TimeoutError: it took longer.
        """
        name = function if isinstance(function, str) else name_for(function)
        self._count += 1
        number = self._count
        process = self._running()
        outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[number] = outcome
        try:
            self._write({"id": number, "function": name, "args": args, "kwargs": kwargs})
            async with asyncio.timeout(timeout):
                answer = await outcome
        finally:
            self._waiting.pop(number, None)
        if answer is None:
            raise ProcessEnded(self.name, await process.wait())
        if "error" in answer:
            raise RanFailed(self.name, **answer["error"])
        return answer["result"]

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is not None:
            raise ProcessEnded(self.name, self._process.returncode)
        if self._process is None or self._reading is None:
            raise RuntimeError(f"{self!r} has not been started")
        return self._process

    def _write(self, line: dict[str, Any]) -> None:
        assert self._process is not None  # the callers have looked
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Hand answers to whom they are for; None when there will be no more."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            answer = json.loads(line)
            waiting = self._waiting.get(answer["id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        await process.wait()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(None)

    # How it ends.

    async def kill(self) -> None:
        """Kill it as `kill -9` does, and wait for its end."""
        if self.is_alive():
            self._signal(signal.SIGKILL)
        await self._end()

    async def stop(self) -> int:
        """Have the node stop in order; the exit status. One that does not end within seconds is killed."""
        if self._process is None:
            return 0
        if self.is_alive():
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._process.wait()
            except TimeoutError:
                self._signal(signal.SIGKILL)
        return await self._end()

    async def restart(self) -> NodeProcess:
        """Kill it and start it again, where it listened before: its peers find it, and it begins with nothing."""
        await self.kill()
        return await self.start(self.port)

    def pause(self) -> None:
        """Stop it as `kill -STOP` does: its connections stay, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _end(self) -> int:
        if self._process is None:
            return 0
        status = await self._process.wait()
        if self._reading is not None:
            await self._reading
            self._reading = None
        if self._process.stdin is not None:
            self._process.stdin.close()
        return status

    # What it is often told.

    async def join(self, contact: NodeProcess | str) -> None:
        """Have it join another, or the cluster at an address."""
        await self._told("join", contact if isinstance(contact, str) else contact.address)

    async def leave(self) -> None:
        """Have it leave its cluster."""
        await self._told("leave")

    async def members(self) -> list[str]:
        """Names of its members, sorted."""
        return list(await self._told("members"))

    async def connected(self) -> list[str]:
        """Names of the nodes to which it has a connection, sorted."""
        return list(await self._told("connected"))

    async def counters(self) -> dict[str, Any]:
        """Its `Node.counters()`."""
        return dict(await self._told("counters"))

    async def held(self) -> dict[str, int]:
        """As `partisan.testing.held`."""
        return dict(await self._told("holds"))

    async def cut(self, other: NodeProcess, *, close: bool = False) -> None:
        """As `partisan.testing.cut`."""
        await self._told("cut", other.name, close)

    async def slow(self, other: NodeProcess, seconds: float) -> None:
        """As `partisan.testing.slow`."""
        await self._told("slow", other.name, seconds)

    async def heal(self) -> None:
        """End every fault that it was told of."""
        await self._told("heal")

    async def _told(self, command: str, *args: Any) -> Any:
        return await self.run(f"{_COMMANDS}:{command}", *args)


async def joined(*nodes: NodeProcess) -> None:
    """Let nodes join the first of them, and wait until they are one overlay: see `partisan.testing.formed`."""
    first, *others = nodes
    for node in others:
        await node.join(first)
        if node.is_static:
            await first.join(node)

    async def lack() -> list[str]:
        views = await asyncio.gather(*(node.run(f"{_COMMANDS}:view") for node in nodes))
        return missing({node.name: view for node, view in zip(nodes, views, strict=True)})

    async def formed() -> bool:
        return not await lack()

    try:
        await eventually(formed, timeout=PATIENCE)
    except AssertionError:
        raise AssertionError(f"not within {PATIENCE} s: {'; '.join(await lack())}") from None


@contextlib.asynccontextmanager
async def process_cluster(*names: str, each: Each | None = None, **options: Any) -> AsyncIterator[list[NodeProcess]]:
    """Start a node process for each name, joined as those of `cluster` are; end them all with the block.

    Args:
        each: name -> options of that node besides.
        options: as of `NodeProcess`.
    """
    own = each or {}
    nodes = [NodeProcess(name, **{**options, **own.get(name, {})}) for name in names]
    try:
        for started in await asyncio.gather(*(node.start() for node in nodes), return_exceptions=True):
            if isinstance(started, BaseException):
                raise started
        await joined(*nodes)
        yield nodes
    except BaseException:
        await asyncio.gather(*(node.kill() for node in nodes))
        raise
    await asyncio.gather(*(_ended(node) for node in nodes))


async def _ended(node: NodeProcess) -> None:
    node.resume()
    await node.stop()
