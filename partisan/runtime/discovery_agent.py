"""Looks for other nodes at intervals, and makes who is found the membership.

Each lookup ends in `Node.update_members` of this node and of all that were found, as in partisan 5.0.3: who is new is
joined, and members that were not found leave, unless `remove` is off. What is different (partisan-upper, section 8.1):

- A lookup that fails is logged and told, and the membership stays; the reference's agent crashes.
- An answer without any node, not even this one, changes nothing; the reference makes all members leave.
- After `enable` lookups go on; there they do not.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Literal

from partisan import telemetry
from partisan.config import DiscoveryConfig
from partisan.errors import ConfigError, DiscoveryDisabled, DiscoveryFailed, PartisanError
from partisan.names import Contact, ListenAddress, NodeSpec
from partisan.net.context import Context
from partisan.runtime.discovery_backend import Backend, Here, make_backend
from partisan.runtime.membership_calls import Who

log = logging.getLogger(__name__)

CLOSE_TIMEOUT: Final = 2.0
"""Seconds that a backend has to close (ours)."""

SHOWN: Final = 120
"""Characters of what was found that a log or an event shows, at most (ours)."""


def name_of(who: Who) -> str | None:
    """The name of a node that was found, if it is known."""
    return who if isinstance(who, str) else who.name


def addresses_of(who: Who) -> tuple[ListenAddress, ...]:
    """Where a node that was found listens, as far as that is known."""
    return () if isinstance(who, str) else who.listen_addrs if isinstance(who, NodeSpec) else who.addresses


def has_moved(who: Who, member: NodeSpec) -> bool:
    """Whether a member was found nowhere where it is known to listen."""
    return not isinstance(who, str) and set(addresses_of(who)).isdisjoint(member.listen_addrs)


def wanted(found: Iterable[Who], myself: NodeSpec, members: Sequence[NodeSpec], *, remove: bool) -> list[Who]:
    """Return whom to make the members: this node first; none at all where nothing is to change.

    Args:
        found: what a lookup gave; of several of one name the first counts. A member is the spec by which it is known,
            or, if it was found elsewhere, what was found: nobody else may say where it listens now.
        members: who is one now, `myself` among them.
        remove: whether members that were not found leave.
    """
    known = {member.name: member for member in members}
    at = {address: member.name for member in members for address in member.listen_addrs}
    at |= dict.fromkeys(myself.listen_addrs, myself.name)
    chosen: dict[str | Contact, Who] = {}
    for who in found:
        name = name_of(who)
        if name is None and isinstance(who, Contact):
            name = next((at[address] for address in who.addresses if address in at), None)
        key = name if name is not None else who
        assert not isinstance(key, NodeSpec)  # it has a name
        if name == myself.name:
            chosen[name] = myself
        elif name in known:
            chosen.setdefault(name, who if has_moved(who, known[name]) else known[name])
        elif not isinstance(who, str):
            chosen.setdefault(key, who)
    if not chosen:
        return []
    others = [who for key, who in chosen.items() if key != myself.name]
    kept = [] if remove else [member for name, member in known.items() if name not in chosen and name != myself.name]
    return [myself, *others, *kept]


class DiscoveryAgent:
    """Discovery of one node: `node.discovery`.

    Args:
        context: the node's.
        spec: gives the node's own spec.
        members: gives the specs of the members.
        update: `Node.update_members`.
    Attributes:
        found: what the last lookup that succeeded gave, this node included.
        error: why the last lookup failed, or what it gave could not be used; None if it was good, or there was none.
    """

    def __init__(
        self,
        context: Context,
        *,
        spec: Callable[[], NodeSpec],
        members: Callable[[], Sequence[NodeSpec]],
        update: Callable[[Iterable[Who]], Awaitable[None]],
    ) -> None:
        self.found: tuple[Who, ...] = ()
        self.error: Exception | None = None
        self._context = context
        self._spec = spec
        self._members = members
        self._update = update
        self._lock = asyncio.Lock()
        self._backend: Backend | None = None
        self._task: asyncio.Task[None] | None = None
        self._due = 0.0  # when the next lookup is to begin

    def status(self) -> Literal["enabled", "disabled"]:
        """Whether other nodes are looked for."""
        return "disabled" if self._backend is None else "enabled"

    async def lookup(self) -> list[Who]:
        """Look for other nodes now, and return them; the membership stays as it is.

        Raises:
            DiscoveryDisabled: discovery is not enabled.
            DiscoveryFailed: there was no answer.
        """
        backend, config = self._backend, self._config
        if backend is None:
            raise DiscoveryDisabled
        begun = self._context.loop.time()
        found: list[Who] = []
        try:
            async with asyncio.timeout(config.timeout) as limit, self._lock:
                found += await backend.lookup()
        except TimeoutError as error:
            if not limit.expired():
                raise DiscoveryFailed(self._name, "unreachable", str(error)) from error
            raise DiscoveryFailed(self._name, "timeout", f"no answer within {config.timeout:g} s") from None
        except DiscoveryFailed:
            raise
        except Exception as error:  # of a class that anybody may bring
            raise DiscoveryFailed(self._name, "failed", repr(error)) from error
        if len(found) > config.max_nodes:
            raise DiscoveryFailed(self._name, "too_many", f"{len(found)} nodes, above max_nodes, {config.max_nodes}")
        found = [who for who in found if self._usable(who)]
        seconds = self._context.loop.time() - begun
        self._emit(telemetry.DISCOVERY_LOOKUP, {"nodes": len(found), "seconds": seconds}, {})
        return found

    def _usable(self, who: object) -> bool:
        """Whether a lookup may give this; what it may not is told and left out."""
        if not isinstance(who, str | NodeSpec | Contact):
            self._skip(repr(who), "it is no Contact, NodeSpec or name")
            return False
        addresses = addresses_of(who)
        if addresses and not any(address.port for address in addresses):
            self._skip(str(who), "nobody listens on port 0")
            return False
        return True

    def prepare(self) -> None:
        """If discovery is enabled from the start, make what it needs. Raises ConfigError, MissingExtra."""
        if self._config.enabled:
            self._make()

    def start(self) -> None:
        """Begin to look, if that was prepared, after `initial_delay`."""
        if self._backend is not None:
            self._begin(self._config.initial_delay)

    def enable(self) -> None:
        """Look for other nodes from now on; the first lookup begins at once. Nothing if they are looked for already.

        Raises:
            ConfigError: `peer_discovery` does not say how.
            MissingExtra: a library for it is not installed.
        """
        if self._backend is None:
            self._make()
            self._begin(0.0)

    async def disable(self) -> None:
        """Look for nobody any more; the membership stays as it is."""
        await self.stop(CLOSE_TIMEOUT)

    async def stop(self, grace: float) -> None:
        """As `disable`; what a backend holds has so many seconds to be given up."""
        task, backend = self._task, self._backend
        self._task = self._backend = None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=grace)
        if backend is None:
            return
        try:
            async with asyncio.timeout(min(grace, CLOSE_TIMEOUT)), self._lock:
                await backend.close()
        except Exception as error:  # of a class that anybody may bring; the node stops all the same
            log.warning("%s could not close discovery by %s: %r", self._context.node, self._name, error)

    def retime(self) -> None:
        """The `polling_interval` has changed: what was to come later than it comes then."""
        if self._task is not None:
            self._task.cancel()
            remaining = max(0.0, self._due - self._context.loop.time())
            self._begin(min(remaining, self._config.polling_interval))

    @property
    def _config(self) -> DiscoveryConfig:
        return self._context.config.peer_discovery

    @property
    def _name(self) -> str:
        kind = self._config.type
        return kind.__name__ if isinstance(kind, type) else str(kind)

    def _make(self) -> None:
        context, config = self._context, self._config
        kind = config.type
        if kind is None:
            raise ConfigError("peer_discovery.type", "it does not say how nodes are found")
        here = Here(context.loop.time, self._skip, lambda: context.config, self._spec)
        self._backend = make_backend(kind, config.settings, here)

    def _begin(self, delay: float) -> None:
        # In a context of its own: it is no business of the process that happens to start the node.
        self._task = self._context.loop.create_task(self._run(delay), context=contextvars.Context())

    async def _run(self, delay: float) -> None:
        # A library may swallow a cancellation that comes as its answer does: then this is not the task any more.
        while self._task is asyncio.current_task():
            self._due = self._context.loop.time() + delay
            await asyncio.sleep(delay)
            await self._poll()
            delay = self._config.polling_interval

    async def _poll(self) -> None:
        """Look once, and make who is found the membership."""
        try:
            found = await self.lookup()
            if self._task is not asyncio.current_task():
                return  # the cancellation was swallowed: see `_run`
            self.found = tuple(found)
            members = wanted(found, self._spec(), self._members(), remove=self._config.remove)
            await self._update(members)
            self.error = None
        except PartisanError as error:
            self._failed(error)
        except Exception as error:  # or nobody would look any more, and nothing would say so
            self._failed(error)
            log.exception("%s could not make what was found its members", self._context.node)

    def _failed(self, error: Exception) -> None:
        """Tell that the membership stays as it is."""
        self.error = error
        self._emit(telemetry.DISCOVERY_ERROR, {"count": 1}, {"error": error})
        kind = ("discovery", type(error), getattr(error, "reason", ""))
        self._context.log(log, logging.WARNING, kind, "%s keeps its members: %s", self._context.node, error)

    def _skip(self, entry: str, problem: object) -> None:
        """Tell that something was found which is no node."""
        entry = entry if len(entry) <= SHOWN else f"{entry[:SHOWN]}..."
        self._emit(telemetry.DISCOVERY_SKIPPED, {"count": 1}, {"entry": entry, "error": problem})
        self._context.log(
            log,
            logging.WARNING,
            ("discovery", "skipped"),
            "%s found by %s what is no node: %r, %.200s",
            self._context.node,
            self._name,
            entry,
            problem,
        )

    def _emit(self, event: str, measurements: dict[str, float], metadata: dict[str, object]) -> None:
        self._context.telemetry.emit(event, measurements, {"backend": self._name, **metadata})
