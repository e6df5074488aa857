"""The way of a message: every form of target, what nobody takes, and what a sender is told."""

from __future__ import annotations

import re
import threading
import zlib
from typing import Any

import pytest

from partisan._core.process import Process, receive
from partisan._core.router import current_router_var, send
from partisan._core.sendqueue import SendQueue
from partisan.errors import DecodeError, EncodeError, FrameError, LocalProtocolError, NoProc, NotConnected, WrongThread
from partisan.etf import Atom, Codec, ImproperList, Pid
from tests.unit.hollow import Core, bodies, drain, framed, messages

HERE = "a@127.0.0.1"
PEER = "b@127.0.0.1"
FORWARD = Atom("forward_message")
PLAIN = Codec()


def collector(core: Core, name: str | None = None) -> tuple[Process, list[Any]]:
    """Spawn a process that keeps what it receives."""
    found: list[Any] = []

    async def collect() -> None:
        while True:
            found.append(await receive())

    process = core.spawn(collect())
    if name is not None:
        core.scheduler.register(name, process)
    return process, found


# Inside the node.


def test_a_local_target_may_be_a_pid_a_name_or_a_pair(core: Core) -> None:
    process, found = collector(core, "bob")
    for target in (
        process.pid,
        process,
        "bob",
        Atom("bob"),
        ("bob", HERE),
        (Atom("bob"), Atom(HERE)),
        ("bob", Atom(HERE)),
    ):
        core.send(target, "x")
    core.run()
    assert found == ["x"] * 7


def test_a_local_message_is_delivered_as_the_same_object(core: Core) -> None:
    process, found = collector(core)
    message = {"any": object()}
    core.send(process.pid, message)
    core.run()
    assert found[0] is message


def test_a_name_that_nobody_has_is_no_process(core: Core) -> None:
    for target in ("nobody", Atom("nobody"), ("nobody", HERE)):
        with pytest.raises(NoProc, match="there is no process 'nobody'") as caught:
            core.send(target, "x")
        assert caught.value.reason == Atom("noproc")
        assert caught.value.target == "nobody"


def test_a_pid_of_the_dead_is_undeliverable_and_counted(core: Core) -> None:
    pid = Pid(HERE, 99, 1)
    core.send(pid, "x")
    assert core.undelivered == [(pid, "x")]
    assert core.router.undelivered == 1


def test_a_sink_gets_the_message_and_no_link(core: Core) -> None:
    got: list[Any] = []
    core.scheduler.register("sink", lambda message, link: got.append((message, link)))
    core.send("sink", 1)
    core.send(Atom("sink"), 2)
    assert got == [(1, None), (2, None)]


@pytest.mark.parametrize("target", [None, 1, b"bob", ("bob",), ("bob", 1), ("a", "b", "c"), ["bob", HERE], (1, HERE)])
def test_what_is_no_target_is_refused(core: Core, target: Any) -> None:
    with pytest.raises(TypeError):
        core.send(target, "x")


def test_deliver_takes_a_target_term_as_from_the_wire(core: Core) -> None:
    process, found = collector(core, "bob")
    core.router.deliver(Atom("bob"), 1)
    core.router.deliver(process.pid, 2)
    core.router.deliver(Atom("nobody"), 3)
    core.run()
    assert found == [1, 2]
    assert core.undelivered == [("nobody", 3)]


# To another node.


@pytest.mark.parametrize(
    ("target", "written"),
    [
        (("bob", PEER), Atom("bob")),
        ((Atom("bob"), Atom(PEER)), Atom("bob")),
        (("żółw", PEER), Atom("żółw")),
        (Pid(PEER, 5, 7), (Atom("encoded_pid"), list(b"<0.5.7>"))),
        (Pid(PEER, 2**32 - 1, 2**32 - 1), (Atom("encoded_pid"), list(b"<0.4294967295.4294967295>"))),
        (Pid(PEER, 0, 0), (Atom("encoded_pid"), list(b"<0.0.0>"))),
    ],
    ids=str,
)
def test_a_remote_target_is_written_as_the_reference_does(core: Core, target: Any, written: Any) -> None:
    queue = core.connect(PEER)
    core.send(target, ("hello", 1))
    (body,) = bodies(drain(queue))
    assert PLAIN.decode(body) == (FORWARD, written, (b"hello", 1))


def test_a_message_crosses_from_one_node_to_another() -> None:
    here, there = Core(HERE), Core(PEER, first_key=(3 << 28) | 1)
    queue = here.connect(PEER)
    process, found = collector(there, "bob")
    for message in ("one", (Atom("two"), process.pid, {"k": [1.5]}), b"3" * 100_000, None):
        here.send(process.pid, message)
        here.send(("bob", PEER), message)
    there.inbound().receive_data(drain(queue))
    expected = [b"one", (Atom("two"), process.pid, {b"k": [1.5]}), b"3" * 100_000, None]
    assert found == [message for message in expected for _ in range(2)]
    here.close()
    there.close()


def test_a_message_that_is_no_term_is_refused_and_nothing_is_sent(core: Core) -> None:
    queue = core.connect(PEER)
    with pytest.raises(EncodeError):
        core.send(("bob", PEER), object())
    assert drain(queue) == b""


def test_an_unknown_node_is_named(core: Core) -> None:
    with pytest.raises(NotConnected) as caught:
        core.send(("bob", "nowhere@host"), 1)
    assert caught.value.node == "nowhere@host"
    with pytest.raises(NotConnected):
        core.send(Pid("nowhere@host", 1, 1), 1)


def test_an_envelope_sends_the_message_to_the_peers_python_side(core: Core) -> None:
    queue = core.connect(PEER)
    core.table.lane(PEER, "undefined").envelope = lambda target, message: (Atom("wrapped"), target, message)
    pid = Pid(PEER, 1, 2)
    core.send(("bob", PEER), 1)
    core.send(pid, 2)
    assert [core.codec.decode(body) for body in bodies(drain(queue))] == [
        (FORWARD, Atom("partisan_python"), (Atom("wrapped"), Atom("bob"), 1)),
        (FORWARD, Atom("partisan_python"), (Atom("wrapped"), pid, 2)),
    ]


def test_another_thread_may_not_send(core: Core) -> None:
    process, found = collector(core, "bob")
    core.connect(PEER)
    caught: list[BaseException] = []

    def intrude() -> None:
        for target in ("bob", process.pid, ("bob", PEER)):
            try:
                core.send(target, 1)
            except WrongThread as error:
                caught.append(error)

    thread = threading.Thread(target=intrude)
    thread.start()
    thread.join()
    assert len(caught) == 3
    core.run()
    assert found == []


def test_the_module_function_sends_from_the_current_node(core: Core) -> None:
    with pytest.raises(LocalProtocolError):
        send("bob", 1)
    _, found = collector(core, "bob")
    token = current_router_var.set(core.router)
    try:
        send("bob", 1)
    finally:
        current_router_var.reset(token)
    core.run()
    assert found == [1]


# From the wire.


def frames(*terms: Any, codec: Codec = PLAIN) -> bytes:
    return b"".join(framed(codec.encode(term)) for term in terms)


def test_every_form_of_a_target_reaches_its_process(core: Core) -> None:
    process, found = collector(core, "bob")
    number = f"<0.{process.pid.id}.{process.pid.serial}>"
    targets = [
        Atom("bob"),
        (Atom("encoded_pid"), list(number.encode())),
        (Atom("encoded_name"), list(b"bob")),
        ImproperList((Atom(HERE),), b"#Name" + b"bob"),
        ImproperList((Atom(HERE),), b"#Pid" + number.encode()),
        (Atom("partisan_remote_ref"), Atom(HERE), (Atom("encoded_pid"), list(number.encode()))),
        (Atom("partisan_remote_ref"), Atom(HERE), (Atom("encoded_name"), list(b"bob"))),
        f"partisan:name:{HERE}:bob",
        f"partisan:name:{HERE}:bob:xxxxxx",
        f"partisan:pid:{HERE}:{number[1:-1]}",
        Pid(HERE, process.pid.id, process.pid.serial),
    ]
    core.inbound().receive_data(frames(*[(FORWARD, target, index) for index, target in enumerate(targets)]))
    assert core.undelivered == []
    assert found == list(range(len(targets)))


def test_targets_that_nobody_is_are_counted_and_disturb_nothing(core: Core) -> None:
    process, found = collector(core, "bob")
    targets = [
        Atom("nobody"),
        (Atom("encoded_pid"), list(b"<0.77.77>")),
        (Atom("encoded_pid"), list(b"<0.77>")),
        (Atom("encoded_pid"), list(b"<0.99999999999999999999.1>")),
        (Atom("encoded_pid"), list(b"rubbish")),
        (Atom("encoded_pid"), [-1, 300]),
        (Atom("encoded_name"), list(b"nobody")),
        (Atom("encoded_name"), [1.5]),
        (Atom("what"), list(b"bob")),
        Pid("elsewhere@host", process.pid.id, process.pid.serial),
        (Atom("partisan_remote_ref"), Atom("elsewhere@host"), (Atom("encoded_name"), list(b"bob"))),
        (Atom("partisan_remote_ref"), Atom(HERE), Atom("bob")),
        (Atom("partisan_remote_ref"), Atom(HERE), (Atom("encoded_name"), [-1])),
        (Atom("partisan_remote_ref"), 1, (Atom("encoded_name"), list(b"bob"))),
        ImproperList((Atom("elsewhere@host"),), b"#Namebob"),
        ImproperList((1, 2), b"#Namebob"),
        b"partisan:name:elsewhere@host:bob",
        b"partisan:pid:" + HERE.encode() + b":0.1",
        b"\xff\xfe",
        17,
        {},
        [],
        (),
    ]
    core.inbound().receive_data(frames(*[(FORWARD, target, 1) for target in targets], (FORWARD, Atom("bob"), "last")))
    assert found == [b"last"]
    assert len(core.undelivered) == len(targets) == core.router.undelivered


@pytest.mark.parametrize("latin1", [False, True], ids=["utf-8", "latin-1"])
def test_both_spellings_of_the_message_atom_are_read_where_they_lie(core: Core, latin1: bool) -> None:
    process, found = collector(core, "bob")
    number = list(b"<0.%d.%d>" % (process.pid.id, process.pid.serial))
    for message, target in enumerate([Atom("bob"), (Atom("encoded_pid"), number)]):
        body = PLAIN.encode((FORWARD, target, message))
        for name in (b"forward_message", b"encoded_pid") if latin1 else ():
            body = body.replace(bytes([119, len(name)]) + name, bytes([100, 0, len(name)]) + name)
        core.inbound().receive_data(framed(body))
    assert found == [0, 1]


def test_padding_is_taken_off(core: Core) -> None:
    _, found = collector(core, "bob")
    core.inbound().receive_data(frames((FORWARD, Atom("bob"), (Atom("$partisan_padded"), b"xxxx", "m"))))
    core.inbound().receive_data(
        framed(PLAIN.encode_compressed((FORWARD, Atom("bob"), (Atom("$partisan_padded"), b"x" * 999, "m"))))
    )
    assert found == [b"m", b"m"]


def test_a_compressed_message_is_delivered_like_any(core: Core) -> None:
    _, found = collector(core, "bob")
    body = PLAIN.encode_compressed((FORWARD, Atom("bob"), b"z" * 5000))
    assert body[1] == 80
    core.inbound().receive_data(framed(body))
    assert found == [b"z" * 5000]


def test_a_sink_hears_which_link_a_message_came_by(core: Core) -> None:
    got: list[Any] = []
    core.scheduler.register("sink", lambda message, link: got.append((message, link)))
    core.inbound().receive_data(frames((FORWARD, Atom("sink"), 1)))
    assert got == [(1, core)]


def test_what_is_no_plain_message_goes_to_the_link(core: Core) -> None:
    terms = [Atom("ok"), (Atom("hello"), Atom(PEER)), (FORWARD, 1), (FORWARD, Atom("x"), 1, 2, 3), 1.5]
    core.inbound().receive_data(frames(*terms))
    assert core.controlled == terms


@pytest.mark.parametrize(
    "body",
    [
        b"\x00",
        b"\x82a\x01",
        b"\x83",
        b"\x83\xff",
        b"\x83h\x03w\x0fforward_message",
        b"\x83h\x03w\x0fforward_messagew\x03bob",
        b"\x83h\x03w\x0fforward_messagew\x03boba\x02a",
        b"\x83h\x03w\x0fforward_messagew\x03bobh\x00h\x00",
        b"\x83h\x03w\x0fforward_messagew\x03bobh\x00\x00\x00\x03a\x01a\x02a\x03",
        b"\x83h\x03w\x0fforward_messagew\x03bobh\x00\x00\x01\x00a\x01",
        b"\x83w\x02oka\x01",
        b"\x83h\x00a\x01",
        b"\x83P\x00\x00\x00\x05" + zlib.compress(b"w\x03bob") + b"a",
    ],
    ids=repr,
)
def test_a_malformed_frame_is_named_and_what_came_before_it_is_delivered(core: Core, body: bytes) -> None:
    _, found = collector(core, "bob")
    reader = core.inbound()
    with pytest.raises(FrameError) as caught:
        reader.receive_data(frames((FORWARD, Atom("bob"), 1)) + framed(body))
    assert caught.value.reason == "malformed"
    assert caught.value.octets == len(body)
    core.run()
    assert found == [1]


def test_a_garbled_target_of_any_octets_is_refused_or_undeliverable() -> None:
    """Each octet of a good frame replaced by each of some values: nothing but FrameError, delivery or a count."""
    core = Core()
    process, found = collector(core, "bob")
    good = PLAIN.encode((FORWARD, (Atom("encoded_pid"), list(b"<0.1.0>")), b"message"))
    assert process.pid.id == 1
    outcomes = 0
    for position in range(len(good)):
        for value in (0, 1, 46, 60, 62, 100, 104, 107, 119, 131, 255):
            body = good[:position] + bytes([value]) + good[position + 1 :]
            reader = core.inbound()
            try:
                reader.receive_data(framed(body))
            except FrameError:
                outcomes += 1
            outcomes += len(core.controlled)
    assert outcomes + len(found) + len(core.undelivered) == len(good) * 11
    core.close()


def as_a_real_node_writes_it(term: Any) -> bytes:
    """Encode a message with the reference's defect: wide tuples have the tag of small ones."""
    body = PLAIN.encode((FORWARD, Atom("bob"), term))
    found, count = re.subn(rb"i(\0[\0\1]..)(?=[ahlm])", rb"h\1", body, flags=re.DOTALL)
    assert 0 < count < 3
    return found


@pytest.mark.parametrize(
    "message",
    [
        tuple(range(256)),
        tuple(range(65_536)),
        (*range(65_800),),
        [tuple(range(300)), Atom("behind")],
        (Atom("before"), tuple(range(300))),
        {Atom("key"): tuple(range(300))},
        (*range(299), tuple(range(300))),
        ((), tuple([()] * 300), ()),
        ImproperList((1,), tuple(range(300))),
        (b"L" * 100_000, (*range(299), b"M" * 100_000), b"N" * 100_000),
        (b"L" * 100_000, (*range(299), b"M" * 100_000)),
        (b"x" * 5000, *range(299)),
    ],
    ids=lambda message: repr(message)[:20],
)
def test_a_wide_tuple_is_read_although_real_nodes_write_its_arity_wrongly(core: Core, message: Any) -> None:
    _, found = collector(core, "bob")
    body = as_a_real_node_writes_it(message)
    core.inbound().receive_data(framed(body) + frames((FORWARD, Atom("bob"), "next")))
    assert found == [message, b"next"]
    with pytest.raises(DecodeError):
        PLAIN.decode(body)


def test_empty_tuples_are_what_they_seem(core: Core) -> None:
    _, found = collector(core, "bob")
    terms = [(), [()], [(), ()], ((), 1.5), ((), b"x", ()), {(): ()}, ImproperList(((),), ()), ((), Pid("a", 1))]
    core.inbound().receive_data(frames(*[(FORWARD, Atom("bob"), term) for term in terms]))
    assert found == terms


# Bursts.


def test_the_processes_that_a_burst_wakes_run_at_its_end_and_their_answers_are_written_once() -> None:
    core = Core()
    writes: list[bytes] = []
    queue: SendQueue
    queue = core.connect(PEER, write=lambda: writes.append(drain(queue)))

    async def echo() -> None:
        while True:
            core.send(("back", PEER), await receive())

    core.scheduler.register("echo", core.spawn(echo()))
    core.inbound().receive_data(frames(*[(FORWARD, Atom("echo"), number) for number in range(50)]))
    assert [messages(octets, core.codec) for octets in writes] == [list(range(50))]
    assert not core.soon, "no loop callback was needed"
    core.close()


def test_what_is_sent_outside_a_burst_is_written_once_in_the_next_turn(core: Core) -> None:
    writes: list[int] = []
    queues = [core.connect(node, write=lambda: writes.append(1)) for node in (PEER, "c@h")]
    for number in range(10):
        core.send(("x", PEER), number)
        core.send(("x", "c@h"), number)
    assert len(core.soon) == 1
    core.turn()
    assert len(writes) == len(queues) == 2


def test_a_queue_that_cannot_be_written_stops_none_behind_it_and_is_tried_again(core: Core) -> None:
    written: list[str] = []
    failures = [RuntimeError("first"), RuntimeError("second")]

    def connected(name: str, fails: bool) -> SendQueue:
        def write() -> None:
            if fails and failures:
                raise failures.pop(0)
            written.append(name)
            drain(queue)

        queue = core.connect(f"{name}@127.0.0.1", write=write)
        return queue

    queues = [connected("one", True), connected("two", True), connected("three", False)]
    for queue in queues:
        queue.push(core.codec, 1)
    with pytest.raises(RuntimeError, match="first"):
        core.run()
    assert written == ["three"]
    core.run()
    assert written == ["three", "one", "two"]
    queues[2].push(core.codec, 2)
    core.run()
    assert written == ["three", "one", "two", "three"]


def test_a_burst_that_ends_in_a_bad_frame_still_runs_what_it_woke(core: Core) -> None:
    _, found = collector(core, "bob")
    with pytest.raises(FrameError):
        core.inbound().receive_data(frames((FORWARD, Atom("bob"), 1)) + framed(b""))
    assert found == [1]


def test_a_queue_closed_while_its_write_was_arranged_is_left_alone(core: Core) -> None:
    queue = core.connect(PEER, write=lambda: pytest.fail("written after its end"))
    core.send(("x", PEER), 1)
    queue.close()
    core.run()
