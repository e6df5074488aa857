"""Who in a node is told of its overlay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Audience:
    """Who in the node is told of its overlay, and what the overlay asks of the rest of the node.

    Attributes:
        edge: callable(node, up): an edge to the node has become usable, or no longer is.
        lane: callable(node, channel): a connection of the channel is up or gone.
        members: callable(names): the members are now these.
        part: callable(node, unless): close what the node has dialled, unless that says that it is wanted again.
        is_python: callable(node): whether the node has said that it runs this package.
    """

    edge: Callable[[str, bool], None]
    lane: Callable[[str, str], None]
    members: Callable[[list[str]], None]
    part: Callable[[str, Callable[[], bool]], None]
    is_python: Callable[[str], bool]
