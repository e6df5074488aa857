"""Frames of Erlang's distribution: what one side writes the other reads, and what nobody may write is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partisan._core.bound import Bound
from partisan._core.distin import DistIn
from partisan._core.distqueue import DistQueue
from partisan._core.frame import Slab
from partisan._core.process import receive
from partisan.errors import EncodeError, FrameError, LocalProtocolError
from partisan.etf import Atom, Codec, Pid, Reference, exactly_equal
from tests.oracle.strategies import TERMS
from tests.oracle.values import as_value
from tests.unit.hollow import Core

A, B = "a@127.0.0.1", "b@127.0.0.1"
EXIT, LINK = 24, 1
MANY = [Atom(f"atom{i}") for i in range(600)]


class Wire:
    """Two nodes and one direction between them."""

    def __init__(
        self,
        *,
        headers: bool = True,
        fragments: bool = True,
        piece: int = 65536,
        max_frame: int = 1 << 26,
        **options: Any,
    ) -> None:
        self.core = Core(B)
        self.bound = Bound(B, "undefined", high_water=1 << 30, hard_limit=1 << 30)
        self.queue = DistQueue(
            self.bound,
            codec=Codec(home=Atom(A), creation=7),
            outside=Pid(A, 0),
            headers=headers,
            fragments=fragments,
            piece=piece,
            max_frame=max_frame,
        )
        self.push = self.queue.tell
        self.controls: list[tuple[Any, ...]] = []
        self.reader = DistIn(
            Slab(),
            1 << 26,
            router=self.core.router,
            codec=Codec(home=Atom(B), creation=9),
            link=None,
            headers=headers,
            control=lambda *found: self.controls.append(found),
            **options,
        )

    def carry(self) -> bytes:
        """Take what waits to the other side."""
        octets = b""
        while len(self.queue) or self.queue.unsent:
            part = bytes(memoryview(self.queue))
            self.queue.sent(len(part))
            self.queue.written(len(self.queue) > 0)
            octets += part
        self.reader.receive_data(octets)
        self.core.run()
        return octets


@pytest.mark.parametrize("headers", [True, False])
def test_a_control_message_arrives_as_it_was_sent(headers: bool) -> None:
    wire = Wire(headers=headers)
    wire.push((LINK, Pid(A, 1), Pid(B, 2)))
    wire.push((EXIT, Pid(A, 1), Pid(B, 2)), Atom("normal"))
    wire.carry()
    assert wire.controls == [
        ((LINK, Pid(A, 1, 0, 7), Pid(B, 2)), None, False),
        ((EXIT, Pid(A, 1, 0, 7), Pid(B, 2)), Atom("normal"), True),
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(TERMS.map(as_value), max_size=6), st.booleans(), st.booleans(), st.integers(1, 40))
def test_any_terms_arrive_equal_in_pieces_or_not(sent: list[Any], headers: bool, fragments: bool, piece: int) -> None:
    wire = Wire(headers=headers, fragments=fragments, piece=piece)
    for term in sent:
        wire.push((EXIT, 0, 0), term)
    wire.carry()
    assert len(wire.controls) == len(sent)
    for (_, found, _), term in zip(wire.controls, sent, strict=True):
        assert exactly_equal(found, term)
    assert wire.reader.unfinished == (0, 0)


def test_an_atom_that_the_peer_has_is_sent_as_a_number() -> None:
    wire = Wire()
    name = Atom("an_atom_of_some_length")
    wire.push((EXIT, 0, 0), name)
    first = wire.carry()
    wire.push((EXIT, 0, 0), name)
    second = wire.carry()
    assert name.name.encode() in first
    assert name.name.encode() not in second
    assert [payload for _, payload, _ in wire.controls] == [name, name]


def test_more_atoms_than_a_header_can_hold_go_plainly() -> None:
    wire = Wire()
    for _ in range(3):
        wire.push((EXIT, 0, 0), MANY)
        wire.carry()
    assert [payload for _, payload, _ in wire.controls] == [MANY] * 3


def test_more_atoms_than_the_cache_has_slots_are_all_right() -> None:
    wire = Wire()
    atoms = [Atom(f"slot{i}") for i in range(5000)]
    for atom in atoms + atoms[::-1]:
        wire.push((EXIT, 0, 0), [atom, Atom("always")])
    wire.carry()
    assert [payload[0] for _, payload, _ in wire.controls] == atoms + atoms[::-1]


def test_an_atom_of_a_message_that_could_not_be_written_is_sent_with_the_next() -> None:
    wire = Wire()
    name = Atom("never_sent_before")
    with pytest.raises(EncodeError):
        wire.push((EXIT, 0, 0), [name, object()])
    wire.push((EXIT, 0, 0), name)
    assert name.name.encode() in wire.carry()
    assert wire.controls[0][1] is name


def test_long_atoms_are_written_plainly() -> None:
    wire = Wire()
    long = Atom("ä" * 255)
    wire.push((EXIT, 0, 0), (long, long))
    wire.carry()
    assert wire.controls[0][1] == (long, long)


def test_our_identities_have_our_creation_on_the_wire_and_none_here() -> None:
    wire = Wire()
    wire.push((EXIT, 0, 0), (Pid(A, 3), Reference(A, (1, 2, 3)), Pid(A, 3, 0, 5), Pid(B, 4, 0, 9), Pid(B, 4, 0, 8)))
    wire.carry()
    found = wire.controls[0][1]
    assert found == (
        Pid(A, 3, 0, 7),
        Reference(A, (1, 2, 3), 7),
        Pid(A, 3, 0, 5),
        Pid(B, 4),  # of this life of the node
        Pid(B, 4, 0, 8),  # of a former one
    )


def test_a_message_goes_to_its_process_and_to_its_name() -> None:
    wire = Wire()
    found: list[Any] = []

    async def collect() -> None:
        while True:
            found.append(await receive())

    process = wire.core.spawn(collect())
    wire.core.scheduler.register("bob", process)
    wire.push((22, Pid(A, 1), process.pid), "to the pid")
    wire.push((2, Atom(""), process.pid), "without a sender")
    wire.push((6, Pid(A, 1), Atom(""), Atom("bob")), "to the name")
    wire.push((6, Pid(A, 1), Atom(""), Atom("nobody")), "to nobody")
    wire.push((22, Pid(A, 1), Pid(B, process.pid.id, process.pid.serial, 8)), "to a former life")
    wire.carry()
    assert found == [b"to the pid", b"without a sender", b"to the name"]
    assert [message for _, message in wire.core.undelivered] == [b"to nobody", b"to a former life"]


def test_a_tick_is_no_message() -> None:
    wire = Wire()
    wire.queue.tick()
    assert wire.carry() == bytes(4)
    assert wire.controls == []
    assert wire.reader.received_octets == 4


def test_small_messages_of_others_pass_between_the_pieces_of_a_large_one() -> None:
    wire = Wire(piece=1000)
    large = bytes(100_000)
    wire.push((EXIT, 0, 0), large, sender=Pid(A, 1))
    for number in range(5):
        wire.push((EXIT, 0, 0), number, sender=Pid(A, 2))
    wire.carry()
    assert [payload for _, payload, _ in wire.controls] == [0, 1, 2, 3, 4, large]


def test_what_one_process_sends_keeps_its_order_behind_a_large_message() -> None:
    wire = Wire(piece=1000)
    name = Atom("sent_behind_a_large_one")
    sent = [bytes(5000), name, bytes(3000), 1, name]
    for payload in sent:
        wire.push((EXIT, 0, 0), payload, sender=Pid(A, 1))
    wire.push((EXIT, 0, 0), name, sender=Pid(A, 2))
    wire.carry()
    assert [payload for _, payload, _ in wire.controls] == [name, *sent]
    assert wire.queue.unsent == 0


def test_large_messages_of_several_go_in_turns() -> None:
    wire = Wire(piece=1000)
    wire.push((EXIT, 0, 0), bytes(100_000), sender=Pid(A, 1))
    wire.push((EXIT, 0, 0), bytes(2_000), sender=Pid(A, 2))
    wire.carry()
    assert [len(payload) for _, payload, _ in wire.controls] == [2_000, 100_000]


def test_what_waits_counts_against_the_bound_until_it_is_sent() -> None:
    wire = Wire(piece=1000)
    wire.push((EXIT, 0, 0), bytes(100_000), sender=Pid(A, 1))
    assert wire.bound.queued_octets >= 100_000
    wire.carry()
    assert wire.bound.queued_octets == 0


def test_what_waits_when_the_connection_is_lost_is_lost_with_it() -> None:
    wire = Wire(piece=1000)
    wire.push((EXIT, 0, 0), bytes(100_000), sender=Pid(A, 1))
    assert wire.queue.close() >= 100_000
    assert wire.bound.queued_octets == 0
    with pytest.raises(LocalProtocolError, match="closed"):
        wire.push((EXIT, 0, 0))


class Telling(bytearray):
    """A value during whose writing somebody else has something to tell."""

    def __init__(self, tell: Callable[[], object]) -> None:
        super().__init__(b"value")
        self.tell = tell

    def __bytes__(self) -> bytes:
        self.tell()
        return bytes(memoryview(self))


@pytest.mark.parametrize("known", [False, True], ids=["new atoms", "atoms that the peer has"])
@pytest.mark.parametrize("headers", [False, True])
def test_a_message_told_while_another_is_written_changes_none_of_its_atoms(headers: bool, known: bool) -> None:
    wire = Wire(headers=headers)
    debit, credit, red, blue = map(Atom, ("debit_nested", "credit_nested", "red_nested", "blue_nested"))
    if known:
        wire.push((EXIT, 0, 0), [debit, credit, red, blue])
        wire.carry()
        wire.controls.clear()
    wire.push((EXIT, 0, 0), [debit, Telling(lambda: wire.push((EXIT, 1, red), [red, blue])), credit])
    wire.push((EXIT, 2, 0), [blue, credit])
    wire.carry()
    assert [(control, payload) for control, payload, *_ in wire.controls] == [
        ((EXIT, 0, 0), [debit, b"value", credit]),
        ((EXIT, 1, red), [red, blue]),
        ((EXIT, 2, 0), [blue, credit]),
    ]
    assert wire.bound.queued_octets == 0


@pytest.mark.parametrize("sender", [Pid(A, 1), Pid(A, 2)])
def test_what_is_told_while_a_large_message_is_written_keeps_the_order_of_its_sender(sender: Pid) -> None:
    wire = Wire(piece=1000)
    inner = [1, bytes(2000), [Atom("sent_inside"), bytes(70_000)], 2]

    def tell() -> None:
        for payload in inner:
            wire.push((EXIT, 0, 0), payload, sender=sender)
        assert wire.bound.queued_octets > 72_000, "what waits for its turn is charged"

    outer = [bytes(100_000), b"value"]
    wire.push((EXIT, 0, 0), [outer[0], Telling(tell)], sender=Pid(A, 1))
    wire.push((EXIT, 0, 0), 3, sender=sender)
    wire.carry()
    payloads = [payload for _, payload, _ in wire.controls]
    assert sorted(map(repr, payloads)) == sorted(map(repr, [outer, *inner, 3]))
    assert [payload for payload in payloads if payload != outer] == [*inner, 3]
    if sender == Pid(A, 1):
        assert payloads[0] == outer
    assert (wire.bound.queued_octets, wire.queue.unsent) == (0, 0)


def test_a_message_told_while_another_could_not_be_written_arrives_with_its_atoms() -> None:
    wire = Wire()
    name = Atom("told_beside_what_failed")
    with pytest.raises(EncodeError):
        wire.push((EXIT, 0, 0), [name, Telling(lambda: wire.push((EXIT, 0, 0), name)), object()])
    wire.push((EXIT, 0, 0), [name])
    wire.carry()
    assert [payload for _, payload, _ in wire.controls] == [name, [name]]


@pytest.mark.parametrize("sender", [1, 2])
def test_a_queue_closed_while_a_message_is_written_leaves_nothing_charged(sender: int) -> None:
    wire = Wire(piece=1000)
    wire.push((EXIT, 0, 0), bytes(5000), sender=Pid(A, 1))

    def close() -> None:
        wire.push((EXIT, 0, 0), 1)
        wire.queue.close()

    with pytest.raises(LocalProtocolError, match="closed"):
        wire.push((EXIT, 0, 0), [bytes(5000), Telling(close)], sender=Pid(A, sender))
    assert (wire.bound.queued_octets, len(wire.queue)) == (0, 0)


def test_a_message_above_the_limit_is_refused_and_nothing_is_queued() -> None:
    wire = Wire(max_frame=10_000)
    with pytest.raises(EncodeError, match="limit"):
        wire.push((EXIT, 0, 0), [Atom("was_not_sent"), bytes(20_000)])
    wire.push((EXIT, 0, 0), Atom("was_not_sent"))
    wire.carry()
    assert wire.controls[0][1] is Atom("was_not_sent")


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def piece(kind: int, number: int, left: int, data: bytes = b"") -> bytes:
    return frame(bytes((131, kind)) + struct.pack(">QQ", number, left) + data)


CONTROL = b"\x68\x03\x61\x18\x61\x00\x61\x00"  # {24, 0, 0}


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(frame(b"\x83"), id="nothing but the version"),
        pytest.param(frame(b"\x83\x68\x00"), id="no header"),
        pytest.param(frame(b"\x70\x83" + CONTROL), id="a frame without headers where they were agreed"),
        pytest.param(frame(b"\x83\x44\x00"), id="no control message"),
        pytest.param(frame(b"\x83\x44\x00\x61\x01"), id="a control message that is no tuple"),
        pytest.param(frame(b"\x83\x44\x00" + CONTROL + b"\x61\x01\x61\x01"), id="octets behind the payload"),
        pytest.param(frame(b"\x83\x44\x00" + CONTROL + b"\xff"), id="a payload that is no term"),
        pytest.param(frame(b"\x83\x44\x01"), id="a header without flags"),
        pytest.param(frame(b"\x83\x44\x01\x00\x05" + CONTROL), id="a slot that is empty"),
        pytest.param(frame(b"\x83\x44\x01\x08\x05\xff" + CONTROL), id="an atom that is cut"),
        pytest.param(frame(b"\x83\x44\x01\x08\x05\x02\xff\xfe" + CONTROL), id="an atom that is not UTF-8"),
        pytest.param(frame(b"\x83\x44\xff"), id="a header of many atoms and nothing else"),
        pytest.param(frame(b"\x83\x44\x00\x52\x00"), id="a reference that the header does not have"),
        pytest.param(frame(b"\x83\x46"), id="a piece without its head"),
        pytest.param(piece(70, 1, 1), id="a piece of nothing"),
        pytest.param(piece(69, 1, 0, b"\0"), id="a piece with number 0"),
        pytest.param(piece(69, 1, 3, b"\0") + piece(69, 1, 3, b"\0"), id="a sequence that begins twice"),
        pytest.param(piece(69, 1, 3, b"\0") + piece(70, 1, 1), id="a piece that is left out"),
        pytest.param(piece(69, 1, 3, b"\0") + piece(70, 1, 3), id="a piece that counts up"),
        pytest.param(piece(69, 1, 2, b"\0" + CONTROL) + piece(70, 1, 1, b"\xff"), id="pieces that are no term"),
    ],
)
def test_what_is_malformed_ends_the_connection(octets: bytes) -> None:
    wire = Wire()
    with pytest.raises(FrameError):
        wire.reader.receive_data(octets)


def test_sequences_that_never_end_are_bounded_in_number() -> None:
    wire = Wire(max_sequences=10)
    for number in range(10):
        wire.reader.receive_data(piece(69, number, 2, b"\0"))
    with pytest.raises(FrameError, match="10 sequences"):
        wire.reader.receive_data(piece(69, 10, 2, b"\0"))
    assert wire.reader.unfinished == (10, 0)


def test_sequences_that_never_end_are_bounded_in_octets() -> None:
    wire = Wire()
    for number in range(64):
        wire.reader.receive_data(piece(69, number, 1 << 40, b"\0" + bytes(1 << 20)))
    with pytest.raises(FrameError, match="limit"):
        wire.reader.receive_data(piece(69, 64, 1 << 40, b"\0" + bytes(1 << 20)))
    assert wire.reader.unfinished == (64, (1 << 26) + (1 << 20))


@given(st.binary(max_size=80), st.booleans())
def test_no_octets_do_more_than_end_the_connection(body: bytes, headers: bool) -> None:
    wire = Wire(headers=headers)
    try:
        wire.reader.receive_data(frame(b"\x83\x44" + body) if headers else frame(b"\x70" + body))
    except FrameError:
        return
    assert len(wire.controls) <= 1
