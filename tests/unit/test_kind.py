"""What a frame is, told from its first octets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from partisan.etf import Atom, Codec, ImproperList, Pid
from partisan.machines.faults import KINDS
from partisan.wire.kind import kind_of
from tests.oracle.cases import compressed

CODEC = Codec(remote_refs=True)
VECTORS = Path(__file__).parent.parent / "vectors"
FORWARD, MANAGER = Atom("forward_message"), Atom("partisan_pluggable_peer_service_manager")
NODE = Atom("a@127.0.0.1")
LONG = b"x" * 1000

FRAMES: list[tuple[Any, str]] = [
    ((FORWARD, Atom("sink"), LONG), "user"),
    ((FORWARD, (Atom("encoded_pid"), list(b"<0.1.2>")), 1), "user"),
    ((FORWARD, ImproperList([NODE], b"#Name<sink>"), 1), "user"),
    ((FORWARD, Atom("ümlaut"), 1), "user"),
    ((FORWARD, NODE, [(NODE, 1)], Atom("sink"), 1), "user"),
    ((FORWARD, MANAGER, (FORWARD, NODE, [(NODE, 1)], Atom("sink"), 1)), "user"),
    ((FORWARD, MANAGER, (Atom("relay_message"), NODE, 1, 5)), "user"),
    ((FORWARD, MANAGER, (Atom("ack"), 1)), "acknowledgement"),
    ((FORWARD, MANAGER, (Atom("membership_strategy"), LONG)), "membership"),
    ((FORWARD, Atom("partisan_hyparview_peer_service_manager"), (Atom("shuffle"), 1)), "membership"),
    ((FORWARD, MANAGER, 5), "other"),
    ((Atom("membership_strategy"), 1), "membership"),
    ((FORWARD, Atom("partisan_plumtree_broadcast"), (Atom("$gen_cast"), 1)), "broadcast"),
    ((FORWARD, Atom("partisan_monitor"), 1), "other"),
    ((FORWARD, Atom("partisan_python"), (Atom("capabilities"), 1)), "other"),
    ((FORWARD, Atom("partisan_python"), (Atom("acks"), [(1, 2)])), "acknowledgement"),
    ((FORWARD, Atom("partisan_python"), (Atom("exchange"), Atom("map"), (0, ()), NODE)), "broadcast"),
    ((FORWARD, Atom("partisan_python"), (Atom("msgpack"), Atom("sink"), LONG)), "user"),
    ((Atom("hello"), NODE), "handshake"),
    ((Atom("hello"), NODE, None), "handshake"),
    ((Atom("state"), None, (Atom("full_v1"), LONG)), "handshake"),
    ((Atom("ping"), NODE, 1, 2), "keepalive"),
    ((Atom("pong"), NODE, Pid("a@b", 1, 2), 2), "keepalive"),
    (5, "other"),
    ((), "other"),
]


@pytest.mark.parametrize(("term", "kind"), FRAMES, ids=lambda value: value if isinstance(value, str) else "")
def test_every_frame_has_a_kind_compressed_or_not(term: Any, kind: str) -> None:
    plain = CODEC.encode(term)
    assert kind_of(plain) == kind
    assert kind_of(compressed(plain[1:])) == kind


def test_atoms_in_latin1_are_read_as_well() -> None:
    assert kind_of(b"\x83h\x02d\x00\x05hello" + b"d\x00\x01a") == "handshake"


@given(st.sampled_from(FRAMES), st.integers(0, 3000))
def test_a_frame_cut_short_has_some_kind(frame: tuple[Any, str], size: int) -> None:
    plain = CODEC.encode(frame[0])
    assert kind_of(plain[:size]) in KINDS
    assert kind_of(compressed(plain[1:])[:size]) in KINDS


@given(st.binary(max_size=200))
def test_any_octets_have_some_kind(octets: bytes) -> None:
    assert kind_of(octets) in KINDS
    assert kind_of(b"\x83h\x03" + octets) in KINDS
    assert kind_of(b"\x83P\x00\x00\x01\x00" + octets) in KINDS


def test_every_recorded_frame_of_real_nodes_has_the_kind_that_its_term_tells() -> None:
    seen: dict[str, set[str]] = {}
    for path in sorted(VECTORS.glob("core-*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            if row.get("hex"):
                term = row["term"].lstrip("{").split(",")[0].strip("'")
                seen.setdefault(term, set()).add(kind_of(bytes.fromhex(row["hex"])))
    assert seen["hello"] == seen["state"] == {"handshake"}
    assert seen["ping"] == seen["pong"] == {"keepalive"}
    assert seen["forward_message"] >= {"user", "acknowledgement", "membership"}
