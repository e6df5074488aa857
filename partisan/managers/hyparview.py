"""HyParView over sockets: a few neighbors, and a list of others to replace them from.

Messages are bare terms on the default channel, as nodes of Partisan 5.0.3 send them (`wire/hyparview.py`); one that
arrives before its connection's handshake is taken, as real nodes send some. There are connections to neighbors, and for
a moment to whoever is joined, asked, answered or told a last word: the machine says when each of them ends.

A message with acknowledgement is held until the peer has said that it runs this package: it would crash the manager of
a real node. The epoch is what is saved; views are not, as in the reference.
"""

from __future__ import annotations

import logging
import re
from random import Random
from typing import Any, ClassVar, cast

from partisan._core.connections import ConnectionTable
from partisan.config import TAG, TAG_FORM, Config
from partisan.errors import ConfigError, NoAvailableSlots, NotConnected, Overloaded, Unsupported
from partisan.etf import Atom, Reference
from partisan.machines.hyparview import (
    DONE,
    UNTAGGED,
    Declined,
    HyParView,
    HyParViewConfig,
    InjectPartition,
    ResolvePartition,
)
from partisan.machines.machine import Disconnect, Received, Unreachable
from partisan.machines.record import Outside
from partisan.machines.xbot import RoundTrip
from partisan.managers.audience import Audience
from partisan.managers.glue import spec_among
from partisan.managers.link_cost import RoundTrips, oracle_of
from partisan.managers.overlay import OverlayManager
from partisan.names import Contact, ListenAddress, NodeSpec
from partisan.net.context import Context
from partisan.net.dialer import Target
from partisan.net.link import Link
from partisan.wire.atom import malformed
from partisan.wire.hyparview import message_from_term, message_to_term, sender_of, state_from_term, state_to_term
from partisan.wire.order import spec_key

log = logging.getLogger(__name__)

NAME = "hyparview"
"""The overlay's, in options and in saved states."""

_SLOT = 0
"""The partition key of what the machine sends: all of it takes one connection, and so keeps its order."""


class HyParViewGlue:
    """HyParView on the wire of Partisan 5.0.3."""

    name = NAME

    def options(self, config: Config) -> HyParViewConfig:
        """Take what concerns it."""
        given = config.hyparview
        return HyParViewConfig(
            active_max_size=given.active_max_size,
            active_min_size=given.active_min_size,
            active_rwl=given.active_rwl,
            passive_max_size=given.passive_max_size,
            passive_rwl=given.passive_rwl,
            random_promotion=given.random_promotion,
            random_promotion_interval=given.random_promotion_interval,
            shuffle_interval=given.shuffle_interval,
            shuffle_k_active=given.shuffle_k_active,
            shuffle_k_passive=given.shuffle_k_passive,
            patience=given.patience,
            xbot=given.xbot_enabled,
            xbot_interval=given.xbot_interval,
            xbot_candidates=given.xbot_candidates,
            xbot_unbiased=given.xbot_unbiased,
            tag=config.tag or UNTAGGED,
            reservations=config.reservations,
            partitions=config.testing,
            key=spec_key,
        )

    def build(self, myself: NodeSpec, options: Any, rng: Random, restored: Any) -> HyParView:
        """Make the machine; what is restored is the epoch."""
        return HyParView(myself, options, rng, restored)

    def saved_to_term(self, myself: NodeSpec, state: Any) -> object:
        """The epoch."""
        return state

    def saved_from_term(self, term: object) -> int:
        """Read an epoch."""
        if type(term) is not int or term < 0:
            malformed("epoch", term)
        return term

    def greeting_to_term(self, myself: NodeSpec, greeting: Any) -> object:
        """The active view and the epoch."""
        return state_to_term(greeting)

    def greeting_from_term(self, term: object) -> Any:
        """Read a greeting."""
        return state_from_term(term)

    def speaker(self, term: object, name: str, address: ListenAddress) -> NodeSpec | None:
        """A node is in its own active view."""
        return spec_among(state_from_term(term).active, name, address)

    def message_to_term(self, myself: NodeSpec, message: Any) -> object:
        """A message of the machine."""
        return message_to_term(message)

    def message_from_term(self, term: object) -> tuple[NodeSpec | None, Any]:
        """Read a message; None as the message if it is none of HyParView."""
        message = message_from_term(term)
        return (None, None) if message is None else (sender_of(message), message)


class HyParViewManager(OverlayManager):
    """The partial views of one node; see `OverlayManager` for the arguments. Raises ConfigError, StateError."""

    wire_name: ClassVar[str] = "partisan_hyparview_peer_service_manager"
    passes_on: ClassVar[bool] = True

    _calls = ("reserve",)

    _machine: HyParView

    def __init__(self, context: Context, table: ConnectionTable, spec: NodeSpec, audience: Audience) -> None:
        self._oracle = oracle_of(context.config)
        super().__init__(context, table, spec, audience, HyParViewGlue())
        self._tell |= {Declined: self._declined}
        self._round_trips = RoundTrips(
            context, self._dialer.connections, lambda: list(self._machine.active), self._measured
        )
        self._neighbors: set[str] = set()  # names; of whom the machine has said that they are up
        context.acknowledged.only_to_python()

    @property
    def _protocol(self) -> str:
        return NAME if self._oracle is None else f"{NAME}+oracle"

    def _build(self, options: Any, rng: Random, restored: Any, outside: Outside | None) -> HyParView:
        oracle = self._oracle
        return HyParView(self._spec, options, rng, restored, outside(oracle) if oracle and outside else oracle)

    # What the node asks.

    def start(self) -> None:
        super().start()
        self._measure_or_not()

    def retune(self) -> None:
        super().retune()
        self._measure_or_not()

    async def stop(self, grace: float) -> None:
        self._round_trips.stop()
        await super().stop(grace)

    def _measure_or_not(self) -> None:
        """Round trips are measured if somebody needs them."""
        if self._wants_round_trips:
            self._round_trips.start()
        else:
            self._round_trips.stop()

    @property
    def _wants_round_trips(self) -> bool:
        return self._oracle is None and self._context.config.hyparview.xbot_enabled

    def _measured(self, peer: NodeSpec, seconds: float) -> None:
        self._driver.handle(RoundTrip(peer, seconds))

    def foreign(self) -> tuple[list[str], list[str]]:
        """No names, and those of peers that did not say that they run this package: a real node never says anything."""
        peers = dict.fromkeys((*(peer.name for peer in self._machine.active), *self._diallers))
        return [], [name for name in peers if not self._audience.is_python(name)]

    def may_be_python(self, name: str) -> bool:
        return name in self._known  # who has gone again will not say anything

    def active(self) -> list[NodeSpec]:
        """The active view, this node included, in Erlang's term order."""
        return self.specs()

    def passive(self) -> list[NodeSpec]:
        """The passive view, in Erlang's term order."""
        return sorted(self._machine.passive, key=spec_key)

    def reserve(self, tag: object) -> None:
        """Keep a place in the active view for a peer of that tag. Raises NoAvailableSlots, ConfigError."""
        if not self._machine.reserve(check_tag(tag)):
            raise NoAvailableSlots(tag)

    def reserved(self, tag: object) -> str | None:
        """The name of the neighbor with the place that is kept for the tag; None if it is free, or none is kept."""
        peer = self._machine.reserved(check_tag(tag))
        return None if peer is None else str(peer.name)

    def target_of(self, contact: str | NodeSpec | Contact) -> Target:
        """As of every manager, but the name of a peer in the passive view is known as well."""
        if isinstance(contact, str) and contact not in self._known:
            for peer in self._machine.passive:
                if peer.name == contact:
                    return cast(NodeSpec, peer)
        return super().target_of(contact)

    async def _dialled_back(self, name: str, end: float) -> None:
        """Who was joined has said so on a connection that it dialled."""

    async def leave(self, name: str | None) -> None:
        """Say farewell to every neighbor, and be alone. Raises Unsupported: nobody makes another node leave here."""
        if name is not None and name != self._spec.name:
            raise Unsupported(NAME, f"{name} can only leave by itself: no node knows all that have it in a view")
        await super().leave(None)

    def inject_partition(self, origin: str, ttl: int, reference: Reference) -> None:
        """Have the origin, this node or a neighbor, and all within that many hops note a partition, as the reference.

        Raises:
            ConfigError: this node is not configured for testing.
            NotConnected: the origin is neither this node nor a neighbor.
        """
        if not self._context.config.testing:
            raise ConfigError("testing", "without it no partition is noted")
        if origin == self._spec.name:
            self._driver.handle(Received(None, InjectPartition(reference, self._spec, ttl)))
            return
        spec = self._known.get(origin)
        if spec is None:
            raise NotConnected(origin, member=False)
        self._send(spec, InjectPartition(reference, spec, ttl))

    def resolve_partition(self, reference: Reference) -> bool:
        """End the partition here and wherever neighbors pass that on; whether there was one here."""
        found = any(reference == known for known, _ in self._machine.partitions)
        self._driver.handle(Received(None, ResolvePartition(reference)))
        return found

    def partitions(self) -> list[tuple[Any, tuple[str, ...]]]:
        """The partitions that are noted: (reference, names of the members at that time)."""
        found: dict[Any, list[str]] = {}
        for reference, peer in self._machine.partitions:
            found.setdefault(reference, []).append(peer.name)
        return [(reference, tuple(sorted(names))) for reference, names in found.items()]

    # The wire.

    def _take(self, term: object, link: Link | None, bare: bool) -> None:
        _, message = self._glue.message_from_term(term) if bare else (None, None)
        if message is None:
            self._take_inbound(self._inbound(term), link, bare)
        else:
            self._driver.handle(Received(link.peer if link is not None else None, message))

    def _transmit(self, node: str, term: object) -> None:
        router = self._context.router
        try:
            queue = router.queue_to(node, self._atom, partition_key=_SLOT)
        except (NotConnected, Overloaded) as error:
            log.debug("%s cannot tell %s: %s", self._context.node, node, error)
        else:
            router.push_body(queue, router.codec.encode(term))

    def _send_forwarded(self, node: str, term: object) -> None:
        """Only to nodes of our kind: a real manager does not know what is sent to it by its name."""
        if self._audience.is_python(node):
            super()._send_forwarded(node, term)

    # What the dialer tells.

    def connected(self, peer: Target, target: Target, tag: str, state: object) -> None:
        super().connected(peer, target, tag, state)
        if self._wants_round_trips and isinstance(peer, NodeSpec) and self._dialer.keeps(peer.name):
            self._round_trips.measure(peer)

    def _unreachable(self, target: Target, error: Exception) -> None:
        if isinstance(target, Contact):
            self._update_failed(target, f"not yet: {error}")
        self._driver.handle(Unreachable(target, str(error)))

    def wants_all(self, peer: NodeSpec) -> bool:
        return peer.name in self._neighbors  # of the others most edges last for a message

    # What the machine tells.

    def _edge_changed(self, peer: NodeSpec, up: bool, reason: str = "") -> None:
        super()._edge_changed(peer, up, reason)
        if up:
            self._neighbors.add(peer.name)
            self._dialer.keep(peer)
        else:
            self._neighbors.discard(peer.name)

    def _disconnect(self, effect: Disconnect) -> None:
        """Give the edge up; what the peer has opened to us as well, if it may take us for a neighbor.

        It hears by that that we are none if no message can tell it. Who needs nothing of us closes what it has opened
        itself; or keeps it, if it is a real node, which would forget us if it was closed.
        """
        self._dialer.drop(effect.peer, effect.reason)
        if effect.reason != DONE and effect.peer.name is not None:
            self._part(effect.peer.name)

    def _gone(self, name: str) -> None:
        """It is no neighbor, but may be one again: what it has not acknowledged waits, unless relays take it."""
        self._context.acknowledged.reconsider(name)

    def _declined(self, fact: Declined) -> None:
        context = self._context
        kind = ("declined", fact.what)
        context.log(log, logging.WARNING, kind, "%s is too busy for %s of %s", context.node, fact.what, fact.peer)


def check_tag(tag: object) -> str:
    """The text of a tag, which may be an Atom or a str. Raises ConfigError."""
    text = tag.name if isinstance(tag, Atom) else tag
    if not isinstance(text, str) or not re.fullmatch(TAG, text):
        raise ConfigError("tag", f"{tag!r} is not {TAG_FORM}")
    return text
