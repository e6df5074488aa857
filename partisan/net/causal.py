"""Causal delivery over the connections of a node: a machine for each label, and their hands.

A message that is sent with a label is stamped, encoded and written, or kept by acknowledged delivery if it is to be. A
causal message that comes is given to its label's machine and, when that says so, delivered as any other. With a store
the state is saved a while after it has changed, and what was to be acknowledged is acknowledged when it is saved.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from partisan import telemetry
from partisan._core.router import Origin
from partisan.errors import EncodeError, NotConnected, Overloaded, UnknownLabel
from partisan.etf import Atom, Pid
from partisan.machines.causal import PATIENCE_TIMER, SAVE_TIMER, CausalDelivery
from partisan.machines.causal_messages import (
    FIRST_NUMBER,
    Arrived,
    CausalConfig,
    Confirmed,
    Forget,
    GivenUp,
    Missing,
    Refused,
    SessionOver,
    Settled,
    Stamped,
    State,
    Trimmed,
)
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Notify,
    Received,
    Save,
    Send,
    Start,
    StartTimer,
    TimedOut,
    Violation,
)
from partisan.wire.causal import (
    Causal,
    acknowledged_clock,
    causal_from_term,
    causal_to_term,
    settled_from_term,
    settled_to_term,
)
from partisan.wire.forward import Forward, without_padding

if TYPE_CHECKING:
    from partisan.config import Config
    from partisan.net.acknowledged import Tag
    from partisan.net.context import Context
    from partisan.net.link import Link

log = logging.getLogger(__name__)

PYTHON = "partisan_python"

_FORWARD_MESSAGE = Atom("forward_message")

MICRO = 10**6


class Body:
    """A message on its way to a process of this node.

    Attributes:
        target: the server reference, a term.
        inbound: the connection on which it came; None if it was saved meanwhile.
        encoded: target and message in the external term format, while it waits.
    """

    __slots__ = ("encoded", "inbound", "message", "target")

    def __init__(self, target: Any, message: Any, inbound: Origin | None = None, encoded: bytes = b"") -> None:
        self.target, self.message = target, message
        self.inbound, self.encoded = inbound, encoded


class Store(Protocol):
    """Where the states of labels are kept."""

    def load(self, label: str) -> State | None:
        """What was saved of a label; its messages are `Body`. Raises StateError."""

    def save(self, label: str, state: State, done: Callable[[], object]) -> None:
        """Save it, later and beside the loop; `done` is called when this state, or a later one, is on disk."""

    async def close(self, grace: float) -> None:
        """Wait until all is saved, for so many seconds at most."""


def options_of(config: Config, saved: bool) -> CausalConfig:
    """The options of causal delivery."""
    options = config.causal
    return CausalConfig(
        patience=options.patience,
        max_waiting=options.max_waiting,
        max_waiting_octets=options.max_waiting_octets,
        save_interval=options.save_interval if saved else None,
    )


class Receipt:
    """Told what becomes of an acknowledged message: tells the machine, and whoever waits."""

    def __init__(self, line: Line, node: str, number: int, tag: Tag | None) -> None:
        self._line, self._node, self._number, self._tag = line, node, number, tag

    def done(self) -> bool:
        """Whether it need not be told any more: it is told once."""
        return False

    def set_result(self, result: None, /) -> None:
        """The message is acknowledged."""
        self._line.handle(Confirmed(self._node, self._number))
        if self._tag is not None and not self._tag.done():
            self._tag.set_result(result)

    def set_exception(self, error: BaseException, /) -> None:
        """The message is given up."""
        self._line.handle(Confirmed(self._node, self._number, arrived=False))
        if self._tag is None:
            log.warning("a message in causal order is given up: %s", error)
        elif not self._tag.done():
            self._tag.set_exception(error)


class Line:
    """The messages of one label.

    Args:
        context: the node's.
        label: its name.
        store: where its state is kept, or None.
        known: callable(node): whether the node is a member.
    """

    def __init__(self, context: Context, label: str, store: Store | None, known: Callable[[str], bool]) -> None:
        self._context, self.label, self._store = context, label, store
        self.machine = CausalDelivery(
            context.node,
            options_of(context.config, store is not None),
            context.rng,
            count=max(FIRST_NUMBER, int(time.time() * MICRO)),
            restored=None if store is None else store.load(label),
            weigh=self._weigh,
            known=known,
        )
        self._timers: dict[object, asyncio.TimerHandle] = {}
        self._unsaved: list[Callable[[], None]] = []  # acknowledgements of what is not on disk
        self._saving = 0
        self._stopped = False
        self._tell: dict[type, Callable[[Any], None]] = {
            Arrived: self._arrived,
            Violation: self._violation,
            Refused: lambda fact: self._trouble(telemetry.CAUSAL_REFUSED, fact.peer, reason=fact.reason),
            Trimmed: lambda fact: self._trouble(telemetry.CAUSAL_REFUSED, fact.peer, reason="trimmed"),
            GivenUp: lambda fact: self._trouble(telemetry.CAUSAL_GIVEN_UP, fact.peer),
            Missing: lambda fact: self._trouble(telemetry.CAUSAL_MISSING, fact.peer),
        }

    def _weigh(self, body: Any) -> int:
        encoded = bytes(self._context.router.codec.encode((body.target, body.message)))
        if self._store is not None:
            body.encoded = encoded  # now: once delivered it may be changed while the store writes it
        return len(encoded)

    def handle(self, event: Any) -> None:
        """Give the machine an event, and carry out what it asks for."""
        if not self._stopped:
            self._perform(self.machine.handle(event, self._context.loop.time()))

    def take(self, peer: str, stamped: Stamped) -> bool:
        """Give the machine a message; whether its sender may forget it."""
        taken = self.machine.receive(peer, stamped, self._context.loop.time())
        self._perform(self.machine.take_effects())
        return taken

    def when_safe(self, acknowledge: Callable[[], None]) -> None:
        """Acknowledge what was taken: now, or as soon as it is on disk."""
        if self._store is None or not (self.machine.unsaved or self._saving):
            acknowledge()
        else:
            self._unsaved.append(acknowledge)

    def perform(self) -> None:
        """Carry out what direct calls of the machine have left."""
        if self.machine.outbox:
            self._perform(self.machine.take_effects())

    def _perform(self, effects: list[Any]) -> None:
        for effect in effects:
            if type(effect) is Notify:
                self._tell[type(effect.fact)](effect.fact)
            elif type(effect) is Send:
                self._settle(effect.peer, effect.message)
            elif type(effect) is StartTimer:
                self._start_timer(effect.timer, effect.after)
            elif type(effect) is Save:
                self._save(effect.state)  # type: ignore[arg-type]  # the machine saves nothing else

    def _settle(self, node: str, message: Any) -> None:
        try:
            self._context.router.send((PYTHON, node), settled_to_term(self.label, message.number))
        except (NotConnected, Overloaded) as error:  # it is told when it is connected again
            log.debug("%s cannot settle with %s: %s", self._context.node, node, error)

    def _start_timer(self, timer: object, after: float) -> None:
        former = self._timers.pop(timer, None)
        if former is not None:
            former.cancel()
        self._timers[timer] = self._context.loop.call_later(after, self._fire, timer)

    def _fire(self, timer: object) -> None:
        del self._timers[timer]
        self.handle(TimedOut(timer))

    def _save(self, state: State) -> None:
        if self._store is None:
            return
        acknowledgements, self._unsaved = self._unsaved, []
        self._saving += 1

        def done() -> None:
            self._saving -= 1
            for acknowledge in acknowledgements:
                acknowledge()

        self._store.save(self.label, state, done)

    def save_now(self) -> None:
        """Save what has changed."""
        if self._store is not None and self.machine.unsaved:
            timer = self._timers.pop(SAVE_TIMER, None)
            if timer is not None:
                timer.cancel()
            self.handle(TimedOut(SAVE_TIMER))

    def retune(self) -> None:
        """The options of the node have changed."""
        self.machine.config = options_of(self._context.config, self._store is not None)
        if self.machine.waiting:
            self.handle(TimedOut(PATIENCE_TIMER))

    def stop(self) -> None:
        """Nothing happens any more."""
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()

    # What the machine tells.

    def _arrived(self, fact: Arrived) -> None:
        body: Any = fact.message
        self._context.router.deliver(body.target, body.message, body.inbound)

    def _violation(self, fact: Violation) -> None:
        violation(self._context, str(fact.peer), f"{fact.detail} (label {self.label})")

    def _trouble(self, event: str, peer: object, **about: str) -> None:
        context = self._context
        context.telemetry.emit(event, {"count": 1}, {"node": str(peer), "label": self.label, **about})
        what = " ".join((event.rpartition(".")[2], *about.values()))
        kind = (event, str(peer), what)
        context.log(log, logging.WARNING, kind, "%s: messages of %s by %s: %s", context.node, peer, self.label, what)


def violation(context: Context, peer: str, detail: str) -> None:
    """Say that a peer broke the protocol; its message is dropped."""
    kind = (peer, detail.partition("number")[0])
    context.log(log, logging.WARNING, kind, "%s: %s broke the protocol: %s", context.node, peer, detail)
    context.telemetry.emit(telemetry.FRAME_REJECTED, {"count": 1}, {"node": peer, "error": detail})


class Causality:
    """The causal orders of one node.

    Args:
        context: the node's.
        store: where they are kept; None: in memory.
    Raises:
        StateError: what was saved cannot be used.
    """

    def __init__(self, context: Context, store: Store | None) -> None:
        self._context, self._store = context, store
        self._members: frozenset[str] = frozenset((context.node,))
        self._foreign: frozenset[str] = frozenset()  # members that run Partisan itself
        self._settling: set[str] = set()
        self._lines = {
            label: Line(context, label, store, lambda node: node in self._members)
            for label in context.config.causal_labels
        }
        context.router.ordering = self._order

    def start(self) -> None:
        """Take up what waited when the node's former life ended."""
        for line in self._lines.values():
            line.handle(Start())

    def retune(self) -> None:
        """The options of the node have changed."""
        for line in self._lines.values():
            line.retune()

    async def stop(self, grace: float) -> None:
        """Save what there is, and do nothing again."""
        for line in self._lines.values():
            line.save_now()
            line.stop()
        if self._store is not None:
            await self._store.close(grace)

    def waiting(self, label: str) -> int:
        """How many messages wait for others. Raises UnknownLabel."""
        return self._line(label).machine.waiting

    def _line(self, label: str) -> Line:
        line = self._lines.get(label)
        if line is None:
            raise UnknownLabel(label, tuple(self._lines))
        return line

    def check(self, label: str) -> None:
        """Raise UnknownLabel if there is no such label."""
        self._line(label)

    # Out.

    def send(
        self,
        label: str,
        node: str,
        target: Atom | Pid,
        message: object,
        *,
        ack: bool,
        channel: str | None = None,
        partition_key: int | None = None,
        retransmission: bool = True,
        expiry: float | None = None,
        tag: Tag | None = None,
        clock: object = None,
    ) -> None:
        """Send a message to a process of another node, in causal order.

        Raises:
            UnknownLabel: there is no such label.
            NotConnected, Overloaded, Unacknowledged, EncodeError: as without a label; the message has no place in the
                order then.
        """
        line, router = self._line(label), self._context.router
        machine = line.machine
        whole = node in self._settling or node not in self._foreign
        dependencies, stamp = machine.stamp(node, whole)
        term = causal_to_term(label, node, target, dependencies, stamp, message)
        if ack:
            self._context.acknowledged.send(
                node,
                target,
                term,
                channel=channel,
                partition_key=partition_key,
                retransmission=retransmission,
                expiry=expiry,
                tag=Receipt(line, node, stamp[0][1], tag),
                clock=acknowledged_clock(label, stamp) if clock is None else clock,
            )
        else:
            body = bytes(router.codec.encode((_FORWARD_MESSAGE, target, term)))
            most = self._context.config.max_frame_octets
            if len(body) > most:
                raise EncodeError(f"a frame of {len(body)} octets is above the limit of {most}")
            queue = router.queue_to(node, target, channel=channel, partition_key=partition_key)
            router.push_body(queue, body)
        machine.sent(node, ack)
        line.perform()

    # In.

    def _order(self, message: tuple[Any, ...], inbound: Origin) -> bool:
        """Take a message that came without a wish for an acknowledgement; False if it only looks causal."""
        causal = causal_from_term(message)
        if causal is None:
            return False
        self._take(causal, message[3], without_padding(message[6]), inbound.link, False)
        return True

    def received(self, forward: Forward, link: Link | None) -> None:
        """Take a causal message from the manager, and acknowledge it if that is wanted."""
        causal = forward.causal
        if causal is None:
            return
        line = self._take(causal, forward.target, forward.message, link, forward.acknowledge is not None)
        if line is not None and forward.acknowledge is not None:
            (node, (_, manager, term)), channel = forward.acknowledge, link.channel if link is not None else None
            line.when_safe(lambda: self._acknowledge(node, manager, term, channel))

    def _acknowledge(self, node: str, manager: Any, term: Any, channel: str | None) -> None:
        try:
            self._context.router.send((manager, node), term, channel=channel)
        except (NotConnected, Overloaded) as error:  # a copy will ask for it
            log.debug("%s cannot acknowledge to %s: %s", self._context.node, node, error)

    def _take(self, causal: Causal, target: Any, message: Any, link: Link | None, kept: bool) -> Line | None:
        """Give a message to the machine of its label, which is returned if the sender may forget the message."""
        peer = link.peer if link is not None else None
        if link is None or peer is None:
            violation(self._context, "?", "a causal message that does not come from its sender")
            return None
        line = self._lines.get(causal.label.name)
        if line is None:
            violation(self._context, peer, f"a causal message with the label {causal.label.name}, which is not here")
            return None
        body = Body(target, message, link.inbound)
        stamped = Stamped(causal.node, causal.dependencies, causal.clock, body, kept)
        return line if line.take(peer, stamped) else None

    def receive(self, message: tuple[Any, ...], link: Link) -> None:
        """Take `{causal, Label, Number}` from a Python node. Raises MalformedMessage."""
        label, number = settled_from_term(message)
        line = self._lines.get(label)
        if line is not None:
            line.handle(Received(link.peer, Settled(number)))

    # What happens to peers.

    def members(self, names: Iterable[str], foreign: Iterable[str]) -> None:
        """The members are now these, and of them those run Partisan itself."""
        self._members, self._foreign = frozenset(names), frozenset(foreign)

    def agreed(self, node: str, settles: bool) -> None:
        """Whether the node, which is connected, takes settlements."""
        if settles:
            self._settling.add(node)
            for line in self._lines.values():
                line.handle(Connected(node, node))

    def edge(self, node: str, up: bool) -> None:
        """We can send to the node, or no longer."""
        if up or self._context.router.table.has_own(node):
            return
        self._settling.discard(node)
        for line in self._lines.values():
            line.handle(Disconnected(node, "closed"))

    def session_over(self, node: str) -> None:
        """The last connection that the node had opened to this one is gone."""
        for line in self._lines.values():
            line.handle(SessionOver(node))

    def forget(self, node: str) -> None:
        """The node has left."""
        for line in self._lines.values():
            line.handle(Forget(node))
