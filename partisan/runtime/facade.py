"""Module functions that act on the current node; each is the method of `Node` of the same name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, overload

from partisan._core.process import running
from partisan._core.references import read
from partisan._core.router import current_router_var
from partisan.config import ChannelConfig, Config
from partisan.etf import Atom, Pid, Reference
from partisan.names import DEFAULT_CHANNEL, NodeSpec
from partisan.runtime.connection_calls import NodeInfo, NodeKind
from partisan.runtime.current import current, node
from partisan.runtime.membership_calls import Who
from partisan.runtime.message_calls import Target
from partisan.runtime.node import Node
from partisan.runtime.node_monitors import NodeType
from partisan.runtime.offload import Place, Result
from partisan.runtime.process_calls import Name
from partisan.runtime.process_info import ProcessInfo
from partisan.runtime.remote_calls import START_TIMEOUT
from partisan.runtime.spawn_opt import MailboxPolicy
from partisan.runtime.tie_calls import DOWN


async def start(name: str | None = None, /, *, config: Config | None = None, **options: Any) -> Node:
    """Start a node and make it the current one; see `Node`. Raises ConfigError, StateError."""
    started = await Node(name, config=config, **options).start()
    current.set(started)
    current_router_var.set(started.router)
    return started


async def stop(*, grace: float = 5.0) -> None:
    """Stop the current node; see `Node.stop`."""
    await node().stop(grace=grace)


def spawn(function: Callable[..., Awaitable[Any]], *args: Any, name: str | None = None, **options: Any) -> Pid:
    """Start a process that runs `function(*args, **options)`; return its pid at once."""
    return node().spawn(function, *args, name=name, **options)


def register(name: Name, pid: Pid) -> None:
    """Give a living process of the current node a name. Raises NameTaken, NoProc."""
    node().register(name, pid)


def unregister(name: Name) -> None:
    """Take a name away. Raises KeyError if nobody has it."""
    node().unregister(name)


def whereis(name: Name) -> Pid | None:
    """The pid registered under the name on the current node, or with a registry; or None."""
    return node().whereis(name)


def forward_message(target: Target, message: object, **options: Any) -> None:
    """Send a message with options: see `Node.forward_message`."""
    node().forward_message(target, message, **options)


def cast_message(target: Target, message: object, **options: Any) -> None:
    """Send `{'$gen_cast', Message}`: what a gen_server takes as a cast."""
    node().cast_message(target, message, **options)


def make_ref() -> Reference:
    """A reference that the current node has not made before."""
    return node().make_ref()


def reconfigure(**options: Any) -> Config:
    """Change options of the current node while it runs: all or none. Raises ConfigError."""
    return node().reconfigure(**options)


async def join(contact: Who, *, timeout: float = 10.0) -> str:
    """Join the cluster of a node; return its name. Raises ConnectFailed, HandshakeError."""
    return await node().join(contact, timeout=timeout)


async def leave(name: str | None = None, *, grace: float = 5.0) -> None:
    """Leave the cluster, or make another node leave it; see `Node.leave`."""
    await node().leave(name, grace=grace)


def send_message(name: str, message: object) -> None:
    """Send a message to the peer service manager of a node."""
    node().send_message(name, message)


async def disconnect_node(name: str) -> bool:
    """Make the node leave the cluster; return False if it is no member."""
    return await node().disconnect_node(name)


def kill_connections(names: str | Iterable[str]) -> list[str]:
    """Close every connection to these nodes; members are dialled again. Returns those that had any."""
    return node().kill_connections(names)


def members() -> list[str]:
    """Names of the members, the current node included, sorted."""
    return node().members()


def nodes(*kinds: NodeKind) -> list[str]:
    """Names of the nodes of these kinds: visible (without any), known, this, hidden."""
    return node().nodes(*kinds)


def nodestring() -> str:
    """The current node's name."""
    return node().name


def node_info() -> NodeInfo:
    """Name, channels, addresses, metadata and connection count of the current node."""
    return node().node_info()


async def node_spec(name: str | Atom | None = None, *, timeout: float = 5.0) -> NodeSpec:
    """The spec of the current node, or of another. Raises NotConnected if that is no member."""
    return await node().node_spec(name, timeout=timeout)


def channel_opts(channel: str) -> ChannelConfig:
    """The options of a channel. Raises ConfigError if it is not configured."""
    return node().channel_opts(channel)


def default_channel() -> str:
    """The channel of messages that name none."""
    return DEFAULT_CHANNEL


def is_alive() -> bool:
    """Whether there is a current node, and it runs."""
    found = current.get(None)
    return found is not None and found.is_alive()


def is_connected(name: str, channel: str | None = None) -> bool:
    """Whether a connection to the node, or one of the channel, is up."""
    return node().is_connected(name, channel)


def is_fully_connected(name: str) -> bool:
    """Whether every channel of the node's spec has all its connections."""
    return node().is_fully_connected(name)


def is_local(target: Any) -> bool:
    """Whether a pid, a reference or a name belongs to the current node."""
    return node().is_local(target)


def is_local_pid(target: object) -> bool:
    """Whether it is a pid of the current node."""
    return node().is_local_pid(target)


def is_local_reference(target: object) -> bool:
    """Whether it is a reference that the current node has made."""
    return node().is_local_reference(target)


def is_local_name(target: object) -> bool:
    """Whether a process of the current node is registered under the name."""
    return node().is_local_name(target)


def is_pid(term: object) -> bool:
    """Whether it is a pid, of any node."""
    return isinstance(read(term), Pid)


def is_reference(term: object) -> bool:
    """Whether it is a reference, of any node."""
    return isinstance(read(term), Reference)


def is_process_alive(pid: Pid) -> bool:
    """Whether a process of the current node lives."""
    return node().is_process_alive(pid)


def is_self(pid: object) -> bool:
    """Whether it is the pid of the current process; False outside of one."""
    found = running()
    return found is not None and found.pid == pid


def spawn_link(function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Pid:
    """As `spawn`, and link the current process to it. Raises NotInProcess."""
    return node().spawn_link(function, *args, **options)


def spawn_monitor(function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> tuple[Pid, Reference]:
    """As `spawn`, and monitor it from the current process. Raises NotInProcess."""
    return node().spawn_monitor(function, *args, **options)


def link(pid: Pid) -> None:
    """Link the current process to another: when one ends, the other gets an exit signal."""
    node().link(pid)


def unlink(pid: Pid) -> None:
    """Take the link between the current process and another away."""
    node().unlink(pid)


def broadcast(data: Any, name: str | Atom) -> None:
    """Send a message to every node, by a handler of `partisan.plumtree`; see `partisan.plumtree.broadcast`."""
    node().broadcast(data, name)


def monitor(target: Target, *, tag: object = DOWN, channel: str | None = None) -> Reference:
    """Have (tag, reference, process, item, reason) sent to the current process when another ends."""
    return node().monitor(target, tag=tag, channel=channel)


def demonitor(reference: Reference, *, flush: bool = False, info: bool = False) -> bool:
    """End a monitor of the current process; see `Node.demonitor`."""
    return node().demonitor(reference, flush=flush, info=info)


@overload
def spawn_opt(
    function: Callable[..., Awaitable[Any]],
    *args: Any,
    name: Name | None = None,
    link: bool = False,
    monitor: Literal[False] = False,
    max_mailbox: int | None = None,
    mailbox_policy: MailboxPolicy = "drop_newest",
) -> Pid: ...
@overload
def spawn_opt(
    function: Callable[..., Awaitable[Any]],
    *args: Any,
    name: Name | None = None,
    link: bool = False,
    monitor: Literal[True],
    max_mailbox: int | None = None,
    mailbox_policy: MailboxPolicy = "drop_newest",
) -> tuple[Pid, Reference]: ...
def spawn_opt(function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Pid | tuple[Pid, Reference]:
    """Start a process with options: name, link, monitor, max_mailbox; see `Node.spawn_opt`."""
    made: Pid | tuple[Pid, Reference] = node().spawn_opt(function, *args, **options)
    return made


def processes() -> list[Pid]:
    """The pids of the processes of the current node, oldest first."""
    return node().processes()


def process_info(pid: Pid, items: str | Atom | Iterable[str | Atom] | None = None) -> ProcessInfo | None:
    """What is known of a process of the current node; None if it has ended. See `Node.process_info`."""
    return node().process_info(pid, items)


async def offload(function: Callable[..., Result], *args: Any, to: Place = "thread") -> Result:
    """Run what blocks in a thread, or an operating-system process; see `Node.offload`."""
    return await node().offload(function, *args, to=to)


def monitor_node(name: str | Atom, flag: bool = True) -> bool:
    """Have (nodedown, node) sent to the current process when the node is lost; see `Node.monitor_node`."""
    return node().monitor_node(name, flag)


def monitor_nodes(flag: bool = True, *, nodedown_reason: bool = False, node_type: NodeType = "visible") -> None:
    """Have (nodeup, node) and (nodedown, node) sent to the current process; see `Node.monitor_nodes`."""
    node().monitor_nodes(flag, nodedown_reason=nodedown_reason, node_type=node_type)


def trap_exit(flag: bool = True) -> bool:
    """Get exit signals as messages (EXIT, pid, reason) in the current process; return how it was before."""
    return node().trap_exit(flag)


def send_after(seconds: float, target: Target, message: object, **options: Any) -> Reference:
    """Send a message after some seconds; return the timer, for `cancel_timer`."""
    return node().send_after(seconds, target, message, **options)


def cancel_timer(timer: Reference) -> float | None:
    """Cancel a timer; return how many seconds it had left, None if it has fired."""
    return node().cancel_timer(timer)


async def spawn_at(
    name: str | Atom, module: str, function: str, args: Iterable[Any] = (), *, timeout: float = START_TIMEOUT
) -> Pid:
    """Start a process at another node; return its pid. Raises NotAllowed, UndefinedFunction, NodeDown, CallTimeout."""
    return await node().spawn_at(name, module, function, args, timeout=timeout)


async def spawn_link_at(
    name: str | Atom, module: str, function: str, args: Iterable[Any] = (), *, timeout: float = START_TIMEOUT
) -> Pid:
    """As `spawn_at`, and link the current process to it, before it runs. Raises LinkUnsupported, NotInProcess."""
    return await node().spawn_link_at(name, module, function, args, timeout=timeout)


async def spawn_monitor_at(
    name: str | Atom, module: str, function: str, args: Iterable[Any] = (), *, timeout: float = START_TIMEOUT
) -> tuple[Pid, Reference]:
    """As `spawn_at`, and monitor it from the current process. Raises NotInProcess."""
    return await node().spawn_monitor_at(name, module, function, args, timeout=timeout)


async def whereis_at(name: str | Atom, registered: str | Atom, *, timeout: float = START_TIMEOUT) -> Pid | None:
    """The pid registered under a name at another node, or None. Raises NodeDown, BadRpc, RpcTimeout."""
    return await node().whereis_at(name, registered, timeout=timeout)


async def is_process_alive_at(pid: Pid, *, timeout: float = START_TIMEOUT) -> bool:
    """Whether a process lives, of whichever node. Raises NodeDown, BadRpc, RpcTimeout."""
    return await node().is_process_alive_at(pid, timeout=timeout)
