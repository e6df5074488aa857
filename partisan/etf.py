"""Erlang's external term format: what crosses the wire, and the types that Python lacks for it.

`str` is written as a UTF-8 binary, `bytes` as a binary, True, False and None as the atoms true, false and undefined,
int and float as numbers, tuples, lists and dicts as tuples, lists and maps. Binaries decode to `bytes`; a map decodes
to a dict where a dict is faithful, else to an `ErlMap`: where Python confuses the keys or cannot hash them, or where
they were made to collide. A `Codec` holds other choices and the limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from ._core.etf import Codec, decode, decode_prefix, encode, encode_iovec, exactly_equal
from ._core.identities import Atom, Pid, Port, Reference
from ._core.order import term_key
from ._core.terms import BitString, ErlMap, Export, Fun, ImproperList
from .errors import DecodeError, EncodeError, TermError, Truncated

__all__ = [
    "Atom",
    "BitString",
    "Codec",
    "DecodeError",
    "EncodeError",
    "ErlMap",
    "Export",
    "Fun",
    "ImproperList",
    "Pid",
    "Port",
    "Reference",
    "Term",
    "TermError",
    "Truncated",
    "decode",
    "decode_prefix",
    "encode",
    "encode_iovec",
    "exactly_equal",
    "term_key",
]

Term: TypeAlias = (
    int
    | float
    | bool
    | str
    | bytes
    | bytearray
    | memoryview
    | Atom
    | Pid
    | Reference
    | Port
    | BitString
    | Export
    | Fun
    | ImproperList
    | ErlMap
    | tuple[Any, ...]
    | Sequence[Any]
    | Mapping[Any, Any]
    | None
)
"""What can be encoded, and what decoding gives. The items of containers are terms again."""
