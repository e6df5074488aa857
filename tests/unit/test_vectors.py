"""Everything that real nodes were recorded to write decodes, and encodes again to an equal term."""

import sys
from collections.abc import Iterator

import pytest

from partisan import etf
from tests.oracle import cases
from tests.oracle import etf as oracle
from tests.oracle.values import Refs, as_term

FRAMES = sorted(path.name for path in cases.VECTORS.glob("*.jsonl") if not path.name.startswith("terms-"))
TERMS = ["terms-otp25.jsonl", "terms-otp28.jsonl"]
# The recorded term `deep` has a thousand levels.
CODECS: dict[Refs, etf.Codec] = {
    "plain": etf.Codec(),
    "kept": etf.Codec(remote_refs=True, encode_refs=None),
    "list": etf.Codec(remote_refs=True),
}


@pytest.fixture(autouse=True)
def _room_for_the_recursive_oracle() -> Iterator[None]:
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    yield
    sys.setrecursionlimit(before)


def check(octets: bytes, refs: Refs) -> None:
    codec = CODECS[refs]
    value = codec.decode(octets)
    assert as_term(value, "plain" if refs == "plain" else "kept") == oracle.decode(octets)
    again = codec.encode(value)
    assert oracle.decode(again) == as_term(value, refs)
    if refs != "list":  # a plain pid is rewritten there, and the list has no room for its creation
        assert etf.exactly_equal(codec.decode(again), value)
    assert b"".join(codec.encode_iovec(value)) == again


def test_the_recordings_are_all_here() -> None:
    assert len(FRAMES) == 18
    frames = [row for name in FRAMES for row in cases.rows(name)]
    assert sum("hex" in row for row in frames) == 2058
    assert sum("event" in row for row in frames) == 289


@pytest.mark.parametrize("refs", CODECS)
@pytest.mark.parametrize("name", FRAMES)
def test_every_recorded_frame_decodes_and_encodes_to_an_equal_term(name: str, refs: Refs) -> None:
    for row in cases.rows(name):
        assert ("event" in row) != ("hex" in row)
        if "hex" in row:
            check(bytes.fromhex(row["hex"]), refs)


@pytest.mark.parametrize("refs", CODECS)
@pytest.mark.parametrize("name", TERMS)
def test_every_recorded_term_decodes_and_encodes_to_an_equal_term(name: str, refs: Refs) -> None:
    rows = list(cases.rows(name))
    assert len(rows) == 69
    for row in rows:
        check(bytes.fromhex(row["hex"]), refs)


@pytest.mark.parametrize(("name", "octets"), cases.written(), ids=[name for name, _ in cases.written()])
@pytest.mark.parametrize("refs", CODECS)
def test_every_tag_and_corner_decodes_as_the_specification_says(name: str, octets: bytes, refs: Refs) -> None:
    check(octets, refs)


def kinds(name: str) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for row in cases.rows(name):
        found.setdefault(row["kind"], []).append(CODECS["plain"].decode(bytes.fromhex(row["hex"])))
    return found


@pytest.mark.parametrize("name", TERMS)
def test_recorded_terms_decode_to_the_types_that_the_design_promises(name: str) -> None:
    found = kinds(name)
    assert found["small_int"] == [0, 255]
    assert found["small_big"][:2] == [2**31, -(2**31) - 1]
    assert found["atom"][0] is etf.Atom("ok")
    assert found["atom"][1:4] == [True, False, None]
    assert [type(value) for value in found["atom"][1:4]] == [bool, bool, type(None)]
    assert found["atom"][4] is etf.Atom("nil")
    assert found["nil_"] == [[]]
    assert found["string"][0] == [97, 98, 99]
    assert found["binary"][:2] == [b"", b"hello"]
    assert found["improper"][1] == etf.ImproperList((1, 2), 3)
    assert found["bits"] == [etf.BitString(b"\x80", 1), etf.BitString(b"\xa0", 3), etf.BitString(b"\xff\xe0", 3)]
    assert found["map"][:2] == [{}, {etf.Atom("a"): 1, b"b": [2]}]
    assert isinstance(found["map"][2], etf.ErlMap)
    assert found["export"] == [etf.Export(etf.Atom("lists"), etf.Atom("map"), 2)]
    assert [type(found[kind][0]) for kind in ("pid", "ref", "port", "function")] == [
        etf.Pid,
        etf.Reference,
        etf.Port,
        etf.Fun,
    ]


def test_both_releases_recorded_equal_terms_where_no_node_is_named() -> None:
    older, newer = kinds(TERMS[0]), kinds(TERMS[1])
    for kind in older.keys() - {"pid", "ref", "alias", "port", "function", "gen_call"}:
        assert etf.exactly_equal(older[kind], newer[kind]), kind


def test_a_recorded_remote_reference_is_a_pid_that_remembers_its_form() -> None:
    octets = bytes.fromhex("836c0000000177036e40686d0000000b235069643c302e312e303e")
    value = CODECS["kept"].decode(octets)
    assert (value, value.form) == (etf.Pid("n@h", 1), "list")
    assert CODECS["plain"].decode(octets) == etf.ImproperList((etf.Atom("n@h"),), b"#Pid<0.1.0>")
