"""The membership of the current node, as `partisan_peer_service` in Erlang: each function is the node's method.

The node is that of the current process, or of `async with Node(...)`. What Erlang returns as `{error, Reason}` is
raised. The exchanges of the broadcast tree come with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from partisan.etf import Reference
from partisan.machines.client_server import ClientServerState
from partisan.machines.full import FullState
from partisan.machines.hyparview import HyParViewState
from partisan.machines.scamp_v1 import ScampV1State
from partisan.machines.scamp_v2 import ScampV2State
from partisan.machines.static import StaticState
from partisan.names import NodeSpec
from partisan.runtime.broadcasting import selection, text
from partisan.runtime.connection_calls import ConnectionInfo
from partisan.runtime.current import node
from partisan.runtime.membership_calls import Who
from partisan.runtime.watching import Subscriber, Subscription

__all__ = [
    "active",
    "add_callback",
    "add_sup_callback",
    "broadcast_members",
    "cancel_exchanges",
    "connections",
    "decode",
    "exchanges",
    "get_local_state",
    "inject_partition",
    "join",
    "leave",
    "manager",
    "member",
    "members",
    "members_for_orchestration",
    "on_down",
    "on_up",
    "partitions",
    "passive",
    "reserve",
    "reserved",
    "resolve_partition",
    "stop",
    "sync_join",
    "update_members",
]

State: TypeAlias = FullState | ScampV1State | ScampV2State | HyParViewState | ClientServerState | StaticState
"""What `get_local_state` gives, unless the strategy is one of your own."""


async def join(contact: Who, *, timeout: float = 10.0) -> str:
    """Join the cluster of a node; return its name when each can send to the other. See `Node.join`."""
    return await node().join(contact, timeout=timeout)


async def sync_join(contact: Who, *, timeout: float = 10.0) -> str:
    """Join, and wait until this node has all its connections to the contact. See `Node.sync_join`."""
    return await node().sync_join(contact, timeout=timeout)


async def leave(name: str | NodeSpec | None = None, *, grace: float = 5.0) -> None:
    """Leave the cluster, or make another member leave it; see `Node.leave`. Raises NotConnected if it is none."""
    await node().leave(name, grace=grace)


async def update_members(members: Iterable[Who]) -> None:
    """Make these the members, this node included: begin to join who is new, make leave who is missing.

    It waits for no join; see `Node.update_members`.
    """
    await node().update_members(members)


def members() -> list[str]:
    """Names of the members, the current node included, sorted."""
    return node().members()


def member(name: str | NodeSpec) -> bool:
    """Whether the node is a member."""
    return node().member(name)


def members_for_orchestration() -> list[NodeSpec]:
    """Specs of the members, in Erlang's term order."""
    return node().members_for_orchestration()


def get_local_state() -> Any:
    """The state of the membership, as the strategy keeps it."""
    return node().get_local_state()


def decode(state: State | Iterable[NodeSpec]) -> list[str]:
    """Names of the members in the state of a membership, or in a list of specs.

    Raises TypeError: it is neither; as the state of a strategy of your own, of which only that knows the members.
    """
    specs: Any = state
    if isinstance(state, FullState):
        specs = state.state.members
    elif isinstance(state, ScampV1State | ScampV2State):
        specs = state.view
    elif isinstance(state, HyParViewState):
        specs = state.active
    elif isinstance(state, ClientServerState | StaticState):
        specs = state.members
    found = list(specs) if isinstance(specs, Iterable) else [specs]
    if not all(isinstance(each, NodeSpec) for each in found):
        raise TypeError(f"{state!r:.200} is neither the state of a membership nor a list of specs")
    return [spec.name for spec in found]


def manager() -> str:
    """The name of the peer service manager, as peers address it."""
    return node().manager()


def connections() -> list[ConnectionInfo]:
    """Every connection on which messages go out."""
    return node().connections()


def reserve(tag: object) -> None:
    """Reserve a slot of the active view. Raises NoAvailableSlots where there are none."""
    node().reserve(tag)


def reserved(tag: object) -> str | None:
    """The name of the neighbor with the place that is kept for the tag, if there is one. Raises Unsupported."""
    return node().reserved(tag)


def active() -> list[NodeSpec]:
    """The active view: the current node and its neighbors. Raises Unsupported where there are no views."""
    return node().active()


def passive() -> list[NodeSpec]:
    """The passive view: peers to replace neighbors from. Raises Unsupported where there are no views."""
    return node().passive()


def on_up(name: str, subscriber: Subscriber, *, channel: str | None = None) -> Subscription:
    """Tell the subscriber whenever the node ("_": any), or a channel of it, comes up; see `Node.on_up`."""
    return node().on_up(name, subscriber, channel=channel)


def on_down(name: str, subscriber: Subscriber, *, channel: str | None = None) -> Subscription:
    """Tell the subscriber whenever the node ("_": any), or a channel of it, goes down; see `Node.on_up`."""
    return node().on_down(name, subscriber, channel=channel)


def add_callback(subscriber: Subscriber) -> Subscription:
    """Call the function with the names of the members whenever they change; `cancel()` ends it."""
    return node().add_callback(subscriber)


def add_sup_callback(subscriber: Subscriber) -> Subscription:
    """As `add_callback`, until the current process ends."""
    return node().add_sup_callback(subscriber)


def inject_partition(*names: str | NodeSpec, ttl: int | None = None) -> Reference:
    """Cut the current node off from others, both ways, until `resolve_partition`. Raises ConfigError, ValueError.

    With a `ttl`: have the one node, and all within so many hops, note a partition; see `Node.inject_partition`.
    """
    return node().inject_partition(*names, ttl=ttl)


def resolve_partition(reference: Reference) -> bool:
    """Heal the partition of that reference; whether there was one."""
    return node().resolve_partition(reference)


def partitions() -> list[tuple[Reference, tuple[str, ...]]]:
    """The injected partitions: (reference, names of the nodes that the current one is cut off from)."""
    return node().partitions()


async def stop(*, grace: float = 5.0) -> None:
    """Stop the current node; see `Node.stop`."""
    await node().stop(grace=grace)


async def broadcast_members(*, timeout: float = 5.0) -> list[str]:
    """See `plumtree.broadcast_members`."""
    return node().broadcasts.members()


async def exchanges(at: str | None = None, *, timeout: float = 5.0) -> list[tuple[str, str]]:
    """See `plumtree.exchanges`."""
    return await node().broadcasts.exchanges_at(node().name if at is None else text(at), timeout)


def cancel_exchanges(which: Any = "all") -> None:
    """See `plumtree.cancel_exchanges`."""
    node().broadcasts.cancel_exchanges(selection(which))
