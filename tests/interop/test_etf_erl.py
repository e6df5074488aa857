"""The codec against a real BEAM, where there is one: the same octets, the same equality, the same order."""

import functools
import re
import sys
from collections.abc import Iterator, Sequence
from random import Random

import pytest

from partisan import etf
from tests.oracle import cases, chance, writer
from tests.oracle import etf as oracle
from tests.oracle.beam import Beam, find
from tests.oracle.order import compare
from tests.oracle.values import as_term, as_value

CODEC = etf.Codec()
TRUE = oracle.Atom("true")
SEED = 20_251  # of every random choice below; a failure shows octets, which are enough to repeat it


@pytest.fixture(scope="module")
def beam() -> Iterator[Beam]:
    executable = find()
    if executable is None:
        pytest.skip("no erl on the path: install Debian's erlang-base to compare with a real BEAM")
    with Beam(executable) as running:
        yield running


@pytest.fixture(autouse=True)
def _room_for_the_recursive_oracle() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(before)


def data(term: oracle.Term) -> bytes:
    if not isinstance(term, oracle.Bits):
        raise TypeError(f"erl answered {term} instead of octets")
    return term.data


def random_terms(count: int) -> list[oracle.Term]:
    rng = Random(SEED)
    return [chance.term(rng) for _ in range(count)]


def agree(beam: Beam, theirs: Sequence[bytes]) -> None:
    """Check that what the codec makes of `theirs` and writes again is `=:=` there, and comes back as it went."""
    values = [CODEC.decode(octets) for octets in theirs]
    ours = [CODEC.encode(value) for value in values]
    equal = beam.ask([("equal", pair) for pair in zip(ours, theirs, strict=True)])
    assert [octets for octets, answer in zip(theirs, equal, strict=True) if answer != TRUE] == []
    for value, answer in zip(values, beam.ask([("echo", [octets]) for octets in ours]), strict=True):
        assert etf.exactly_equal(CODEC.decode(data(answer)), value)


@pytest.mark.parametrize("name", ["terms-otp25.jsonl", "terms-otp28.jsonl"])
def test_recorded_terms_are_equal_to_a_real_node(beam: Beam, name: str) -> None:
    # A node that is not distributed is called nonode@nohost too, and has rules of its own for its own identities.
    agree(beam, [bytes.fromhex(row["hex"]).replace(b"nonode@nohost", b"recorded@host") for row in cases.rows(name)])


def test_recorded_frames_are_equal_to_a_real_node(beam: Beam) -> None:
    frames = [row["hex"] for path in cases.VECTORS.glob("core-*.jsonl") for row in cases.rows(path.name)]
    agree(beam, [bytes.fromhex(octets) for octets in dict.fromkeys(frames)])


def test_every_corner_of_the_format_is_equal_to_a_real_node(beam: Beam) -> None:
    agree(beam, [octets for _, octets in cases.written()])


def test_a_thousand_random_terms_are_equal_to_a_real_node(beam: Beam) -> None:
    terms = random_terms(1000)
    ours = [CODEC.encode(as_value(term)) for term in terms]
    written = [writer.encode(term) for term in terms]
    assert set(beam.ask([("equal", pair) for pair in zip(ours, written, strict=True)])) == {TRUE}
    answers = [data(answer) for answer in beam.ask([("echo", [octets]) for octets in ours])]
    assert [as_term(CODEC.decode(octets)) for octets in answers] == terms


def test_terms_that_differ_here_differ_there(beam: Beam) -> None:
    rng = Random(SEED)
    terms = [chance.term(rng, 1) for _ in range(60)] + random_terms(20)
    pairs = [(a, b) for a in terms for b in terms]
    questions = [("equal", [CODEC.encode(as_value(a)), CODEC.encode(as_value(b))]) for a, b in pairs]
    for (a, b), answer in zip(pairs, beam.ask(questions), strict=True):
        assert (answer == TRUE) == etf.exactly_equal(as_value(a), as_value(b)), (a, b)


def test_compressed_terms_are_read_on_both_sides(beam: Beam) -> None:
    term = [b"abc" * 100, list(range(300)), etf.Atom("ok")]
    plain, packed = etf.encode(term), etf.encode(term, compressed=6)
    assert packed[1] == 80
    assert beam.ask([("equal", [plain, packed])]) == [TRUE]


def test_terms_sort_as_a_real_node_sorts_them(beam: Beam) -> None:
    rng = Random(SEED)
    for size, depth in ((400, 0), (300, 1), (400, 4)):
        values = [as_value(chance.term(rng, depth)) for _ in range(size)]
        values += [0, 0.0, 1, 1.0, 2**53, 2.0**53, 2**53 + 1, [], [0], {1: 1}, {1.0: 1}, {2: 0}, (), (1,), (1.0,)]
        rng.shuffle(values)
        (answer,) = beam.ask([("sort", [CODEC.encode(value) for value in values])])
        theirs = as_value(answer)
        ours = sorted(range(len(values)), key=lambda place: etf.term_key(values[place]))
        wrong = [(values[a], values[b]) for a, b in zip(ours, theirs, strict=True) if a != b]
        assert wrong[:3] == []


def test_the_oracle_orders_as_a_real_node_does(beam: Beam) -> None:
    rng = Random(SEED)
    terms: list[oracle.Term] = [
        rng.choice((chance.integer, chance.floating, chance.atom, chance.bits, chance.string))(rng) for _ in range(150)
    ]
    terms += [oracle.Tuple(tuple(rng.choices(terms, k=2))) for _ in range(50)]
    terms += [oracle.List(tuple(rng.choices(terms, k=2)), rng.choice((None, TRUE))) for _ in range(50)]
    terms += [oracle.Map(frozenset({rng.choice(terms): rng.choice(terms)}.items())) for _ in range(50)]
    (answer,) = beam.ask([("sort", [writer.encode(term) for term in terms])])
    ours = sorted(terms, key=functools.cmp_to_key(compare))
    assert ours == [terms[place] for place in as_value(answer)]


def test_damaged_octets_that_a_real_node_takes_for_a_term_are_one_here(beam: Beam) -> None:
    rng = Random(SEED)
    damaged = [chance.mutated(rng, writer.encode(chance.term(rng, 3), rng.choice)) for _ in range(6000)]
    refused, taken = [], 0
    for octets, answer in zip(damaged, beam.ask([("accepts", [octets]) for octets in damaged]), strict=True):
        try:
            CODEC.decode_prefix(octets)  # a node ignores what follows the term
            taken += answer == TRUE
        except etf.DecodeError as error:
            # A node's private in-memory tags, a creator of a fun that is no pid, and references without any number are
            # not part of the wire.
            private = r"\b7[3-6] is no tag|NEW_FUN_EXT without a pid|FLOAT_EXT without the text|a reference of 0 words"
            if answer == TRUE and not re.search(private, str(error)):
                refused.append((octets, error))
    assert refused == []
    assert taken > 500
