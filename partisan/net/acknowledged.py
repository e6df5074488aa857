"""Acknowledged delivery over the connections of a node: the machine's hands.

A message that is sent with `ack` is encoded once, kept, and written; what is not acknowledged is written again. What
comes is handed on once and acknowledged: to a Python node that has agreed to it in one message a loop turn, to others
one by one as Partisan does it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from partisan import telemetry
from partisan._core.acknowledged import Acknowledging, Fresh, Parcel
from partisan._core.process import Process, running
from partisan._core.references import read_target
from partisan._core.sendqueue import SendQueue
from partisan.errors import EncodeError, NotAcknowledged, NotConnected, Overloaded
from partisan.etf import Atom, Pid
from partisan.machines.acknowledged import Ack, AcknowledgedDelivery, Acks, Coalesce, Forget, SessionOver
from partisan.machines.machine import (
    Connected,
    Disconnected,
    Notify,
    Send,
    StartTimer,
    TimedOut,
    Violation,
)
from partisan.machines.outstanding import FIRST_NUMBER, AcknowledgedConfig, Awaited, Delivered, Expired
from partisan.names import DEFAULT_CHANNEL
from partisan.wire.acknowledged import (
    acks_from_term,
    acks_to_term,
    clock_to_term,
    clocked_to_term,
    fingerprint,
    kept_from_term,
    kept_to_term,
    message_to_term,
    number_from_clock,
    number_from_message,
)
from partisan.wire.atom import malformed
from partisan.wire.causal import is_causal
from partisan.wire.forward import ack_to_term, without_padding

if TYPE_CHECKING:
    from partisan.config import Config
    from partisan.net.context import Context
    from partisan.net.link import Link

log = logging.getLogger(__name__)

PYTHON = "partisan_python"

Place = tuple[Atom | Pid, str | None, int | None]
"""Where a message goes: target, channel, partition key."""


class Written(NamedTuple):
    """A message that is kept with options of its own."""

    frame: bytes
    place: Place


def options_of(config: Config) -> AcknowledgedConfig:
    """What the node's options mean to the machine."""
    return AcknowledgedConfig(
        retransmit_interval=config.retransmit_interval,
        retransmit_backoff_max=config.retransmit_backoff_max,
        jitter=config.retransmit_jitter,
        expiry=config.acknowledge_expiry,
        max_messages=config.max_unacknowledged,
        max_octets=config.max_unacknowledged_octets,
    )


class Tag(Protocol):
    """Who is told what became of a message: a future, or what does the same."""

    def done(self) -> bool:
        """Whether it need not be told any more."""

    def set_result(self, result: None, /) -> None:
        """The message is acknowledged."""

    def set_exception(self, error: BaseException, /) -> None:
        """The message is given up."""


class Relays(Protocol):
    """What passes messages on to nodes that are no neighbors."""

    def may(self, node: str, ack: bool) -> bool:
        """Whether what is sent to the node is relayed without being asked for; `ack`: it was to be acknowledged."""

    def can_carry(self, node: str, octets: int) -> bool:
        """Whether so much more can be relayed to the node now, and leave room for what is not sent again."""

    def carry(self, node: str, message: tuple[Any, ...], channel: str | None) -> None:
        """Relay a message to the node's `partisan_python`; it is sent again if it gets lost. Raises as `send`."""


class Clocks:
    """The clocks of messages that were sent under clocks of their own, and wait to be acknowledged."""

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, bytes], int] = {}
        self._clocks: dict[tuple[str, int], bytes] = {}

    def check(self, node: str, clock: bytes) -> None:
        """Raise ValueError if a message to the node waits under that clock."""
        if (node, clock) in self._numbers:
            raise ValueError(f"a message to {node} under this clock waits for its acknowledgement already")

    def enter(self, node: str, clock: bytes, number: int) -> None:
        """The message of that number goes to the node under that clock."""
        self._numbers[node, clock] = number
        self._clocks[node, number] = clock

    def take(self, node: str, clock: bytes) -> int | None:
        """The number of the node's message under that clock, which does not wait any more; None if none does."""
        number = self._numbers.pop((node, clock), None)
        if number is not None:
            del self._clocks[node, number]
        return number

    def drop(self, node: str, number: int) -> None:
        """The message of that number does not wait any more, if it has a clock of its own."""
        clock = self._clocks.pop((node, number), None)
        if clock is not None:
            del self._numbers[node, clock]


class Acknowledged:
    """What one node has sent and received with acknowledgement.

    Args:
        context: the node's.
    Attributes:
        relays: what carries the messages of a neighbor that is none any more; set before the first event.
    """

    relays: Relays

    def __init__(self, context: Context) -> None:
        self._context = context
        self._me = Atom(context.node)
        self._carried: set[str] = set()  # nodes that take what is kept by relays
        self._doubtful: set[str] = set()  # nodes to which there may be another way than there was
        options = options_of(context.config)
        self._machine = AcknowledgedDelivery(context.node, options, context.rng, fresh=Fresh)  # type: ignore[arg-type]
        self._timer: asyncio.TimerHandle | None = None
        self._clocks = Clocks()
        self._awaited: dict[asyncio.Future[None], Awaited] = {}
        self._held: dict[str, set[Process]] = {}  # peer -> processes that sent it as much as may wait
        self._settled: asyncio.Future[None] | None = None  # who stops the node waits for it
        self._facts: dict[type, Callable[[Any], None]] = {
            Delivered: self._delivered,
            Expired: self._expired,
            Violation: self._violation,
        }
        self._fast = context.router.acknowledging = Acknowledging(
            context.node,
            sent=self._machine.sent,
            seen=self._machine.seen,
            clock=context.loop.time,
            carry_out=self._carry_out,
            owe=lambda: context.loop.call_soon(self._acknowledge),
            hold=self._hold,
            expected=self._expected,
            first_number=FIRST_NUMBER,
        )
        self._limit(options)

    def only_to_python(self) -> None:
        """Write to no peer before it has agreed to take acknowledged messages: under this overlay it might crash."""
        self._fast.only_agreed = True

    def retune(self) -> None:
        """The options of the node have changed."""
        options = options_of(self._context.config)
        self._machine.reconfigure(options)
        self._limit(options)

    def _limit(self, options: AcknowledgedConfig) -> None:
        self._high_water = self._fast.high_water = options.max_messages // 2
        self._fast.max_messages, self._fast.max_octets = options.max_messages, options.max_octets
        self._fast.max_frame = self._context.config.max_frame_octets

    async def settled(self, grace: float) -> None:
        """Wait until nothing waits for an acknowledgement of a node that is connected, or for `grace` seconds."""
        self._settled = self._context.loop.create_future()
        self.look()
        await asyncio.wait([self._settled], timeout=grace)
        self._settled = None

    def look(self) -> None:
        """Less may wait for an acknowledgement than before, or a connection is gone: tell `settled` if it is done."""
        if self._settled is not None and not self._settled.done() and not self._waits():
            self._settled.set_result(None)
        if self._awaited:
            self._tell_waiters()

    def _waits(self) -> bool:
        """Whether something waits for an acknowledgement of a node that is connected."""
        connected = self._context.router.table.has_own
        return any(len(lane) and connected(str(peer)) for peer, lane in self._machine.sent.lanes.items())

    async def confirmed(self, node: str | None = None, channel: str | None = None) -> None:
        """Wait until what was sent before this has been acknowledged, or given up.

        Args:
            node: to that node; None is to every one that is connected.
            channel: what was sent on it; None is all.
        """
        table, lanes = self._context.router.table, self._machine.sent.lanes
        peers = [node] if node is not None else [peer for peer in lanes if table.has_own(str(peer))]
        awaited = self._machine.sent.awaited(
            peers, lambda kept: channel is None or (kept.place[1] or DEFAULT_CHANNEL) == channel
        )
        if awaited.over():
            return
        waiter: asyncio.Future[None] = self._context.loop.create_future()
        self._awaited[waiter] = awaited
        try:
            await waiter
        finally:
            del self._awaited[waiter]

    def _tell_waiters(self) -> None:
        """Messages have been acknowledged, or given up: whoever waited for them alone goes on."""
        for waiter, awaited in self._awaited.items():
            if not waiter.done() and awaited.over():
                waiter.set_result(None)

    def stop(self) -> None:
        """Send nothing again; whoever waits for an acknowledgement hears that none will come."""
        if self._timer is not None:
            self._timer.cancel()
        for peer in self._machine.sent.peers():
            self.forget(peer, "the node has stopped")

    @property
    def _manager(self) -> Atom:
        return Atom(self._context.manager.wire_name)

    # Out.

    def send(
        self,
        node: str,
        target: Atom | Pid,
        message: object,
        *,
        channel: str | None = None,
        partition_key: int | None = None,
        retransmission: bool = True,
        expiry: float | None = None,
        tag: Tag | None = None,
        clock: object = None,
    ) -> None:
        """Send a message to a process of another node, and again until it is acknowledged.

        Args:
            clock: a term under which it is acknowledged, instead of our number; the other node takes each copy for a
                message of its own.
        Raises:
            ValueError: a message to the node under that clock waits already.
            NotConnected: the node is no member, and was never connected. Others are waited for, unless the message is
                to be sent once.
            Overloaded: the channel's queue is full and its policy refuses more; the message is not kept.
            Unacknowledged: too much to that node is not acknowledged yet; the message is not kept.
            EncodeError: the message is no term, or its frame would be too large.
        """
        router, loop = self._context.router, self._context.loop
        queue = self._queue(node, target, channel, partition_key)
        if queue is None and not retransmission:
            raise NotConnected(node, known=True)  # it would wait to be given up, and never be sent
        lane = self._machine.sent.lane(node)
        if clock is None:
            body = router.codec.encode(message_to_term(self._me, lane.next, target, message))
        else:
            body = router.codec.encode(clocked_to_term(self._me, clock, target, message))
        if len(body) > self._fast.max_frame:
            raise EncodeError(f"a frame of {len(body)} octets is above the limit of {self._fast.max_frame}")
        named, number = None if clock is None else bytes(router.codec.encode(clock)), lane.next
        if named is not None:
            self._clocks.check(node, named)
        kept = Written(body, (target, channel, partition_key))
        if retransmission and expiry is None:
            self._machine.sent.submit(lane, kept, len(body), loop.time(), tag)
        else:
            self._machine.sent.submit_with(
                lane, kept, len(body), loop.time(), tag, retransmission=retransmission, expiry=expiry
            )
        if named is not None:
            self._clocks.enter(node, named, number)
        if queue is not None:
            router.push_body(queue, body)
        if self._machine.outbox:
            self._carry_out()
        if len(lane) > self._high_water:
            self._hold(node)

    def outstanding(self, node: str) -> int:
        """How many messages to the node wait for their acknowledgement."""
        lane = self._machine.sent.lanes.get(node)
        return 0 if lane is None else len(lane)

    def _hold(self, node: str) -> None:
        """Hold the running process at its next await until half of what waits is acknowledged."""
        process = running()
        if process is not None:
            held = self._held.setdefault(node, set())
            if process not in held:
                held.add(process)
                process.hold()

    def _release(self, node: str) -> None:
        if node in self._held and self.outstanding(node) <= self._high_water // 2:
            for process in self._held.pop(node):
                process.release()

    def _queue(self, node: str, target: Atom | Pid, channel: str | None, partition_key: int | None) -> SendQueue | None:
        """Where the message goes now; None if it must wait for the node to be connected again."""
        try:
            queue = self._context.router.queue_to(node, target, channel=channel, partition_key=partition_key)
        except NotConnected as error:
            if not error.known and not self._expected(node):
                raise
            return None
        return queue if self._fast.may_go(node) else None

    def _expected(self, node: str) -> bool:
        """Whether a node that was never connected is a member, and so dialled."""
        return node in self._context.manager.members()

    def _send_again(self, peer: str, kept: Parcel | Written) -> None:
        target, channel, partition_key = kept.place
        try:
            queue = self._queue(peer, target, channel, partition_key)
        except (NotConnected, Overloaded):  # nobody has been connected to a node that was forgotten since
            queue = None
        if queue is not None:
            self._context.router.push_body(queue, kept.frame)
        elif not self._carry(peer, kept):
            return  # the machine will ask again, later
        self._tell_queue(telemetry.QUEUE_RETRANSMITTED, peer, channel, octets=len(kept.frame))

    def _is_carried(self, peer: str) -> bool:
        """Whether what is kept for the peer can go by relays."""
        return peer in self._carried and self.relays.may(peer, ack=True)

    def _carry(self, peer: str, kept: Parcel | Written) -> bool:
        """Relay a message, if that can be done; what is causal, or has a clock of its own, waits for a connection."""
        if not (self._is_carried(peer) and self.relays.can_carry(peer, len(kept.frame))):
            return False
        term = self._context.router.codec.decode(kept.frame)
        if not self._can_be_carried(term, self._me):
            return False
        try:
            self.relays.carry(peer, kept_to_term(term), kept.place[1])
        except (NotConnected, Overloaded, EncodeError) as error:
            log.debug("%s does not relay to %s: %s", self._context.node, peer, error)
            return False
        return True

    def _can_be_carried(self, term: Any, source: Atom) -> bool:
        """Whether a message has a number of that node's, and is for a process: parts of a node take none by relays."""
        if (number_from_message(term, source) or 0) < FIRST_NUMBER or is_causal(term[4]):
            return False
        target = term[3]
        place = target if type(target) in (Atom, Pid) else read_target(target, self._context.node)
        name = place.name if type(place) is Atom else place[0] if type(place) is tuple else None
        found = None if name is None else self._context.router.scheduler.names.get(name)
        return found is None or type(found) is Process

    def _tell_queue(self, event: str, peer: str, channel: str | None, **facts: Any) -> None:
        if self._context.telemetry.wants(event):
            self._context.telemetry.tell_queue(event, peer, channel or DEFAULT_CHANNEL, **facts)
        else:
            self._context.telemetry.count(event)

    def waiting(self) -> Iterator[tuple[str, str, int, int]]:
        """What waits to be acknowledged: node, channel, messages, octets. Channels are not told apart."""
        for peer, lane in self._machine.sent.lanes.items():
            if len(lane):
                yield str(peer), DEFAULT_CHANNEL, len(lane), lane.octets

    def acked(self, clock: object, peer: str | None) -> None:
        """The peer's manager has acknowledged a message."""
        number = number_from_clock(clock, self._me)
        if number is None and peer is not None:
            number = self._clocks.take(peer, bytes(self._context.router.codec.encode(clock)))
        if number is not None:
            self._machine.sent.acked(peer, number, self._context.loop.time())
            self._carry_out()
            for node in list(self._held) if peer is None else (peer,):
                self._release(node)
            self.look()

    def acked_many(self, message: tuple[Any, ...], link: Link) -> None:
        """A Python node has acknowledged ranges of messages. Raises MalformedMessage."""
        self._machine.sent.acked_ranges(link.name, acks_from_term(message), self._context.loop.time())
        self._carry_out()
        self._release(link.name)
        self.look()

    # In.

    def received(self, term: tuple[Any, ...], link: Link) -> bool:
        """Deliver a message that wants an acknowledgement, if it is no copy, and acknowledge it.

        False if it is none, or none that can be told from its copies: of another node, under a clock of its own, or
        causal. Then the manager takes it.
        """
        peer = link.peer
        if peer is None:
            return False
        number = number_from_message(term, Atom(peer))
        if number is None or is_causal(term[4]):
            return False
        self._fast.forget()
        seen = self._machine.seen
        target, message = term[3], term[4]
        fresh = seen.received(peer, number, 0 if number >= FIRST_NUMBER else fingerprint(target, message))
        if seen.batches(peer):
            link.inbound.expect(peer)  # the next ones need not come here
            if not self._fast.owing:
                self._fast.owing = True
                self._context.loop.call_soon(self._acknowledge)
        else:
            self._tell(peer, self._manager, ack_to_term(term[2]), link.channel)
        if fresh:
            self._context.router.deliver(target, without_padding(message), link.inbound)
        return True

    def relayed(self, message: tuple[Any, ...], link: Link) -> None:
        """Take a message that its sender has kept, and that has come by relays. Raises MalformedMessage.

        Of a node with which that is not agreed yet a copy will come when it is.
        """
        term, peer = kept_from_term(message), link.name
        if not self._can_be_carried(term, Atom(peer)):
            malformed("kept", message)
        if peer in self._carried:
            self.received(term, link)
            if not self._context.router.table.has_own(peer):
                self.session_over(peer)  # there is none that could end

    def _acknowledge(self) -> None:
        """Tell every peer what has come of it in this loop turn."""
        self._fast.owing = False
        self._fast.settle()
        for peer, ranges in self._machine.seen.take_acks():
            self._tell(peer, Atom(PYTHON), acks_to_term(ranges), None)
        self._carry_out()  # what was too much to wait

    def _tell(self, peer: str, target: Atom, term: tuple[Any, ...], channel: str | None) -> None:
        """Send an acknowledgement; one that is lost is asked for by a copy."""
        try:
            self._context.router.send((target, peer), term, channel=channel)
        except (NotConnected, Overloaded) as error:
            log.debug("%s cannot acknowledge to %s: %s", self._context.node, peer, error)

    # What happens to peers.

    def edge(self, peer: str, up: bool) -> None:
        """We can send to the peer, or no longer."""
        if not up and self._context.router.table.has_own(peer):
            return  # it lives on under another spec
        self._handle(Connected(peer, peer) if up else Disconnected(peer, "closed"))

    def reconsider(self, *peers: str) -> None:
        """What these have not acknowledged may go by relays from now on, or no longer; of all, if none is named.

        It is looked at when whatever tells of this is over: a connection that comes or goes, an agreement, which ends
        when the peer is down, another way, or a change of the membership.
        """
        doubtful = self._machine.sent.lanes.keys() & (peers or self._carried)
        if doubtful and not self._doubtful:
            self._context.loop.call_soon(self._reconsider)
        self._doubtful |= doubtful

    def _reconsider(self) -> None:
        doubtful, self._doubtful = self._doubtful, set()
        for peer in doubtful:
            lane = self._machine.sent.lanes.get(peer)
            if lane is not None and not self._context.router.table.has_own(peer):
                carried = self._is_carried(peer)
                if carried != lane.up:
                    self._handle(Connected(peer, peer) if carried else Disconnected(peer, "down"))

    def agreed(self, peer: str, many: bool, kept: bool = False) -> None:
        """Whether the peer takes many acknowledgements in one message, and by relays what was kept for it."""
        self._handle(Coalesce(peer, many))
        (self._carried.add if kept else self._carried.discard)(peer)
        self.reconsider(peer)

    def session_over(self, peer: str) -> None:
        """The last connection that the peer had opened to this node is gone."""
        self._handle(SessionOver(peer))
        self._fast.forget()

    def forget(self, peer: str, reason: str) -> None:
        """The peer will not return: what it has not acknowledged is given up."""
        self._handle(Forget(peer, reason))

    def _handle(self, event: Any) -> None:
        self._fast.settle()
        self._perform(self._machine.handle(event, self._context.loop.time()))

    def _carry_out(self) -> None:
        if self._machine.outbox:
            self._perform(self._machine.take_effects())

    def _perform(self, effects: list[Any]) -> None:
        for effect in effects:
            if type(effect) is Send:
                if type(effect.message) is Acks:
                    self._tell(str(effect.peer), Atom(PYTHON), acks_to_term(effect.message.ranges), None)
                elif type(effect.message) is Ack:
                    clock = clock_to_term(Atom(str(effect.peer)), effect.message.number)
                    self._tell(str(effect.peer), self._manager, ack_to_term(clock), None)
                else:
                    self._send_again(str(effect.peer), effect.message)  # type: ignore[arg-type]  # what `keep` was given
            elif type(effect) is StartTimer:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = self._context.loop.call_later(effect.after, self._fire, effect.timer)
            elif type(effect) is Notify:
                self._facts[type(effect.fact)](effect.fact)
        self.look()

    def _fire(self, timer: object) -> None:
        self._timer = None
        self._handle(TimedOut(timer))

    def _delivered(self, fact: Delivered) -> None:
        if not fact.tag.done():  # type: ignore[attr-defined]
            fact.tag.set_result(None)  # type: ignore[attr-defined]

    def _expired(self, fact: Expired) -> None:
        self._clocks.drop(str(fact.peer), fact.number)
        self._tell_queue(telemetry.QUEUE_UNDELIVERED, str(fact.peer), None, side="sender")
        if fact.tag is None:
            log.warning("%s: a message to %s was not acknowledged: %s", self._context.node, fact.peer, fact.reason)
        elif not fact.tag.done():  # type: ignore[attr-defined]
            error = NotAcknowledged(str(fact.peer), fact.reason)
            fact.tag.set_exception(error)  # type: ignore[attr-defined]
        self._release(str(fact.peer))

    def _violation(self, fact: Violation) -> None:
        log.warning("%s: %s broke the protocol: %s", self._context.node, fact.peer, fact.detail)
        self._context.telemetry.emit(
            telemetry.FRAME_REJECTED, {"count": 1}, {"node": str(fact.peer), "error": fact.detail}
        )
