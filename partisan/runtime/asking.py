"""Ask other nodes to call functions, in the frames of the reference.

    {call, Module, Function, Args, Timeout, {origin, Pid}}     to the name `partisan_rpc_backend`; Timeout is but told
    {rpc_response, Result}                                     to Pid

Nothing in an answer says which request it is for. So each is made by a process of its own that ends with its answer or
without: what is late comes for a pid that nobody has any more.

Source: section 7.1 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from partisan._core.connections import ConnectionTable
from partisan._core.process import receive
from partisan._core.references import place_of
from partisan.errors import BadRpc, NodeDown, NotConnected, Overloaded, ReceiveTimeout, RpcTimeout
from partisan.etf import Atom, Pid
from partisan.net.context import Context
from partisan.runtime.apply import RETURN, Applied, Outcome, answer
from partisan.runtime.current import self as self_pid
from partisan.runtime.errand import by_process

if TYPE_CHECKING:
    from partisan.net.link import Link
    from partisan.runtime.far import Far

log = logging.getLogger(__name__)

NAME = "partisan_rpc_backend"
"""The name that takes requests on every node (partisan 5.0.3)."""

_CALL, _ORIGIN, _RESPONSE, _BADRPC = Atom("call"), Atom("origin"), Atom("rpc_response"), Atom("badrpc")
_EXIT = Atom("EXIT")
_INFINITY, _NODEDOWN, _TIMEOUT = Atom("infinity"), Atom("nodedown"), Atom("timeout")


class Asking:
    """The rpc of one node: its calls to others, and theirs to it.

    Args:
        context: the node's.
        table: its connections.
        applied: runs what others ask for.
        spawn: callable(function, *arguments) -> pid: starts a process.
        outside: the pid of nobody, to which answers go that nobody wants.
        undeliverable: callable(target, message): takes what is no request.
    """

    def __init__(
        self,
        context: Context,
        table: ConnectionTable,
        applied: Applied,
        *,
        spawn: Callable[..., Pid],
        outside: Pid,
        undeliverable: Callable[[object, object], None],
    ) -> None:
        self._undeliverable = undeliverable
        self._context = context
        self._table = table
        self._applied = applied
        self._spawn = spawn
        self._outside = outside
        self.far: Far | None = None  # how Erlang nodes are asked
        self._asked: dict[str, dict[Pid, None]] = {}  # node -> processes that wait for its answer

    def __len__(self) -> int:
        """How many calls wait."""
        return sum(map(len, self._asked.values()))

    def edge(self, node: str, up: bool) -> None:
        """The last connection to a node is lost: nobody there will answer."""
        if not up and not self._table.has_own(node):
            for pid in list(self._asked.get(node, ())):
                self._context.router.send(pid, (_NODEDOWN, Atom(node)))

    async def call(
        self,
        node: str,
        module: str,
        function: str,
        args: list[Any],
        *,
        timeout: float | None = None,
        channel: str | None = None,
        partition_key: int | None = None,
    ) -> Any:
        """Call a function at another node.

        Raises:
            BadRpc: it gave no value. RpcTimeout: none in time.
            NodeDown: the node is not connected, or was lost meanwhile.
            Overloaded, EncodeError: it cannot be asked.
        """
        if node == self._context.node:
            return await self._call_here(Atom(module), Atom(function), args, timeout)
        if self.far is not None and self.far.takes_calls(node):
            return await self._call_far(self.far, node, module, function, args, timeout)
        wait = _INFINITY if timeout is None else max(0, int(timeout * 1000))
        request = (Atom(module), Atom(function), args, wait)
        options = {"channel": channel, "partition_key": partition_key}
        scheduler = self._context.router.scheduler
        return await by_process(self._spawn, scheduler, self._ask, node, request, timeout, options, lost=self._stopped)

    def _stopped(self, reason: object) -> NodeDown:
        """Of a call that this node cannot wait for any more, because it stops."""
        return NodeDown((_NODEDOWN, Atom(self._context.node)))

    async def _call_far(
        self, far: Far, node: str, module: str, function: str, args: list[Any], timeout: float | None
    ) -> Any:
        """Call a function at an Erlang node, as `rpc:call/5` does: what it throws is a value."""
        try:
            async with asyncio.timeout(timeout):
                outcome = await far.execute(node, module, function, args)
        except TimeoutError:
            raise RpcTimeout(_TIMEOUT) from None
        match outcome:
            case (Atom("return") | Atom("throw"), value):
                return value
            case (Atom("error"), reason, stack):
                raise BadRpc((_EXIT, (reason, stack)))
        raise BadRpc((_EXIT, outcome[1]))

    async def _call_here(self, module: Atom, function: Atom, args: list[Any], timeout: float | None) -> Any:
        """Call a function of this node, as another one would."""
        future: asyncio.Future[Any] = self._context.loop.create_future()
        self._applied.apply(self._context.node, module, function, args, lambda outcome: set_result(future, outcome))
        try:
            async with asyncio.timeout(timeout):
                return _value_of(_response(await future))
        except TimeoutError:
            if future.cancelled():
                raise RpcTimeout(_TIMEOUT) from None
            raise

    def cast(self, node: str, module: str, function: str, args: list[Any], channel: str | None = None) -> None:
        """Have a function called at another node, if that is possible. Raises EncodeError."""
        if node == self._context.node:
            self._applied.apply(node, Atom(module), Atom(function), args, _drop)
            return
        if self.far is not None and self.far.is_peer(node):
            self.far.cast(node, module, function, args)
            return
        message = (_CALL, Atom(module), Atom(function), args, _INFINITY, (_ORIGIN, self._outside))
        try:
            self._context.router.send((NAME, node), message, channel=channel)
        except (NotConnected, Overloaded) as error:
            log.info("%s: a cast of %s:%s is lost: %s", self._context.node, module, function, error)

    async def _ask(self, node: str, request: tuple[Any, ...], timeout: float | None, options: dict[str, Any]) -> Any:
        mine = self_pid()
        self._asked.setdefault(node, {})[mine] = None
        try:
            self._context.router.send((NAME, node), (_CALL, *request, (_ORIGIN, mine)), **options)
            return _value_of(await receive((_RESPONSE, ...), (_NODEDOWN, Atom(node)), timeout=timeout))
        except NotConnected:
            raise NodeDown((_NODEDOWN, Atom(node))) from None
        except ReceiveTimeout:
            raise RpcTimeout(_TIMEOUT) from None
        finally:
            waiting = self._asked[node]
            del waiting[mine]
            if not waiting:
                del self._asked[node]

    def receive(self, message: object, link: Link | None) -> None:
        """Take what comes for the name; what is no request is dropped and counted, as in the reference."""
        match message:
            case (Atom("call"), module, function, args, _, (Atom("origin"), term)) if origin := place_of(term):
                channel = None if link is None else link.channel
                who = None if link is None else link.peer

                def told(outcome: Outcome) -> None:
                    answer(lambda term: self._context.router.send(origin, term, channel=channel), _response, outcome)

                self._applied.apply(who, module, function, args, told)
            case _:
                self._undeliverable(NAME, message)


def set_result(future: asyncio.Future[Any], value: Any) -> None:
    """Give a future its result unless nobody wants it any more."""
    if not future.done():
        future.set_result(value)


def _drop(outcome: Outcome) -> None:
    """Nobody wants it."""


def _value_of(message: tuple[Any, Any]) -> Any:
    """The value of an answer. Raises BadRpc, NodeDown."""
    if message[0] == _NODEDOWN:
        raise NodeDown(message)
    match message[1]:
        case (Atom("badrpc"), Atom("nodedown")):
            raise NodeDown(_NODEDOWN)
        case (Atom("badrpc"), reason):
            raise BadRpc(reason)
        case value:
            return value


def _response(outcome: Outcome) -> tuple[Any, Any]:
    """The answer that the reference gives: of an exception its reason, whatever its class."""
    value = outcome[1] if outcome[0] == RETURN else (_BADRPC, outcome[1])
    return (_RESPONSE, value)
