"""The command line: `python -m partisan.bench.netem --rtt 20ms [--bandwidth 1Gbit] [-- command ...]`."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType

from partisan.bench.report import size, table

from . import units
from .check import STREAMS, TOLERANCE, Limits, measure
from .devices import MTU
from .network import Counters, Network, NetworkFailed


def _setting(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name.startswith("net."):
        raise argparse.ArgumentTypeError(f"{text!r} is no setting (such as net.ipv4.tcp_slow_start_after_idle=0)")
    return name, value


def parser() -> argparse.ArgumentParser:
    """Build the command line."""
    top = argparse.ArgumentParser(
        prog="python -m partisan.bench.netem",
        description="Emulate a network between hosts that are network namespaces, and measure what it gives; or run a "
        "command in it. Needs Linux, root and TUN devices.",
    )
    add = top.add_argument
    add("--rtt", type=units.seconds, required=True, metavar="TIME", help="round-trip time, half of it each way: 20ms")
    add("--jitter", type=units.seconds, default=0.0, metavar="TIME", help="added to or taken from each way; default 0")
    add("--reorder", action="store_true", help="let jitter change the order of packets")
    add("--loss", type=units.share, default=0.0, metavar="SHARE", help="of packets, 0.01 or 1%%; default 0")
    add("--bandwidth", type=units.bits, metavar="RATE", help="of what a host sends: 1Gbit; default no limit")
    add("--queue", type=units.octets, metavar="SIZE", help="before a host's line: 1MiB; default bandwidth times RTT")
    add("--mtu", type=int, default=MTU, metavar="N", help=f"octets; default {MTU}")
    add("--seed", type=int, default=0, metavar="N", help="of loss and jitter; default 0")
    add("--hosts", type=int, default=2, metavar="N", help="default 2")
    add("--set", type=_setting, action="append", default=[], metavar="NAME=VALUE", help="a sysctl in each namespace")
    add("--seconds", type=float, default=5.0, metavar="S", help="of each part of the self-check; default 5")
    add("--json", type=Path, metavar="FILE", help="write what the self-check found")
    add("command", nargs="*", metavar="-- COMMAND", help="run it in host 0, instead of the self-check")
    return top


def render(limits: Limits) -> str:
    """Show a self-check as a table of what was asked for beside what there is."""

    def buffers(sizes: tuple[int, int, int]) -> str:
        return " ".join(map(size, sizes))

    asked, found = units.show_seconds, units.show_bits
    rows = [
        ("round trip of the kernel", asked(limits.rtt), asked(limits.rtt_measured)),
        ("round trip of two processes", "", asked(limits.echo)),
        ("bandwidth, 1 stream", found(limits.bandwidth), found(limits.one_stream)),
        (f"bandwidth, {STREAMS} streams", found(limits.bandwidth), found(limits.streams)),
        ("congestion control", "", limits.congestion),
        ("tcp_rmem", "", buffers(limits.tcp_rmem)),
        ("tcp_wmem", "", buffers(limits.tcp_wmem)),
    ]
    return table(("", "asked", "found"), rows) + "\n\n" + render_counters(limits.counters)


def render_counters(told: Counters) -> str:
    """Say in lines what became of the packets, nothing of what did not happen."""
    lines = [
        f"{told.packets:,} packets of {size(told.octets)} delivered, {units.show_seconds(told.late)} late on the "
        f"average and {units.show_seconds(told.latest)} at most"
    ]
    for count, what in (
        (told.lost, "lost on purpose"),
        (told.dropped, "dropped, as the queue before a line was full"),
        (told.overrun, "dropped, as the relay could not keep up: figures of this run are the relay's"),
        (told.refused, "not taken by the host that they were for"),
    ):
        if count:
            lines.append(f"{count:,} packets {what}")
    return "\n".join(lines)


def _check(network: Network, options: argparse.Namespace) -> int:
    limits = measure(network, options.seconds)
    print(render(limits))
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(limits), indent=1) + "\n")
    if limits.good:
        return 0
    print(f"the round trip is off by {limits.error:+.1%}; at most {TOLERANCE:.0%} is good", file=sys.stderr)
    return 1


def _run(network: Network, command: Sequence[str]) -> int:
    for host in range(network.hosts):
        print(f"host {host} {network.address(host)}: {' '.join(network.command(host, ['COMMAND']))}", file=sys.stderr)
    status = subprocess.run(network.command(0, command), check=False).returncode
    print(render_counters(network.counters()), file=sys.stderr)
    return status if status >= 0 else 128 - status


def _terminated(number: int, _frame: FrameType | None) -> None:
    # As an exception, so that the network is taken down on the way out.
    raise SystemExit(128 + number)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the self-check, or a command; return the exit status."""
    told = parser()
    options = told.parse_args(arguments)
    try:
        network = Network(
            options.hosts,
            rtt=options.rtt,
            jitter=options.jitter,
            loss=options.loss,
            bandwidth=options.bandwidth,
            seed=options.seed,
            queue=options.queue,
            mtu=options.mtu,
            reorder=options.reorder,
            settings=dict(options.set),
        )
        if not options.seconds > 0:
            raise ValueError(f"seconds {options.seconds} is not above 0")
    except ValueError as error:
        told.error(str(error))
    try:
        if options.json is not None:
            # Before anything is measured: a wrong path must not cost the run.
            options.json.write_text("null\n")
        signal.signal(signal.SIGTERM, _terminated)
        with network:
            return _run(network, options.command) if options.command else _check(network, options)
    except KeyboardInterrupt:
        return 130
    except (NetworkFailed, OSError) as error:
        print(f"partisan.bench.netem: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
