"""Start processes at other Python nodes: the extra `spawn`.

    {spawn, start, Number, Caller, Link, Module, Function, Args}    Link: whether to link the new process to Caller
    {spawn, started, Number, Pid}
    {spawn, refused, Number, Reason}    not_allowed, undef or badarg

A link is there before the process runs, and the answer takes the connection that the signals of the link take, so no
end of the process is missed, however early. Who gave up waiting, or has ended, is not linked: the new process then gets
the exit signal that a link to a dead process gives.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partisan._core.connections import ConnectionTable
from partisan.errors import NodeDown, NotAllowed, NotConnected, Overloaded, UndefinedFunction
from partisan.etf import Atom, Pid
from partisan.net.context import Context
from partisan.runtime.apply import BADARG, NOT_ALLOWED, UNDEF, Applied, call_plain
from partisan.runtime.extras import NAME
from partisan.runtime.links import Links
from partisan.wire.atom import MalformedMessage, malformed

if TYPE_CHECKING:
    from partisan.net.link import Link

log = logging.getLogger(__name__)

CAPABILITY = "spawn"

_SPAWN, _START, _STARTED, _REFUSED = map(Atom, (CAPABILITY, "start", "started", "refused"))
_NODEDOWN = Atom("nodedown")


@dataclass(slots=True)
class Asked:
    """A start that another node has been asked for.

    Attributes:
        node: which.
        caller: in whose name.
        linked: whether it is to be linked to the caller.
        shown: the function, for errors.
        future: of its pid; cancelled when nobody waits any more.
    """

    node: str
    caller: Pid
    linked: bool
    shown: str
    future: asyncio.Future[Pid]


class Spawns:
    """What one node starts at others, and they at it.

    Args:
        context: the node's.
        table: its connections.
        applied: finds the functions that others name.
        links: of its processes.
        spawn: callable(function, *arguments) -> pid: starts a process.
    """

    def __init__(
        self,
        context: Context,
        table: ConnectionTable,
        applied: Applied,
        links: Links,
        spawn: Callable[..., Pid],
    ) -> None:
        self.supported: set[str] = set()
        self._context = context
        self._table = table
        self._applied = applied
        self._links = links
        self._spawn = spawn
        self._asked: dict[int, Asked] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many starts are not answered."""
        return len(self._asked)

    def agreed(self, node: str, may: bool) -> None:
        """Whether the node can be asked so."""
        (self.supported.add if may else self.supported.discard)(node)

    def edge(self, node: str, up: bool) -> None:
        """The last connection to a node is lost: it will not answer."""
        if up or self._table.has_own(node):
            return
        for number, asked in list(self._asked.items()):
            if asked.node == node:
                del self._asked[number]
                _fail(asked.future, NodeDown((_NODEDOWN, Atom(node))))

    def ask(
        self, node: str, caller: Pid, linked: bool, module: str, function: str, args: list[Any]
    ) -> asyncio.Future[Pid]:
        """Ask a node that can be asked so to start a process. Raises NotConnected, Overloaded, EncodeError."""
        self._count += 1
        start = (_SPAWN, _START, self._count, caller, linked, Atom(module), Atom(function), args)
        self._context.router.send((NAME, node), start)
        future: asyncio.Future[Pid] = self._context.loop.create_future()
        self._asked[self._count] = Asked(node, caller, linked, f"{module}:{function}/{len(args)}", future)
        return future

    def start_here(self, who: str | None, module: Any, function: Any, args: Any) -> Pid:
        """Start what another node wants started.

        Raises:
            NotAllowed, UndefinedFunction, MalformedMessage: it cannot be.
        """
        self._applied.check(who, CAPABILITY)
        found, args = self._applied.find(who, module, function, args)
        if inspect.iscoroutinefunction(found):
            return self._spawn(found, *args)
        return self._spawn(call_plain, found, args)

    def receive(self, message: tuple[Any, ...], link: Link) -> None:
        """Take `{spawn, ...}` from another node. Raises MalformedMessage."""
        match message:
            case (_, Atom("start"), int(), Pid(), bool(), _, _, _) if message[3].node == link.peer:
                self._start(message, link)
            case (_, Atom("started"), int(number), Pid() as pid) if pid.node == link.peer:
                self._answered(number, pid, link)
            case (_, Atom("refused"), int(number), Atom(reason)):
                asked = self._mine(number, link)
                if asked is not None:
                    undefined = reason == UNDEF.name
                    error = UndefinedFunction(asked.shown) if undefined else NotAllowed(asked.node, asked.shown)
                    _fail(asked.future, error)
            case _:
                malformed(CAPABILITY, message)

    def _start(self, message: tuple[Any, ...], link: Link) -> None:
        _, _, number, caller, linked, module, function, args = message
        key = None
        try:
            pid = self.start_here(link.peer, module, function, args)
        except (NotAllowed, UndefinedFunction, MalformedMessage) as error:
            reason = {NotAllowed: NOT_ALLOWED, UndefinedFunction: UNDEF}.get(type(error), BADARG)
            answer: tuple[Any, ...] = (_SPAWN, _REFUSED, number, reason)
        else:
            answer = (_SPAWN, _STARTED, number, pid)
            key = self._context.router.pair_key(pid, caller)
            if linked:
                self._links.made(pid, caller)
        try:
            self._context.router.send((NAME, caller.node), answer, partition_key=key)
        except (NotConnected, Overloaded) as error:
            log.info("%s does not hear what it started: %s", caller.node, error)
            if linked and key is not None:
                self._links.broken(pid, caller)

    def _answered(self, number: int, pid: Pid, link: Link) -> None:
        asked = self._mine(number, link)
        if asked is None:
            return
        caller = None if asked.future.done() else self._context.router.scheduler.find(asked.caller)
        if asked.linked and caller is not None:
            self._links.made(asked.caller, pid)
        elif asked.linked:
            self._links.refuse(asked.caller, pid)
        if not asked.future.done():
            asked.future.set_result(pid)

    def _mine(self, number: int, link: Link) -> Asked | None:
        """The start that the answer is for."""
        asked = self._asked.get(number)
        if asked is None or asked.node != link.peer:
            return None
        return self._asked.pop(number)


def _fail(future: asyncio.Future[Pid], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
