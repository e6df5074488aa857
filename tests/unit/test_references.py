"""Remote references in their three formats: as real nodes were recorded to write them, there and back, and damaged."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from partisan import remote_ref
from partisan._core.references import FORMATS, Named, encoded, place_of, read, read_target, write
from partisan.errors import BadRef, TermError
from partisan.etf import Atom, Codec, ErlMap, ImproperList, Pid, Reference, decode, encode

VECTORS = Path(__file__).parents[1] / "vectors"
PLAIN, WIRE = Codec(), Codec(remote_refs=True)
STR = Codec(binaries="str")
A = "a@127.0.0.1"
REMOTE_REF, PID, REF, NAME = map(Atom, ("partisan_remote_ref", "encoded_pid", "encoded_ref", "encoded_name"))

WORDS = st.integers(0, (1 << 32) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=255)
NODES = st.builds("{}@{}".format, *[st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=127)] * 2)
PLACES = st.builds(Pid, NODES, WORDS, WORDS) | st.tuples(TEXT, NODES)
NAMED: st.SearchStrategy[Named] = PLACES | st.builds(Reference, NODES, st.lists(WORDS, min_size=1, max_size=5))


def node_of(what: Named) -> str:
    return what[1] if isinstance(what, tuple) else what.node


def parts(term: object) -> Iterator[Any]:
    """The term, and every term inside."""
    waiting = [term]
    while waiting:
        term = waiting.pop()
        yield term
        if isinstance(term, ImproperList):
            waiting += [*term.items, term.tail]
        elif isinstance(term, tuple | list):
            waiting += term
        elif isinstance(term, dict | ErlMap):
            waiting += [each for pair in term.items() for each in pair]


def format_of(term: object) -> str:
    return {ImproperList: "improper_list", tuple: "tuple", bytes: "uri"}[type(term)]  # type: ignore[index]


def test_every_recorded_reference_is_read_and_written_back_in_its_format() -> None:
    seen: Counter[tuple[str, type]] = Counter()
    for path in sorted(VECTORS.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            for term in parts(PLAIN.decode(bytes.fromhex(row["hex"]))) if row.get("hex") else ():
                what = read(term)
                if what is None or what is term:
                    continue
                format = format_of(term)
                assert WIRE.encode(write(what, format)) == PLAIN.encode(term)
                seen[format, type(what)] += 1
    assert len(seen) == 7, seen  # a name in a list; a pid and a reference in each of the three
    assert seen["improper_list", tuple] > 20 < seen["improper_list", Pid]


def test_every_recorded_target_is_what_stands_for_its_reference() -> None:
    seen = 0
    for line in (VECTORS / "upper-otp.jsonl").read_text().splitlines():
        term = WIRE.decode(bytes.fromhex(json.loads(line).get("hex") or "836a"))
        if isinstance(term, tuple) and term[0] is Atom("forward_message") and isinstance(term[1], tuple):
            pid = read_target(term[1], A)
            assert isinstance(pid, Pid)
            assert remote_ref.target(pid) == term[1]
            seen += 1
    assert seen > 20


@pytest.mark.parametrize(
    ("what", "terms"),
    [
        (
            Pid(A, 9),
            (
                ImproperList([Atom(A)], b"#Pid<0.9.0>"),
                (REMOTE_REF, Atom(A), (PID, [*b"<0.9.0>"])),
                b"partisan:pid:a@127.0.0.1:0.9.0",
            ),
        ),
        (
            Reference(A, (253735, 3630170113, 1785764714)),
            (
                ImproperList([Atom(A)], b"#Ref<0.1785764714.3630170113.253735>"),
                (REMOTE_REF, Atom(A), (REF, [*b"#Ref<0.1785764714.3630170113.253735>"])),
                b"partisan:ref:a@127.0.0.1:0.1785764714.3630170113.253735",
            ),
        ),
        (
            ("foo", A),
            (
                ImproperList([Atom(A)], b"#Namefoo"),
                (REMOTE_REF, Atom(A), (NAME, [*b"foo"])),
                b"partisan:name:a@127.0.0.1:foo",
            ),
        ),
    ],
)
def test_the_formats_are_those_of_the_reference(what: Named, terms: tuple[Any, ...]) -> None:
    for format, term in zip(FORMATS, terms, strict=True):
        assert WIRE.encode(write(what, format)) == PLAIN.encode(term)
        assert read(term) == what


@given(NAMED, st.booleans())
@example(("Ã¼", A), False)  # in Latin-1 the octets of another name in UTF-8
@example(("日本", A), True)
@example(("", A), True)
def test_what_is_written_is_read_again_in_every_format_and_through_every_codec(what: Named, padding: bool) -> None:
    for format in FORMATS:
        try:
            ref = write(what, format, padding=padding)
        except BadRef:
            assert format == "uri"
            assert set(node_of(what) + (what[0] if isinstance(what, tuple) else "")) & {":", "\x19"}
            continue
        octets = WIRE.encode(ref)
        for codec in (PLAIN, WIRE, STR):
            assert read(codec.decode(octets)) == what
        assert read(ref) == what
        assert read_target(encoded(what), node_of(what)) == (None if isinstance(what, Reference) else what)
        if format == "uri":
            plain = write(what, "uri")
            assert ref == ((plain + b":").ljust(65, b"\x19") if padding and len(plain) < 65 else plain)


@pytest.mark.parametrize("octets", [63, 64, 65, 66])
def test_padding_fills_up_to_65_octets_behind_a_colon(octets: int) -> None:
    name = "n" * (octets - len(b"partisan:name::") - len(A))
    plain = write((name, A), "uri")
    padded = write((name, A), "uri", padding=True)
    assert len(plain) == octets
    assert padded == (plain if octets >= 65 else plain + b":" + b"\x19" * (64 - octets))
    for ref in (plain, padded, plain + b"\x19more", plain + b":more:fields"):
        assert read(ref) == (name, A)


@given(NAMED, st.sampled_from(FORMATS), st.data())
def test_damaged_references_are_told_and_never_fail(what: Named, format: Any, data: st.DataObject) -> None:
    try:
        octets = bytearray(WIRE.encode(write(what, format)))
    except BadRef:
        return
    octets[data.draw(st.integers(1, len(octets) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for codec in (PLAIN, WIRE, STR):
        try:
            term = codec.decode(bytes(octets))
        except TermError:
            continue
        whole = read(term)
        assert whole is None or read(write(whole, "tuple")) == whole
        for part in parts(term):
            asked = [remote_ref.is_pid(part), remote_ref.is_reference(part), remote_ref.is_name(part)]
            assert sum(asked) == (read(part) is not None)
            assert not remote_ref.is_local(part)  # there is no current node
            assert remote_ref.is_identical(part, part) == any(asked)


BIG = str(1 << 32)
DAMAGED = [
    None,
    5,
    "",
    "foo",
    b"",
    b"partisan:",
    b"partisan:pid:b@h",
    b"partisan:pid:b@h:",
    b"partisan:pid::0.9.0",
    b"partisan:pid:b@h:0.9",
    b"partisan:pid:b@h:0.9.0.1",
    b"partisan:pid:b@h:1.9.0",
    b"partisan:pid:b@h:0.09.0",
    b"partisan:pid:b@h:0.9.0>",
    b"partisan:pid:b@h:<0.9.0>",
    b"partisan:pid:b@h:0.-9.0",
    f"partisan:pid:b@h:0.{BIG}.0".encode(),
    "partisan:pid:b@h:0.٣.0".encode(),
    b"partisan:pid:b@h:0." + b"9" * 5000 + b".0",
    b"partisan:ref:b@h:0.1.2.3.4.5.6",
    b"partisan:ref:b@h:0",
    b"partisan:port:b@h:0.1",
    b"partisan\x19:pid:b@h:0.9.0",
    b"partisan:name:" + b"n" * 256 + b":foo",
    b"partisan:name:b@h:" + b"n" * 256,
    b"other:pid:b@h:0.9.0",
    ImproperList([Atom("b@h")], b"#Other"),
    ImproperList([Atom("b@h")], b"#Pid<0.9.0"),
    ImproperList([Atom("b@h")], b"#Pid<0.9.0>>"),
    ImproperList([Atom("b@h")], b"#Pid<0.9.0x"),
    ImproperList([Atom("b@h")], b"<0.9.0>"),
    ImproperList([Atom("b@h")], 5),
    ImproperList([Atom("b@h"), 1], b"#Namex"),
    ImproperList([1], b"#Namex"),
    (REMOTE_REF, Atom("b@h")),
    (REMOTE_REF, "b@h", (NAME, [120])),
    (Atom("other"), Atom("b@h"), (NAME, [120])),
    (REMOTE_REF, Atom("b@h"), (Atom("other"), [120])),
    (REMOTE_REF, Atom("b@h"), (["unhashable"], [120])),
    (REMOTE_REF, Atom("b@h"), (NAME, b"x")),
    (REMOTE_REF, Atom("b@h"), (NAME, [-1])),
    (REMOTE_REF, Atom("b@h"), (NAME, [1 << 40])),
    (REMOTE_REF, Atom("b@h"), (NAME, [0xD800])),
    (REMOTE_REF, Atom("b@h"), (NAME, [b"x"])),
    (REMOTE_REF, Atom("b@h"), (PID, [*b"#Ref<0.1.2>"])),
    (REMOTE_REF, Atom("b@h"), (REF, [*b"<0.9.0>"])),
    [Atom("b@h")],
    ("foo", "b@h"),
]


@pytest.mark.parametrize("term", DAMAGED, ids=lambda term: repr(term)[:60])
def test_what_is_no_reference_is_told(term: Any) -> None:
    assert read(term) is None
    assert not remote_ref.is_pid(term)
    assert not remote_ref.is_reference(term)
    assert not remote_ref.is_name(term)
    assert not remote_ref.is_local(term, "b@h")
    assert not remote_ref.is_identical(term, term)
    for ask in (remote_ref.node, remote_ref.nodestring, remote_ref.target):
        with pytest.raises(BadRef, match="is no remote reference") as raised:
            ask(term)
        assert raised.value.term is term
        assert isinstance(raised.value, ValueError)


def test_a_target_names_a_process_of_the_node_it_came_to() -> None:
    assert read_target((PID, [*b"<0.9.1>"]), A) == Pid(A, 9, 1)
    for name in ("foo", "böse", "日本"):
        assert read_target((NAME, [ord(each) for each in name]), A) == (name, A)
        assert read_target((NAME, [*name.encode()]), A) == (name, A)
    assert read_target((REF, [*b"#Ref<0.1>"]), A) is None
    assert read_target(("foo", "b@h"), A) is None
    assert read_target(b"partisan:pid:b@h:0.9.0", A) == Pid("b@h", 9)
    assert place_of(b"partisan:ref:b@h:0.9.0") is None


@pytest.mark.parametrize("what", [("a:b", A), ("foo", "a:b@h"), ("a\x19", A), Pid("a:b@h", 1)])
def test_a_uri_that_would_be_read_as_another_is_not_made(what: Named) -> None:
    with pytest.raises(BadRef, match="cannot be a URI"):
        write(what, "uri")
    assert read(write(what, "tuple")) == read(write(what, "improper_list")) == what


@pytest.mark.parametrize("what", [("n" * 256, A), ("foo", ""), ("foo", "n" * 256), ("\ud800", A), ("foo", "\ud800@h")])
@pytest.mark.parametrize("format", FORMATS)
def test_names_that_no_atom_can_have_are_refused(what: Named, format: Any) -> None:
    with pytest.raises(BadRef, match="characters"):
        write(what, format)


def test_a_reference_forgets_the_incarnation_and_remembers_its_format() -> None:
    assert write(Pid(A, 9, 1, creation=7), "tuple") == Pid(A, 9, 1)
    assert [write(Pid(A, 9), each).form for each in ("improper_list", "tuple")] == ["list", "tuple"]
    assert [read(write(Reference(A, (1,), 7), each)) for each in FORMATS] == [Reference(A, (1,))] * 3
    assert remote_ref.is_identical(Pid(A, 9, 1, creation=7), b"partisan:pid:a@127.0.0.1:0.9.1")


def test_nothing_but_a_name_alone_and_the_default_format_needs_a_node() -> None:
    assert remote_ref.from_term(("foo", A), format="uri") == b"partisan:name:a@127.0.0.1:foo"
    assert remote_ref.from_term("foo", A, format="uri", padding=True)[-1:] == b"\x19"
    assert remote_ref.from_term(Pid("b@h", 9), Atom(A), format="uri") == b"partisan:pid:a@127.0.0.1:0.9.0"
    assert remote_ref.from_term(Reference("b@h", (1,)), A, format="uri") == b"partisan:ref:a@127.0.0.1:0.1"
    assert remote_ref.from_term(write(("foo", "b@h"), "uri"), A, format="tuple") == write(("foo", A), "tuple")
    with pytest.raises(RuntimeError, match="no current node"):
        remote_ref.from_term("foo", format="uri")
    with pytest.raises(RuntimeError, match="no current node"):
        remote_ref.from_term(("foo", A))


@pytest.mark.parametrize(
    ("term", "node", "problem"),
    [
        (5, None, "no pid, reference, name"),
        (b"foo", None, "no pid, reference, name"),
        (("foo", A, 1), None, "no pid, reference, name"),
        (("foo", 1), None, "no pid, reference, name"),
        ("foo", 1, "is no name: a str or an Atom"),
        ("foo", "", "1 to 255 characters"),
        (Pid(A, 1), "n" * 256, "is no name of a node"),
        (Pid(A, 1), "", "1 to 255 characters"),
    ],
)
def test_what_cannot_be_referred_to_says_what_is_wrong(term: Any, node: Any, problem: str) -> None:
    with pytest.raises(BadRef, match=problem):
        remote_ref.from_term(term, node, format="tuple")


def test_a_format_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadRef, match="'list' is no format: improper_list, tuple, uri"):
        remote_ref.from_term(Pid(A, 1), format="list")  # type: ignore[arg-type]


def test_what_is_wrong_is_shown_in_part_only() -> None:
    with pytest.raises(BadRef) as raised:
        remote_ref.node(b"x" * 100_000)
    assert len(str(raised.value)) < 200


def test_a_name_is_told_from_other_names_also_when_it_is_padded() -> None:
    for format in FORMATS:
        ref = remote_ref.from_term(("foo", A), format=format, padding=True)
        assert remote_ref.is_name(ref)
        assert remote_ref.is_name(ref, "foo")
        assert remote_ref.is_name(ref, Atom("foo"))
        assert not remote_ref.is_name(ref, "fo")
        assert remote_ref.is_local(ref, A)
        assert remote_ref.is_local(ref, Atom(A))
        assert not remote_ref.is_local(ref, "b@h")
        assert (remote_ref.node(ref), remote_ref.nodestring(ref)) == (Atom(A), A)
        assert remote_ref.target(ref) == (NAME, [*b"foo"])


@given(NAMED, NAMED)
def test_references_are_identical_where_they_refer_to_the_same(one: Named, other: Named) -> None:
    refs = [write(one, "improper_list"), write(one, "tuple"), decode(encode(write(one, "tuple")))]
    for ref in refs:
        assert all(remote_ref.is_identical(ref, each) for each in refs)
        assert remote_ref.is_identical(ref, write(other, "tuple")) == (one == other)
