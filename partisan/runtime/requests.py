"""Requests between nodes: who is told that nobody will answer, and what becomes of them when a node goes.

Between Python nodes (the extra `calls`) the node that is asked watches the request itself: `{calls, refuse, Number,
Reason}` tells that whom it was for has ended, or does not exist, `{calls, forget, Number, Target}` that nobody wants
the answer any more, and `{calls, since, Number}`, when the node is connected again, that this is so of all with lower
numbers: connections are lost in one direction alone, and then only the node that asked knows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from partisan._core.calls import call
from partisan._core.connections import ConnectionTable
from partisan._core.process import Process
from partisan._core.references import Place, place_of
from partisan._core.requests import Request, Served
from partisan.errors import EncodeError, NotConnected, Overloaded
from partisan.etf import Atom, Pid
from partisan.net.context import Context
from partisan.runtime.errand import by_process
from partisan.runtime.exits import UNENCODABLE, plainer
from partisan.wire.atom import malformed
from partisan.wire.monitor import node_of_place

if TYPE_CHECKING:
    from partisan.net.link import Link

log = logging.getLogger(__name__)

CAPABILITY = "calls"
_CALLS, _REFUSE, _FORGET, _SINCE = Atom(CAPABILITY), Atom("refuse"), Atom("forget"), Atom("since")
_NODEDOWN = Atom("nodedown")
_OPTIONS = ("timeout", "channel", "partition_key", "label", "where")
"""Of `calls.call`, in the order in which the router hands them on."""

SWEEP = 0.05
"""Seconds in which what nobody wants any more is collected (ours): many requests time out at once, and one walk over
all processes serves everybody who wants nothing that was asked before."""

MOST_LOST = 1024
"""How many lost nodes are remembered, the latest (ours)."""


class Requests:
    """The requests of one node to others, and theirs to it.

    Args:
        context: the node's.
        table: its connections.
        send: callable(node, message, channel): to the node's `partisan_python`.
        spawn: callable(function, *arguments) -> pid: starts a process.
    """

    def __init__(
        self,
        context: Context,
        table: ConnectionTable,
        send: Callable[[str, tuple[Any, ...], str | None], None],
        spawn: Callable[..., Pid],
    ) -> None:
        self._table = table
        self._send = send
        self._spawn = spawn
        self._loop = context.loop
        self._router = context.router
        self._scheduler = context.router.scheduler
        self._forgotten: dict[Process, set[tuple[str | None, int]]] = {}  # process -> requests nobody waits for
        self._since: dict[str | None, int] = {}  # node -> below which number it waits for none of its requests
        self._sweeping = False
        self._lost: dict[str, int] = {}  # node that is not connected any more -> the number of the next request then
        self._router.refuse = self._refuse
        self._router.read_caller = place_of
        self._router.call_outside = self._call_outside
        self._scheduler.forget = self._forget

    def agreed(self, node: str, watched: bool) -> None:
        """Whether the node tells us itself when a process that we have asked ends."""
        if watched or node in self._table.peers:
            self._table.peer(node).watches_calls = watched
        if watched and node in self._lost:
            self._tell(node, (_CALLS, _SINCE, self._lost.pop(node)), None)

    def edge(self, node: str, up: bool) -> None:
        """The last connection to a node is lost: nobody there will answer, and nobody there waits any more.

        What was asked over Erlang's distribution is told by that: see `far_lost`.
        """
        if up or self._table.has_own(node):
            return
        self._lost[node] = self._scheduler.next_alias
        if len(self._lost) > MOST_LOST:
            del self._lost[next(iter(self._lost))]
        self._fail(node, foreign=False)
        self._since.pop(node, None)  # its next life may count from elsewhere
        self._unserve({node: inf})

    def far_lost(self, node: str) -> None:
        """The connection of Erlang's distribution to a node is lost: nobody answers there what was asked over it."""
        self._fail(node, foreign=True)

    def _fail(self, node: str, *, foreign: bool) -> None:
        """End the requests to a node that went over one wire or the other."""
        reason = (_NODEDOWN, Atom(node))
        for alias in list(self._scheduler.aliases.values()):
            if isinstance(alias, Request) and alias.node == node and alias.foreign is foreign:
                alias.fire(reason)

    def receive(self, message: tuple[Any, ...], link: Link) -> None:
        """Take `{calls, ...}` from another node. Raises MalformedMessage."""
        match message:
            case (_, Atom("refuse"), int(number), reason):
                alias = self._scheduler.aliases.get(number)
                if isinstance(alias, Request) and alias.node == link.peer:
                    alias.fire(reason)
            case (_, Atom("forget"), int(number), target):
                process = self._scheduler.find(target) if isinstance(target, Pid) else None
                if isinstance(target, Atom):
                    process = self._scheduler.whereis(target.name)
                if process is not None:
                    self._forgotten.setdefault(process, set()).add((link.peer, number))
                    self._sweep_soon()
            case (_, Atom("since"), int(number)):
                self._since[link.peer] = max(number, self._since.get(link.peer, number))
                self._sweep_soon()
            case _:
                malformed(CAPABILITY, message)

    def _sweep_soon(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP, self._sweep)

    def _sweep(self) -> None:
        """Nobody waits for the requests that were forgotten meanwhile: one walk for all that a process was sent."""
        self._sweeping = False
        forgotten, self._forgotten = self._forgotten, {}
        since, self._since = self._since, {}
        if since:
            self._unserve(since)
        for process, requests in forgotten.items():
            for watch in process.watches():
                if isinstance(watch, Served) and (node_of_place(watch.caller), watch.tag[1]) in requests:
                    watch.unwatch()

    def _unserve(self, below: Mapping[str | None, float]) -> None:
        """These nodes want to hear of no process's end any more for their requests of numbers below those."""
        for process in self._scheduler.processes.values():
            for watch in process.watches():
                if isinstance(watch, Served) and watch.tag[1] < below.get(node_of_place(watch.caller), -inf):
                    watch.unwatch()

    def _refuse(self, caller: Place, tag: tuple[Any, int], channel: str | None, reason: object) -> None:
        node = node_of_place(caller)
        while True:
            try:
                self._tell(node, (_CALLS, _REFUSE, tag[1], reason), channel)
                return
            except EncodeError as error:  # of a process of this node it may be any object, of any size
                if reason is UNENCODABLE:
                    log.error("%s: the end of a process cannot be told: %s", node, error)
                    return
                reason = plainer(reason)

    def _forget(self, node: str, target: Any, number: int) -> None:
        if isinstance(target, tuple):
            target = target[0]
        self._tell(node, (_CALLS, _FORGET, number, target if isinstance(target, Pid | Atom) else Atom(target)), None)

    def _tell(self, node: str, message: tuple[Any, ...], channel: str | None) -> None:
        try:
            self._send(node, message, channel)
        except (NotConnected, Overloaded) as error:  # the loss of the node tells the same
            log.debug("%s is not told: %s", node, error)

    async def _call_outside(self, *arguments: Any) -> Any:
        """Call from code that is no process's own: in a process made for it. Raises Exit if the node stops."""
        return await by_process(self._spawn, self._scheduler, _call, *arguments)


async def _call(target: Any, message: object, *options: Any) -> Any:
    return await call(target, message, **dict(zip(_OPTIONS, options, strict=True)))
