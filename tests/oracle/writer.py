"""The other direction of the specification: a term in any of the forms that the wire allows for it.

`choose` picks one tag from those that can carry the term; the first is the one that a modern node writes. A test that
chooses at random meets every spelling of the same value, which a real node of any age might send.
"""

from __future__ import annotations

import struct

from tests.oracle.etf import Atom, Bits, Choose, Export, Float, Fun, Int, List, Map, Pid, Port, Ref, Term, Tuple


def first(tags: tuple[int, ...] | list[int]) -> int:
    """Choose as a modern node does."""
    return tags[0]


def encode(term: Term, choose: Choose = first) -> bytes:
    """Encode `term`, version octet first."""
    return b"\x83" + body(term, choose)


def body(term: Term, choose: Choose = first) -> bytes:
    """Encode `term` without the version octet."""
    match term:
        case Int(value):
            return integer(value, choose)
        case Float(octets):
            if choose([70, 99]) == 70:
                return b"F" + octets
            return b"c" + b"%-31s" % f"{term.value:.20e}".encode().ljust(31, b"\0")
        case Atom(name):
            return atom(name, choose)
        case Bits(data, 8):
            return b"m" + sized(4, data)
        case Bits(data, last):
            return b"M" + len(data).to_bytes(4) + bytes([last]) + data
        case Tuple(items):
            tag = choose([104, 105] if len(items) <= 255 else [105])
            return bytes([tag]) + len(items).to_bytes(1 if tag == 104 else 4) + many(items, choose)
        case List():
            return sequence(term, choose)
        case Map(pairs):
            return b"t" + len(pairs).to_bytes(4) + b"".join(many(pair, choose) for pair in pairs)
        case Export(module, function, arity):
            return b"q" + atom(module, choose) + atom(function, choose) + bytes([97, arity])
        case Fun():
            return fun(term, choose)
        case Pid() | Port() | Ref():
            return identity(term, choose)


def many(items: tuple[Term, ...], choose: Choose) -> bytes:
    return b"".join(body(item, choose) for item in items)


def sized(octets: int, data: bytes) -> bytes:
    return len(data).to_bytes(octets) + data


def integer(value: int, choose: Choose) -> bytes:
    magnitude = abs(value).to_bytes(max(1, (abs(value).bit_length() + 7) // 8), "little")
    tags = [97] if 0 <= value <= 255 else []
    tags += [98] if -(2**31) <= value < 2**31 else []
    tags += [110, 111] if len(magnitude) <= 255 else [111]
    match choose(tags):
        case 97:
            return bytes([97, value])
        case 98:
            return b"b" + struct.pack(">i", value)
        case 110:
            return bytes([110, len(magnitude), value < 0]) + magnitude
        case _:
            return b"o" + len(magnitude).to_bytes(4) + bytes([value < 0]) + magnitude


def atom(name: str, choose: Choose) -> bytes:
    text = name.encode()
    tags = [119, 118] if len(text) <= 255 else [118]
    if all(ord(character) <= 255 for character in name):
        tags += [115, 100]
    tag = choose(tags)
    return bytes([tag]) + sized(1 if tag in (115, 119) else 2, text if tag >= 118 else name.encode("latin-1"))


def sequence(term: List, choose: Choose) -> bytes:
    tags = [108]
    if term.tail is None:
        if not term.items:
            return b"j"
        values = [item.value if isinstance(item, Int) else -1 for item in term.items]
        if len(values) < 65536 and all(0 <= value <= 255 for value in values):
            tags = [107, 108]
            if choose(tags) == 107:
                return b"k" + sized(2, bytes(values))
    tail = b"j" if term.tail is None else body(term.tail, choose)
    return b"l" + len(term.items).to_bytes(4) + many(term.items, choose) + tail


def identity(term: Pid | Port | Ref, choose: Choose) -> bytes:
    node = atom(term.node, choose)
    young = term.creation.to_bytes(4)
    old = [term.creation] if term.creation <= 255 else []
    match term:
        case Pid(_, number, serial, _):
            fields = number.to_bytes(4) + serial.to_bytes(4)
            return b"X" + node + fields + young if choose([88, 103][: 1 + len(old)]) == 88 else b"g" + node + fields + bytes(old)
        case Port(_, number, _):
            tags = [120]
            if number < 2**32:
                tags += [89, 102][: 1 + len(old)]
            tag = choose(tags)
            return bytes([tag]) + node + number.to_bytes(8 if tag == 120 else 4) + (bytes(old) if tag == 102 else young)
        case Ref(_, words, _):
            ids = b"".join(word.to_bytes(4) for word in words)
            tags = [90] + ([114] if old else []) + ([101] if old and len(words) == 1 else [])
            match choose(tags):
                case 90:
                    return b"Z" + len(words).to_bytes(2) + node + young + ids
                case 114:
                    return b"r" + len(words).to_bytes(2) + node + bytes(old) + ids
                case _:
                    return b"e" + node + ids + bytes(old)


def fun(term: Fun, choose: Choose) -> bytes:
    fields = bytes([term.arity]) + term.uniq + term.index.to_bytes(4) + len(term.free).to_bytes(4)
    fields += atom(term.module, choose) + integer(term.old_index, choose) + integer(term.old_uniq, choose)
    fields += identity(term.pid, choose) + many(term.free, choose)
    return b"p" + (4 + len(fields)).to_bytes(4) + fields
