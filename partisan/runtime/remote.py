"""What other nodes may ask of this one besides messages, and it of them: the parts, put together.

Towards Python nodes these are extras, each of which is agreed on: links, exit, spawn, erpc. Towards real nodes there is
the reference's rpc.

    {exit, From, To, Reason}            an exit signal; {exit, refused, To}: the target's node does not allow it
    {erpc, {Pid, Tag}, {M, F, Args}}    call a function: {Tag, Outcome} to Pid answers; {erpc, cast, ...}: nothing does
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from partisan._core.connections import ConnectionTable
from partisan._core.references import read
from partisan._core.router import PairKey
from partisan.errors import (
    BadRpc,
    EncodeError,
    ErlangError,
    NodeDown,
    NotAllowed,
    NotConnected,
    Overloaded,
)
from partisan.etf import Atom, Pid
from partisan.names import NodeSpec
from partisan.net.context import Context
from partisan.runtime.allow import AllowList
from partisan.runtime.apply import BADARG, Applied, Outcome, answer
from partisan.runtime.asking import Asking
from partisan.runtime.extras import NAME
from partisan.runtime.links import Links
from partisan.runtime.python_peers import Handler
from partisan.runtime.spawning import Spawns
from partisan.wire.atom import MalformedMessage, malformed
from partisan.wire.spec import spec_to_term

if TYPE_CHECKING:
    from partisan.net.link import Link

log = logging.getLogger(__name__)

EXIT, ERPC = "exit", "erpc"
_EXIT, _REFUSED = Atom(EXIT), Atom("refused")


class Exits:
    """Exit signals to and from other nodes.

    Args:
        context: the node's.
        table: its connections.
        applied: knows the allow-list.
        asking: for nodes that have not agreed on the extra.
        spawn: callable(function, *arguments) -> pid: starts a process.
    """

    def __init__(
        self,
        context: Context,
        table: ConnectionTable,
        applied: Applied,
        asking: Asking,
        spawn: Callable[..., Pid],
    ) -> None:
        self._context = context
        self._table = table
        self._applied = applied
        self._asking = asking
        self._spawn = spawn
        self._supported: set[str] = set()

    def agreed(self, node: str, may: bool) -> None:
        """Whether the node takes the extra."""
        (self._supported.add if may else self._supported.discard)(node)

    def send(self, sender: Pid, pid: Pid, reason: object) -> None:
        """Send a process of another node an exit signal; nobody hears of it where there is no connection.

        Raises Overloaded, EncodeError.
        """
        if pid.node in self._supported:
            key = self._context.router.pair_key(sender, pid)
            try:
                self._context.router.send((NAME, pid.node), (_EXIT, sender, pid, reason), partition_key=key)
            except NotConnected as error:
                log.debug("an exit signal to %r is lost: %s", pid, error)
        elif self._table.is_connected(pid.node):
            self._context.router.codec.encode(reason)
            self._spawn(self._ask, pid, reason)

    async def _ask(self, pid: Pid, reason: object) -> None:
        try:
            await self._asking.call(pid.node, "partisan", "exit", [pid, reason], timeout=5.0)
        except (BadRpc, NodeDown, Overloaded, EncodeError) as error:
            log.warning("%s: an exit signal to %r has no effect: %s", self._context.node, pid, error)

    def receive(self, message: tuple[Any, ...], link: Link) -> None:
        """Take `{exit, ...}` from another node. Raises MalformedMessage."""
        match message:
            case (_, Pid() as sender, Pid() as pid, reason) if sender.node == link.peer:
                try:
                    self.take(link.peer, sender, pid, reason)
                except NotAllowed:
                    self._refuse(sender, pid)
            case (_, Atom("refused"), Pid() as pid) if pid.node == link.peer:
                kind = ("exit refused", link.peer)
                text = "%s: %s does not allow exit signals: %r goes on"
                self._context.log(log, logging.WARNING, kind, text, self._context.node, link.peer, pid)
            case _:
                malformed(EXIT, message)

    def take(self, who: str | None, sender: Pid, pid: Pid, reason: object) -> None:
        """Send a process here the exit signal of another node. Raises NotAllowed."""
        self._applied.check(who, EXIT)
        process = self._context.router.scheduler.find(pid) if pid.node == self._context.node else None
        if process is not None:
            process.signal(reason, sender)

    def _refuse(self, sender: Pid, pid: Pid) -> None:
        try:
            self._context.router.send((NAME, sender.node), (_EXIT, _REFUSED, pid))
        except (NotConnected, Overloaded) as error:
            log.debug("%s does not hear that its signal was refused: %s", sender.node, error)


class Erpc:
    """The asked side of erpc: the asking side is in `partisan.erpc`."""

    def __init__(self, context: Context, applied: Applied) -> None:
        self.supported: set[str] = set()
        self._context = context
        self._applied = applied

    def agreed(self, node: str, may: bool) -> None:
        """Whether the node takes the extra."""
        (self.supported.add if may else self.supported.discard)(node)

    def receive(self, message: tuple[Any, ...], link: Link) -> None:
        """Take `{erpc, ...}` from another node. Raises MalformedMessage."""
        match message:
            case (_, Atom("cast"), (module, function, args)):
                self._applied.apply(link.peer, module, function, args, _nobody)
            case (_, (Pid() as caller, tag), (module, function, args)) if caller.node == link.peer:
                channel = link.channel

                def told(outcome: Outcome) -> None:
                    send = self._context.router.send
                    answer(lambda term: send(caller, term, channel=channel), lambda made: (tag, made), outcome)

                self._applied.apply(link.peer, module, function, args, told)
            case _:
                malformed(ERPC, message)


def _nobody(outcome: Outcome) -> None:
    """A cast: nobody wants its outcome."""


class Remote:
    """All of it, of one node.

    Args:
        context: the node's.
        table: its connections.
        spawn: callable(function, *arguments) -> pid: starts a process.
        outside: the pid of nobody.
        spec: callable() -> the node's spec.
        undeliverable: callable(target, message): takes what came for nobody.
    Attributes:
        handlers: the extras, by their capability.
    """

    def __init__(
        self,
        context: Context,
        table: ConnectionTable,
        *,
        spawn: Callable[..., Pid],
        outside: Pid,
        spec: Callable[[], NodeSpec],
        undeliverable: Callable[[object, object], None],
    ) -> None:
        self._context = context
        self._spec = spec
        self.allow = AllowList(context.node, lambda: context.config.allow)
        self.applied = Applied(context, self.allow, spawn, self._builtins())
        self.links = Links(context, table.has_own, self._tell)
        self.spawns = Spawns(context, table, self.applied, self.links, spawn)
        self.asking = Asking(context, table, self.applied, spawn=spawn, outside=outside, undeliverable=undeliverable)
        self.exits = Exits(context, table, self.applied, self.asking, spawn)
        self.erpc = Erpc(context, self.applied)
        self.handlers: dict[str, Handler] = {
            "links": self.links,
            "spawn": self.spawns,
            EXIT: self.exits,
            ERPC: self.erpc,
        }

    def edge(self, node: str, up: bool) -> None:
        """The overlay's edge to the node has become usable, or no longer is."""
        self.links.edge(node, up)
        self.spawns.edge(node, up)
        self.asking.edge(node, up)

    def _tell(self, node: str, message: tuple[Any, ...], key: PairKey) -> None:
        self._context.router.send((NAME, node), message, partition_key=key)

    def _builtins(self) -> dict[str, Callable[..., Any]]:
        """What the reference's own functions, and Erlang's, do here: each takes the asking node first."""
        return {
            "partisan:node_spec": self._node_spec,
            **dict.fromkeys(("partisan:whereis", "erlang:whereis"), self._whereis),
            **dict.fromkeys(("partisan:is_process_alive", "erlang:is_process_alive"), self._is_process_alive),
            **dict.fromkeys(("partisan:exit", "erlang:exit"), self._exit),
            **dict.fromkeys(("partisan:spawn", "erlang:spawn"), self._spawn_here),
        }

    def _node_spec(self, who: str | None) -> object:
        return spec_to_term(self._spec())

    def _whereis(self, who: str | None, name: object) -> Pid | None:
        if not isinstance(name, Atom):
            raise ErlangError(BADARG)
        process = self._context.router.scheduler.whereis(name.name)
        return None if process is None else process.pid

    def _is_process_alive(self, who: str | None, pid: object) -> bool:
        process = self._context.router.scheduler.find(self._local(pid))
        return process is not None and process.alive

    def _exit(self, who: str | None, pid: object, reason: object) -> bool:
        self.exits.take(who, Pid(who or self._context.node, 0), self._local(pid), reason)
        return True

    def _spawn_here(self, who: str | None, module: object, function: object, args: object) -> Pid:
        try:
            return self.spawns.start_here(who, module, function, args)
        except MalformedMessage as error:
            raise ErlangError(BADARG) from error

    def _local(self, term: object) -> Pid:
        pid = read(term)
        if not isinstance(pid, Pid) or pid.node != self._context.node:
            raise ErlangError(BADARG)
        return pid
