"""The workload `codec`: the term codec against `msgspec.msgpack` on the same data, in one process.

Each codec gets the data as its users would write them: the tag of a tuple is an atom where there are atoms and a string
elsewhere; a document is the same dict for both. Both are used in their fast form: through objects that are kept, a
Codec here, an Encoder and a Decoder there.
"""

from __future__ import annotations

import importlib.util
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .measure import geometric_mean
from .report import Ratio, Row, number, size, table

SEED = 20200
DIRECTIONS = ("encode", "decode")


@dataclass(frozen=True, slots=True)
class Shape:
    """One kind of data, as each codec's users write it."""

    name: str
    term: object
    msgpack: object


@dataclass(frozen=True, slots=True)
class ShapeResult:
    """Seconds an operation, round by round.

    Attributes:
        shape: its name.
        direction: "encode" or "decode".
        octets: the encoded sizes, ours and theirs.
        ours: this codec.
        theirs: msgspec.msgpack.
    """

    shape: str
    direction: str
    octets: tuple[int, int]
    ours: list[float]
    theirs: list[float]

    @property
    def ratio(self) -> Ratio:
        """How many times faster than msgspec: the median of the rounds, with the spread."""
        ratio = Ratio.of(list(self.theirs), list(self.ours))
        assert ratio is not None, "a shape was measured in no round"
        return ratio


def why_not() -> str | None:
    """Say why the codec cannot be measured here, or None if it can."""
    if importlib.util.find_spec("msgspec") is None:
        return "not installed: msgspec (pip install 'partisan[bench]')"
    return None


def document(rng: random.Random) -> dict[str, object]:
    """Build a nested document: an order, with its customer and four lines."""
    return {
        "id": rng.randrange(1 << 31),
        "status": "confirmed",
        "paid": True,
        "total": rng.random() * 1000,
        "customer": {
            "name": "Grete Hermann",
            "email": f"customer-{rng.randrange(100_000)}@example.org",
            "address": {"street": "Seestrasse 12", "city": "Bremen", "zip": "28195"},
            "tags": ["returning", "newsletter"],
        },
        "lines": [
            {"sku": f"SKU-{rng.randrange(100_000)}", "count": rng.randrange(1, 9), "price": rng.random() * 100}
            for _ in range(4)
        ],
        "note": None,
    }


def shapes() -> list[Shape]:
    """Build the six shapes, the same in every run."""
    from partisan.etf import Atom

    rng = random.Random(SEED)
    # Magnitudes are spread evenly over 1 to 31 bits, so that every width of both formats occurs.
    ints = [rng.randrange(-(1 << 31), 1 << 31) >> rng.randrange(31) for _ in range(1000)]
    floats = [rng.uniform(-1e6, 1e6) for _ in range(1000)]
    single = document(rng)
    documents = [document(rng) for _ in range(100)]
    binary = rng.randbytes(1 << 20)
    return [
        Shape("small tagged tuple", (Atom("add"), 42, b"counter"), ("add", 42, b"counter")),
        Shape("nested document", single, single),
        Shape("1000 ints", ints, ints),
        Shape("1000 floats", floats, floats),
        Shape("100 documents", documents, documents),
        Shape("1 MiB binary", binary, binary),
    ]


def run(rounds: int, seconds: float) -> list[ShapeResult]:
    """Measure all shapes in both directions; `seconds` is divided among them in each round."""
    import msgspec

    from partisan import etf

    codec = etf.Codec()
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder()
    slice_seconds = seconds / 12
    results: list[ShapeResult] = []
    for shape in shapes():
        ours, theirs = codec.encode(shape.term), encoder.encode(shape.msgpack)
        octets = (len(ours), len(theirs))
        pairs: dict[str, tuple[Callable[..., object], object, Callable[..., object], object]] = {
            "encode": (codec.encode, shape.term, encoder.encode, shape.msgpack),
            "decode": (codec.decode, ours, decoder.decode, theirs),
        }
        for direction in DIRECTIONS:
            our_call, our_argument, their_call, their_argument = pairs[direction]
            result = ShapeResult(shape.name, direction, octets, [], [])
            for call, argument in ((our_call, our_argument), (their_call, their_argument)):
                # The allocator learns from the first large blocks, at the cost of whoever asks for them.
                _seconds_per_call(call, argument, slice_seconds / 10)
            for _ in range(rounds):
                result.ours.append(_seconds_per_call(our_call, our_argument, slice_seconds))
                result.theirs.append(_seconds_per_call(their_call, their_argument, slice_seconds))
            results.append(result)
    return results


def _seconds_per_call(call: Callable[..., object], argument: object, seconds: float) -> float:
    """Return the best of several batches: what disturbs a batch can only make it slower."""
    clock = time.perf_counter
    repeat, took = 1, 0.0
    while took < seconds / 20:
        start = clock()
        for _ in range(repeat):
            call(argument)
        took = clock() - start
        repeat *= 2
    repeat //= 2
    best = took
    stop_at = clock() + seconds
    while clock() < stop_at:
        start = clock()
        for _ in range(repeat):
            call(argument)
        best = min(best, clock() - start)
    return best / repeat


def ratios(results: Sequence[ShapeResult]) -> list[float]:
    """List the median ratio of every shape and direction."""
    return [result.ratio.median for result in results]


def render(results: Sequence[ShapeResult]) -> str:
    """Render the table, and the geometric mean below it."""
    lines = []
    for result in results:
        us = [statistics.median(times) * 1e6 for times in (result.ours, result.theirs)]
        sizes = [size(octets) for octets in result.octets]
        lines.append([result.shape, result.direction, *sizes, *(number(each, 3) for each in us), str(result.ratio)])
    headers = ["codec", "", "our size", "its size", "our us", "msgspec us", "faster than msgspec"]
    mean = f"geometric mean {geometric_mean(ratios(results)):.2f}x, least {min(ratios(results)):.2f}x"
    return "\n".join([table(headers, lines), mean])


def rows(experiment: str, results: Sequence[ShapeResult]) -> list[Row]:
    """List the rows: the rate is operations a second, the sizes are encoded ones."""
    rows = []
    for result in results:
        for transport, octets, times in zip(
            ("partisan", "msgspec"), result.octets, (result.ours, result.theirs), strict=True
        ):
            middle = statistics.median(times)
            config = f"{result.direction} {result.shape}"
            rate = octets / middle
            rows.append(Row(experiment, "codec", transport, config, None, octets, 1 / middle, rate, None, None))
    return rows
