"""The external term format, written to be read: recursive, slow, and the specification that the codec is tested against.

It shares nothing with the package. A term is one of the small frozen classes below, so that `==` between terms is
Erlang's `=:=` by construction: `Int(1)` and `Float(1.0)` are of different classes, maps are sets of pairs, and every
form that the wire has for one term (small and large atoms, strings and lists, old and new pids) decodes to one value.

Source: erl_ext_dist (OTP 27), "External Term Format".
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Choose: TypeAlias = Callable[[Sequence[int]], int]


class Malformed(Exception):
    """The octets are no term, or only the beginning of one."""


@dataclass(frozen=True)
class Int:
    value: int


@dataclass(frozen=True)
class Float:
    octets: bytes  # IEEE 754, so that 0.0 and -0.0 differ

    @property
    def value(self) -> float:
        return float(struct.unpack(">d", self.octets)[0])


@dataclass(frozen=True)
class Atom:
    name: str


@dataclass(frozen=True)
class Bits:
    data: bytes
    last: int = 8  # used bits of the last octet; the unused ones are 0


@dataclass(frozen=True)
class Tuple:
    items: tuple[Term, ...]


@dataclass(frozen=True)
class List:
    """A list; `tail` is None for a proper one. An improper one has at least one item."""

    items: tuple[Term, ...]
    tail: Term | None = None


@dataclass(frozen=True)
class Map:
    pairs: frozenset[tuple[Term, Term]]


@dataclass(frozen=True)
class Pid:
    node: str
    id: int
    serial: int
    creation: int


@dataclass(frozen=True)
class Port:
    node: str
    id: int
    creation: int


@dataclass(frozen=True)
class Ref:
    node: str
    words: tuple[int, ...]
    creation: int


@dataclass(frozen=True)
class Export:
    module: str
    function: str
    arity: int


@dataclass(frozen=True)
class Fun:
    module: str
    arity: int
    uniq: bytes
    index: int
    old_index: int
    old_uniq: int
    pid: Pid
    free: tuple[Term, ...]


Term: TypeAlias = Int | Float | Atom | Bits | Tuple | List | Map | Pid | Port | Ref | Export | Fun


def decode(data: bytes) -> Term:
    """Decode the one term that `data` is, version octet and all."""
    reader = Reader(data)
    reader.expect(reader.unsigned(1) == 131, "version")
    if data[1:2] == b"\x50":
        reader.at += 1
        announced = reader.unsigned(4)
        inflate = zlib.decompressobj()
        try:
            plain = inflate.decompress(reader.take(len(data) - reader.at), announced + 1)
        except zlib.error as error:
            raise Malformed("deflate") from error
        reader.expect(inflate.eof and len(plain) == announced and not inflate.unused_data, "inflated size")
        reader = Reader(plain)
    term = reader.term()
    reader.expect(reader.at == len(reader.data), "trailing octets")
    return term


class Reader:
    """Octets and how far they have been read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            raise Malformed(f"{what} at octet {self.at}")

    def take(self, count: int) -> bytes:
        self.expect(self.at + count <= len(self.data), "truncated")
        self.at += count
        return self.data[self.at - count : self.at]

    def unsigned(self, octets: int) -> int:
        return int.from_bytes(self.take(octets))

    def one(self, kind: type[T]) -> T:
        term = self.term()
        if not isinstance(term, kind):
            raise Malformed(f"{kind.__name__} expected before octet {self.at}")
        return term

    def many(self, count: int) -> tuple[Term, ...]:
        return tuple(self.term() for _ in range(count))

    def term(self) -> Term:
        tag = self.unsigned(1)
        handler = TAGS.get(tag)
        if handler is None:
            raise Malformed(f"tag {tag} at octet {self.at - 1}")
        return handler(self)

    def atom(self, size_octets: int, encoding: str) -> Atom:
        try:
            name = self.take(self.unsigned(size_octets)).decode(encoding)
        except UnicodeDecodeError as error:
            raise Malformed("atom text") from error
        self.expect(len(name) <= 255, "atom length")
        return Atom(name)

    def big(self, size_octets: int) -> Int:
        size, sign = self.unsigned(size_octets), self.unsigned(1)
        magnitude = int.from_bytes(self.take(size), "little")
        return Int(-magnitude if sign else magnitude)  # a node takes every sign but 0 for a minus

    def float(self) -> Float:
        octets = self.take(8)
        self.expect(math.isfinite(struct.unpack(">d", octets)[0]), "finite float")
        return Float(octets)

    def old_float(self) -> Float:
        text = self.take(31).split(b"\0")[0]
        try:
            value = float(text)
        except ValueError as error:
            raise Malformed("float text") from error
        self.expect(math.isfinite(value) and text.strip() == text and b"_" not in text, "float text")
        return Float(struct.pack(">d", value))

    def bits(self) -> Bits:
        size, last = self.unsigned(4), self.unsigned(1)
        data = self.take(size)
        self.expect(last <= 8 and (last == 0) == (size == 0), "bits of the last octet")
        if size == 0:
            return Bits(b"")
        return Bits(data[:-1] + bytes([data[-1] & (0xFF00 >> last) & 0xFF]), last)

    def list(self) -> Term:
        items = self.many(self.unsigned(4))
        return join(items, self.term())

    def map(self) -> Map:
        count = self.unsigned(4)
        pairs = [(self.term(), self.term()) for _ in range(count)]
        self.expect(len({key for key, _ in pairs}) == count, "distinct keys")
        return Map(frozenset(pairs))

    def pid(self, creation_octets: int) -> Pid:
        return Pid(self.one(Atom).name, self.unsigned(4), self.unsigned(4), self.unsigned(creation_octets))

    def port(self, id_octets: int, creation_octets: int) -> Port:
        return Port(self.one(Atom).name, self.unsigned(id_octets), self.unsigned(creation_octets))

    def old_ref(self) -> Ref:
        node, word, creation = self.one(Atom).name, self.unsigned(4), self.unsigned(1)
        return Ref(node, (word,), creation)

    def ref(self, creation_octets: int) -> Ref:
        count = self.unsigned(2)
        self.expect(1 <= count <= 5, "reference words")
        node, creation = self.one(Atom).name, self.unsigned(creation_octets)
        return Ref(node, tuple(self.unsigned(4) for _ in range(count)), creation)

    def export(self) -> Export:
        module, function = self.one(Atom), self.one(Atom)
        self.expect(self.unsigned(1) == 97, "arity as a small integer")
        return Export(module.name, function.name, self.unsigned(1))

    def fun(self) -> Fun:
        self.take(4)  # how many octets the fun has; a node skips it, and so does everybody
        arity, uniq = self.unsigned(1), self.take(16)
        index, count = self.unsigned(4), self.unsigned(4)
        module, old_index, old_uniq, pid = self.one(Atom), self.one(Int), self.one(Int), self.one(Pid)
        free = self.many(count)
        return Fun(module.name, arity, uniq, index, old_index.value, old_uniq.value, pid, free)


def join(items: tuple[Term, ...], tail: Term) -> Term:
    """Return the list of `items` and then `tail`, as Erlang's `[...|Tail]`: a list as tail is continued."""
    if isinstance(tail, List):
        return List(items + tail.items, tail.tail)
    return List(items, tail) if items else tail


TAGS: dict[int, Callable[[Reader], Term]] = {
    70: Reader.float,
    77: Reader.bits,
    88: lambda r: r.pid(4),
    89: lambda r: r.port(4, 4),
    90: lambda r: r.ref(4),
    97: lambda r: Int(r.unsigned(1)),
    98: lambda r: Int(int.from_bytes(r.take(4), signed=True)),
    99: Reader.old_float,
    100: lambda r: r.atom(2, "latin-1"),
    101: Reader.old_ref,
    102: lambda r: r.port(4, 1),
    103: lambda r: r.pid(1),
    104: lambda r: Tuple(r.many(r.unsigned(1))),
    105: lambda r: Tuple(r.many(r.unsigned(4))),
    106: lambda r: List(()),
    107: lambda r: List(tuple(Int(octet) for octet in r.take(r.unsigned(2)))),
    108: Reader.list,
    109: lambda r: Bits(r.take(r.unsigned(4))),
    110: lambda r: r.big(1),
    111: lambda r: r.big(4),
    112: Reader.fun,
    113: Reader.export,
    114: lambda r: r.ref(1),
    115: lambda r: r.atom(1, "latin-1"),
    116: Reader.map,
    118: lambda r: r.atom(2, "utf-8"),
    119: lambda r: r.atom(1, "utf-8"),
    120: lambda r: r.port(8, 4),
}
