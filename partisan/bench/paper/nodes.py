"""How the nodes of a configuration group are made: ours, real ones of Partisan, and stock Erlang ones."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from pathlib import Path
from typing import Any

from partisan.bench import erlang
from partisan.bench.measure import MeasurementFailed

from .cells import CHANNELS, Group

LIBS_VARIABLE = "PARTISAN_ERL_LIBS"
"""Names a directory of compiled Erlang applications, Partisan and what it needs among them."""


PORTS = range(10200, 32768)
"""Below those that the system gives to who connects."""

_given: set[int] = set()


def free_port() -> int:
    """A port that no node of this run has, nor anybody on this machine: real nodes are told theirs.

    At random, as another run may look at the same time, and nodes take theirs a second later. Raises MeasurementFailed.
    """
    for port in random.sample(PORTS, 200):
        if port in _given:
            continue
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            _given.add(port)
            return port
    raise MeasurementFailed(f"of 200 ports from {PORTS.start} to {PORTS.stop - 1} none is free")


def channels_of(group: Group) -> dict[str, dict[str, Any]]:
    """The channels of a group besides the default one, as options of a node: name -> its options."""
    names = CHANNELS[1:] if group.channels > 1 else ()
    return {name: {"monotonic": group.monotonic and name == "gossip"} for name in names}


def options_of(group: Group) -> dict[str, Any]:
    """The options of one of our nodes in a group; everything else is as a fresh node has it."""
    return {"parallelism": group.parallelism, "channels": channels_of(group)}


def libs() -> str:
    """The directory of compiled applications, empty if none is named."""
    return os.environ.get(LIBS_VARIABLE, "")


def why_no_erlang(transport: str) -> str | None:
    """Say what this machine lacks for the nodes of "disterl" or "partisan-erlang", or None if nothing."""
    lacking = erlang.why_not()
    if lacking is not None or transport != "partisan-erlang":
        return lacking
    if not libs():
        return f"{LIBS_VARIABLE} names no directory of compiled applications"
    if not any(Path(libs()).glob("partisan*/ebin/partisan.app")):
        return f"{LIBS_VARIABLE} names {libs()}, which has no compiled partisan"
    return None


def spec_text(name: str, port: int, group: Group) -> str:
    """What a node of Partisan says of itself, as Erlang text: what another one is told to join."""
    address = ",".join(name.partition("@")[2].split("."))
    channels = ",".join(_channel_text(group, channel) for channel in _all_channels(group))
    return f"#{{name=>'{name}',listen_addrs=>[#{{ip=>{{{address}}},port=>{port}}}],channels=>#{{{channels}}}}}"


def _all_channels(group: Group) -> list[str]:
    return ["undefined", *channels_of(group)]


def _channel_text(group: Group, name: str) -> str:
    monotonic = str(group.monotonic and name == "gossip").lower()
    return f"{name}=>#{{parallelism=>{group.parallelism},monotonic=>{monotonic},compression=>false}}"


def configuration(name: str, port: int, group: Group) -> str:
    """The file that `erl -config` reads for a node of Partisan: the pluggable manager, in a group."""
    address = ",".join(name.partition("@")[2].split("."))
    channels = ",".join(_channel_text(group, channel) for channel in channels_of(group))
    pairs = {
        "name": f"'{name}'",
        "peer_ip": f"{{{address}}}",
        "peer_port": str(port),
        "listen_addrs": f"[#{{ip=>{{{address}}},port=>{port}}}]",
        "peer_service_manager": "partisan_pluggable_peer_service_manager",
        "parallelism": str(group.parallelism),
        "channels": f"#{{{channels}}}",
        "connection_jitter": "20",
    }
    partisan = ",".join(f"{{{key},{value}}}" for key, value in pairs.items())
    logger = "{logger,[{handler,default,logger_std_h,#{config=>#{type=>standard_error}}}]}"
    return f"[{{partisan,[{partisan}]}},{{kernel,[{logger},{{logger_level,warning}}]}}].\n"
