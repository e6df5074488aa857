"""What goes wrong on purpose, and who looks on: faults, partitions and interposition at run time."""

from __future__ import annotations

from collections.abc import Mapping

from partisan.config import Config
from partisan.errors import Unsupported
from partisan.etf import Reference
from partisan.managers.hyparview import HyParViewManager
from partisan.names import NodeSpec, check_node_name
from partisan.net.faults import LiveFaults
from partisan.net.interposition import Direction, Interposed, Interposition, Stage
from partisan.runtime.message_calls import MessageCalls

MOST_HOPS = 255
"""Of an injected partition, at most (ours)."""

PADDING_OCTETS = 64
"""Of a padded message (partisan 5.0.3)."""


class FaultCalls(MessageCalls):
    """The methods of a node that are about faults; see docs/faults.md."""

    _interposition: Interposition
    _padding: bytes

    @property
    def faults(self) -> LiveFaults:
        """The faults of this node: `node.faults.cut("b@host")` and others, each healed by `remove()`."""
        self._check()
        return self._context.faults

    def inject_partition(self, *names: str | NodeSpec, ttl: int | None = None) -> Reference:
        """Cut this node off from others, both ways, until `resolve_partition` of what this returns.

        Frames between them are dropped and new connections refused, so the keepalive takes the others for lost; they
        stay members. The reference does so under HyParView only, and only where there is no connection (ours: it cuts).

        With a `ttl` it is what the reference's HyParView does: the one name is that of this node or a neighbor, which
        notes its members as partitioned, and so does every node within `ttl` hops; nothing is cut.

        Raises:
            ConfigError: one is no node name; or, with a ttl, this node is not configured for testing.
            ValueError: there is none, or this node is among them; or, with a ttl, there is not one, or the ttl is not
                from 0 to 255.
            NotConnected: with a ttl, the name is no member's.
            Unsupported: with a ttl, under another overlay.
        """
        self._check()
        if ttl is not None:
            return self._note_partition(names, ttl)
        others = tuple(name.name if isinstance(name, NodeSpec) else check_node_name(name) for name in names)
        reference = self.make_ref()
        self._context.faults.inject(reference, others)
        return reference

    def _note_partition(self, names: tuple[str | NodeSpec, ...], ttl: int) -> Reference:
        if len(names) != 1 or not 0 <= ttl <= MOST_HOPS:
            raise ValueError(f"a partition with a ttl has one origin, and a ttl from 0 to {MOST_HOPS}")
        if not isinstance(self._manager, HyParViewManager):
            raise Unsupported(self.config.peer_service_manager, "partitions have no ttl here")
        reference = self.make_ref()
        origin = names[0].name if isinstance(names[0], NodeSpec) else check_node_name(names[0])
        self._manager.inject_partition(origin, ttl, reference)
        return reference

    def resolve_partition(self, reference: Reference) -> bool:
        """Heal the partition of that reference; whether there was one."""
        self._check()
        noted = isinstance(self._manager, HyParViewManager) and self._manager.resolve_partition(reference)
        return self._context.faults.resolve(reference) or noted

    def partitions(self) -> list[tuple[Reference, tuple[str, ...]]]:
        """The injected partitions: (reference, names of the nodes that this one is cut off from).

        Of those with a ttl the names are those of the members, this node among them, when it was noted.
        """
        self._check()
        noted = self._manager.partitions() if isinstance(self._manager, HyParViewManager) else []
        return self._context.faults.partitions() + noted

    def add_interposition(
        self, name: str, function: Interposed, on: Direction = "both", when: Stage = "interpose"
    ) -> None:
        """Let a function see, change, delay or drop the user messages between this node and others.

        What the reference calls `add_interposition_fun`, `add_pre_interposition_fun` and `add_post_interposition_fun`;
        `partisan.net.interposition` says what it is given and may return.

        Args:
            name: by which it is removed; the same name again replaces it.
            function: `function(kind, peer, message)`; a post function is given the outcome, too.
            on: "forward" for what is sent, "receive" for what came, or "both".
            when: "pre", "interpose" or "post".
        """
        self._check()
        self._interposition.add(name, function, on, when)

    def remove_interposition(self, name: str, on: Direction = "both", when: Stage = "interpose") -> bool:
        """Remove a function; whether there was one (`remove_interposition_fun` and its like in the reference)."""
        self._check()
        return self._interposition.remove(name, on, when)

    def interpositions(self, on: Direction = "both", when: Stage = "interpose") -> Mapping[str, Interposed]:
        """The functions of a stage, by name (`get_interposition_funs` and its like in the reference)."""
        self._check()
        return self._interposition.functions(on, when)

    def _begin_faults(self) -> None:
        """Make ready, before the first message."""
        self._padding = self._rng.randbytes(PADDING_OCTETS)
        self._interposition = Interposition(self.name, self.loop, self.router, self.telemetry)
        self._context.faults.check_channel = self._check_channel
        self._shape_traffic(self.config)

    def _shape_traffic(self, config: Config) -> None:
        """Let padding and delays be as the options say, at the start and whenever they change."""
        self.router.padding = self._padding if config.binary_padding else None
        self._context.faults.configure(config)
