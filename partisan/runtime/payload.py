"""The msgpack codec of user messages between Python nodes: pure functions of terms and octets.

What arrives is what the external term format would have brought: a payload is only another way to write a term. Numbers
of up to 64 bits, constants, text, octets, lists and dicts are msgpack's own; the rest are extension types:

    TUPLE      no octets; an array whose first item this is stands for a tuple of the others
    ATOM       the name in UTF-8
    PID        in external term format, so that it arrives as it would in there: a remote reference, as a rule
    REFERENCE  likewise
    TERM       any other term in external term format: larger ints, bit strings, improper lists, ErlMap, ports, funs

A message that msgpack's encoder refuses, or whose maps have keys that may be one key on the wire (as "a" and b"a"), is
one TERM as a whole: so both codecs refuse the same values, with the same errors.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgpack  # type: ignore[import-untyped]

from partisan._core.payload import ATOM, PID, REFERENCE, TERM, TUPLE, check
from partisan.etf import Atom, Codec, ErlMap, Pid, Reference
from partisan.wire.atom import MalformedMessage

_MARK = msgpack.ExtType(TUPLE, b"")
_KEPT_OCTETS = 1 << 20
"""A packer whose buffer grew beyond this is given up."""

_BASES: tuple[tuple[type, Callable[[Any], Any]], ...] = (
    (str, str.__str__),
    (int, int.__index__),
    (bytes, memoryview),
    (float, float.__float__),
    (tuple, lambda value: [_MARK, *tuple.__iter__(value)]),
    (list, lambda value: list(list.__iter__(value))),
    (dict, lambda value: dict(dict.items(value))),
)
"""How a value of a builtin type's subclass becomes one of the type itself, whatever the subclass overrides."""


@lru_cache(maxsize=4096)
def _atom_extension(atom: Atom) -> Any:
    return msgpack.ExtType(ATOM, atom.name.encode())


class PayloadCodec:
    """Write and read payloads, under the options and limits of a term codec.

    A str is written as text and a bytes as octets; where binaries decode to bytes, which is the default, text does so
    too. With `binaries="str"` text arrives as str and octets stay bytes.

    Args:
        codec: the node's; it says what None, a str and a binary stand for, and what the limits are. A codec that
            writes a str as anything but a binary makes every message one TERM.
    """

    def __init__(self, codec: Codec) -> None:
        settings = codec.settings
        self._codec = codec
        self._depth: int = settings["max_depth"]
        self._items: int = settings["max_items"]
        self._octets: int = settings["max_octets"]
        self._raw = settings["binaries"] == "bytes"
        self._plain = settings["strings"] == "binary"
        self._constants: dict[str, bool | None] = {"true": True, "false": False, settings["none"]: None}
        self._read_atom = lru_cache(maxsize=4096)(self._atom)
        self._readers: dict[int, Callable[[bytes], Any]] = {
            TUPLE: lambda data: _MARK,
            ATOM: self._read_atom,
            PID: lambda data: self._identity(data, Pid),
            REFERENCE: lambda data: self._identity(data, Reference),
            TERM: codec.decode,
        }
        self._spare: Any = None

    def encode(self, term: object) -> bytes:
        """Write the term.

        Raises:
            EncodeError: a value is no term, or a limit is passed.
        """
        octets = self._pack(term) if self._plain else None
        return octets if octets is not None else self._whole(term)

    def decode(self, octets: bytes) -> Any:
        """Read the term that the octets are.

        Raises:
            MalformedMessage: they are no payload, or a limit is passed.
        """
        if type(octets) is not bytes:
            raise MalformedMessage("msgpack payload", f"it is no binary: {octets!r:.80}")
        try:
            check(octets, self._depth, self._items)
            return msgpack.unpackb(
                octets,
                raw=self._raw,
                strict_map_key=False,
                list_hook=_array,
                object_pairs_hook=_mapping,
                ext_hook=self._extension,
                max_str_len=self._octets,
                max_bin_len=self._octets,
                max_ext_len=self._octets,
                max_array_len=self._items,
                max_map_len=self._items,
            )
        except ValueError as error:
            raise MalformedMessage("msgpack payload", str(error)) from error

    def _pack(self, term: object) -> bytes | None:
        """Write the term with msgpack's encoder; None if that, or the check of what it wrote, refuses."""
        packer, self._spare = self._spare, None  # what runs inside may send, and then takes a packer of its own
        if packer is None:
            packer = msgpack.Packer(default=self._default, strict_types=True, use_bin_type=True, buf_size=4096)
        try:
            octets: bytes = packer.pack(term)
            doubtful = len(octets) > self._octets or check(octets, self._depth, self._items)
        except (ValueError, TypeError, OverflowError, BufferError, RecursionError):
            return None
        if len(octets) <= _KEPT_OCTETS:
            self._spare = packer
        return None if doubtful else octets

    def _whole(self, term: object) -> bytes:
        return msgpack.packb(msgpack.ExtType(TERM, self._codec.encode(term)))  # type: ignore[no-any-return]

    def _default(self, value: Any) -> Any:
        """What msgpack's encoder shall write for a value that it does not know."""
        kind = type(value)
        if kind is tuple:
            return [_MARK, *value]
        if kind is Atom:
            return _atom_extension(value)
        if kind is Pid:
            return msgpack.ExtType(PID, self._codec.encode(value))
        if kind is Reference:
            return msgpack.ExtType(REFERENCE, self._codec.encode(value))
        for base, reduced in _BASES:
            if kind is not base and isinstance(value, base):
                return reduced(value)
        return msgpack.ExtType(TERM, self._codec.encode(value))

    def _extension(self, code: int, data: bytes) -> Any:
        return self._readers[code](data)

    def _identity(self, data: bytes, kind: type) -> Any:
        found = self._codec.decode(data)
        if type(found) is not kind:
            raise ValueError(f"a {type(found).__name__} where a {kind.__name__} is announced")
        return found

    def _atom(self, data: bytes) -> Atom | bool | None:
        name = data.decode()
        return self._constants[name] if name in self._constants else Atom(name)


def _array(items: list[Any]) -> Any:
    """A list, or the tuple that it stands for."""
    if items and items[0] is _MARK:
        return tuple(items[1:])
    return items


def _mapping(pairs: list[tuple[Any, Any]]) -> Any:
    """A dict where a dict is faithful, else an ErlMap; ValueError if a key is there twice."""
    try:
        found = dict(pairs)
    except TypeError:  # a key cannot be hashed
        return ErlMap(pairs)
    return found if len(found) == len(pairs) else ErlMap(pairs)
