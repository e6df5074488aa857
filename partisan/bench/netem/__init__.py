"""Emulated networks: round-trip time, jitter, loss and bandwidth between hosts that are network namespaces.

A relay of our own carries whole IP packets between TUN devices, so TCP at both ends is the kernel's, with its windows
and its congestion control. `python -m partisan.bench.netem --help` is the tool of its own, with a self-check.
"""

from .check import Limits, check, measure
from .network import Counters, Network, NetworkFailed
from .rules import Rules

__all__ = ["Counters", "Limits", "Network", "NetworkFailed", "Rules", "check", "measure"]
