"""Who wants to know what of the membership, and telling them: outside of the machine, once a change.

The overlay says what has changed as it happens; a turn of the loop later each change that is still one is told. A
subscriber is a function, called with what it is told, or a pid, sent a message. A function that raises is logged and
disturbs nobody. Functions run in the context in which they were given, with this node as the current one.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from partisan.errors import LocalProtocolError
from partisan.etf import Atom, Pid
from partisan.wire.atom import atom_of

log = logging.getLogger(__name__)

Subscriber = Callable[..., object] | Pid
"""A function, or a pid to send messages to."""

Kind = Literal["up", "down", "members"]

NODEUP, NODEDOWN, MEMBERS = Atom("nodeup"), Atom("nodedown"), Atom("members")

ANY = "_"
"""Stands for every node."""


@dataclass(eq=False, slots=True)
class Subscription:
    """Something that a subscriber wants to hear; `cancel` ends it.

    Attributes:
        kind: "up", "down" or "members".
        node: of up and down: the node, or None for every node.
        channel: of up and down: the channel, or None for the node as a whole.
        active: whether it is told anything any more.
    """

    kind: Kind
    node: str | None
    channel: str | None
    active: bool = field(default=True, init=False)
    _tell: Callable[..., None] = field(repr=False)
    _remove: Callable[[Subscription], None] = field(repr=False)

    def cancel(self) -> bool:
        """Tell nothing from now on; return False if that was so already."""
        was, self.active = self.active, False
        if was:
            self._remove(self)
        return was


class Watching:
    """The subscriptions of one node.

    Args:
        loop: the node's.
        enter: callable(context): makes the node the current one in the context.
        send: callable(pid, message).
        lane_up: callable(node, channel): whether a connection of the channel is up.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        enter: Callable[[contextvars.Context], None],
        send: Callable[[Pid, object], None],
        lane_up: Callable[[str, str], bool],
    ) -> None:
        self._loop = loop
        self._enter = enter
        self._send = send
        self._lane_up = lane_up
        self._subscriptions: dict[Subscription, None] = {}
        self._owned: dict[Pid, list[Subscription]] = {}  # process -> what ends with it
        self._waiters: dict[asyncio.Future[None], None] = {}
        self._edges: dict[str, int] = {}  # node -> edges of it that are usable: two while its spec is replaced
        self._told_up: set[str] = set()
        self._told_lanes: set[tuple[str, str]] = set()
        self._members: list[str] = []
        self._told_members: list[str] | None = None
        self._changed: dict[tuple[str, str | None], None] = {}
        self._handle: asyncio.Handle | None = None
        self._stopped = False

    # What the overlay says.

    def edge(self, node: str, up: bool) -> None:
        """An edge to the node has become usable, or no longer is."""
        self._edges[node] = self._edges.get(node, 0) + (1 if up else -1)
        if not self._edges[node]:
            del self._edges[node]
        self._change(node, None)

    def lane(self, node: str, channel: str) -> None:
        """A connection of the channel has come up or is gone."""
        self._change(node, channel)

    def members(self, names: list[str]) -> None:
        """The members are now these."""
        self._members = names
        if self._told_members is None:
            self._told_members = names  # with which the node begins: no change
        self._soon()

    def ended(self, pid: Pid) -> None:
        """A process of the node has ended."""
        if self._owned:
            for subscription in self._owned.pop(pid, ()):
                subscription.cancel()

    def stop(self) -> None:
        """Tell nobody anything any more; to whoever waits the node says so."""
        self._stopped = True
        if self._handle is not None:
            self._handle.cancel()
        for subscription in list(self._subscriptions):
            subscription.cancel()
        self._wake()

    # What others ask.

    def subscribe(
        self,
        kind: Kind,
        subscriber: Subscriber,
        *,
        node: str | None = None,
        channel: str | None = None,
        owner: Pid | None = None,
    ) -> Subscription:
        """Tell the subscriber from now on; `owner` is the process with which that ends."""
        if isinstance(subscriber, Pid):
            tell, owner = self._messenger(kind, subscriber, channel), owner or subscriber
        else:
            tell = self._caller(kind, subscriber)
        subscription = Subscription(kind, node, channel, tell, self._forget)
        self._subscriptions[subscription] = None
        if owner is not None:
            self._owned.setdefault(owner, []).append(subscription)
        return subscription

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when the condition holds, which is looked at after each change.

        Raises LocalProtocolError when the node stops.
        """
        while not condition():
            if self._stopped:
                raise LocalProtocolError("the node does not run any more")
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters[waiter] = None
            try:
                await waiter
            finally:
                self._waiters.pop(waiter, None)

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription, None)
        for pid, owned in list(self._owned.items()):
            if subscription in owned:
                owned.remove(subscription)
                if not owned:
                    del self._owned[pid]

    def _messenger(self, kind: Kind, pid: Pid, channel: str | None) -> Callable[..., None]:
        def tell(value: Any) -> None:
            if kind == "members":
                message: tuple[object, ...] = (MEMBERS, [Atom(name) for name in value])
            else:
                message = (NODEUP if kind == "up" else NODEDOWN, Atom(value))
                message += () if channel is None else (atom_of(channel),)
            self._send(pid, message)

        return tell

    def _caller(self, kind: Kind, function: Callable[..., object]) -> Callable[..., None]:
        """Raises TypeError for what cannot be called with one argument or none."""
        if not callable(function) or inspect.iscoroutinefunction(function):
            raise TypeError(f"{function!r} is no subscriber: a plain function, or a pid to send messages to")
        takes = _takes(function)
        context = contextvars.copy_context()
        self._enter(context)

        def tell(value: Any) -> None:
            context.run(function, *(list(value) if kind == "members" else value,)[:takes])

        return tell

    # Telling.

    def _change(self, node: str, channel: str | None) -> None:
        self._changed[node, channel] = None
        self._soon()

    def _soon(self) -> None:
        if self._handle is None:
            self._handle = self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        self._handle = None
        changed, self._changed = self._changed, {}
        self._wake()
        if self._members != self._told_members:
            self._told_members = self._members
            self._tell("members", None, None, self._members)
        for node, channel in changed:
            if channel is None:
                self._settle_node(node)
            else:
                self._settle_lane(node, channel)

    def _wake(self) -> None:
        """Let who waits look at its condition."""
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _settle_node(self, node: str) -> None:
        up = node in self._edges
        if up != (node in self._told_up):
            (self._told_up.add if up else self._told_up.discard)(node)
            self._tell("up" if up else "down", node, None, node)

    def _settle_lane(self, node: str, channel: str) -> None:
        up, lane = self._lane_up(node, channel), (node, channel)
        if up != (lane in self._told_lanes):
            (self._told_lanes.add if up else self._told_lanes.discard)(lane)
            self._tell("up" if up else "down", node, channel, node)

    def _tell(self, kind: Kind, node: str | None, channel: str | None, value: object) -> None:
        """Tell who asked for every node, then who asked for this one; each in the order in which they asked."""
        wanted = [each for each in self._subscriptions if each.kind == kind and each.channel == channel]
        for subscription in [*(s for s in wanted if s.node is None), *(s for s in wanted if s.node is not None)]:
            if subscription.active and subscription.node in (None, node):
                try:
                    subscription._tell(value)
                except Exception:
                    log.exception("%r failed", subscription)


def _takes(function: Callable[..., object]) -> int:
    """Whether a function wants to be told what happened: 1 or 0 arguments. Raises TypeError if it wants more."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # a built-in that does not say
        return 1
    for count in (1, 0):
        try:
            signature.bind(*(None,) * count)
        except TypeError:
            continue
        return count
    raise TypeError(f"{function!r} takes more than the one argument that it would be given")
