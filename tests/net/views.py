"""What the partial views of several nodes are together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence

from support import address_of, eventually

from partisan import Node

Views = Mapping[str, Iterable[str]]
"""Name of a node -> names in its active view, itself included."""


def views_of(nodes: Iterable[Node]) -> dict[str, list[str]]:
    """What each node has in its active view."""
    return {node.name: node.members() for node in nodes}


def one_sided(views: Views) -> list[tuple[str, str]]:
    """Pairs of which the first has the second in its view, and not the other way round."""
    return [(one, other) for one, view in views.items() for other in view if one not in views.get(other, ())]


def reachable(views: Views) -> set[str]:
    """Names of the nodes that can be reached from the first of them by their views."""
    first = next(iter(views))
    seen, waiting = {first}, [first]
    while waiting:
        for name in views.get(waiting.pop(), ()):
            if name in views and name not in seen:
                seen.add(name)
                waiting.append(name)
    return seen


def reached(views: Views) -> int:
    """How many nodes can be reached from the first of them by their views."""
    return len(reachable(views))


def sound(views: Views) -> bool:
    """Whether the views are symmetric, and connect all nodes."""
    return not one_sided(views) and reached(views) == len(views)


async def settle(nodes: Iterable[Node], timeout: float = 30.0) -> None:
    """Wait until the views of these nodes, and only of these, are sound."""
    nodes = list(nodes)
    try:
        await eventually(lambda: sound(views_of(nodes)), timeout=timeout)
    except AssertionError:
        views = views_of(nodes)
        raise AssertionError(f"{one_sided(views)} one-sided, {reached(views)} of {len(views)} reached") from None


async def knit(nodes: Sequence[Node], attempts: int = 6) -> None:
    """As `settle`, for views so small that a few nodes may have filled them with each other.

    Such a part knows of the others, but has no room for them: somebody has to join again.
    """
    for _ in range(attempts):
        with contextlib.suppress(AssertionError):
            await settle(nodes, timeout=5.0)
            return
        found = reachable(views_of(nodes))
        for apart in [node for node in nodes if node.name not in found][:1]:
            await nodes[0].join(address_of(apart), timeout=30.0)
    await settle(nodes)
