"""Hypothesis strategies over the terms of the oracle, and over the Python values that may stand for them."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import strategies as st

from partisan import etf
from tests.oracle.etf import Atom, Bits, Export, Float, Fun, Int, List, Map, Pid, Port, Ref, Term, Tuple, join

WORDS = st.integers(0, 2**32 - 1)
NAMES = st.sampled_from(["ok", "true", "false", "undefined", "nil", "a@h", "\U0001f600"])
NAMES |= st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NODES = st.sampled_from(["a@h", "node@127.0.0.1", "é@h"])
# What is long to print (names of 255 characters, integers of 2040 bits) is left to the decode cases.
INTEGERS = st.integers() | st.builds(
    lambda bits, step, sign: sign * ((1 << bits) + step),
    st.sampled_from([0, 7, 8, 15, 27, 31, 32, 53, 59, 60, 63, 64, 128]),
    st.integers(-1, 1),
    st.sampled_from([1, -1]),
)
NEGATIVE_ZERO = b"\x80" + bytes(7)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def bit_string(data: bytes, last: int) -> Bits:
    return Bits(data[:-1] + bytes([data[-1] & (0xFF00 >> last) & 0xFF]), last)


PIDS = st.builds(Pid, NODES, WORDS, WORDS, WORDS)
# Leaves and containers whose order the reference manual tells in full; it is silent on which pid is first.
ORDERED_LEAVES: st.SearchStrategy[Term] = st.one_of(
    st.builds(Int, INTEGERS | st.integers(0, 3)),
    st.builds(lambda value: Float(struct.pack(">d", value or 0.0)), FLOATS | st.sampled_from([1.0, 2.0])),
    st.builds(Atom, NAMES),
    st.builds(Bits, st.binary(max_size=20)),
    st.builds(bit_string, st.binary(min_size=1, max_size=4), st.integers(1, 7)),
    st.builds(lambda octets: List(tuple(Int(octet) for octet in octets)), st.binary(max_size=6)),
)
LEAVES: st.SearchStrategy[Term] = ORDERED_LEAVES | st.one_of(
    st.sampled_from([Float(NEGATIVE_ZERO), Float(bytes(8))]),
    PIDS,
    st.builds(Port, NODES, st.integers(0, 2**64 - 1), WORDS),
    st.builds(Ref, NODES, st.lists(WORDS, min_size=1, max_size=5).map(tuple), WORDS),
    st.builds(Export, NAMES, NAMES, st.integers(0, 255)),
)


def ordered_containers(inner: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    items = st.lists(inner, max_size=5).map(tuple)
    return st.one_of(
        st.builds(Tuple, items),
        st.builds(List, items),
        st.builds(join, items, inner),
        st.builds(lambda pairs: Map(frozenset(dict(pairs).items())), st.lists(st.tuples(inner, inner), max_size=4)),
    )


def containers(inner: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    old, uniq = st.integers(-(2**31), 2**31 - 1), st.binary(min_size=16, max_size=16)
    free = st.lists(inner, max_size=3).map(tuple)
    return ordered_containers(inner) | st.builds(Fun, NAMES, st.integers(0, 255), uniq, WORDS, old, old, PIDS, free)


TERMS: st.SearchStrategy[Term] = st.recursive(LEAVES, containers, max_leaves=25)
ORDERED_TERMS: st.SearchStrategy[Term] = st.recursive(ORDERED_LEAVES, ordered_containers, max_leaves=12)

PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    INTEGERS,
    FLOATS,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.binary(max_size=12),
    st.binary(max_size=12).map(bytearray),
    st.binary(max_size=12).map(memoryview),
    st.builds(etf.Atom, NAMES),
)
CONSTANTS = {"true": True, "false": False, "undefined": None}
# No two of these that Python keeps apart are one term.
KEYS = st.one_of(INTEGERS, FLOATS, st.binary(max_size=3), NAMES.map(lambda name: CONSTANTS.get(name, etf.Atom(name))))


def python_containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    items = st.lists(inner, max_size=5)
    return items | items.map(tuple) | st.lists(st.tuples(KEYS | st.tuples(KEYS, KEYS), inner), max_size=4).map(dict)


VALUES: st.SearchStrategy[Any] = st.recursive(PLAIN, python_containers, max_leaves=25)
"""What a Python program writes without the package's own types, but for atoms."""
