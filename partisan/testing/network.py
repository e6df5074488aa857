"""Links between nodes of one program that fail: cut, slow, healed. What else can go wrong is in `partisan.faults`."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from partisan import Node
from partisan.faults import Fault

_troubles: WeakKeyDictionary[Node, list[tuple[str, int]]] = WeakKeyDictionary()
"""Node -> the rules it has from here: (name of the node at the other end, number of the rule)."""


def cut(a: Node, b: Node, *, close: bool = False) -> Fault:
    """Let nothing pass between two nodes, either way, until `heal`, `remove()` or the end of a `with` block.

    As when a cable is pulled: nobody is told, so a node is missed when its keepalive (`connection_ping`) has had no
    answer for long enough.

    Args:
        close: close the connections as well, so that both nodes know at once.
    """
    fault = _keep(a, b, a.faults.partition((a.name,), (b.name,)))
    if close:
        a.kill_connections(b.name)
        b.kill_connections(a.name)
    return fault


def slow(a: Node, b: Node, seconds: float) -> Fault:
    """Let what passes between two nodes arrive so much later, either way and in order; several of these add up."""
    both = (a.name, b.name)
    return _keep(a, b, a.faults.delay(seconds, source=both, destination=both))


def heal(*nodes: Node) -> None:
    """End what `cut` and `slow` have done between any two of these nodes.

    Nodes that have lost each other dial again after the pause that has grown by then (`reconnect_backoff_max`).
    """
    names = {node.name for node in nodes}
    for node in nodes:
        kept = _troubles.pop(node, [])
        for other, number in kept:
            if other in names:
                node.faults.remove(number)
        others = [(other, number) for other, number in kept if other not in names]
        if others:
            _troubles[node] = others


def _keep(a: Node, b: Node, fault: Fault) -> Fault:
    _troubles.setdefault(a, []).append((b.name, fault.number))
    return fault
