"""The demonstration: three node processes form a full mesh and talk over three named channels for some seconds."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Callable

from .demo_node import CHANNELS
from .measure import MeasurementFailed
from .procs import Child, ChildFailed, gather
from .report import number, size, table
from .transports.base import START_SECONDS

NAMES = ("amsterdam", "brussels", "copenhagen")


FINISH_SECONDS = 10.0
"""How long the nodes may take to tell their figures once the traffic is over."""


def run(seconds: float, say: Callable[[str], None]) -> None:
    """Start the nodes, let them talk, say the table; every process is ended when this returns.

    Raises:
        MeasurementFailed: a node was lost; if that was amid the traffic, after the table of what the others tell.
    """
    children: list[Child] = []
    try:
        _start(children, say)
        say(f"traffic for {seconds:g} s ...")
        for child in children:
            _tell(child, json.dumps({"seconds": seconds}))
        lost = _Lost(children, say)
        lines = gather(children, '"rows"', seconds + FINISH_SECONDS, lost)
    except ChildFailed as error:
        raise MeasurementFailed(str(error)) from error
    finally:
        for child in children:
            child.stop()
    rows = list(itertools.chain.from_iterable(json.loads(line)["rows"] for line in lines.values()))
    if rows:
        say(render(rows, seconds))
        say(_superseded())
    if lost.fates:
        raise MeasurementFailed(
            "; ".join(f"{child.title} {fate}" for child, fate in lost.fates.items())
            + ": the table has what the others told"
        )


class _Lost:
    """The nodes that were lost amid the traffic: says each and who is left.

    Attributes:
        fates: what became of each.
    """

    def __init__(self, children: list[Child], say: Callable[[str], None]) -> None:
        self._children = children
        self._say = say
        self.fates: dict[Child, str] = {}

    def __call__(self, child: Child, fate: str) -> None:
        self.fates[child] = fate
        left = [each.title for each in self._children if each not in self.fates]
        go_on = "go on" if len(left) > 1 else "goes on"
        self._say(f"{child.title} {fate}; {' and '.join(left) or 'nobody'} {go_on}")


def _start(children: list[Child], say: Callable[[str], None]) -> None:
    """Start the nodes, adding each to `children`, and wait until they are meshed; raise ChildFailed if one is lost."""
    nodes: dict[str, Child] = {}
    contact = ""
    for name in NAMES:
        child = Child(name, [sys.executable, "-m", f"{__package__}.demo_node", name, contact])
        children.append(child)
        facts = json.loads(gather([child], '"node"', START_SECONDS, _fail)[child])
        contact = contact or facts["address"]
        nodes[facts["node"]] = child
        where = f"{facts['address'].partition('@')[2]} (process {child.pid})"
        say(f"{facts['node']} listens at {where}" + _joined(facts["joined"]))
    for node, child in nodes.items():
        _tell(child, json.dumps({"peers": [peer for peer in nodes if peer != node]}))
    gather(children, '"meshed"', START_SECONDS, _fail)
    for node in nodes:
        say(f"{node} reaches both others on every channel")


def _fail(child: Child, fate: str) -> None:
    raise ChildFailed(f"{child.title} {fate}")


def _tell(child: Child, line: str) -> None:
    # One that has ended is found, and named, by whoever waits for its answer.
    with contextlib.suppress(ChildFailed):
        child.write_line(line)


def _joined(contact: str | None) -> str:
    return f", joined {contact}" if contact else ""


def render(rows: list[dict[str, object]], seconds: float) -> str:
    """Render a line a pair and channel, grouped by channel, with the sum of each channel."""
    lines: list[list[str]] = []
    ordered = sorted(rows, key=lambda row: (str(row["channel"]), str(row["from"]), str(row["to"])))
    for channel, group in itertools.groupby(ordered, key=lambda row: str(row["channel"])):
        members = list(group)
        for row in members:
            cut = " (cut off)" if row["cut"] else ""
            lines.append(_line(f"{row['from']} -> {row['to']}{cut}", channel, [row], seconds))
            lines[-1] += [number(_float(row["p50_us"]), 0), number(_float(row["p99_us"]), 0)]
        lines.append(
            [*_line("all six" if len(members) == 6 else f"these {len(members)}", channel, members, seconds), "", ""]
        )
    headers = ["pair", "channel", "sent/s", "delivered/s", "octets/s", "p50 us", "p99 us"]
    return table(headers, lines)


def _superseded() -> str:
    names = " and ".join(name for name, options in CHANNELS.items() if options.get("monotonic"))
    return (
        f"{names} is a monotonic channel: older states were superseded by newer ones and not delivered, "
        "which is what that channel is for"
    )


def _line(title: str, channel: str, rows: list[dict[str, object]], seconds: float) -> list[str]:
    sent, delivered, octets = (
        sum(_float(row[key]) or 0.0 for row in rows) / seconds for key in ("sent", "delivered", "octets")
    )
    return [title, channel, number(sent), number(delivered), size(octets)]


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
