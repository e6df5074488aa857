"""Messages of a node: send them, and know what waits to be sent."""

from __future__ import annotations

import asyncio
from typing import Any

from partisan import telemetry
from partisan._core.sendqueue import Bound
from partisan.etf import Atom, Pid, Reference
from partisan.names import DEFAULT_CHANNEL
from partisan.runtime.parts import NodePart

Target = Pid | Atom | str | tuple[str | Atom, str | Atom]
"""Whom a message can be sent to: a pid, a name on this node, or (name, node)."""

FORWARD_OPTIONS = frozenset({"channel", "partition_key", "key"})
"""Message options that `forward_message` and `cast_message` take."""


class MessageCalls(NodePart):
    """The methods of a node that are about messages."""

    _ref_count: int
    _relief: dict[tuple[str, str], list[asyncio.Future[None]]]

    def send(self, target: Target, message: object, **options: Any) -> None:
        """Send a message to a process: encode, queue, return; see `partisan.send`."""
        self._check()
        self.router.send(target, message, **options)

    def forward_message(self, target: Target, message: object, **options: Any) -> None:
        """Send a message with options, as `send`: channel, partition_key, key. Named as in Partisan."""
        self._check_options(options)
        self.send(target, message, **options)

    def cast_message(self, target: Target, message: object, **options: Any) -> None:
        """Send `{'$gen_cast', Message}`: what a gen_server takes as a cast."""
        self._check_options(options)
        self.send(target, (Atom("$gen_cast"), message), **options)

    def _check_options(self, options: dict[str, Any]) -> None:
        unknown = sorted(options.keys() - FORWARD_OPTIONS)
        if unknown:
            raise TypeError(f"unknown message option {unknown[0]!r}; known are {', '.join(sorted(FORWARD_OPTIONS))}")

    def make_ref(self) -> Reference:
        """A reference that this node has not made before."""
        self._check()
        self._ref_count += 1
        count = self._ref_count
        return Reference(self.name, (count & 0x3FFFF, count >> 18 & 0xFFFFFFFF, count >> 50))

    async def drain(self, name: str, channel: str | None = None) -> None:
        """Wait until what is queued to the node on the channel is below high water: back-pressure outside of processes.

        Returns at once if it is. A lost connection drains its queue.
        """
        self._check()
        bound = self.table.lane(name, channel or DEFAULT_CHANNEL).bound
        if bound.over:
            waiter: asyncio.Future[None] = self.loop.create_future()
            self._relief.setdefault((bound.node, bound.channel), []).append(waiter)
            await waiter

    def queued_octets(self, name: str, channel: str | None = None) -> int:
        """How many octets wait to be sent to the node on the channel."""
        self._check()
        return int(self.table.lane(name, channel or DEFAULT_CHANNEL).bound.queued_octets)

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
