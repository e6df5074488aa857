"""Monitors of processes on other nodes, and theirs of ours: what `machines/monitor` decides, on real connections.

On every node a part is registered as `partisan_monitor`; it speaks with its like on Python nodes and on real ones.
Calls of nodes that do not watch them for us are monitored here, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, cast

from partisan._core.calls import request
from partisan._core.connections import ConnectionTable
from partisan._core.process import Process, running
from partisan._core.requests import Request
from partisan._core.router import PairKey
from partisan._core.ties import Monitor as Tie
from partisan._core.watch import Watch as CoreWatch
from partisan.errors import (
    CallTimeout,
    EncodeError,
    Exit,
    NodeDown,
    NoProc,
    NotConnected,
    Overloaded,
    RemoteProtocolError,
)
from partisan.etf import Atom, Pid, Reference
from partisan.machines.machine import Connected, Disconnected, Notify, Received, Send, Violation
from partisan.machines.monitor import (
    Ask,
    Begin,
    Down,
    End,
    Ended,
    Failed,
    Fired,
    Held,
    Monitor,
    MonitorConfig,
    Unsent,
    Unwatch,
    Watch,
)
from partisan.net.context import Context
from partisan.net.driver import Driver
from partisan.runtime.exits import UNENCODABLE, plainer
from partisan.wire.monitor import NAME, MalformedMessage, monitor_from_term, monitor_to_term

if TYPE_CHECKING:
    from partisan.net.link import Link

log = logging.getLogger(__name__)

RETRY = 0.05
"""Seconds after which what a full queue did not take is tried again (ours)."""

MOST_LATE = 65_536
"""Messages that may wait so for a node; one that asks for more is not listened to (ours)."""

NOPROC, NOCONNECTION, NODEDOWN, TIMEOUT = Atom("noproc"), Atom("noconnection"), Atom("nodedown"), Atom("timeout")


class Waiter(Protocol):
    """Who monitors."""

    def held(self) -> object:
        """The node of what is monitored watches it from now on."""

    def fire(self, reason: Any) -> object:
        """What was monitored has ended, or cannot be monitored."""


class FarMonitor(Tie):
    """A monitor of a process of another node: when its holder ends, that node is told.

    Attributes:
        gone: callable(reference).
    """

    gone: Callable[[Reference], object]

    def held(self) -> None:
        """The other node watches: nobody waits for that."""

    def drop(self) -> int:
        """The holder has ended, or wants no message."""
        self.gone(self.reference)
        return 0


class Witness(CoreWatch):
    """Watches a process for another node."""

    def __init__(self, tell: Callable[[Any], None]) -> None:
        self._tell = tell

    def fire(self, reason: Any) -> int:
        """The process has ended."""
        self._tell(reason)
        return 0


class Monitors:
    """The monitors of one node.

    Args:
        context: the node's.
        table: its connections.
        make_ref: callable(): a reference that the node has not made before.
    """

    wire_name = NAME

    def __init__(self, context: Context, table: ConnectionTable, make_ref: Callable[[], Reference]) -> None:
        self._context = context
        self._table = table
        self._make_ref = make_ref
        self._router = context.router
        self._scheduler = context.router.scheduler
        self._waiters: dict[Reference, Waiter] = {}
        self._witnesses: dict[Reference, Witness] = {}
        self._late: dict[str, deque[Send]] = {}  # node -> what its full queues have not taken, in order
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.machine = self._made(MonitorConfig())
        self._driver = Driver(self.machine, context.loop, {Send: self._send, Notify: self._notify})
        self._facts: dict[type, Callable[[Any], None]] = {
            Fired: lambda fact: self._fire(fact.key, fact.reason),
            Held: self._held,
            Failed: lambda fact: self._fire(fact.key, Atom(fact.why)),
            Watch: self._watch,
            Unwatch: lambda fact: self._witnesses.pop(fact.reference).unwatch(),
            Violation: self._violation,
        }

    def _made(self, config: MonitorConfig) -> Monitor:
        """The machine, of which a trace is written if the node is traced."""
        context, make_ref = self._context, self._make_ref
        if context.tracing is None:
            return Monitor(context.node, config, context.rng, make_ref)
        return context.tracing.machine(
            "monitor",
            context.node,
            config,
            None,
            lambda rng, outside: Monitor(context.node, config, rng, outside(make_ref)),
        )

    # What others ask.

    def begin(
        self,
        key: Reference,
        waiter: Waiter,
        node: str,
        target: Pid | Atom,
        channel: str | None = None,
    ) -> None:
        """Monitor a process of another node; `waiter` is told once, perhaps at once, unless `end` comes before."""
        self._waiters[key] = waiter
        if self._table.has_own(node) and not self.machine.is_up(node):
            self._driver.handle(Connected(node, node))
        place = target if isinstance(target, Pid) else (target.name, node)
        self._driver.handle(Begin(key, node, place, channel, self._router.own_key(target).value))

    def end(self, key: Reference) -> None:
        """Tell the waiter nothing any more."""
        if self._waiters.pop(key, None) is not None:
            self._driver.handle(End(key))

    def edge(self, node: str, up: bool) -> None:
        """The overlay's edge to the node has become usable, or no longer is."""
        if up and not self.machine.is_up(node):
            self._driver.handle(Connected(node, node))
        elif not up and not self._table.has_own(node):
            self._forget(node)
            self._driver.handle(Disconnected(node, "closed"))

    def stop(self) -> None:
        """Tell nobody anything any more."""
        self._driver.stop()
        for node in list(self._timers):
            self._forget(node)

    def receive(self, message: object, link: Link | None) -> None:
        """Take a message for `partisan_monitor`.

        Raises RemoteProtocolError: its node has left too much unread; the connection is closed, as for a malformed
        frame.
        """
        try:
            peer, read = monitor_from_term(message, self._context.node)
        except MalformedMessage as error:
            log.warning("%s: %s", self._context.node, error)
            return
        if peer is not None and len(self._late.get(peer, ())) >= MOST_LATE:
            raise RemoteProtocolError(f"{peer} asks for monitors, and reads no answers")
        self._driver.handle(Received(peer, read))

    # What the machine asks for.

    def _send(self, effect: Send) -> None:
        late = self._late.get(effect.peer)
        if late is not None:
            late.append(effect)
        elif not self._try(effect):
            self._late[effect.peer] = deque((effect,))
            self._again(effect.peer)

    def _try(self, effect: Send) -> bool:
        """Send a message; False if the queue is full, and it must be sent again."""
        message: Any = effect.message
        to, term = monitor_to_term(self._context.node, effect.peer, message)
        options: dict[str, Any] = {"channel": getattr(message, "channel", None)}
        if type(message) is Ask and message.beside is not None:
            options["partition_key"] = PairKey(message.beside)
        if type(message) is Down:
            options["key"] = message.reference  # nothing else supersedes it on a monotonic channel
        try:
            self._router.send(to, term, **options)
        except Overloaded:
            return False
        except NotConnected as error:
            self._unsent(effect, error)
        except EncodeError as error:
            return self._unencoded(effect, error)
        except NoProc as error:  # a process of this node that asked its own part
            log.debug("%s: nobody to answer: %s", self._context.node, error)
        return True

    def _unsent(self, effect: Send, error: NotConnected) -> None:
        """There is no connection of the channel, or none at all any more: then the loss of the node tells the rest."""
        message: Any = effect.message
        if type(message) is Ask:
            self._driver.handle(Unsent(message.origin))
        elif type(message) is Down and message.channel is not None and self._table.has_own(effect.peer):
            self._send(Send(effect.peer, Down(message.reference, message.item, message.reason)))
        else:
            log.debug("%s: %r is not sent: %s", self._context.node, message, error)

    def _unencoded(self, effect: Send, error: EncodeError) -> bool:
        """A process has ended with a reason that is no term, or above the limit of a frame: tell how it reads."""
        message: Any = effect.message
        if type(message) is not Down:
            raise error
        if message.reason is UNENCODABLE:
            log.error("%s: the end of %r cannot be told: %s", self._context.node, message.item, error)
            return True
        told = self._try(Send(effect.peer, replace(message, reason=plainer(message.reason))))
        if told:
            log.warning("%s: the reason of the end of %r cannot be sent: %s", self._context.node, message.item, error)
        return told

    def _again(self, node: str) -> None:
        self._timers[node] = self._context.loop.call_later(RETRY, self._send_late, node)

    def _send_late(self, node: str) -> None:
        late = self._late.pop(node)
        del self._timers[node]
        while late and self._try(late[0]):
            late.popleft()
        if late:
            self._late[node] = late
            self._again(node)

    def _forget(self, node: str) -> None:
        self._late.pop(node, None)
        timer = self._timers.pop(node, None)
        if timer is not None:
            timer.cancel()

    def _notify(self, effect: Notify) -> None:
        self._facts[type(effect.fact)](effect.fact)

    def _held(self, fact: Held) -> None:
        waiter = self._waiters.get(cast(Reference, fact.key))
        if waiter is not None:
            waiter.held()

    def _fire(self, key: Any, reason: Any) -> None:
        waiter = self._waiters.pop(key, None)
        if waiter is not None:
            waiter.fire(reason)

    def _watch(self, fact: Watch) -> None:
        def ended(reason: Any) -> None:
            self._witnesses.pop(fact.reference, None)
            self._driver.handle(Ended(fact.reference, reason))

        witness = self._witnesses[fact.reference] = Witness(ended)
        target = fact.target
        found = self._scheduler.find(target) if isinstance(target, Pid) else self._scheduler.names.get(target[0])
        if isinstance(found, Process):
            witness.watch(found)
        elif found is None:  # else it is a part of the node, and lives as long
            ended(NOPROC)

    def _violation(self, fact: Violation) -> None:
        log.warning("%s: monitors of %s: %s", self._context.node, fact.peer, fact.detail)

    # Calls.

    async def call(
        self,
        target: Any,
        message: object,
        timeout: float | None,
        channel: str | None,
        partition_key: int | None,
        label: object,
        where: object,
    ) -> Any:
        """Ask a process of a node that does not tell us of its end: monitor it first; see `partisan.gen.call`."""
        node, name = (target.node, target) if isinstance(target, Pid) else (_text(target[1]), Atom(_text(target[0])))
        callee, key = _Callee(self._context.loop, node), self._make_ref()
        timer = None if timeout is None else self._context.loop.call_later(max(0.0, timeout), callee.expire)
        asked: Request | None = None
        try:
            self.begin(key, callee, node, name, channel)
            await callee.until(lambda: callee.watched)
            if callee.watched and callee.reason is None:
                sent = request(target, message, label=label, channel=channel, partition_key=partition_key, mailed=False)
                asked = callee.request = sent
                sent.settled = callee.wake
                await callee.until(lambda: not sent.pending)
                if not sent.pending and not sent.failed:
                    return sent.outcome
        finally:
            if timer is not None:
                timer.cancel()
            self.end(key)
            process = running()
            if asked is not None and process is not None:
                process.untie(asked)
                asked.drop()
        call = (where, Atom("call"), [target, message] if timeout == 5.0 else [target, message, timeout])
        raise callee.failure(target, timeout, call)


class _Callee:
    """Whom a call waits for.

    Attributes:
        watched: whether its node will tell of its end.
        request: what it is asked.
        reason: why there is no answer, once that is known.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, node: str) -> None:
        self.watched = False
        self.request: Request | None = None
        self.reason: Any = None
        self._loop = loop
        self._node = node
        self._over = False
        self._waiter: asyncio.Future[None] | None = None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds, the callee has ended, or the time is over."""
        while not self._over and not condition():
            self._waiter = self._loop.create_future()
            await self._waiter

    def wake(self, _: object = None) -> None:
        """Look at the condition."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def held(self) -> None:
        """Its node watches it."""
        self.watched = True
        self.wake()

    def fire(self, reason: Any) -> None:
        """It has ended, or cannot be monitored."""
        self.reason = (NODEDOWN, Atom(self._node)) if reason is NOCONNECTION else reason
        if self.request is not None:
            self.request.fire(self.reason)
        self.expire()

    def expire(self) -> None:
        """Wait no longer."""
        self._over = True
        self.wake()

    def failure(self, target: object, timeout: float | None, call: tuple[Any, ...]) -> Exception:
        """What the call raises."""
        asked = self.request
        reason = asked.outcome if asked is not None and asked.failed else self.reason
        if reason is None or reason is TIMEOUT:
            return CallTimeout(0.0 if timeout is None else timeout, target, call)
        if reason is NOPROC:
            return NoProc(reason, target, call)
        if type(reason) is tuple and reason[:1] == (NODEDOWN,):
            return NodeDown(reason, call)
        return Exit(reason, call)


def _text(name: str | Atom) -> str:
    return name.name if isinstance(name, Atom) else name
