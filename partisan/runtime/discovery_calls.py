"""How a node finds others."""

from __future__ import annotations

from partisan.runtime.discovery_agent import DiscoveryAgent
from partisan.runtime.membership_calls import MembershipCalls


class DiscoveryCalls(MembershipCalls):
    """The part of a node that is about discovery; see docs/discovery.md."""

    _discovery: DiscoveryAgent

    @property
    def discovery(self) -> DiscoveryAgent:
        """Discovery on this node: `lookup()`, `enable()`, `disable()`, `status()`."""
        self._check()
        return self._discovery

    def _make_discovery(self) -> None:
        """Make the agent, and what it needs. Raises ConfigError, MissingExtra."""
        self._discovery = DiscoveryAgent(
            self._context,
            spec=lambda: self.spec,
            members=lambda: self._manager.specs(),
            update=self.update_members,
        )
        self._discovery.prepare()

    def _apply_discovery(self) -> None:
        self._discovery.retime()
