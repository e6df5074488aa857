"""Messages of a node: send them, and know what waits to be sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable, Iterable
from typing import Any

from partisan import telemetry
from partisan._core.bound import Bound
from partisan._core.references import place_of
from partisan._core.via import whereis_via
from partisan.errors import AckUnsupported, DrainTimeout, NoProc
from partisan.etf import Atom, ImproperList, Pid, Reference
from partisan.names import DEFAULT_CHANNEL
from partisan.net.acknowledged import Acknowledged
from partisan.net.causal import Causality
from partisan.net.interposition import Interposition
from partisan.runtime.parts import NodePart
from partisan.runtime.relaying import Relaying

log = logging.getLogger(__name__)

Target = Pid | Atom | str | tuple[str | Atom, str | Atom] | tuple[str | Atom, Any, Any] | ImproperList | bytes
"""Whom a message can be sent to: a pid, a name on this node, (name, node), ("via", registry, name), or a remote
reference to a process."""


class MessageCalls(NodePart):
    """The methods of a node that are about messages."""

    _acknowledged: Acknowledged
    _causal: Causality
    _interposition: Interposition
    _relaying: Relaying
    _ref_count: int
    _relief: dict[tuple[str, str], list[asyncio.Future[None]]]

    def send(self, target: Target, message: object, **options: Any) -> None:
        """Send a message to a process: encode, queue, return; see `partisan.send`."""
        self._check()
        self.router.send(target, message, **options)

    def forward_message(
        self,
        target: Target,
        message: object,
        *,
        channel: str | None = None,
        partition_key: int | None = None,
        key: Hashable = None,
        ack: bool = False,
        retransmission: bool = True,
        expiry: float | None = None,
        causal_label: str | None = None,
        clock: object = None,
        transitive: bool = False,
        out_links: Iterable[str] | None = None,
        broadcast: bool = False,
    ) -> None:
        """Send a message with options. Named as in Partisan.

        Args:
            channel, partition_key, key: as `partisan.send`.
            ack: keep the message, and send it again, until the other node acknowledges it.
            retransmission: False with `ack` sends it once; it is still reported when no acknowledgement comes.
            expiry: seconds for which it is kept, instead of `acknowledge_expiry`.
            causal_label: deliver it in the causal order of this label, one of `causal_labels`.
            clock: with `ack`: a term, under which it is acknowledged; copies of it are not told apart then.
            transitive: if the node is no neighbor, have other nodes pass the message on (docs/overlays.md). With the
                option `broadcast` of the node that is so without asking.
            out_links: the same, by these neighbors alone.
            broadcast: the same as `transitive`: what is relayed goes over the tree of broadcasts.
        Raises:
            NotConnected: there is no connection, and nobody to pass the message on. With `ack` and `retransmission` it
                waits for a member, and this is about others.
            Unacknowledged: with `ack`, when too much to that node is not acknowledged yet; the message is not kept.
            UnknownLabel: this node has no such causal label.
            ValueError: `expiry` is not above 0, or it or `clock` is given without `ack`; or `key` with any of these; or
                a message under that clock is not acknowledged yet.
        """
        if transitive or broadcast or out_links is not None:
            if causal_label is not None or clock is not None or key is not None:
                raise ValueError("a message that others pass on takes no causal_label, clock or key")
            if self._relay(target, message, channel=channel, out_links=out_links, expiry=expiry):
                return
        if not ack and (expiry is not None or clock is not None):
            given = "clock" if expiry is None else "expiry"
            raise ValueError(f"{given} is of an acknowledged message: say ack=True")
        if key is not None and (causal_label is not None or clock is not None):
            raise ValueError("a message that has to arrive supersedes none: key goes with neither label nor clock")
        options: dict[str, Any] = {"channel": channel, "partition_key": partition_key}
        if (
            causal_label is None
            and clock is None
            and (not ack or key is not None or (retransmission and expiry is None))
        ):
            self.send(target, message, **options, key=key, ack=ack)
        elif not ack:
            self._keep(target, message, **options, ack=False, expiry=None, causal_label=causal_label)
        else:
            options |= {"retransmission": retransmission, "expiry": expiry}
            self._keep(target, message, **options, causal_label=causal_label, clock=clock)

    def cast_message(self, target: Target, message: object, **options: Any) -> None:
        """Send `{'$gen_cast', Message}`, what a gen_server takes as a cast, with the options of `forward_message`."""
        self.forward_message(target, (Atom("$gen_cast"), message), **options)

    async def deliver(
        self,
        target: Target,
        message: object,
        *,
        channel: str | None = None,
        partition_key: int | None = None,
        expiry: float | None = None,
        causal_label: str | None = None,
        clock: object = None,
    ) -> None:
        """Send a message with `ack`, and wait until the other node has it; one that is no neighbor, if it is relayed.

        Args:
            channel, partition_key, expiry, causal_label, clock: as in `forward_message`.
        Raises:
            NotConnected: with the option `broadcast`: the node is no member, and is down.
            NotAcknowledged: no acknowledgement came within `expiry` (of what is relayed: `relay.timeout`), or the node
                has left.
            ValueError: `expiry` is not above 0.
        """
        tag: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        options: dict[str, Any] = {"channel": channel, "partition_key": partition_key, "expiry": expiry}
        relayed = causal_label is None and clock is None and self._is_far(target)
        if not (relayed and self._relay(target, message, channel=channel, expiry=expiry, tag=tag)):
            self._keep(target, message, **options, causal_label=causal_label, clock=clock, tag=tag)
        await tag

    def _befriend(self, target: Target) -> None:
        """Have what is sent to the target's node from now on relayed while it is no neighbor, as calls ask for."""
        self._check()
        node = self._place(target)[0]
        if node != self.name:
            self._relaying.befriend(node)

    def _is_far(self, target: Target) -> bool:
        """Whether a message to the target, with acknowledgement, is relayed. Raises NotConnected: its node is down."""
        node = self._place(target)[0]
        if node == self.name:
            return False
        self._relaying.check(node)
        return self._relaying.may(node, ack=True)

    def _relay(
        self,
        target: Target,
        message: object,
        *,
        channel: str | None,
        out_links: Iterable[str] | None = None,
        expiry: float | None = None,
        tag: asyncio.Future[None] | None = None,
    ) -> bool:
        """Have a message passed on, if it is for a node that is no neighbor; whether it is. Raises as `send`."""
        self._check()
        node, name = self._place(target)
        if node == self.name or self.table.is_connected(node):
            return False
        _check_expiry(expiry)

        def go_on(message: object) -> None:
            self._relaying.send(node, name, message, channel=channel, out_links=out_links, expiry=expiry, tag=tag)

        if self.router.forwarding is None:
            go_on(message)
        else:
            self._interposition.pass_on(node, name, message, go_on, tag)
        return True

    def _keep(
        self,
        target: Target,
        message: object,
        *,
        tag: asyncio.Future[None] | None = None,
        ack: bool = True,
        causal_label: str | None = None,
        **options: Any,
    ) -> None:
        """Send with acknowledgement, or in causal order; what stays on this node is delivered at once."""
        self._check()
        _check_expiry(options["expiry"])
        if causal_label is not None:
            self._causal.check(causal_label)
        node, name = self._place(target)
        if node == self.name:
            self.router.send(target, message)
            if tag is not None:
                tag.set_result(None)
            return
        if self._far_of(node) is not None:
            raise AckUnsupported(node)

        def go_on(message: object) -> None:
            if causal_label is not None:
                self._causal.send(causal_label, node, name, message, ack=ack, tag=tag, **options)
            else:
                self._acknowledged.send(node, name, message, tag=tag, **options)

        if self.router.forwarding is None:
            go_on(message)
        else:
            self._interposition.pass_on(node, name, message, go_on, tag)

    def _place(self, target: Target) -> tuple[str, Pid | Atom]:
        """The node of a target, and what it is there. Raises NoProc if a registry has no such name, TypeError."""
        if not isinstance(target, str):
            target = place_of(target) or target
        if isinstance(target, Pid):
            return target.node, target
        if isinstance(target, tuple) and len(target) == 3:
            pid = whereis_via(target)
            if pid is None:
                raise NoProc(Atom("noproc"), target)
            return pid.node, pid
        if isinstance(target, bytes | ImproperList):
            raise TypeError(f"{target!r} is no target: a pid, a name, (name, node) or a remote reference to a process")
        name, node = target if isinstance(target, tuple) else (target, self.name)
        return node.name if isinstance(node, Atom) else node, name if isinstance(name, Atom) else Atom(name)

    def unacknowledged(self, name: str) -> int:
        """How many messages to the node wait for their acknowledgement."""
        self._check()
        return self._acknowledged.outstanding(name)

    def causal_waiting(self, label: str) -> int:
        """How many messages that have come in the causal order of the label wait for others. Raises UnknownLabel."""
        self._check()
        return self._causal.waiting(label)

    def make_ref(self) -> Reference:
        """A reference that this node has not made before.

        A `receive` of the process that made it whose patterns are tuples that contain it does not look at what came
        before: the answer to a message with a reference is found at once, however much waits.
        """
        self._check()
        self._ref_count += 1
        count = self._ref_count
        reference = Reference(self.name, (count & 0x3FFFF, count >> 18 & 0xFFFFFFFF, count >> 50))
        self.scheduler.mark(reference)
        return reference

    async def drain(self, name: str, channel: str | None = None, *, timeout: float | None = None) -> None:
        """Wait until what is queued to the node on the channel is below high water: back-pressure outside of processes.

        Then wait for the acknowledgements of what was sent with `ack` to the node on that channel before this. What is
        given up meanwhile is not waited for; its sender is told. Returns at once if there is nothing to wait for. A
        lost connection drains its queue; what was sent with `ack` waits for the node to come back.

        Args:
            timeout: seconds; for ever if not given.
        Raises:
            ConfigError: neither this node nor any member has such a channel.
            DrainTimeout: it took longer.
        """
        self._check()
        channel = channel or DEFAULT_CHANNEL
        self._check_channel(channel)
        if self._far_of(name) is not None:
            channel = DEFAULT_CHANNEL  # all takes the one connection
        try:
            async with asyncio.timeout(timeout):
                await self._below_high_water(name, channel)
                await self._acknowledged.confirmed(name, channel)
        except TimeoutError:
            raise DrainTimeout(name, channel, timeout or 0.0) from None

    async def _below_high_water(self, name: str, channel: str) -> None:
        bound = self.table.bound_of(name, channel)
        if bound is not None and bound.over:
            waiter: asyncio.Future[None] = self.loop.create_future()
            waiters = self._relief.setdefault((bound.node, bound.channel), [])
            waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in waiters:
                    waiters.remove(waiter)

    def queued_octets(self, name: str, channel: str | None = None) -> int:
        """How many octets wait to be sent to the node on the channel. Raises ConfigError: see `drain`."""
        self._check()
        self._check_channel(channel or DEFAULT_CHANNEL)
        if self._far_of(name) is not None:
            channel = None
        bound = self.table.bound_of(name, channel or DEFAULT_CHANNEL)
        return 0 if bound is None else int(bound.queued_octets)

    def _bound(self, name: str, channel: str) -> Bound:
        """The octet bound of a (peer, channel)."""
        channels = self.config.channels
        options = channels.get(channel, channels[DEFAULT_CHANNEL])
        return Bound(
            name,
            channel,
            high_water=options.max_queue_octets,
            hard_limit=options.hard_queue_octets,
            policy=options.queue_policy,
            changed=self._bound_changed,
        )

    def _unknown_channel(self, name: str, channel: str) -> None:
        log.warning(
            "%s: neither %s nor the options here know the channel %s: its messages take the default one",
            self.name,
            name,
            channel,
        )

    def _bound_changed(self, bound: Bound) -> None:
        about = {"node": bound.node, "channel": bound.channel, "over": bound.over}
        self.telemetry.emit(telemetry.QUEUE_HIGH_WATER, {"octets": bound.queued_octets}, about)
        if not bound.over:
            for waiter in self._relief.pop((bound.node, bound.channel), ()):
                if not waiter.done():
                    waiter.set_result(None)

    def _undeliverable(self, target: object, message: object) -> None:
        """A message came for nobody: counted, and dropped as in Erlang."""
        if self.telemetry.wants(telemetry.QUEUE_UNDELIVERED):
            about = {"target": target, "side": "receiver"}
            self.telemetry.emit(telemetry.QUEUE_UNDELIVERED, {"count": 1}, about)
        else:
            self.telemetry.count(telemetry.QUEUE_UNDELIVERED)


def _check_expiry(expiry: float | None) -> None:
    if expiry is not None and not expiry > 0.0:
        raise ValueError(f"expiry {expiry} is no time above 0 s")
