"""The process that an emulated network is: it makes the hosts, says where they are, and carries their packets.

It ends with its standard input or with its parent, whichever is first, and then kills whatever is still in one of its
namespaces. Namespaces and devices have no name outside and go with their last descriptor.

Started as `python -m partisan.bench.netem.process JSON`; answers with one line of JSON, `{"ready": ...}` or
`{"error": ...}`.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from . import devices
from .rules import Rules

PRIORITY = 2
"""Real-time priority: above what is measured, as a line does not wait for its ends."""


def order(hosts: int, rules: Rules, settings: Mapping[str, str], parent: int) -> str:
    """Return what the process is to be told: its one argument."""
    said = {field.name: getattr(rules, field.name) for field in fields(rules)}
    return json.dumps({"hosts": hosts, "rules": said, "settings": dict(settings), "parent": parent})


def _make_hosts(count: int, mtu: int, settings: Mapping[str, str]) -> list[devices.Host]:
    from . import relay  # compiled on Linux only

    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    hosts = []
    for number in range(count):
        hosts.append(devices.make_host(number, mtu))
        for name, value in settings.items():
            try:
                Path("/proc/sys", *name.split(".")).write_text(value)
            except OSError as error:
                raise OSError(error.errno, f"the setting {name}={value} is refused: {error.strerror}") from error
    relay.enter_namespace(home)
    os.close(home)
    return hosts


def hurry(pid: int) -> None:
    """Have the process woken at once whoever else wants the cores, as far as the system allows it."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(PRIORITY))


def run(asked: Mapping[str, Any]) -> None:
    """Be a network until standard input or the parent ends."""
    from . import relay  # compiled on Linux only

    parent = os.pidfd_open(asked["parent"])
    rules = Rules(**asked["rules"])
    hosts = _make_hosts(asked["hosts"], rules.mtu, asked["settings"])
    shared = os.memfd_create("tallies")
    os.ftruncate(shared, relay.TALLY * relay.HOSTS)
    tallies = mmap.mmap(shared, 0)
    inodes = {os.fstat(host.namespace).st_ino for host in hosts}
    ready = {"namespaces": [host.namespace for host in hosts], "tallies": shared}
    print(json.dumps({"ready": ready}), flush=True)
    try:
        relay.carry(
            [host.device for host in hosts],
            [sys.stdin.fileno(), parent],
            tallies,
            first=int(devices.address_of(0)),
            **rules.numbers(len(hosts)),
        )
    finally:
        devices.end_inhabitants(inodes)


def main(arguments: Sequence[str]) -> int:
    """Be a network; return the exit status."""
    try:
        run(json.loads(arguments[0]))
    except OSError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
