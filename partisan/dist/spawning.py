"""Processes that one side starts at the other: `spawn_request` of Erlang, and calls of functions, which are such.

    Spawn(request, From, {M, F, Arity}, options; arguments)      SpawnReply(request, From, flags, pid or why not)

A process that calls `erpc:execute_call/4` ends with the outcome as its reason; who has asked for a monitor with the
start hears of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from partisan._core.process import Process
from partisan.dist.control import LINKED, MONITORED, Down, Exit, Spawn, SpawnReply
from partisan.dist.flags import Flag
from partisan.dist.kernel import ERPC, EXECUTE_CALL, EXECUTE_CAST, execute, exit_reason, outcome_from
from partisan.dist.link import DistLink
from partisan.dist.ties import DistLinks, Peers, Witness, tell
from partisan.errors import NodeDown, NotAllowed, SpawnRefused, UndefinedFunction
from partisan.etf import Atom, Pid, Reference
from partisan.net.context import Context
from partisan.runtime.apply import SIGNAL, UNDEF, Applied, Outcome
from partisan.runtime.current import exit as end
from partisan.runtime.spawning import Spawns
from partisan.wire.atom import MalformedMessage

log = logging.getLogger(__name__)

LINK, MONITOR, NODEDOWN, BADARG = map(Atom, ("link", "monitor", "nodedown", "badarg"))
SYSTEM_LIMIT, ABANDONED, NOTSUP = Atom("system_limit"), Atom("abandoned"), Atom("notsup")


@dataclass(slots=True)
class Asked:
    """A start that was asked for.

    Attributes:
        pid: of the process once the node has told it.
        started: its pid, or why there is none.
        ended: why it has ended; None if no monitor was asked for.
    """

    link: DistLink
    sender: Pid
    linked: bool
    started: asyncio.Future[Pid]
    ended: asyncio.Future[Any] | None


class DistSpawns:
    """What this node starts at Erlang nodes, and they at it.

    Args:
        context: the node's.
        peer: name -> connection.
        links: of its processes.
        applied, spawns: run what others name.
        spawn: callable(function, *arguments) -> pid: starts a process.
        make_ref: callable(): a new reference.
    """

    def __init__(
        self,
        context: Context,
        peer: Peers,
        links: DistLinks,
        applied: Applied,
        spawns: Spawns,
        spawn: Callable[..., Pid],
        make_ref: Callable[[], Reference],
    ) -> None:
        self._context = context
        self._peer = peer
        self._links = links
        self._applied = applied
        self._spawns = spawns
        self._spawn = spawn
        self._make_ref = make_ref
        self._asked: dict[Reference, Asked] = {}

    def __len__(self) -> int:
        """How many that were asked for wait: for an answer, or for their end."""
        return len(self._asked)

    def lost(self, node: str) -> None:
        """The connection is gone."""
        for reference, asked in list(self._asked.items()):
            if asked.link.name == node:
                del self._asked[reference]
                down = NodeDown((NODEDOWN, Atom(node)))
                for future in (asked.started, asked.ended):
                    if future is not None and not future.done():
                        future.set_exception(down)

    def start(
        self, link: DistLink, sender: Pid, module: str, function: str, args: list[Any], *, linked: bool, monitored: bool
    ) -> tuple[Reference, Asked]:
        """Ask a node to start a process. Raises SpawnRefused, EncodeError."""
        if not link.has(Flag.SPAWN):
            raise SpawnRefused(link.name, NOTSUP)
        reference, loop = self._make_ref(), self._context.loop
        options = [LINK] * linked + [MONITOR] * monitored
        tell(
            link,
            Spawn(reference, sender, sender, Atom(module), Atom(function), len(args), args, options),
            sender,
        )
        ended = loop.create_future() if monitored else None
        asked = self._asked[reference] = Asked(link, sender, linked, loop.create_future(), ended)
        return reference, asked

    async def call(self, link: DistLink, module: str, function: str, args: list[Any]) -> Outcome:
        """Have a function called; its outcome. Raises NodeDown, SpawnRefused, EncodeError."""
        reference = self._make_ref()
        called = [reference, Atom(module), Atom(function), args]
        key, asked = self.start(
            link, self._context.router.outside, "erpc", "execute_call", called, linked=False, monitored=True
        )
        try:
            assert asked.ended is not None  # a monitor was asked for
            done, _ = await asyncio.wait((asked.started, asked.ended), return_when=asyncio.FIRST_EXCEPTION)
            for future in done:
                future.result()
            return outcome_from(reference, await asked.ended)
        finally:
            self._asked.pop(key, None)
            for each in (asked.started, asked.ended):
                if each is not None and not each.cancel() and not each.cancelled():
                    each.exception()  # whoever lost interest wants no complaint

    def cast(self, link: DistLink, module: str, function: str, args: list[Any]) -> None:
        """Have a function called, and hear nothing of it. Raises EncodeError."""
        called = [Atom(module), Atom(function), args]
        key, asked = self.start(
            link, self._context.router.outside, "erpc", "execute_cast", called, linked=False, monitored=False
        )
        del self._asked[key]
        asked.started.cancel()

    def replied(self, link: DistLink, message: SpawnReply) -> None:
        """A start was answered."""
        asked = self._asked.get(message.request)
        if asked is None or asked.link is not link:
            if isinstance(message.result, Pid) and message.flags & LINKED:
                log.debug("%r has started %r too late", link, message.result)
            return
        if asked.ended is None:
            del self._asked[message.request]
        if isinstance(message.result, Atom):
            self._asked.pop(message.request, None)
            if not asked.started.done():
                asked.started.set_exception(SpawnRefused(link.name, message.result))
            return
        if asked.started.done():  # nobody waits any more
            if message.flags & LINKED:
                tell(link, Exit(asked.sender, message.result, ABANDONED, True), asked.sender)
            return
        if message.flags & LINKED:
            self._links.made(asked.sender, message.result)
        asked.started.set_result(message.result)

    def ended(self, link: DistLink, message: Down) -> bool:
        """A process that was started with a monitor has ended; whether it was one."""
        asked = self._asked.pop(message.reference, None)
        if asked is None or asked.ended is None:
            return False
        if not asked.ended.done():
            asked.ended.set_result(message.reason)
        return True

    def asked(self, link: DistLink, message: Spawn) -> None:
        """The node wants a process started here."""
        outcome: list[Outcome] = []
        reference: Any = None
        try:
            pid, reference = self._start_here(link, message, outcome)
        except (NotAllowed, UndefinedFunction) as error:  # as a function that Erlang does not have
            log.debug("%r: %s", link, error)
            pid = self._spawn(_end, (UNDEF, [(message.module, message.function, message.arguments, [])]))
        except MalformedMessage:
            tell(link, SpawnReply(message.request, message.sender, 0, BADARG))
            return
        process = self._context.router.scheduler.find(pid)
        assert isinstance(process, Process)  # just made
        linked, monitored = LINK in message.options, MONITOR in message.options
        flags = LINKED * linked | MONITORED * monitored
        tell(link, SpawnReply(message.request, message.sender, flags, pid), pid)
        if monitored:

            def told(reason: Any) -> None:
                if outcome:
                    reason = exit_reason(reference, outcome[0])
                tell(link, Down(pid, message.sender, message.request, reason), pid)

            Witness(told).watch(process)
        if linked:
            self._links.made(pid, message.sender)

    def _start_here(self, link: DistLink, message: Spawn, outcome: list[Outcome]) -> tuple[Pid, Any]:
        """Start it: (pid, the reference of a call). Raises NotAllowed, UndefinedFunction, MalformedMessage."""
        if message.module is ERPC and message.function in (EXECUTE_CALL, EXECUTE_CAST):
            *reference, module, function, args = message.arguments

            async def call() -> None:
                if self._applied.running > self._context.config.max_remote_calls:
                    outcome.append((SIGNAL, SYSTEM_LIMIT))
                else:
                    outcome.append(await execute(self._applied, link.peer, module, function, args))

            return self._applied.counted(call), reference[0] if reference else None
        return self._spawns.start_here(link.peer, message.module, message.function, message.arguments), None


async def _end(reason: object) -> None:
    """All that a process does whose function is undefined."""
    end(reason)
