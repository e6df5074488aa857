"""Between the package's values and the oracle's terms: the only module of the oracle that knows the package.

`as_term` says which Erlang term a Python value stands for, by the rules of the design and not by asking the codec;
`as_value` builds a Python value for a term, always of the most general type (an `ErlMap` for every map).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from partisan import etf
from tests.oracle import etf as oracle

Refs: TypeAlias = Literal["plain", "kept", "list"]


def as_term(value: Any, refs: Refs = "plain") -> oracle.Term:
    """Return the term that `value` stands for.

    `refs` says what a pid or a reference is: "plain", always the term of that type; "kept", Partisan's list or tuple
    if it came as one; "list", as "kept", and those of plain form are lists too.
    """
    match value:
        case None:
            return oracle.Atom("undefined")
        case bool():
            return oracle.Atom("true" if value else "false")
        case int():
            return oracle.Int(int(value))
        case float():
            return oracle.Float(struct.pack(">d", value))
        case str():
            return oracle.Bits(value.encode())
        case bytes() | bytearray() | memoryview():
            return oracle.Bits(bytes(value))
        case etf.Atom():
            return oracle.Atom(value.name)
        case tuple():
            return oracle.Tuple(tuple(as_term(item, refs) for item in value))
        case list():
            return oracle.List(tuple(as_term(item, refs) for item in value))
        case etf.ImproperList():
            items = tuple(as_term(item, refs) for item in value.items)
            return oracle.join(items, as_term(value.tail, refs))  # [alias|Ref] is [alias,Node|Text] when Ref is a list
        case dict() | etf.ErlMap():
            return mapping(value.items(), refs)
        case etf.Pid() | etf.Reference() if refs == "list" or (refs == "kept" and value.form in ("list", "tuple")):
            return remote(value)
        case _:
            return special(value, refs)


def mapping(items: Iterable[tuple[Any, Any]], refs: Refs) -> oracle.Map:
    pairs = [(as_term(key, refs), as_term(item, refs)) for key, item in items]
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError(f"two keys of one map are the same term: {pairs}")
    return oracle.Map(frozenset(pairs))


def special(value: Any, refs: Refs) -> oracle.Term:
    match value:
        case etf.BitString():
            return oracle.Bits(value.data, value.bits)
        case etf.Pid():
            return oracle.Pid(value.node, value.id, value.serial, value.creation)
        case etf.Port():
            return oracle.Port(value.node, value.id, value.creation)
        case etf.Reference():
            return oracle.Ref(value.node, tuple(value.words), value.creation)
        case etf.Export():
            return oracle.Export(value.module.name, value.function.name, value.arity)
        case etf.Fun():
            pid = special(value.pid, "plain")  # a fun has no room for another form
            if not isinstance(pid, oracle.Pid):
                raise TypeError(f"the pid of a fun is {pid}")
            free = tuple(as_term(item, refs) for item in value.free)
            numbers = value.index, value.old_index, value.old_uniq
            return oracle.Fun(value.module.name, value.arity, value.uniq, *numbers, pid, free)
        case _:
            raise TypeError(f"no term is {value!r}")


def remote(value: etf.Pid | etf.Reference) -> oracle.Term:
    """Write a remote reference as Partisan does (reference: remote refs, formats improper_list and tuple)."""
    node = oracle.Atom(value.node)
    numbers = [value.id, value.serial] if isinstance(value, etf.Pid) else list(reversed(value.words))
    text = "<" + ".".join(map(str, [0, *numbers])) + ">"
    kind, prefix = ("encoded_pid", "#Pid") if isinstance(value, etf.Pid) else ("encoded_ref", "#Ref")
    if value.form != "tuple":
        return oracle.List((node,), oracle.Bits((prefix + text).encode()))
    text = text if isinstance(value, etf.Pid) else prefix + text
    characters = oracle.List(tuple(oracle.Int(ord(character)) for character in text))
    return oracle.Tuple((oracle.Atom("partisan_remote_ref"), node, oracle.Tuple((oracle.Atom(kind), characters))))


CONSTANTS = {"true": True, "false": False, "undefined": None}


def as_value(term: oracle.Term) -> Any:
    """Return a Python value that stands for `term`."""
    match term:
        case oracle.Int() | oracle.Float():
            return term.value
        case oracle.Atom(name):
            return CONSTANTS[name] if name in CONSTANTS else etf.Atom(name)
        case oracle.Bits(data, last):
            return data if last == 8 else etf.BitString(data, last)
        case oracle.Tuple(items):
            return tuple(as_value(item) for item in items)
        case oracle.List(items, None):
            return [as_value(item) for item in items]
        case oracle.List(items, tail):
            return etf.ImproperList(tuple(as_value(item) for item in items), as_value(tail))
        case oracle.Map(pairs):
            return etf.ErlMap([(as_value(key), as_value(item)) for key, item in pairs])
        case oracle.Pid(node, number, serial, creation):
            return etf.Pid(node, number, serial, creation)
        case oracle.Port(node, number, creation):
            return etf.Port(node, number, creation)
        case oracle.Ref(node, words, creation):
            return etf.Reference(node, words, creation)
        case oracle.Export(module, function, arity):
            return etf.Export(etf.Atom(module), etf.Atom(function), arity)
        case oracle.Fun():
            return etf.Fun(
                module=etf.Atom(term.module),
                arity=term.arity,
                uniq=term.uniq,
                index=term.index,
                old_index=term.old_index,
                old_uniq=term.old_uniq,
                pid=as_value(term.pid),
                free=tuple(as_value(item) for item in term.free),
            )
