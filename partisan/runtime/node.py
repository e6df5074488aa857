"""A node: processes, connections and a membership, under one name.

A node is an object; many live in one interpreter. It belongs to the event loop on which it was started, and to that
loop's thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib
import inspect
import logging
import os
import random
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from contextvars import Token
from types import TracebackType
from typing import Any

from partisan._core.connections import ConnectionTable
from partisan._core.router import Router, current_router_var
from partisan._core.scheduler import Scheduler
from partisan.config import Config
from partisan.config_distribution import Distribution
from partisan.errors import ConfigError, LocalProtocolError
from partisan.etf import Pid, Reference
from partisan.managers.audience import Audience
from partisan.managers.causal_store import CausalStore
from partisan.managers.choice import OverlayExtra, extra_of, make_manager, wire_name_of
from partisan.names import ListenAddress, NodeSpec
from partisan.net.acceptor import Acceptor
from partisan.net.acknowledged import Acknowledged
from partisan.net.causal import Causality
from partisan.net.certificates import TlsMaterial
from partisan.net.context import Context
from partisan.runtime.application import ApplicationCalls
from partisan.runtime.asking import NAME as RPC
from partisan.runtime.broadcast_calls import BroadcastCalls
from partisan.runtime.broadcasting import Broadcasts
from partisan.runtime.current import current
from partisan.runtime.discovery_calls import DiscoveryCalls
from partisan.runtime.exits import ExitSignal, crash_reason
from partisan.runtime.far import Far, Unreached
from partisan.runtime.inside import InsideCalls
from partisan.runtime.monitors import Monitors
from partisan.runtime.node_monitors import NodeMonitorCalls, NodeMonitors
from partisan.runtime.offload import OffloadCalls
from partisan.runtime.options import LOOPBACK, channel_map, check_reachable, make_codec, named
from partisan.runtime.presence import Presence
from partisan.runtime.process_info import InfoCalls
from partisan.runtime.python_peers import Handler, PythonPeers
from partisan.runtime.reconfigure import Reconfigure
from partisan.runtime.relaying import Relaying
from partisan.runtime.remote import Remote
from partisan.runtime.remote_calls import RemoteCalls
from partisan.runtime.requests import CAPABILITY, Requests
from partisan.runtime.sharing import Sharing
from partisan.runtime.spawn_opt import SpawnCalls
from partisan.runtime.timer_calls import Timer, TimerCalls
from partisan.runtime.trace_calls import TraceCalls
from partisan.runtime.watch import Sampler
from partisan.runtime.watching import Watching
from partisan.telemetry import Telemetry
from partisan.wire.causal import CAPABILITY as CAUSAL
from partisan.wire.relay import CAPABILITY as RELAY

log = logging.getLogger(__name__)

DISTRIBUTION = "partisan.dist.service"
"""The module of Erlang's distribution: above this one, so it is imported by its name."""


STORE_CLOSES = 1.0
"""Seconds that a start which fails waits for a file to be closed (ours)."""


class Node(
    DiscoveryCalls,
    NodeMonitorCalls,
    RemoteCalls,
    SpawnCalls,
    ApplicationCalls,
    InfoCalls,
    InsideCalls,
    TimerCalls,
    OffloadCalls,
    Reconfigure,
    BroadcastCalls,
    TraceCalls,
):
    """A member of a cluster.

    Args:
        name: `name@host`, or `name@ip:port` to listen there too; port 0 takes a free one. Without an address the node
            listens on 127.0.0.1 at a free port.
        config: options as a `Config`; or give them as keyword arguments (see `docs/configuration.md`).
        application: what starts with the node, and ends before it: see `start_application`.
    Attributes:
        name: `name@host`.
        config: the options in force.
        telemetry: where its events go.
        applications: those that were started, in order.
    """

    def __init__(
        self, name: str | None = None, /, *, config: Config | None = None, application: Any = None, **options: Any
    ) -> None:
        if config is not None and options:
            raise ConfigError(next(iter(options)), "give options in a Config or as arguments, not both")
        self.config = config if config is not None else Config.load(named(name, options))
        if self.config.name is None:
            raise ConfigError("name", "a node needs a name: name@host")
        self.name: str = self.config.name
        self.telemetry = Telemetry()
        self.applications = []
        self._application = application
        self._stopping: asyncio.Task[None] | None = None
        self._stop_by = 0.0  # of the loop's time: when the grace of the stop is over
        self._running = False
        self._tokens: list[tuple[contextvars.ContextVar[Any], Token[Any]]] = []

    def __repr__(self) -> str:
        return f"<Node {self.name} {'up' if self._running else 'down'}>"

    async def start(self) -> Node:
        """Listen, begin to be a cluster of one, and start the application.

        Raises:
            ConfigError: an address cannot be bound.
            StartFailed: the application has not started; the node is stopped again.
        """
        await self._boot()
        if self._application is not None:
            try:
                await self.start_application(self._application)
            except BaseException:
                await self.stop()
                raise
        return self

    async def _boot(self) -> None:
        if self._running:
            raise LocalProtocolError(f"{self.name} runs already")
        if self._stopping is not None and not self._stopping.done():
            raise LocalProtocolError(f"{self.name} has not stopped yet")
        config = self.config
        self._apply_log_level()
        self.loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._rng = random.Random(os.urandom(16))
        self._ended = asyncio.Event()  # set whenever the last process ends
        self._relief: dict[tuple[str, str], list[asyncio.Future[None]]] = {}
        self._told: dict[str, int] = {}
        self._timers: dict[Reference, Timer] = {}
        self._executors: dict[str, Executor] = {}
        self._offloaded: set[Future[Any]] = set()
        self._outside = Pid(self.name, 0)
        self._ref_count = self._rng.getrandbits(48)
        self._make_core()
        self._context = Context(
            node=self.name,
            loop=self.loop,
            config=config,
            router=self.router,
            telemetry=self.telemetry,
            rng=self._rng,
            tls=TlsMaterial(config) if config.tls else None,
        )
        self._watching = Watching(
            self.loop,
            enter=self._enter,
            send=self.router.send,
            lane_up=self.table.is_connected,
        )
        self._begin_faults()
        self._make_discovery()
        addresses = [ListenAddress.parse(text) for text in config.listen_addrs or (LOOPBACK,)]
        for address in addresses:
            check_reachable(address, tls=config.tls)
        self._acceptor = Acceptor(self._context, addresses)
        self.spec = NodeSpec.of(self.name, self._acceptor.addresses, channel_map(config))
        self._acknowledged = self._context.acknowledged = Acknowledged(self._context)
        await self._make_parts()
        self._sampler = Sampler(self._context, self.table, self.scheduler)
        self._sampler.monitors = lambda: self.scheduler.census()["monitors"]
        self._sampler.unacknowledged = self._acknowledged.waiting
        self.telemetry.changed = self._sampler.heed
        self._running = True
        self._apply_busy_wait()
        self._watch()
        self._sampler.heed()
        self._tell_channels(config.channels)
        self._causal.start()
        self._manager.start()
        self.broadcasts.start()
        self._presence.start()
        self._discovery.start()
        if self._far is not None:
            try:
                await self._far.start()
            except BaseException:
                await self.stop(grace=0.0)
                raise
        log.info("%s listens on %s", self.name, ", ".join(map(str, self._acceptor.addresses)))

    async def _make_parts(self) -> None:
        """Make what may refuse a state that was kept: then nothing stays open. Raises ConfigError, StateError."""
        store: CausalStore | None = None
        try:
            self._context.tracing = self._make_tracing()
            store = self._causal_store()
            self._causal = self._context.causal = Causality(self._context, store)
            self._make_overlay()
        except BaseException:
            self._acceptor.close()
            self._abandon_trace()
            if store is not None:
                await store.close(STORE_CLOSES)  # else its file stays locked
            raise

    def _causal_store(self) -> CausalStore | None:
        """Where clocks are kept, if they are. Raises StateError."""
        config = self.config
        if config.persist_dir is None or not config.causal.persist or not config.causal_labels:
            return None
        return CausalStore(config.persist_dir, self.name, self.loop)

    def _make_core(self) -> None:
        """Make what processes run on, and the way of their messages to other nodes."""
        self.scheduler = Scheduler(
            self.name,
            first_key=self._rng.getrandbits(40),
            wake=lambda: self.router.rouse(),
            clock=self.loop.time,
            call_later=self.loop.call_later,
            loop=self.loop,
            enter_task=asyncio.tasks._enter_task,
            leave_task=asyncio.tasks._leave_task,
            cancelled=asyncio.CancelledError,
            exit_signal=ExitSignal,
            crash_reason=crash_reason,
            exited=self._exited,
        )
        self.table = ConnectionTable(
            bound=self._bound,
            fallback=self.config.channel_fallback,
            channels=self.config.channels,
            unknown=self._unknown_channel,
            shares=self.config.share_connections,
            parted=lambda: self._sharing.begin(),
        )
        self._sharing = Sharing(self.loop, self.table.gather)
        self.router = Router(
            self.name,
            codec=make_codec(self.config),
            scheduler=self.scheduler,
            table=self.table,
            clock=self.loop.time,
            call_soon=self.loop.call_soon,
            undeliverable=self._undeliverable,
        )
        self.scheduler.variables = ((current, self), (current_router_var, self.router))
        self.router.optioned = self.forward_message
        self.send = self.router.send  # type: ignore[assignment,method-assign]  # without a detour from now on

    def _make_overlay(self) -> None:
        """Make the manager and the extras, and let messages for them find them. Raises ConfigError, StateError."""
        self._requests = Requests(self._context, self.table, self._tell_python, self.spawn)
        self._remote = Remote(
            self._context,
            self.table,
            spawn=self.spawn,
            outside=self._outside,
            spec=lambda: self.spec,
            undeliverable=self._undeliverable,
        )
        self.broadcasts = Broadcasts(self._context)
        self._make_relaying()
        extras: dict[str, Handler] = {CAPABILITY: self._requests, **self._remote.handlers, **self.broadcasts.extras}
        extras[RELAY] = self._relaying
        if self.config.causal_labels:
            extras[CAUSAL] = self._causal
        overlay = extra_of(self.config)
        if overlay is not None:
            extras[overlay] = OverlayExtra(lambda: self._manager)
        self._python = PythonPeers(self._context, self.table, wire_name_of(self.config), extras)
        self.scheduler.register(RPC, self._remote.asking.receive)
        self.scheduler.register(self._python.wire_name, self._python.receive)
        self._monitors = Monitors(self._context, self.table, self.make_ref)
        self.router.call_monitored = self._monitors.call
        self.scheduler.register(self._monitors.wire_name, self._monitors.receive)
        self._node_monitors = NodeMonitors(self.scheduler, self._presence)
        self.scheduler.register(self.broadcasts.wire_name, self.broadcasts.receive)
        self._manager = make_manager(self._context, self.table, self.spec, self._audience())
        self.scheduler.register(self._manager.wire_name, self._manager.receive)
        self._context.manager = self._manager
        self._far = self._make_far(self.config.distribution)

    def _make_far(self, options: Distribution | None) -> Far | None:
        """Erlang's distribution, which is imported where it is asked for."""
        if options is None:
            return None
        made: Any = importlib.import_module(DISTRIBUTION)

        def edge(node: str, up: bool) -> None:
            if not up:
                self._requests.far_lost(node)
            self._node_monitors.edge(node, up)
            self._watching.edge(node, up)

        far: Far = made.Distributed(
            self._context, self.table, options, self._remote, spawn=self.spawn, make_ref=self.make_ref, edge=edge
        )
        self._remote.asking.far = far
        self.router.call_unreached = Unreached(far, self.loop).call
        return far

    def _make_relaying(self) -> None:
        """Make what reaches nodes that are no neighbors, and knows which of these live."""

        def there(node: str, up: bool) -> None:
            self._python.edge(node, up)
            self._requests.edge(node, up)
            self._monitors.edge(node, up)
            self._node_monitors.edge(node, up)
            self._remote.edge(node, up)

        broadcasts = self.broadcasts
        life = broadcasts.heartbeats.epoch
        self._presence = Presence(self._context, there, broadcasts.beat, life)
        self._relaying = self._presence.spreads = Relaying(
            self._context, self._presence, broadcasts.peers, lambda message: broadcasts.receive(message, None), life
        )
        broadcasts.heartbeats.heard = self._presence.heartbeat
        self._acknowledged.relays = self._relaying

    def _audience(self) -> Audience:
        """Who hears of what changes in the overlay."""

        def near(node: str, up: bool, reason: str) -> None:
            self._python.near(node, up)
            self._presence.edge(node, up, reason)
            self._acknowledged.edge(node, up)
            self._causal.edge(node, up)
            self.broadcasts.edge(node, up)
            self._relaying.edge(node, up)

        def edge(node: str, up: bool, reason: str) -> None:
            near(node, up, reason)
            self._watching.edge(node, up)

        def lane(node: str, channel: str) -> None:
            self._watching.lane(node, channel)
            self._acknowledged.reconsider(node)
            self._acknowledged.look()

        return Audience(
            edge,
            lambda node, reason: near(node, False, reason),
            lane,
            self._watching.members,
            self._acceptor.part,
            self._python.has,
            self._relaying.receive_foreign,
        )

    def _tell_python(self, node: str, message: tuple[Any, ...], channel: str | None = None) -> None:
        """Send an extra to a Python node. Raises NotConnected, Overloaded."""
        self.router.send((PythonPeers.wire_name, node), message, channel=channel)

    def _enter(self, context: contextvars.Context) -> None:
        """Make this node the current one in a context."""
        context.run(current.set, self)
        context.run(current_router_var.set, self.router)

    async def stop(self, *, grace: float = 5.0) -> None:
        """End applications, then every process, then close every connection and listener.

        Peers keep this node as a member: see `leave`.

        What was sent before is written, and peers are given time to read it.

        A stop that has begun goes on, whatever becomes of who waits for it. To call this again is to wait for its end,
        too, and to let it take no more than this other grace; a process that is about to end for it does not wait.

        Args:
            grace: seconds for all of it: for applications to end in order, for other processes to end after their exit
                signal `shutdown`, then for peers to close. Processes that have not ended by then are killed, and the
                log says so.
        """
        stopping = self._stopping
        under_way = stopping is not None and not stopping.done()
        if not self._running and not under_way:
            return
        self._check_thread()
        mine = self._own()
        if stopping is None or not under_way:
            self._stopper, self._stop_by = mine, self.loop.time() + grace
            stopping = self._stopping = self.loop.create_task(self._stop())
        elif mine is not None and not (mine is self._stopper and mine.alive):
            return  # the stop waits for the end of this one
        else:
            await asyncio.wait([stopping], timeout=grace)
            if not stopping.done():
                stopping.cancel()
        await asyncio.shield(stopping)

    async def _stop(self) -> None:
        """Stop all there is, one thing after the other, and what is left though one of them fails."""
        errors: list[BaseException] = []

        async def then(step: Callable[[float], Awaitable[None]]) -> None:
            try:
                await self._in_time(step)
            except (Exception, asyncio.CancelledError) as error:
                errors.append(error)

        try:
            await then(self._stop_applications)
            self._running = False
            self.telemetry.changed = None
            self._sampler.stop()
            self._acceptor.deafen()
            await then(self._discovery.stop)
            await then(self._end_processes)
            await then(self._acknowledged.settled)
            await then(self._causal.stop)
            await then(self._farewell)
            await then(self._manager.stop)
            await then(self._stop_far)
        finally:
            self._stop_parts()
            await then(self._end_trace)
            self._stopping = self._stopper = None
        for error in errors[1:]:
            log.error("%s stops, and a part of it fails", self.name, exc_info=error)
        if errors:
            raise errors[0]

    async def _farewell(self, grace: float) -> None:
        self._presence.farewell()

    async def _stop_far(self, grace: float) -> None:
        if self._far is not None:
            await self._far.stop()

    async def _in_time(self, step: Callable[[float], Awaitable[None]]) -> None:
        """Do one thing in the time that is left for all. To cancel that takes the time away, and does it at once."""
        try:
            await step(max(0.0, self._stop_by - self.loop.time()))
        except asyncio.CancelledError:
            self._stop_by = self.loop.time()
            await step(0.0)

    def _stop_parts(self) -> None:
        """Stop what takes no time."""
        self.scheduler.deadlines.stop()
        self._stop_timers()
        self._stop_offloading()
        self._acknowledged.stop()
        self._monitors.stop()
        self.broadcasts.stop()
        self._presence.stop()
        self._relaying.stop()
        self._python.stop()
        self._sharing.stop()
        self._acceptor.close()
        self._watching.stop()
        self._context.faults.stop()
        vars(self).pop("send", None)  # from now on it says that the node is not running
        for waiters in self._relief.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(LocalProtocolError(f"{self.name} does not run any more"))

    async def __aenter__(self) -> Node:
        await self.start()
        self._tokens = [(current, current.set(self)), (current_router_var, current_router_var.set(self.router))]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for variable, token in reversed(self._tokens):
            variable.reset(token)
        self._tokens = []
        await self.stop()

    @property
    def listen_addrs(self) -> tuple[ListenAddress, ...]:
        """Where the node listens, with the ports that the system chose."""
        if not hasattr(self, "spec"):
            raise LocalProtocolError(f"{self.name} has not been started")
        return self.spec.listen_addrs

    def threadsafe(self, function: Callable[..., Any], *args: Any, **options: Any) -> Future[Any]:
        """From another thread: call `function(*args, **options)` in the node's thread; a future of its result.

        This node is the current one there. What the function gives is awaited, if it can be: so a coroutine function is
        run to its end on the node's loop; to cancel the future is to cancel it. The one door into a node from
        elsewhere: `node.threadsafe(partisan.call, "counter", 1).result()`, or
        `node.threadsafe(node.join, "b@127.0.0.1:10201").result()`.
        """
        if not self._running:
            raise LocalProtocolError(f"{self.name} is not running")

        async def whole() -> Any:
            current.set(self)
            current_router_var.set(self.router)
            found = function(*args, **options)
            return await found if inspect.isawaitable(found) else found

        return asyncio.run_coroutine_threadsafe(whole(), self.loop)
