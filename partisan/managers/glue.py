"""What a manager wants of a protocol: a machine, and how what it says becomes terms."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Protocol

from partisan.config import Config
from partisan.machines.machine import Effect, Event
from partisan.names import ListenAddress, NodeSpec


class OverlayMachine(Protocol):
    """A machine that decides who the members are, and to whom edges are kept."""

    myself: Any

    @property
    def members(self) -> tuple[Any, ...]:
        """Ourselves included, in the order of the configured key."""

    @property
    def greeting(self) -> Any:
        """What our handshakes tell."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one event; return what the world must now do, in order."""


class Glue(Protocol):
    """One protocol as a manager sees it.

    Attributes:
        name: by which a saved state is known.
    """

    name: str

    def options(self, config: Config) -> Any:
        """What the node's options say to the machine; `Retune` gives it others."""

    def build(self, myself: NodeSpec, options: Any, rng: Random, restored: Any) -> OverlayMachine:
        """Make the machine; `restored` is the state that a former life saved, or None."""

    def saved_to_term(self, myself: NodeSpec, state: Any) -> object:
        """What is saved when the machine asks for it."""

    def saved_from_term(self, term: object) -> Any:
        """The state that was saved. Raises RemoteProtocolError."""

    def greeting_to_term(self, myself: NodeSpec, greeting: Any) -> object:
        """What a handshake tells."""

    def greeting_from_term(self, term: object) -> Any:
        """Raises RemoteProtocolError."""

    def speaker(self, term: object, name: str, address: ListenAddress) -> NodeSpec | None:
        """The spec that the node of that name gives itself in its greeting."""

    def message_to_term(self, myself: NodeSpec, message: Any) -> object:
        """What is sent to a peer's manager."""

    def message_from_term(self, term: object) -> tuple[NodeSpec | None, Any]:
        """Who says it, if it says who, and what. Raises RemoteProtocolError."""


def spec_among(specs: Sequence[NodeSpec], name: str, address: ListenAddress) -> NodeSpec | None:
    """Of several specs the one of that name; of several of that name, the one that listens at the address."""
    found = [spec for spec in specs if spec.name == name]
    return next((spec for spec in found if address in spec.listen_addrs), found[0] if found else None)
