"""Node specs as terms.

    #{name => Node, listen_addrs => [#{ip => Ip, port => Port}], channels => #{Channel => Options}}

Ip is a tuple of 4 or 8 integers; Options is `#{parallelism := integer, monotonic => boolean, compression => boolean or
0..9}`. Real nodes compare specs as whole terms, so what is decoded encodes to an equal term: an option that is absent
stays absent, addresses keep their order. What a `NodeSpec` has no place for is refused: an unknown key, or an option
that is undefined, makes the spec malformed; to leave it out in silence would turn the spec into another node's. So does
a parallelism above what may be configured: who dials the peer makes as many places.

Source: section 5 of the partisan 5.0.3 reference.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any

from partisan.config_groups import MAX_PARALLELISM
from partisan.errors import ConfigError
from partisan.etf import Atom, EncodeError, encode
from partisan.names import ChannelOptions, ListenAddress, NodeSpec
from partisan.wire.atom import MalformedMessage, atom_of, malformed, name_of, node_of

_NAME, _LISTEN_ADDRS, _CHANNELS = Atom("name"), Atom("listen_addrs"), Atom("channels")
_IP, _PORT = Atom("ip"), Atom("port")
_PARALLELISM, _MONOTONIC, _COMPRESSION = Atom("parallelism"), Atom("monotonic"), Atom("compression")
_OPTIONS = frozenset((_PARALLELISM, _MONOTONIC, _COMPRESSION))

_WHAT = "node spec"
_KNOWN_SPECS = 4096
"""How many specs are remembered in each direction, to convert them once: gossip repeats them for ever (ours)."""

_known: dict[bytes, NodeSpec] = {}
"""External format of a term -> what it was read as. Octets tell apart what Python confuses: 1, 1.0 and True."""


@lru_cache(maxsize=_KNOWN_SPECS)
def spec_to_term(spec: NodeSpec) -> dict[Any, Any]:
    """Return the spec's map. It is shared between calls: do not change it."""
    return {
        _CHANNELS: {atom_of(channel): _options_to_term(options) for channel, options in spec.channels},
        _LISTEN_ADDRS: [{_IP: ip_to_term(a.host), _PORT: a.port} for a in spec.listen_addrs],
        _NAME: Atom(spec.name),
    }


def ip_to_term(host: str) -> tuple[int, ...]:
    """Return the numeric address as 4 octets or 8 groups of 16 bits."""
    address = ipaddress.ip_address(host)
    packed = address.packed
    if address.version == 4:
        return tuple(packed)
    return tuple(packed[i] << 8 | packed[i + 1] for i in range(0, 16, 2))


def spec_from_term(term: object) -> NodeSpec:
    """Read a spec's map.

    Raises:
        MalformedMessage: the term is no node spec, or one with keys that are unknown here.
    """
    if type(term) is not dict or len(term) != 3:
        malformed(_WHAT, term)
    try:
        octets = encode(term)
    except EncodeError as error:
        raise MalformedMessage(_WHAT, str(error)) from error
    spec = _known.get(octets)
    if spec is None:
        spec = _read_spec(term)
        if len(_known) >= _KNOWN_SPECS:
            _known.clear()
        _known[octets] = spec
    return spec


def _read_spec(term: dict[Any, Any]) -> NodeSpec:
    addresses, channels = term.get(_LISTEN_ADDRS), term.get(_CHANNELS)
    if type(addresses) is not list or type(channels) is not dict:
        malformed(_WHAT, term)
    name = node_of(term.get(_NAME), _WHAT)
    named = {name_of(channel, _WHAT): options for channel, options in channels.items()}
    if len(named) != len(channels):
        malformed(_WHAT, term)
    try:
        return NodeSpec(
            name,
            tuple(_read_address(address) for address in addresses),
            tuple((channel, _read_options(named[channel])) for channel in sorted(named)),
        )
    except ConfigError as error:
        raise MalformedMessage(_WHAT, str(error)) from error


def _read_address(term: object) -> ListenAddress:
    if type(term) is not dict or len(term) != 2:
        malformed(_WHAT, term)
    ip, port = term.get(_IP), term.get(_PORT)
    if type(port) is not int or not 1 <= port <= 65535:
        malformed(_WHAT, term)
    return ListenAddress(ip_from_term(ip), port)


def ip_from_term(term: object) -> str:
    """Read an address of 4 octets or 8 groups; raise MalformedMessage if it is none."""
    if type(term) is not tuple or len(term) not in (4, 8):
        malformed("address", term)
    limit = 255 if len(term) == 4 else 65535
    if not all(type(part) is int and 0 <= part <= limit for part in term):
        malformed("address", term)
    if len(term) == 4:
        return ".".join(map(str, term))
    return str(ipaddress.IPv6Address(b"".join(part.to_bytes(2, "big") for part in term)))


def _options_to_term(options: ChannelOptions) -> dict[Any, Any]:
    term: dict[Any, Any] = {}
    if options.compression is not None:
        term[_COMPRESSION] = options.compression
    if options.monotonic is not None:
        term[_MONOTONIC] = options.monotonic
    term[_PARALLELISM] = options.parallelism
    return term


def _read_options(term: object) -> ChannelOptions:
    if type(term) is not dict or not _OPTIONS.issuperset(term) or None in term.values():
        malformed("channel options", term)
    parallelism = term.get(_PARALLELISM)
    if type(parallelism) is not int:
        malformed("channel options", term)
    if parallelism > MAX_PARALLELISM:
        raise MalformedMessage("channel options", f"a parallelism above {MAX_PARALLELISM}")
    return ChannelOptions(parallelism, term.get(_MONOTONIC), term.get(_COMPRESSION))
