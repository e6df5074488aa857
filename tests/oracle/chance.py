"""Terms by chance: every kind, with a liking for corners. The same `random.Random` gives the same terms."""

from __future__ import annotations

import struct
from random import Random

from tests.oracle.etf import Atom, Bits, Export, Float, Fun, Int, List, Map, Pid, Port, Ref, Term, Tuple, join

CORNERS = [0, 1, 127, 128, 255, 256, 2**16, 2**27, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**59, 2**60, 2**63, 2**64, 2**2040]
ATOMS = ["ok", "true", "false", "undefined", "nil", "", "a b", "\xe9", "πλ", "\U0001f600", "x" * 255, "é" * 255]
NODES = ["a@h", "node@127.0.0.1", "é@host"]
FLOATS = [0.0, 1.0, -1.0, 0.1, 5e-324, 1.7976931348623157e308, 2.0**53, 2.0**64, -(2.0**63), 3.5]


def integer(rng: Random) -> Int:
    corner = rng.choice(CORNERS) + rng.choice((-1, 0, 0, 1))
    return Int(rng.choice((corner, -corner, rng.randrange(-300, 300), rng.getrandbits(rng.randrange(1, 400)))))


def floating(rng: Random) -> Float:
    while True:
        octets = rng.choice((struct.pack(">d", rng.choice(FLOATS)), rng.randbytes(8)))
        if octets[0] & 0x7F != 0x7F and octets != struct.pack(">d", -0.0):  # releases differ on -0.0 =:= 0.0
            return Float(octets)


def atom(rng: Random) -> Atom:
    return Atom(rng.choice((*ATOMS, f"atom{rng.randrange(50)}")))


def bits(rng: Random) -> Bits:
    data = rng.randbytes(rng.choice((0, 0, 1, 2, 3, 8, 60)))
    last = rng.choice((8, 8, rng.randrange(1, 8))) if data else 8
    return Bits(data[:-1] + bytes([data[-1] & (0xFF00 >> last) & 0xFF]), last) if data else Bits(b"")


def pid(rng: Random) -> Pid:
    return Pid(rng.choice(NODES), rng.getrandbits(28), rng.getrandbits(13), rng.choice((0, 1, 3, 200, 2**32 - 1)))


def port(rng: Random) -> Port:
    return Port(rng.choice(NODES), rng.getrandbits(28), rng.choice((0, 2, 255, 2**32 - 1)))


def ref(rng: Random) -> Ref:
    words = (rng.getrandbits(18), *(rng.getrandbits(32) for _ in range(rng.choice((2, 4)))))
    return Ref(rng.choice(NODES), words, rng.choice((0, 3, 255, 2**32 - 1)))


def string(rng: Random) -> List:
    return List(tuple(Int(rng.randrange(256)) for _ in range(rng.randrange(6))))


LEAVES = [integer, floating, atom, bits, string, integer, atom, pid, port, ref]


def term(rng: Random, depth: int = 4) -> Term:
    """Return a term of at most `depth` levels."""
    if depth == 0 or rng.random() < 0.35:
        return rng.choice(LEAVES)(rng)
    items = tuple(term(rng, depth - 1) for _ in range(rng.choice((0, 1, 2, 3, 5))))
    match rng.randrange(8):
        case 0 | 1:
            return Tuple(items)
        case 2 | 3:
            return List(items)
        case 4:
            return join(items, term(rng, depth - 1))
        case 5 | 6:
            pairs = {item: term(rng, depth - 1) for item in items}
            return Map(frozenset(pairs.items()))
        case _:
            return callable_of(rng, items)


def callable_of(rng: Random, free: tuple[Term, ...]) -> Term:
    if rng.random() < 0.5:
        return Export(rng.choice(ATOMS), rng.choice(ATOMS), rng.randrange(256))
    module, numbers = rng.choice(("m", "é")), (rng.getrandbits(20), rng.getrandbits(20), rng.getrandbits(27))
    return Fun(module, rng.randrange(256), rng.randbytes(16), *numbers, pid(rng), free)


def mutated(rng: Random, octets: bytes) -> bytes:
    """Return `octets` with a few of them changed, dropped, doubled or added."""
    data = bytearray(octets)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at : at + 1] = rng.randbytes(1)
            case 1:
                data[at : at + rng.randrange(4)] = b""
            case 2:
                data[at:at] = data[at : at + rng.randrange(12)]
            case 3:
                data[at : at + 1] = rng.choice(b"FMPRXYZabcdefghijklmnopqrstuvwxy\0\xff").to_bytes(1)
            case _:
                data[at:at] = rng.randbytes(rng.randrange(1, 5))
    return bytes(data)
