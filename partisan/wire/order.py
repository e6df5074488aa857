"""Erlang's term order of node specs, in which OR-sets are written and members are listed.

Maps compare by size, then by their sorted keys, then by their values in that order of keys; the keys of a spec are
channels < listen_addrs < name, those of channel options compression < monotonic < parallelism. Number < atom < tuple <
map < list; atoms by code points, tuples by size and then by element, lists by element.

Source: section 4.1 of the partisan 5.0.3 reference; Erlang reference manual, "Term Comparisons".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from partisan.names import ChannelOptions, NodeSpec
from partisan.wire.spec import ip_to_term


@lru_cache(maxsize=4096)
def spec_key(spec: NodeSpec) -> tuple[Any, ...]:
    """Return a key by which Python sorts specs as Erlang sorts their maps."""
    channels = spec.channels
    addresses = tuple((_tuple_key(ip_to_term(address.host)), address.port) for address in spec.listen_addrs)
    names = tuple(name for name, _ in channels)
    return (len(channels), names, tuple(_options_key(options) for _, options in channels), addresses, spec.name)


def _tuple_key(term: tuple[int, ...]) -> tuple[Any, ...]:
    return (len(term), term)


def _options_key(options: ChannelOptions) -> tuple[Any, ...]:
    present = [
        (name, _scalar_key(value))
        for name, value in (
            ("compression", options.compression),
            ("monotonic", options.monotonic),
            ("parallelism", options.parallelism),
        )
        if value is not None
    ]
    return (len(present), tuple(name for name, _ in present), tuple(key for _, key in present))


def _scalar_key(value: bool | int) -> tuple[int, int]:
    """Numbers before atoms; false before true."""
    return (1 if isinstance(value, bool) else 0, int(value))
