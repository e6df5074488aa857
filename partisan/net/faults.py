"""Faults on a live node: the rules of `partisan.machines.faults` applied to the frames of its connections.

Where any rule or delay is in force, every connection has a tap: a frame that was encoded goes through it on its way to
the send queue, and one that was read on its way to whoever takes it, so a frame suffers as the network would have made
it suffer, pings and handshakes included. Without rules there is no tap.

A cut drops frames and refuses new connections, and the keepalive notices; the sockets themselves stay, so a peer that
closes one is still heard. Delays end early where a connection does: what this node wrote is written, and what the peer
wrote is delivered, before it closes.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypedDict, TypeVar

from partisan import telemetry
from partisan._core.router import Router
from partisan._core.sendqueue import SendQueue
from partisan.config import Config
from partisan.errors import ConnectionLost, RemoteProtocolError, TermError
from partisan.etf import Atom
from partisan.machines import faults as rules
from partisan.machines.faults import Delivery, Faults, Pipe, Rule, flipped
from partisan.names import check_node_name
from partisan.telemetry import Telemetry
from partisan.wire.handshake import Hello, handshake_from_term
from partisan.wire.kind import kind_of

if TYPE_CHECKING:
    from typing import Unpack

    from partisan.net.link import Link

log = logging.getLogger(__name__)

_GRAIN = 1e-3
"""Seconds: what is due within so little is due. No loop's timer is finer than this."""

_INJECT, _RESOLVE = Atom("inject_partition"), Atom("resolve_partition")

Names = str | Iterable[str]


class Scope(TypedDict, total=False):
    """Which frames a rule is limited to; what is left out stands for every one.

    Attributes:
        channel: names of channels, one or several: those that the connections are for.
        kind: of `partisan.machines.faults.KINDS`, likewise.
        probability: that a frame which is concerned suffers.
        skip: how many are spared first.
        times: how many may suffer in all.
        lasting: seconds from now.
    """

    channel: Names
    kind: Names
    probability: float
    skip: int
    times: int
    lasting: float


class Limits(Scope, total=False):
    """The same, by the ends as well.

    Attributes:
        source, destination: names of nodes, one or several.
    """

    source: Names
    destination: Names


class Fault:
    """A rule in force on a node, until `remove()` or the end of a `with` block.

    Attributes:
        rule: the rule itself; it tells how many frames were concerned, and how many suffered.
        number: what `LiveFaults.remove` takes.
    """

    def __init__(self, owner: LiveFaults, rule: Rule, number: int) -> None:
        self.rule = rule
        self._owner = owner
        self.number = number

    def __repr__(self) -> str:
        return f"<Fault {self.rule.name}: {self.rule.hits} hits>"

    @property
    def hits(self) -> int:
        """How many frames suffered, or how many suspicions arose."""
        return self.rule.hits

    def remove(self) -> None:
        """Heal it; a fault that is over already is left as it is."""
        self._owner.remove(self.number)

    def __enter__(self) -> Fault:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


def _several(names: Names | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    return (names,) if isinstance(names, str) else tuple(names)


def _nodes(names: Names | None) -> tuple[str, ...] | None:
    """Names of nodes. Raises ConfigError if one is none: it would never match."""
    found = _several(names)
    for name in found or ():
        check_node_name(name)
    return found


def _can_be_key(term: object) -> bool:
    try:
        hash(term)
    except TypeError:
        return False
    return True


class LiveFaults:
    """The faults of one node: `node.faults`.

    Args:
        node: its name.
        loop: its event loop.
        config: says what every frame is delayed by.
        router: the node's.
        telemetry: where drops are reported.
        rng: chance; give another one to `seed` to repeat a run.
    Attributes:
        rules: what is in force.
        check_channel: raises ConfigError for a channel that nobody has; for whoever knows the members to set.
    """

    def __init__(
        self,
        node: str,
        loop: asyncio.AbstractEventLoop,
        config: Config,
        router: Router,
        telemetry: Telemetry,
        rng: random.Random,
    ) -> None:
        self.rules = Faults()
        self.check_channel: Callable[[str], None] = lambda channel: None
        self._node = node
        self._loop = loop
        self._config = config
        self._router = router
        self._telemetry = telemetry
        self._rng = rng
        self._links: dict[Link, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._partitions: dict[Hashable, Fault] = {}

    # What may go wrong. Each raises ConfigError for what is no node name and for a channel that neither this node nor
    # any member has, and ValueError for what is out of bounds.

    def cut(self, destination: Names, source: Names | None = None, **scope: Unpack[Scope]) -> Fault:
        """Let nothing pass to the destinations, one way; from this node if no source is given."""
        return self._add(rules.Cut, {**scope, "destination": destination, "source": source or self._node})

    def partition(self, *groups: Iterable[str], lasting: float | None = None) -> Fault:
        """Let nothing pass between the groups of nodes, either way."""
        return self._add(rules.Partition, {"lasting": lasting}, groups=tuple(_nodes(group) for group in groups))

    def omit(self, **limits: Unpack[Limits]) -> Fault:
        """Lose frames."""
        return self._add(rules.Omission, limits)

    def duplicate(self, copies: int = 1, **limits: Unpack[Limits]) -> Fault:
        """Let frames arrive so many more times."""
        return self._add(rules.Duplication, limits, copies=copies)

    def delay(self, seconds: float, **limits: Unpack[Limits]) -> Fault:
        """Let frames arrive later, in their order."""
        return self._add(rules.Delay, limits, seconds=seconds)

    def reorder(self, jitter: float, **limits: Unpack[Limits]) -> Fault:
        """Let frames arrive later by up to `jitter` seconds, whatever overtakes them."""
        return self._add(rules.Reordering, limits, jitter=jitter)

    def flip(self, bits: int = 1, positions: Iterable[float] = (), **limits: Unpack[Limits]) -> Fault:
        """Invert bits of frames, at positions drawn by chance or at those given (of at least 0, below 1)."""
        return self._add(rules.Flip, limits, bits=bits, positions=tuple(positions))

    def suspect(self, peer: Names, *, every: float = 1.0, times: int | None = 1) -> Fault:
        """Hold a living peer for dead: at once, and `times` in all, about `every` seconds."""
        found = self._put(
            rules.Suspicion(
                destinations=_nodes(peer),
                sources=(self._node,),
                every=every,
                times=times,
                since=self._loop.time(),
            )
        )
        self._suspect()
        return found

    def _add(self, kind: type[Rule], limits: Mapping[str, Any], **about: Any) -> Fault:
        about |= limits
        for name, read in (
            ("source", _nodes),
            ("destination", _nodes),
            ("channel", self._channels),
            ("kind", _several),
        ):
            about[f"{name}s"] = read(about.pop(name, None))
        lasting = about.pop("lasting", None)
        now = self._loop.time()
        until = rules.FOREVER if lasting is None else now + lasting
        return self._put(kind(**about, since=now, until=until))

    def _channels(self, names: Names | None) -> tuple[str, ...] | None:
        found = _several(names)
        for name in found or ():
            self.check_channel(name)
        return found

    def _put(self, rule: Rule) -> Fault:
        fault = Fault(self, rule, self.rules.add(rule))
        log.info("%s: fault %r", self._node, rule)
        self._refresh()
        return fault

    def remove(self, number: int) -> None:
        """Take a rule out of force; see `Fault.remove`."""
        if self.rules.remove(number):
            log.info("%s: fault %d is healed", self._node, number)
            self._refresh()

    def clear(self) -> None:
        """Heal everything."""
        self.rules.clear()
        self._partitions.clear()
        self._refresh()

    def seed(self, seed: Any) -> None:
        """Draw chance from a fresh generator of this seed: the same traffic then suffers the same."""
        self._rng = random.Random(seed)

    @property
    def counts(self) -> dict[str, int]:
        """How many frames suffered, and how many suspicions arose, by the name of the rule."""
        return dict(self.rules.counts)

    # Partitions by reference, as in Partisan.

    def inject(self, reference: Hashable, names: Iterable[str]) -> None:
        """Cut this node off from others, both ways, in place of what the reference stood for before."""
        self.resolve(reference)
        self._partitions[reference] = self.partition((self._node,), names)

    def resolve(self, reference: Hashable) -> bool:
        """Heal the partition of that reference; whether there was one."""
        fault = self._partitions.pop(reference, None)
        held = fault is not None and self.rules.has(fault.number)  # else it was removed as any rule may be
        if fault is not None:
            fault.remove()
        return held

    def partitions(self) -> list[tuple[Any, tuple[str, ...]]]:
        """The partitions in force: (reference, names of the nodes that this one is cut off from)."""
        return [
            (reference, fault.rule.groups[1])
            for reference, fault in self._partitions.items()
            if isinstance(fault.rule, rules.Partition) and self.rules.has(fault.number)
        ]

    def take_control(self, term: object, link: Link | None) -> bool:
        """Take `{inject_partition, Ref, Origin, TTL}` or `{resolve_partition, Ref}` from a peer; whether it is one.

        They are refused unless the node is configured for testing. An injection cuts the node off from all but the
        peer that asked for it, or else that peer could never resolve it; it is not passed on. Source: partisan-upper,
        sections 1.4 and 1.8; the reference knows them in HyParView only.
        """
        if type(term) is not tuple or not term or (term[0] is not _INJECT and term[0] is not _RESOLVE):
            return False
        peer = link.peer if link is not None else None
        sound = len(term) == (4 if term[0] is _INJECT else 2) and _can_be_key(term[1])
        if not self._config.testing or not sound:
            problem = "malformed" if self._config.testing else "not configured for testing"
            log.warning("%s refuses %s of %s: %s", self._node, term[0], peer, problem)
            about = {"node": peer, "error": f"fault control refused: {problem}"}
            self._telemetry.emit(telemetry.FRAME_REJECTED, {"count": 1}, about)
        elif term[0] is _RESOLVE:
            self.resolve(term[1])
        else:
            others = [name for name in self._router.table.nodes() if name != peer]
            if others:
                self.inject(term[1], others)
        return True

    # What the node's connections ask.

    def configure(self, config: Config) -> None:
        """The options have changed."""
        self._config = config
        self._refresh()

    def watch(self, link: Link) -> None:
        """A connection begins."""
        self._links[link] = None
        if self.tapped:
            link.tap = Tap(self, link, self._loop)

    def unwatch(self, link: Link) -> None:
        """A connection is gone."""
        self._links.pop(link, None)
        if link.tap is not None:
            link.tap.close()
            link.tap = None

    def stop(self) -> None:
        """The node stops: nothing goes wrong any more, and no timer is left."""
        self.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def tapped(self) -> bool:
        """Whether connections have taps."""
        delayed = self._config.egress_delay > 0.0 or self._config.ingress_delay > 0.0
        return delayed or any(not isinstance(rule, rules.Suspicion) for rule in self.rules)

    def _refresh(self) -> None:
        tapped = self.tapped
        for link in self._links:
            if tapped and link.tap is None:
                link.tap = Tap(self, link, self._loop)
            elif not tapped and link.tap is not None:
                self.untap(link)

    def untap(self, link: Link) -> None:
        """Take the tap away if nothing is in it and nothing needs it."""
        if link.tap is not None and not len(link.tap) and not self.tapped:
            link.tap.close()
            link.tap = None

    def check(self, peer: str | None) -> None:
        """Refuse a connection with a peer that a cut parts from this node. Raises ConnectionLost."""
        now = self._loop.time()
        cut = self.rules.is_cut
        if peer is not None and (cut(self._node, peer, now) or cut(peer, self._node, now)):
            raise ConnectionLost("cut", peer, "by a fault rule")

    def outgoing(self, link: Link, body: bytes) -> rules.Verdict:
        """How a frame of this node arrives."""
        source, destination = self._node, link.peer or ""
        return self._decide(link, body, source, destination, self._config.egress_delay)

    def incoming(self, link: Link, body: bytes, peer: str | None) -> rules.Verdict:
        """How a frame of the peer arrives."""
        return self._decide(link, body, peer or "", self._node, self._config.ingress_delay)

    def _decide(self, link: Link, body: bytes, source: str, destination: str, delay: float) -> rules.Verdict:
        kind = kind_of(body) if len(self.rules) else "other"
        before = len(self.rules)
        verdict = self.rules.decide(source, destination, link.channel, kind, self._loop.time(), self._rng)
        if len(self.rules) < before:
            self._loop.call_soon(self._refresh)
        if not verdict:
            log.debug("%s: a fault drops a frame (%s) from %s to %s", self._node, kind, source, destination)
            about = {"node": link.peer, "channel": link.channel, "kind": kind, "fault": True}
            self._telemetry.emit(telemetry.QUEUE_DROPPED, {"count": 1, "octets": len(body)}, about)
        if not delay:
            return verdict
        return tuple(each._replace(after=each.after + delay) for each in verdict)

    # The faulty failure detector.

    def _suspect(self) -> None:
        """Give up the connections with each peer that is held for dead now, and come again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for peer in self.rules.suspected(self._node, self._loop.time() + _GRAIN, self._rng):
            log.info("%s falsely holds %s for dead", self._node, peer)
            for link in [link for link in self._links if link.peer == peer and link.up]:
                link.fail(ConnectionLost("timeout", peer, "falsely, by a fault rule"))
        when = self.rules.next_suspicion()
        if when is not None:
            self._timer = self._loop.call_at(when, self._suspect)


Item = TypeVar("Item")


class _Flow(Generic[Item]):
    """One direction of a tap: frames wait in a pipe until their time, and are carried on then.

    Args:
        carry: callable(item): takes a frame that has waited; it may close the flow.
        emptied: callable(): nothing waits any more.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, carry: Callable[[Item], None], emptied: Callable[[], None]
    ) -> None:
        self.pipe: Pipe[Item] = Pipe()
        self._loop = loop
        self._carry = carry
        self._emptied = emptied
        self._timer: asyncio.TimerHandle | None = None
        self._when: float | None = None  # for when that is set

    def put(self, item: Item, delivery: Delivery) -> bool:
        """Whether the frame goes on at once; else it will be carried."""
        now = self._loop.time()
        if self.pipe.put(item, delivery, now):
            return True
        self._arm()
        return False

    def _arm(self) -> None:
        when = self.pipe.next
        if when == self._when:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._when = when
        self._timer = None if when is None else self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = self._when = None
        now = self._loop.time() + _GRAIN
        while (item := self.pipe.due(now)) is not None:
            self._carry(item)
        self._arm()
        if not len(self.pipe):
            self._emptied()

    def flush(self) -> None:
        """Carry all frames on now, in their order."""
        for item in self.pipe.drain():
            self._carry(item)
        self._arm()

    def close(self) -> None:
        """Lose what waits."""
        self.pipe.drain()
        self._arm()


class Tap:
    """What stands between one connection and its queue and reader while any fault is in force.

    Attributes:
        heard_at: when a frame of the peer last got through, in seconds of the loop's clock.
    """

    def __init__(self, faults: LiveFaults, link: Link, loop: asyncio.AbstractEventLoop) -> None:
        self.heard_at = link.stream.read_at
        self._faults = faults
        self._link = link
        self._loop = loop
        self._out: _Flow[tuple[SendQueue, bytes, Hashable]] = _Flow(loop, self._written, self._emptied)
        self._in: _Flow[tuple[bytes, list[bytes] | None]] = _Flow(loop, self._read, self._emptied)
        link.queue.tap = self._outgoing
        link.inbound.tap = self._incoming

    def __len__(self) -> int:
        return len(self._out.pipe) + len(self._in.pipe)

    def close(self) -> None:
        """Stand aside; what waits is lost."""
        self._link.queue.tap = None
        self._link.inbound.tap = None
        self._out.close()
        self._in.close()

    def flush(self) -> None:
        """Write now what is delayed."""
        self._out.flush()

    def hasten(self) -> None:
        """The peer has closed the connection: deliver now what is delayed of its messages."""
        for body, planted in self._in.pipe.drain():
            if kind_of(body) not in ("handshake", "keepalive"):
                self._read((body, planted))

    def _emptied(self) -> None:
        self._faults.untap(self._link)

    def _outgoing(self, queue: SendQueue, body: bytes, key: Hashable) -> None:
        """Take a frame that the queue was given."""
        for delivery in self._faults.outgoing(self._link, body):
            octets = flipped(body, delivery.flips) if delivery.flips else body
            if self._out.put((queue, octets, key), delivery):
                self._write(queue, octets, key)
            else:
                queue.withhold(len(octets))

    def _written(self, item: tuple[SendQueue, bytes, Hashable]) -> None:
        queue, octets, key = item
        self._write(queue, octets, key)
        queue.withhold(-len(octets))  # now that it counts as queued: nobody is relieved in between

    def _write(self, queue: SendQueue, octets: bytes, key: Hashable) -> None:
        if not queue.closed:
            queue.put(octets, key, self._loop.time())

    def _incoming(self, body: bytes, planted: list[bytes] | None) -> bool:
        """Take a frame that was read; whether it goes on at once, as it is. Raises ConnectionLost for a cut hello."""
        peer = self._link.peer or self._said_by(body)
        if peer != self._link.peer:
            self._faults.check(peer)
        passes = False
        for delivery in self._faults.incoming(self._link, body, peer):
            octets = flipped(body, delivery.flips) if delivery.flips else body
            again = None if planted is None else list(planted)
            if not self._in.put((octets, again), delivery):
                continue
            if octets is body and not passes:
                passes = True
            else:
                self._take(octets, again)
        if passes:
            self.heard_at = self._loop.time()
        return passes

    def _said_by(self, body: bytes) -> str | None:
        """Whose hello a frame is, before which the peer of the connection is not known."""
        if kind_of(body) != "handshake":
            return None
        try:
            greeting = handshake_from_term(self._link.context.router.codec.decode(body))
        except (TermError, RemoteProtocolError):
            return None  # whoever takes the frame says what is wrong with it
        return greeting.node if isinstance(greeting, Hello) else None

    def _read(self, item: tuple[bytes, list[bytes] | None]) -> None:
        """Take a frame that was delayed; what is wrong with it ends the connection, as if it had just come."""
        try:
            self._take(*item)
        except Exception as error:
            self._link.fail(error)

    def _take(self, octets: bytes, planted: list[bytes] | None) -> None:
        self.heard_at = self._loop.time()
        self._link.inbound.replay(octets, planted)
