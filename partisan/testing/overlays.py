"""Whether nodes have found each other, whatever overlay they have: a mesh of all, or a graph that connects them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from partisan import Node
from partisan.sim.topology import reach


class View(TypedDict):
    """What one node has of its overlay, as JSON can say it.

    Keys:
        members: names, its own among them.
        up: whether every connection that it wants of them is up.
        partial: whether it need not know all nodes.
        mutual: whether its members have it for one.
    """

    members: list[str]
    up: bool
    partial: bool
    mutual: bool


def view_of(node: Node) -> View:
    """What a node has of its overlay."""
    manager = node._manager
    members = node.members()
    up = all(node.is_fully_connected(name) for name in members)
    return {"members": members, "up": up, "partial": manager.partial, "mutual": manager.mutual}


def missing(views: Mapping[str, View]) -> list[str]:
    """What these nodes, by their names, lack to be one overlay, in words; nothing if they are.

    Each has connections to its members, who are among them. Then, where nodes know all, each knows all; elsewhere a
    message can come from each to each by way of members; and where members are mutual, each is one of its members'.
    """
    lacks = []
    for name, view in views.items():
        others = [member for member in view["members"] if member != name]
        absent = [member for member in others if member not in views]
        one_sided = [member for member in others if member in views and name not in views[member]["members"]]
        far = len(views) - len(reach({each: views[each]["members"] for each in views}, name))
        if absent:
            lacks.append(f"{name} has {', '.join(absent)} besides")
        if one_sided and view["mutual"]:
            lacks.append(f"{name} is no member of {', '.join(one_sided)}")
        if not view["up"]:
            lacks.append(f"{name} waits for connections")
        if far:
            lacks.append(f"{name} does not reach {far} of {len(views)}")
        elif not view["partial"] and len(others) + 1 < len(views):
            lacks.append(f"{name} knows {len(others)} others")
    return lacks


def formed(*nodes: Node) -> bool:
    """Whether these nodes, and no others, have become one overlay of whatever kind theirs is; see `missing`."""
    return not missing({node.name: view_of(node) for node in nodes})
