"""Compare the codec with msgspec.msgpack on the same data: `python bench/codec.py [ROUNDS]`.

Both sides encode to bytes and decode from them through an object made once. Rounds of both alternate and the fastest of
each counts, so that what else the machine does hurts both alike. The ratio is msgspec's time by ours: above 1, ours is
faster. Binaries decode to bytes here and to str there; `as str` is our decoder told to do the same.
"""

from __future__ import annotations

import math
import random
import sys
import timeit
from collections.abc import Callable
from typing import Any

import msgspec.msgpack

from partisan.etf import Atom, Codec

ROUNDS = 60
SECONDS = 0.005
"""How long one round of one function lasts."""


def document(number: int) -> dict[str, Any]:
    """A nested map as an application would send it."""
    return {
        "id": number,
        "name": f"user-{number}",
        "email": f"user{number}@example.org",
        "active": number % 2 == 0,
        "score": number * 1.5,
        "tags": ["a", "bb", "ccc"],
        "address": {"street": "Main Street 1", "city": "Here", "zip": 12345, "geo": {"lat": 52.5, "lon": 13.4}},
    }


def shapes() -> dict[str, tuple[Any, Any]]:
    """Name -> (value for msgspec, value for us); they differ only where msgspec has no atoms."""
    rng = random.Random(1)
    ints = [rng.randrange(-(2**31), 2**31) for _ in range(1000)]
    floats = [rng.random() for _ in range(1000)]
    documents = [document(number) for number in range(100)]
    same = {"document": document(7), "1000 ints": ints, "1000 floats": floats, "100 documents": documents}
    return {
        "tagged tuple": (("add", 5), (Atom("add"), 5)),
        "tuple of str": (("add", 5), ("add", 5)),
        **{name: (value, value) for name, value in same.items()},
        "1 MiB binary": (bytes(1 << 20), bytes(1 << 20)),
    }


def fastest(calls: list[tuple[Callable[[Any], object], Any]], rounds: int) -> list[float]:
    """Seconds a call of each (function, argument), the best of the rounds."""
    timers = [timeit.Timer("f(x)", globals={"f": function, "x": argument}) for function, argument in calls]
    numbers = [max(1, round(SECONDS / max(timer.timeit(10) / 10, 1e-9))) for timer in timers]
    best = [math.inf] * len(calls)
    for _ in range(rounds):
        for i, (timer, number) in enumerate(zip(timers, numbers, strict=True)):
            best[i] = min(best[i], timer.timeit(number) / number)
    return best


def main(rounds: int) -> None:
    """Print a line a shape, then the geometric means, without `tuple of str`: it is the first shape told otherwise."""
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()
    codec, text = Codec(), Codec(binaries="str")
    ratios: dict[str, list[float]] = {"encode": [], "decode": [], "as str": []}
    print(f"{'shape':14} {'encode us':>10} {'ratio':>6} {'decode us':>10} {'ratio':>6} {'as str':>6}")
    for name, (theirs, ours) in shapes().items():
        their_encode, encode = fastest([(encoder.encode, theirs), (codec.encode, ours)], rounds)
        packed, octets = encoder.encode(theirs), codec.encode(ours)
        calls = [(decoder.decode, packed), (codec.decode, octets), (text.decode, octets)]
        their_decode, decode, decode_text = fastest(calls, rounds)
        row = [their_encode / encode, their_decode / decode, their_decode / decode_text]
        print(f"{name:14} {encode * 1e6:10.3f} {row[0]:6.2f} {decode * 1e6:10.3f} {row[1]:6.2f} {row[2]:6.2f}")
        if name != "tuple of str":
            for kind, ratio in zip(ratios, row, strict=True):
                ratios[kind].append(ratio)
    for kind, values in ratios.items():
        print(f"geometric mean, {kind}: {math.prod(values) ** (1 / len(values)):.2f}, lowest {min(values):.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
