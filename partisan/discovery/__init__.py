"""How nodes find each other: discovery on the current node, as `partisan_peer_discovery_agent` in Erlang.

What it looks with is the option `peer_discovery`; docs/discovery.md has an example of each kind. A program that has
a way of its own gives a class like `Backend`.
"""

from __future__ import annotations

from typing import Literal

from partisan.runtime.current import node
from partisan.runtime.discovery_agent import DiscoveryAgent as DiscoveryAgent
from partisan.runtime.discovery_backend import Backend as Backend
from partisan.runtime.discovery_backend import Here as Here
from partisan.runtime.membership_calls import Who

__all__ = ["Backend", "DiscoveryAgent", "Here", "disable", "enable", "lookup", "status"]


async def lookup() -> list[Who]:
    """Look for other nodes now, and return them; the membership stays as it is.

    Raises:
        DiscoveryDisabled: discovery is not enabled.
        DiscoveryFailed: there was no answer.
    """
    return await node().discovery.lookup()


def enable() -> None:
    """Look for other nodes from now on. Raises ConfigError, MissingExtra; see `DiscoveryAgent.enable`."""
    node().discovery.enable()


async def disable() -> None:
    """Look for nobody any more; the membership stays as it is."""
    await node().discovery.disable()


def status() -> Literal["enabled", "disabled"]:
    """Whether other nodes are looked for."""
    return node().discovery.status()
