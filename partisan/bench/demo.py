"""The demonstration: three node processes form a full mesh and talk over three named channels for some seconds."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable

from .measure import MeasurementFailed
from .procs import Child, ChildFailed
from .report import number, size, table
from .transports.base import START_SECONDS

NAMES = ("amsterdam", "brussels", "copenhagen")


def run(seconds: float, say: Callable[[str], None]) -> None:
    """Start the nodes, let them talk, say the table; every process is ended when this returns."""
    children: list[Child] = []
    try:
        contact = ""
        nodes: dict[str, Child] = {}
        for name in NAMES:
            child = Child(name, [sys.executable, "-m", f"{__package__}.demo_node", name, contact])
            children.append(child)
            facts = json.loads(child.read_until('"node"', START_SECONDS))
            contact = contact or facts["address"]
            nodes[facts["node"]] = child
            say(f"{facts['node']} listens at {facts['address'].partition('@')[2]}" + _joined(facts["joined"]))
        for node, child in nodes.items():
            child.write_line(json.dumps({"peers": [peer for peer in nodes if peer != node], "seconds": seconds}))
        for node, child in nodes.items():
            child.read_until('"meshed"', START_SECONDS)
            say(f"{node} reaches both others on every channel")
        say(f"traffic for {seconds:g} s ...")
        for child in children:
            child.write_line("go")
        results = [json.loads(child.read_until('"rows"', seconds + START_SECONDS)) for child in children]
    except ChildFailed as error:
        raise MeasurementFailed(str(error)) from error
    finally:
        for child in children:
            child.stop()
    rows = list(itertools.chain.from_iterable(result["rows"] for result in results))
    say(render(rows, seconds))


def _joined(contact: str | None) -> str:
    return f", joined {contact}" if contact else ""


def render(rows: list[dict[str, object]], seconds: float) -> str:
    """Render a line a pair and channel, grouped by channel, with the sum of each channel."""
    lines: list[list[str]] = []
    ordered = sorted(rows, key=lambda row: (str(row["channel"]), str(row["from"]), str(row["to"])))
    for channel, group in itertools.groupby(ordered, key=lambda row: str(row["channel"])):
        members = list(group)
        for row in members:
            lines.append(_line(f"{row['from']} -> {row['to']}", channel, [row], seconds))
            lines[-1] += [number(_float(row["p50_us"]), 0), number(_float(row["p99_us"]), 0)]
        lines.append([*_line("all six", channel, members, seconds), "", ""])
    headers = ["pair", "channel", "sent/s", "delivered/s", "octets/s", "p50 us", "p99 us"]
    return table(headers, lines)


def _line(title: str, channel: str, rows: list[dict[str, object]], seconds: float) -> list[str]:
    sent, delivered, octets = (
        sum(_float(row[key]) or 0.0 for row in rows) / seconds for key in ("sent", "delivered", "octets")
    )
    return [title, channel, number(sent), number(delivered), size(octets)]


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
