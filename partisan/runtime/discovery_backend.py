"""What finds other nodes: the interface, what it is told of its node, and where a backend of a name is."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from partisan.config import Config
from partisan.errors import ConfigError, MissingExtra
from partisan.names import NodeSpec
from partisan.runtime.membership_calls import Who

OPTION = "peer_discovery.type"

PLACES: Final[Mapping[str, str]] = {
    "list": "partisan.discovery.by_list:ListDiscovery",
    "dns": "partisan.discovery.by_dns:DnsDiscovery",
    "kubernetes": "partisan.discovery.by_kubernetes:KubernetesDiscovery",
    "redis": "partisan.discovery.by_redis:RedisDiscovery",
}

EXTRAS: Final[Mapping[str, tuple[str, str]]] = {
    "dns": ("dns", "dnspython"),
    "redis": ("redis", "redis"),
    "aiohttp": ("k8s", "aiohttp"),
}
"""What is imported -> the extra that brings it, and what it is called where it is installed from."""


@dataclass(frozen=True, slots=True)
class Here:
    """What a backend is told of the node for which it looks.

    Attributes:
        clock: gives monotonic seconds.
        skip: `skip(entry, problem)` tells that something was found which is no node, and is left out.
    """

    clock: Callable[[], float]
    skip: Callable[[str, object], None]
    _config: Callable[[], Config]
    _spec: Callable[[], NodeSpec]

    @property
    def config(self) -> Config:
        """The options of the node, as they are now."""
        return self._config()

    @property
    def spec(self) -> NodeSpec:
        """The node's own spec, as it is now."""
        return self._spec()

    @property
    def port(self) -> int:
        """Where the node listens."""
        return self.spec.listen_addrs[0].port


class Backend(Protocol):
    """A way to find other nodes: `peer_discovery.type` may be a class that is called with two arguments.

    These are the options, `peer_discovery.config` as a mapping, and a `Here`. It must not wait for anything before its
    first lookup. At most one lookup is under way at a time; it is cancelled when it takes longer than `timeout`.
    """

    async def lookup(self) -> Sequence[Who]:
        """Return the nodes that there are; this one may be among them.

        A node is a `Contact`, a `NodeSpec`, or a name alone where nobody knows at present where it listens: such a node
        stays if it is a member. What else was found is told to `skip`.

        Raises:
            DiscoveryFailed: there is no answer; the membership stays as it is. Any other exception counts as this, too.
        """

    async def close(self) -> None:
        """Give up what the lookups hold; another lookup may follow."""


def make_backend(kind: str | type, settings: Any, here: Here) -> Backend:
    """Make what `peer_discovery.type` says. Raises ConfigError, MissingExtra."""
    found = _find(PLACES.get(kind, kind)) if isinstance(kind, str) else kind
    if not callable(getattr(found, "lookup", None)) or not callable(getattr(found, "close", None)):
        raise ConfigError(OPTION, f"{kind!r} is no class with the methods lookup and close")
    made: Backend = found(settings, here)
    return made


def _find(place: str) -> Any:
    """The class at `module:Class`."""
    module, _, name = place.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        missing = (getattr(error, "name", None) or "").partition(".")[0]
        if missing in EXTRAS and place in PLACES.values():
            extra, library = EXTRAS[missing]
            raise MissingExtra(extra, f"this kind of discovery ({module})", library) from error
        raise ConfigError(OPTION, f"{place!r} cannot be imported: {error}") from error
