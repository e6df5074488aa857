"""Monitors as terms: as real nodes were recorded to write them, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from partisan._core.references import place_of
from partisan.etf import Atom, Codec, ImproperList, Pid, Reference
from partisan.machines.monitor import Ask, Down, Placed, Refused, Unask, Unplaced
from partisan.wire.monitor import MalformedMessage, monitor_from_term, monitor_to_term, name_to_term

VECTORS = Path(__file__).parent.parent / "vectors"
CODEC = Codec(remote_refs=True)
A, B = "a@127.0.0.1", "b@127.0.0.1"
SERVER = Atom("partisan_monitor")
MONITOR, DEMONITOR, DOWN = Atom("monitor"), Atom("demonitor"), Atom("DOWN")
CALL, CAST, OK = Atom("$gen_call"), Atom("$gen_cast"), Atom("ok")


def recorded(name: str) -> list[tuple[Any, Any]]:
    """Target and message of every message of a recording, in order."""
    rows = [json.loads(line) for line in (VECTORS / f"{name}.jsonl").read_text().splitlines()]
    terms = [CODEC.decode(bytes.fromhex(row["hex"])) for row in rows if row.get("hex")]
    return [term[1:] for term in terms if type(term) is tuple and term[0] is Atom("forward_message")]


@pytest.mark.parametrize("name", ["upper-monitor-only", "upper-gen_server"])
def test_recorded_conversations_are_understood_and_would_be_answered_alike(name: str) -> None:
    """Each request is read; our answer to it, with the reference that the real node chose, is what that node said."""
    pending: dict[Pid, Any] = {}
    answered = 0
    for target, message in recorded(name):
        if target is SERVER and message[0] is CALL:
            peer, read = monitor_from_term(message, B)
            assert peer == A
            assert type(read) is (Ask if message[2][0] is MONITOR else Unask)
            pending[read.origin[0]] = read
        elif target is SERVER:
            peer, read = monitor_from_term(message, A)
            assert (peer, type(read)) == (B, Down)
            name_or_pid = place_of(read.item)
            told = Down(read.reference, name_or_pid, read.reason)
            assert monitor_to_term(B, A, told) == (("partisan_monitor", A), message)
        elif type(target) is tuple and type(message) is tuple and len(message) == 2:
            caller = Pid(A, int(bytes(target[1]).split(b".")[1]))
            asked = pending.get(caller)
            if asked is None or message[0] != asked.origin[1]:
                continue
            kind, value = message[1]
            made: Any = Refused(asked.origin) if kind is not OK else Placed(asked.origin, value)
            if type(asked) is Unask:
                made = Unplaced(asked.origin)
            assert monitor_to_term(B, A, made) == (caller, message)
            answered += 1
    assert answered >= 8


def test_our_requests_name_our_own_server_and_a_number() -> None:
    pid, me = Pid(B, 160), ImproperList([Atom(A)], b"#Namepartisan_monitor")
    to = ("partisan_monitor", B)
    assert monitor_to_term(A, B, Ask(7, pid)) == (to, (CALL, (me, 7), (MONITOR, pid, [])))
    channel = [(Atom("channel"), Atom("data"))]
    name = ImproperList([Atom(B)], b"#Nameusrv")
    assert monitor_to_term(A, B, Ask(7, ("usrv", B), "data")) == (to, (CALL, (me, 7), (MONITOR, name, channel)))
    reference = Reference(B, (1, 2, 3))
    assert monitor_to_term(A, B, Unask(8, reference)) == (to, (CALL, (me, 8), (DEMONITOR, reference, [])))


def test_our_requests_are_read_as_they_were_and_are_not_hasty() -> None:
    _, term = monitor_to_term(A, B, Ask(7, ("usrv", B), "data"))
    assert monitor_from_term(term, B) == (A, Ask((("partisan_monitor", A), 7), ("usrv", B), "data", False))
    _, read = monitor_from_term((CALL, (Pid(A, 1), 7), (MONITOR, Pid(B, 1), [])), B)
    assert read == Ask((Pid(A, 1), 7), Pid(B, 1), None, True)


@pytest.mark.parametrize(
    ("term", "read"),
    [
        ((7, (OK, Reference(B, (1,)))), (B, Placed(7, Reference(B, (1,))))),
        ((7, (OK, b"partisan:ref:b@h:0.1.2.3")), ("b@h", Placed(7, b"partisan:ref:b@h:0.1.2.3"))),
        ((7, (OK, True)), (None, Unplaced(7))),
        ((7, (Atom("error"), Atom("badarg"))), (None, Refused(7))),
    ],
)
def test_answers_to_our_requests_are_read(term: Any, read: Any) -> None:
    assert monitor_from_term(term, A) == read


@pytest.mark.parametrize("name", ["usrv", "böse", "日本", "a b"])
def test_names_come_back_from_every_format(name: str) -> None:
    assert place_of(name_to_term(name, B)) == (name, B)
    uri = f"partisan:name:{B}:{name}".encode()
    for padded in (uri, uri + b":", (uri + b":").ljust(65, b"\x19"), uri + b":more:fields"):
        assert place_of(padded) == (name, B)
    encoded = (Atom("encoded_name"), [ord(letter) for letter in name])
    assert place_of((Atom("partisan_remote_ref"), Atom(B), encoded)) == (name, B)


def test_pids_are_read_from_uris() -> None:
    assert place_of(b"partisan:pid:b@h:0.9.1") == Pid("b@h", 9, 1)


@pytest.mark.parametrize(
    "term",
    [
        None,
        b"",
        b"partisan:pid:b@h",
        b"partisan:pid:b@h:0.9",
        b"partisan:pid:b@h:1.9.0",
        b"partisan:pid:b@h:0.x.0",
        b"partisan:pid:b@h:0.4294967296.0",
        b"partisan:ref:b@h:0.1.2.3",
        b"other:pid:b@h:0.9.0",
        ImproperList([Atom("b@h")], b"#Other"),
        ImproperList([Atom("b@h"), 1], b"#Namex"),
        ImproperList([1], b"#Namex"),
        (Atom("partisan_remote_ref"), Atom("b@h"), (Atom("encoded_name"), [-1])),
        (Atom("partisan_remote_ref"), Atom("b@h"), (Atom("encoded_name"), [1 << 40])),
        (Atom("partisan_remote_ref"), Atom("b@h"), (Atom("encoded_name"), [b"x"])),
        [Atom("b@h")],
    ],
)
def test_what_names_no_process_is_told(term: Any) -> None:
    assert place_of(term) is None


def test_a_process_of_another_node_cannot_be_watched_here() -> None:
    _, read = monitor_from_term((CALL, (Pid(A, 1), 7), (MONITOR, Pid("c@h", 1), [])), B)
    assert read.target is None


@pytest.mark.parametrize("channel", [None, 5, "x", (1, 2)])
def test_options_mean_what_they_say_of_the_channel_alone(channel: Any) -> None:
    options = [Atom("flush"), (Atom("alias"), Atom("demonitor")), (Atom("channel"), channel), (1, 2), 3]
    term = (CALL, (Pid(A, 1), 7), (MONITOR, Pid(B, 1), options))
    if channel is None:
        assert monitor_from_term(term, B)[1].channel is None
    else:
        with pytest.raises(MalformedMessage):
            monitor_from_term(term, B)
