"""Who in a node is told of its overlay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from partisan.net.link import Link
    from partisan.wire.forward import Relay


@dataclass(frozen=True, slots=True)
class Audience:
    """Who in the node is told of its overlay, and what the overlay asks of the rest of the node.

    Attributes:
        edge: callable(node, up, reason): an edge to the node has become usable, or no longer is.
        parted: callable(node, reason): the last connection of an edge is gone that is not usable since before.
        lane: callable(node, channel): a connection of the channel is up or gone.
        members: callable(names): the members are now these.
        part: callable(node, unless): close what the node has dialled, unless that says that it is wanted again.
        is_python: callable(node): whether the node has said that it runs this package.
        relayed: callable(relay, link): a message for another node, as real nodes relay it.
    """

    edge: Callable[[str, bool, str], None]
    parted: Callable[[str, str], None]
    lane: Callable[[str, str], None]
    members: Callable[[list[str]], None]
    part: Callable[[str, Callable[[], bool]], None]
    is_python: Callable[[str], bool]
    relayed: Callable[[Relay, Link | None], None]
