"""Broadcast over the node's connections: what `machines/plumtree` decides, and the handlers of the application.

On every node a part is registered as `partisan_plumtree_broadcast`; it speaks with its like on Python nodes and on real
ones. Its neighbors are those of the overlay. What handlers say to each other in an exchange goes between Python nodes
alone (the extra `exchange`).

    {'$gen_call', From, {get_peers, Root}}      {EagerNames, LazyNames} of a root's tree
    {'$gen_call', From, exchanges}              [{Handler, Peer}] of exchanges that run
    {'$gen_call', From, {cancel_exchanges, W}}  as `plumtree.cancel_exchanges`
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from partisan import telemetry
from partisan._core.calls import call
from partisan._core.process import Process
from partisan._core.references import place_of
from partisan._core.watch import Watch
from partisan.config import Config
from partisan.errors import EncodeError, LocalProtocolError, NoProc, NotConnected, Overloaded
from partisan.etf import Atom, Pid
from partisan.machines.heartbeat import MOD, NOBODY, Heartbeats
from partisan.machines.lww_map import Delete, Put
from partisan.machines.machine import NeighborDown, NeighborUp, Notify, Received, Retune, Send, Start, Violation
from partisan.machines.plumtree import DEFAULT_CHANNEL, Plumtree
from partisan.machines.plumtree_messages import (
    CancelExchanges,
    Exchange,
    ExchangeBegun,
    ExchangeCancelled,
    ExchangeOver,
    GivenUp,
    Handler,
    HandlerFailed,
    Hearing,
    PlumtreeConfig,
    Say,
)
from partisan.net.context import Context
from partisan.net.driver import Driver
from partisan.runtime.extras import NAME as PYTHON
from partisan.wire.atom import MalformedMessage
from partisan.wire.plumtree import EXTRA, SERVER, id_key, message_from_term, message_to_term, say_from_term, say_to_term

if TYPE_CHECKING:
    from partisan.net.link import Link

log = logging.getLogger(__name__)

CANCEL = Atom("cancel_exchange")
"""The reason with which a process that runs an exchange is ended (partisan 5.0.3)."""

_METHODS = sorted(name for name in vars(Handler) if not name.startswith("_"))


def plumtree_config(config: Config) -> PlumtreeConfig:
    """What the options mean to the machine."""
    given = config.plumtree
    return PlumtreeConfig(
        lazy_tick=given.lazy_tick_period,
        graft_after=given.graft_after,
        graft_again=given.graft_again,
        exchange_tick=given.exchange_tick_period,
        exchange_selection=given.exchange_selection,
        exchange_limit=given.broadcast_start_exchange_limit,
        heartbeat=MOD if config.broadcast else None,
        heartbeat_interval=given.broadcast_heartbeat_interval,
        most_trees=given.most_trees,
        most_outstanding=given.most_outstanding,
        key=id_key,
    )


class Job(Watch):
    """Watches a process that runs an exchange for a handler."""

    def __init__(self, over: Callable[[], None]) -> None:
        self._over = over

    def fire(self, reason: Any) -> int:
        """It has ended, and so has the exchange."""
        self._over()
        return 0


@dataclass(frozen=True, slots=True)
class Extra:
    """An extra between Python nodes: see `python_peers.Handler`."""

    receive: Callable[[tuple[Any, ...], Link], None]
    agreed: Callable[[str, bool], None]


class Broadcasts:
    """The broadcast of one node.

    Args:
        context: the node's.
    Attributes:
        heartbeats: what was heard of the lives of other nodes.
    """

    wire_name = SERVER.name

    def __init__(self, context: Context) -> None:
        self._context = context
        self.heartbeats = Heartbeats(Atom(context.node), time.time_ns(), Atom(NOBODY))
        self._machine = Plumtree(context.node, plumtree_config(context.config), context.rng, {MOD: self.heartbeats})
        self._driver = Driver(self._machine, context.loop, {Send: self._send, Notify: self._notify})
        self._facts: dict[type, Callable[[Any], None]] = {
            Violation: self._violation,
            HandlerFailed: self._handler_failed,
            ExchangeBegun: self._begun,
            ExchangeCancelled: self._cancelled,
            GivenUp: lambda fact: log.debug("%s: %s is told no more of %r", context.node, fact.peer, fact.id),
        }
        self._up: set[str] = set()
        self._python: set[str] = set()

    # What the node asks.

    def start(self) -> None:
        """Begin to announce, to exchange, and to say that we live."""
        self._driver.handle(Start())

    def stop(self) -> None:
        """Say nothing any more."""
        self._driver.stop()

    def retune(self) -> None:
        """The options of the node have changed."""
        self._driver.handle(Retune(plumtree_config(self._context.config)))

    def edge(self, node: str, up: bool) -> None:
        """The overlay's edge to a node has become usable, or no longer is."""
        if up and node not in self._up:
            self._up.add(node)
            self._driver.handle(NeighborUp(node))
            self._driver.handle(Hearing(node, node in self._python))
        elif not up and node in self._up:
            self._up.remove(node)
            self._driver.handle(NeighborDown(node, "closed"))

    def add_handler(self, mod: str, handler: Handler) -> None:
        """Let messages of that name be this handler's. Raises TypeError: it is no handler, or of no channel."""
        lacks = [name for name in _METHODS if not hasattr(handler, name)]
        if lacks:
            raise TypeError(f"{handler!r} is no handler: of partisan.plumtree.Handler it lacks {', '.join(lacks)}")
        channel = handler.broadcast_channel()
        if not isinstance(channel, str):
            default = f"the default one is {DEFAULT_CHANNEL!r}"
            raise TypeError(f"{handler!r}.broadcast_channel() is {channel!r}, no name of a channel; {default}")
        self._machine.add_handler(mod, handler)

    def handler(self, mod: str) -> Handler:
        """The handler of that name. Raises LocalProtocolError: there is none."""
        found = self._machine.handlers.get(mod)
        if found is None:
            raise LocalProtocolError(f"no handler {mod!r}: give one to plumtree.add_handler")
        return found

    def broadcast(self, data: Any, mod: str) -> None:
        """Let a handler name and keep a message, and spread it; see `plumtree.broadcast`."""
        self.handler(mod)
        encode = self._context.router.codec.encode
        if isinstance(data, Put | Delete):  # or a map would keep what it can tell nobody
            encode((data.key, getattr(data, "value", None)))
        command = self._machine.prepare(data, mod)
        encode((command.id, command.payload))  # or whoever broadcasts would not hear that it goes nowhere
        self._driver.handle(command)

    def beat(self) -> None:
        """Say that this node lives, now and not at the next interval; if the option says that it does so at all."""
        if self._context.config.broadcast:
            self.broadcast(None, MOD)

    def reborn(self) -> int:
        """Go on as another life of the node; return that."""
        self.heartbeats.epoch = time.time_ns()
        return self.heartbeats.epoch

    def members(self) -> list[str]:
        """Names of those whom messages are sent to, and this node."""
        return sorted({self._context.node, *self._machine.neighbors})

    def peers(self, root: str, channel: str = DEFAULT_CHANNEL) -> tuple[list[str], list[str]]:
        """Names of the eager and the lazy neighbors in the tree of a root, for messages on that channel."""
        eager, lazy = self._machine.peers(root, channel)
        return sorted(eager), sorted(lazy)

    def exchanges(self) -> tuple[Exchange, ...]:
        """Those that run."""
        return self._machine.exchanges

    async def peers_at(self, node: str, root: str, timeout: float) -> tuple[list[str], list[str]]:
        """As `peers` on the default channel, of any node. Raises NodeDown, CallTimeout."""
        if node == self._context.node:
            return self.peers(root)
        eager, lazy = await call((self.wire_name, node), (Atom("get_peers"), Atom(root)), timeout=timeout)
        return [name.name for name in eager], [name.name for name in lazy]

    async def exchanges_at(self, node: str, timeout: float) -> list[tuple[str, str]]:
        """The exchanges that run at any node: (handler, peer). Raises NodeDown, CallTimeout."""
        if node == self._context.node:
            return [(each.mod, each.peer) for each in self.exchanges()]
        found = await call((self.wire_name, node), Atom("exchanges"), timeout=timeout)
        return [(mod.name, peer.name) for mod, peer in found]

    def cancel_exchanges(self, which: CancelExchanges) -> None:
        """End those that match."""
        self._driver.handle(which)

    def exchange_over(self, job: object) -> None:
        """The application's exchange has ended."""
        self._driver.handle(ExchangeOver(job))

    # What comes.

    def receive(self, term: object, link: Link | None) -> None:
        """Take a message for `partisan_plumtree_broadcast`."""
        context = self._context
        try:
            channel = DEFAULT_CHANNEL if link is None else link.channel
            message = message_from_term(term, channel)
        except MalformedMessage as error:
            kind = ("plumtree", None if link is None else link.peer)
            context.log(log, logging.WARNING, kind, "%s: %s", context.node, error)
            return
        if message is not None:
            self._driver.handle(Received(message.sender if link is None else link.peer, message))
        elif not self._serve(term):
            context.router.undeliverable(self.wire_name, term)

    def _serve(self, term: object) -> bool:
        """Answer a question; whether it was one."""
        match term:
            case (Atom("$gen_call"), (caller, tag), question) if asker := place_of(caller):
                pass
            case _:
                return False
        answer: Any
        match question:
            case (Atom("get_peers"), Atom(root)):
                answer = tuple([Atom(name) for name in names] for names in self.peers(root))
            case Atom("broadcast_members"):
                answer = [Atom(name) for name in self.members()]
            case Atom("exchanges"):
                answer = [(Atom(each.mod), Atom(each.peer)) for each in self.exchanges()]
            case (Atom("cancel_exchanges"), which):
                try:
                    self.cancel_exchanges(selection(which))
                except TypeError:
                    return False
                answer = Atom("ok")
            case _:
                return False
        try:
            self._context.router.send(asker, (tag, answer))
        except (NotConnected, Overloaded, NoProc) as error:
            log.debug("%s: nobody to answer: %s", self._context.node, error)
        return True

    @property
    def extras(self) -> dict[str, Extra]:
        """The extra of exchanges, by its capability."""
        return {EXTRA: Extra(self._take_extra, self._agreed)}

    def _agreed(self, node: str, may: bool) -> None:
        (self._python.add if may else self._python.discard)(node)
        self._driver.handle(Hearing(node, may))

    def _take_extra(self, message: tuple[Any, ...], link: Link) -> None:
        self._driver.handle(Received(link.peer, say_from_term(message, link.channel)))

    # What the machine asks for.

    def _send(self, effect: Send) -> None:
        node, message = effect.peer, effect.message
        channel: Any = getattr(message, "channel", None)
        try:
            if type(message) is Say:
                if node in self._python:
                    self._context.router.send((PYTHON, node), say_to_term(message), channel=channel)
                return
            self._context.router.send((SERVER, node), message_to_term(message), channel=channel)  # type: ignore[arg-type]
        except (NotConnected, Overloaded) as error:  # announced later, or brought by an exchange
            log.debug("%s: a broadcast does not go to %s: %s", self._context.node, node, error)
        except EncodeError as error:  # else the peer would pay for what our handler says
            mod, text = getattr(message, "mod", None), "%s: what the broadcast handler %s says cannot be sent"
            self._context.log(log, logging.ERROR, ("handler", mod), text, self._context.node, mod, error=error)

    def _notify(self, effect: Notify) -> None:
        self._facts[type(effect.fact)](effect.fact)

    def _violation(self, fact: Violation) -> None:
        context, peer = self._context, str(fact.peer)
        kind = ("plumtree", peer, fact.detail.partition(":")[0])
        context.log(log, logging.WARNING, kind, "%s: %s broke the protocol: %s", context.node, peer, fact.detail)
        context.telemetry.emit(telemetry.FRAME_REJECTED, {"count": 1}, {"node": peer, "error": fact.detail})

    def _handler_failed(self, fact: HandlerFailed) -> None:
        context = self._context
        text = "%s: the broadcast handler %s has raised in %s"
        context.log(
            log, logging.ERROR, ("handler", fact.mod), text, context.node, fact.mod, fact.callback, error=fact.error
        )

    def _begun(self, fact: ExchangeBegun) -> None:
        job = fact.exchange.job
        if not isinstance(job, Pid):
            return  # whoever began it says when it is over
        process = self._context.router.scheduler.find(job)
        if isinstance(process, Process):
            Job(lambda: self.exchange_over(job)).watch(process)
        else:
            self._context.loop.call_soon(self.exchange_over, job)  # it has ended already

    def _cancelled(self, fact: ExchangeCancelled) -> None:
        job = fact.exchange.job
        process = self._context.router.scheduler.find(job) if isinstance(job, Pid) else None
        if process is not None:
            process.doom(CANCEL, True)


def selection(which: Any) -> CancelExchanges:
    """Which exchanges are meant: `all`, ("peer", name), ("mod", name), or the job. Names are str or Atoms."""
    match which:
        case "all" | Atom("all") | None:
            return CancelExchanges()
        case ("peer" | Atom("peer"), name):
            return CancelExchanges(peer=text(name))
        case ("mod" | Atom("mod"), name):
            return CancelExchanges(mod=text(name))
    return CancelExchanges(job=which)


def text(name: str | Atom) -> str:
    """The name as a str. Raises TypeError."""
    if isinstance(name, Atom):
        return name.name
    if not isinstance(name, str):
        raise TypeError(f"{name!r} is no name: a str or an Atom")
    return name
