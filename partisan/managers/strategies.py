"""Membership strategies as the manager sees them: a machine, and how what it says becomes terms."""

from __future__ import annotations

import importlib
from random import Random
from typing import Any, ClassVar, Protocol

from partisan.config import Config
from partisan.errors import ConfigError
from partisan.machines.full import FullConfig, FullMembership
from partisan.machines.membership import Membership, MembershipConfig
from partisan.machines.scamp import Scamp, ScampConfig
from partisan.machines.scamp_v1 import ScampV1
from partisan.machines.scamp_v2 import ScampV2
from partisan.managers.glue import Glue
from partisan.names import ListenAddress, NodeSpec
from partisan.wire import full, scamp
from partisan.wire.order import spec_key
from partisan.wire.records import Records

OPTION = "membership_strategy"


class Strategy(Glue, Protocol):
    """A protocol whose machine is a membership."""

    def options(self, config: Config) -> MembershipConfig:
        """What the node's options say to the machine; `Retune` gives it others."""

    def build(self, myself: NodeSpec, options: Any, rng: Random, restored: Any) -> Membership:
        """Make the machine; `restored` is the greeting that a former life saved, or None."""


class Full:
    """Full membership, on the wire of Partisan 5.0.3."""

    name = "full"

    def __init__(self, most: int) -> None:
        self._most = most

    def options(self, config: Config) -> FullConfig:
        """Take what concerns it."""
        return FullConfig(
            gossip=config.gossip,
            period=config.periodic_interval,
            fanout=None if config.periodic_enabled else 0,
            max_members=config.max_members,
            max_tokens=config.max_members * full.MOST_TOKENS,
            tombstone_age=config.tombstone_age,
            key=spec_key,
        )

    def build(self, myself: NodeSpec, options: Any, rng: Random, restored: Any) -> Membership:
        """Make the machine."""
        return FullMembership(myself, options, rng, restored)

    def saved_to_term(self, myself: NodeSpec, state: Any) -> object:
        """What is greeted with is saved."""
        return self.greeting_to_term(myself, state)

    def saved_from_term(self, term: object) -> Any:
        """Read a state."""
        return self.greeting_from_term(term)

    def greeting_to_term(self, myself: NodeSpec, greeting: Any) -> object:
        """The state; who says it is one of its members."""
        return full.state_to_term(greeting)

    def greeting_from_term(self, term: object) -> Any:
        """Read a state."""
        return full.state_from_term(term, self._most)

    def speaker(self, term: object, name: str, address: ListenAddress) -> NodeSpec | None:
        """Find the spec among the members."""
        return full.speaker(self.greeting_from_term(term), name, address)

    def message_to_term(self, myself: NodeSpec, message: Any) -> object:
        """A gossip."""
        return full.gossip_to_term(message)

    def message_from_term(self, term: object) -> tuple[NodeSpec, Any]:
        """Read a gossip or a summary."""
        gossip = full.gossip_from_term(term, self._most)
        return gossip.sender, gossip


class Partial:
    """SCAMP, on the wire of Partisan 5.0.3.

    Args:
        version: 1 or 2.
        most: members that are taken from a peer.
    """

    KINDS: ClassVar[dict[int, type[Scamp]]] = {1: ScampV1, 2: ScampV2}

    def __init__(self, version: int, most: int) -> None:
        self.name = f"scamp_v{version}"
        self._version = version
        self._most = most

    def options(self, config: Config) -> ScampConfig:
        """Take what concerns it."""
        return ScampConfig(
            period=config.periodic_interval,
            fanout=None if config.periodic_enabled else 0,
            max_members=config.max_members,
            key=spec_key,
            copies=config.scamp_c,
            lease=config.scamp_lease,
        )

    def build(self, myself: NodeSpec, options: Any, rng: Random, restored: Any) -> Membership:
        """Make the machine."""
        return self.KINDS[self._version](myself, options, rng, restored)

    def saved_to_term(self, myself: NodeSpec, state: Any) -> object:
        """What is greeted with is saved."""
        return self.greeting_to_term(myself, state)

    def saved_from_term(self, term: object) -> Any:
        """Read a state."""
        return self.greeting_from_term(term)

    def greeting_to_term(self, myself: NodeSpec, greeting: Any) -> object:
        """The state; who says it is in its own view."""
        return scamp.state_to_term(greeting)

    def greeting_from_term(self, term: object) -> Any:
        """Read a state."""
        return scamp.state_from_term(term, self._version, self._most)

    def speaker(self, term: object, name: str, address: ListenAddress) -> NodeSpec | None:
        """Find the spec in the view."""
        return scamp.speaker(self.greeting_from_term(term), name)

    def message_to_term(self, myself: NodeSpec, message: Any) -> object:
        """A message."""
        return scamp.message_to_term(message)

    def message_from_term(self, term: object) -> tuple[NodeSpec | None, Any]:
        """Read a message; who sent it is not in it."""
        return None, scamp.message_from_term(term, self._version)


class Own:
    """A strategy that the program brings: a class, whose messages travel as records."""

    def __init__(self, kind: type[Membership], most: int) -> None:
        self._kind = kind
        self._records = Records(kind.__name__, kind.messages, most)
        self.name = kind.__name__

    def options(self, config: Config) -> MembershipConfig:
        """Take what concerns every membership."""
        return MembershipConfig(
            period=config.periodic_interval,
            fanout=None if config.periodic_enabled else 0,
            max_members=config.max_members,
            key=spec_key,
        )

    def build(self, myself: NodeSpec, options: Any, rng: Random, restored: Any) -> Membership:
        """Make the machine: `kind(myself, options, rng, restored)`."""
        return self._kind(myself, options, rng, restored)  # type: ignore[call-arg]  # a strategy takes what was saved

    def saved_to_term(self, myself: NodeSpec, state: Any) -> object:
        """What is greeted with is saved."""
        return self.greeting_to_term(myself, state)

    def saved_from_term(self, term: object) -> Any:
        """Read a greeting."""
        return self.greeting_from_term(term)

    def greeting_to_term(self, myself: NodeSpec, greeting: Any) -> object:
        """The spec and the greeting."""
        return self._records.greeting_to_term(myself, greeting)

    def greeting_from_term(self, term: object) -> Any:
        """Read a greeting."""
        return self._records.greeting_from_term(term)[1]

    def speaker(self, term: object, name: str, address: ListenAddress) -> NodeSpec | None:
        """The greeting says who says it."""
        spec = self._records.greeting_from_term(term)[0]
        return spec if spec.name == name else None

    def message_to_term(self, myself: NodeSpec, message: Any) -> object:
        """The spec and the message."""
        return self._records.message_to_term(myself, message)

    def message_from_term(self, term: object) -> tuple[NodeSpec, Any]:
        """Read a message."""
        return self._records.message_from_term(term)


def chosen(config: Config) -> Strategy:
    """The strategy that the options ask for. Raises ConfigError if it is none."""
    wanted = config.membership_strategy
    if wanted == Full.name:
        return Full(config.max_members)
    if wanted in ("scamp_v1", "scamp_v2"):
        return Partial(int(wanted[-1]), config.max_members)
    kind = _find(wanted) if isinstance(wanted, str) else wanted
    if not isinstance(kind, type) or not issubclass(kind, Membership):
        raise ConfigError(OPTION, f"{wanted!r} is no subclass of partisan.machines.membership.Membership")
    if missing := sorted(kind.__abstractmethods__):
        raise ConfigError(OPTION, f"{kind.__name__} does not have {', '.join(missing)}")
    if not kind.messages:
        raise ConfigError(OPTION, f"{kind.__name__}.messages names no dataclass, not even that of its greeting")
    return Own(kind, config.max_members)


def _find(place: str) -> Any:
    """The class at `module:Class`."""
    module, colon, name = place.partition(":")
    if not colon:
        raise ConfigError(
            OPTION, f"there is no strategy {place!r}: give full, scamp_v1, scamp_v2, a class, or module:Class"
        )
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(OPTION, f"{place!r} cannot be imported: {error}") from error
