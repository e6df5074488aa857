"""Methods of a node that act at others: links to their processes, exit signals, functions, starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any

from partisan._core.process import running
from partisan._core.references import read
from partisan.errors import (
    BadRpc,
    CallTimeout,
    ConfigError,
    ConnectFailed,
    NodeDown,
    NotAllowed,
    NotConnected,
    RpcTimeout,
    UndefinedFunction,
)
from partisan.etf import Atom, Pid, Reference
from partisan.runtime.allow import Function, name_for
from partisan.runtime.apply import NOT_ALLOWED, UNDEF
from partisan.runtime.tie_calls import TieCalls

log = logging.getLogger(__name__)

START_TIMEOUT = 5.0
"""Seconds that a start at another node, and a look there, may take (partisan 5.0.3)."""

Node = str | Atom


class RemoteCalls(TieCalls):
    """The methods of a node that act at other nodes."""

    def expose(self, function: Function, name: str | None = None) -> None:
        """Let other nodes call the function, as `module:function` of Python unless another such name is given.

        Raises ValueError for a name of another form.
        """
        self._check()
        self._remote.allow.expose(name_for(function, name), function)

    def allows(self, what: str) -> bool:
        """Whether other nodes may `exit`, `spawn` or `sys` here: see the option `allow`."""
        self._check()
        return self._remote.allow.permits(what)

    async def spawn_at(
        self, node: Node, module: str, function: str, args: Iterable[Any] = (), *, timeout: float = START_TIMEOUT
    ) -> Pid:
        """Start a process at another node; return its pid.

        The node must allow `spawn`, and the function, which may be plain or async.

        Args:
            timeout: seconds; without an answer in time it is not known whether the process runs.
        Raises:
            NotAllowed, UndefinedFunction: the node refuses.
            NodeDown: it is not connected, or was lost meanwhile.
            CallTimeout: it has not answered in time.
        """
        self._check()
        return await self._start(named(node), module, function, list(args), timeout, linked=False)

    async def spawn_link_at(
        self, node: Node, module: str, function: str, args: Iterable[Any] = (), *, timeout: float = START_TIMEOUT
    ) -> Pid:
        """As `spawn_at`, and link the current process to it, before it runs. Raises LinkUnsupported, NotInProcess."""
        self._mine()
        name = named(node)
        if name != self.name and not self._reaches(name):
            self._remote.links.check(name)
        return await self._start(name, module, function, list(args), timeout, linked=True)

    async def spawn_monitor_at(
        self, node: Node, module: str, function: str, args: Iterable[Any] = (), *, timeout: float = START_TIMEOUT
    ) -> tuple[Pid, Reference]:
        """As `spawn_at`, and monitor it from the current process; one that has ended by then has the reason `noproc`.

        Raises NotInProcess.
        """
        self._mine()
        pid = await self._start(named(node), module, function, list(args), timeout, linked=False)
        return pid, self.monitor(pid)

    async def connect_node(self, node: Node, *, timeout: float = 7.0) -> bool:
        """Connect to an Erlang node, as `net_kernel:connect_node/1`; whether it is connected. Needs `distribution`.

        Args:
            timeout: seconds.
        """
        self._check()
        name = named(node)
        if self._far is None:
            raise ConfigError("distribution", "this node does not take part in Erlang's distribution")
        try:
            async with asyncio.timeout(timeout):
                await self._far.reach(name)
        except (ConnectFailed, TimeoutError) as error:
            log.info("%s cannot connect to %s: %s", self.name, name, error or "in time")
            return False
        return True

    async def whereis_at(self, node: Node, name: str | Atom, *, timeout: float = START_TIMEOUT) -> Pid | None:
        """The pid registered under the name at another node, or None. Raises NodeDown, BadRpc, RpcTimeout."""
        self._check()
        args = [name if isinstance(name, Atom) else Atom(name)]
        found = read(await self._remote.asking.call(named(node), "erlang", "whereis", args, timeout=timeout))
        return found if isinstance(found, Pid) else None

    async def is_process_alive_at(self, pid: Pid, *, timeout: float = START_TIMEOUT) -> bool:
        """Whether a process lives, of whichever node. Raises NodeDown, BadRpc, RpcTimeout."""
        self._check()
        found = await self._remote.asking.call(pid.node, "partisan", "is_process_alive", [pid], timeout=timeout)
        return found is True

    async def _start(
        self, node: str, module: str, function: str, args: list[Any], timeout: float, *, linked: bool
    ) -> Pid:
        process = running()
        mine = self._outside if process is None else process.pid
        if node == self.name:
            pid = self._remote.spawns.start_here(node, Atom(module), Atom(function), args)
            if linked:
                self.link(pid)
            return pid
        if self._reaches(node):
            return await self._start_far(node, mine, module, function, args, timeout, linked=linked)
        if node not in self._remote.spawns.supported:
            return await self._start_by_rpc(node, module, function, args, timeout)
        try:
            async with asyncio.timeout(timeout):
                return await self._remote.spawns.ask(node, mine, linked, module, function, args)
        except NotConnected:
            raise NodeDown((Atom("nodedown"), Atom(node))) from None
        except TimeoutError:
            raise CallTimeout(timeout, node, (Atom(module), Atom(function), args)) from None

    def _reaches(self, node: str) -> bool:
        """Whether the node is one of Erlang's: connected as such, or not connected, and to be reached so."""
        return self._far is not None and self._far.takes_calls(node)

    async def _start_far(
        self, node: str, mine: Pid, module: str, function: str, args: list[Any], timeout: float, *, linked: bool
    ) -> Pid:
        assert self._far is not None  # just asked
        try:
            async with asyncio.timeout(timeout):
                return await self._far.start_at(node, mine, module, function, args, linked=linked)
        except TimeoutError:
            raise CallTimeout(timeout, node, (Atom(module), Atom(function), args)) from None

    async def _start_by_rpc(self, node: str, module: str, function: str, args: list[Any], timeout: float) -> Pid:
        """Start it as the reference does."""
        shown = f"{module}:{function}/{len(args)}"
        call: list[Any] = [Atom(module), Atom(function), args]
        try:
            started = await self._remote.asking.call(node, "erlang", "spawn", call, timeout=timeout)
        except RpcTimeout:
            raise CallTimeout(timeout, node, (Atom(module), Atom(function), args)) from None
        except BadRpc as error:
            if error.reason == UNDEF:
                raise UndefinedFunction(shown) from None
            if isinstance(error.reason, tuple) and error.reason[:1] == (NOT_ALLOWED,):
                raise NotAllowed(node, shown) from None
            raise
        pid = read(started)
        if not isinstance(pid, Pid):
            raise BadRpc(started)
        return pid


def named(node: Node) -> str:
    """The name of a node, given as a str or an Atom."""
    return node.name if isinstance(node, Atom) else node
