"""Monitors over real sockets, with scripts that speak as real nodes do."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from monitor_support import (
    CALL,
    CAST,
    DEMONITOR,
    DOWN,
    ERROR,
    MONITOR,
    NOPROC,
    NOTHING,
    OK,
    PROCESS,
    SERVER,
    counts,
    ends,
    for_ever,
    nothing_left,
    real,
    reference,
    watch,
)
from scripted import FORWARD, dial, encode, greeted, member, recorded
from support import eventually, inside, running

import partisan
from partisan import Atom, Pid, Reference
from partisan.etf import ImproperList
from partisan.runtime import monitors


async def test_a_real_node_is_asked_as_it_expects_on_the_channel() -> None:
    async with real() as (a, b):
        pid = Pid(b.member.name, 160)
        waits = [
            asyncio.create_task(inside(a, watch, pid)),
            asyncio.create_task(inside(a, lambda: watch(("usrv", b.member.name), channel="data"))),
        ]
        found = await b.heard(lambda m: m[0] is CALL, 2)
        channels = {connection.channel: message[2] for connection, message in found}
        assert channels == {
            "undefined": (MONITOR, pid, []),
            "data": (MONITOR, ImproperList([Atom(b.member.name)], b"#Nameusrv"), [(Atom("channel"), Atom("data"))]),
        }
        for number, (caller, tag, _) in enumerate(await b.asked(2)):
            b.answer(caller, tag, (OK, reference(number)))
            b.down(reference(number), 0, number)
        assert {down[4] for _, down in await asyncio.gather(*waits)} == {0, 1}
        await nothing_left(a)


async def test_a_request_takes_the_connection_that_messages_to_the_process_take() -> None:
    async def monitor_and_send(pids: list[Pid]) -> None:
        for pid in pids:
            partisan.monitor(pid, channel="data")
            partisan.send(pid, (Atom("to"), pid), channel="data")

    async with real(parallelism=4, share_connections=False) as (a, b):
        pids = [Pid(b.member.name, number) for number in range(1, 33)]
        await inside(a, monitor_and_send, pids)
        requests = await b.heard(lambda m: m[0] is CALL and m[2][0] is MONITOR, 32)
        messages = await b.heard(lambda m: m[0] is Atom("to"), 32)
        taken = {message[1]: connection for connection, message in messages}
        assert {message[2][1]: connection for connection, message in requests} == taken
        assert len({id(connection) for connection in taken.values()}) == 4


async def test_an_end_that_overtakes_the_answer_of_a_real_node_arrives() -> None:
    async with real() as (a, b):
        task = asyncio.create_task(inside(a, watch, ("usrv", b.member.name)))
        [(caller, tag, _)] = await b.asked()
        b.down(reference(1), 0, Atom("bye"))
        b.answer(caller, tag, (OK, reference(1)))
        assert (await task)[1][4] == Atom("bye")
        await nothing_left(a)


async def test_a_name_that_a_real_node_cannot_know_is_noproc() -> None:
    async with real() as (a, b):
        task = asyncio.create_task(inside(a, watch, ("never_seen", b.member.name)))
        [(caller, tag, _)] = await b.asked()
        b.answer(caller, tag, (ERROR, Atom("badarg")))
        assert (await task)[1][4] == NOPROC


async def test_a_monitor_whose_holder_ends_is_taken_back_from_a_real_node() -> None:
    async with real() as (a, b):
        task = asyncio.create_task(inside(a, lambda: _hold(b.member.name)))
        [(caller, tag, _)] = await b.asked()
        await task  # the holder has ended before the answer
        b.answer(caller, tag, (OK, reference(7)))
        [(caller, tag, request)] = await b.asked(1, DEMONITOR)
        assert request == (DEMONITOR, reference(7), [])
        b.answer(caller, tag, (OK, True))
        await nothing_left(a)


async def _hold(node: str) -> None:
    partisan.monitor(("usrv", node))


async def test_what_real_nodes_were_recorded_to_tell_is_understood() -> None:
    downs = [body for body in recorded("upper-monitor-only", "b:53122->a", "b>a") if b"DOWN" in body]
    assert len(downs) >= 9
    async with real() as (a, b):
        pid = Pid(b.member.name, 160)
        task = asyncio.create_task(inside(a, watch, pid))
        [(caller, tag, _)] = await b.asked()
        b.answer(caller, tag, (OK, Reference(b.member.name, (246702, 139722753, 4053298200))))
        b.mouth.say(*downs)
        assert (await task)[1][3:] == (pid, Atom("killed"))
        await nothing_left(a)
        await b.mouth.flushed()
        assert a.is_connected(b.member.name)


async def test_what_real_nodes_were_recorded_to_ask_is_answered_as_a_real_node_answers() -> None:
    asks = recorded("upper-monitor-only", "a:34860->b", "a>b")
    asks = [body for body in asks if b"$gen_call" in body and b"partisan_monitor" in body]
    async with running("b") as [b], member("a@127.0.0.1", {None: 1}) as there:
        await there.joined_by(b)
        usrv = b.spawn(ends, name="usrv")
        async with greeted(b, there.name) as mouth:
            mouth.say(asks[1])  # the name usrv
            await eventually(lambda: len(there.heard) == 1)
            [(tag, (ok, given))] = there.messages()
            assert ok is OK
            assert tag == ImproperList([Atom("alias")], Reference(there.name, (205348, 139460609, 585504242)))
            assert given.node == b.name
            b.send(usrv, Atom("bybye"))
            await eventually(lambda: len(there.heard) == 2)
            name = ImproperList([Atom(b.name)], b"#Nameusrv")
            assert there.messages()[1] == (CAST, (DOWN, given, PROCESS, name, Atom("bybye")))
            mouth.say(asks[0])  # the pid <0.160.0>, which has never been
            await eventually(lambda: len(there.heard) == 4)
            (_, (_, given)), down = there.messages()[2:]
            assert down == (CAST, (DOWN, given, PROCESS, Pid(b.name, 160), NOPROC))
        await nothing_left(b)


async def test_a_real_node_hears_of_the_end_on_the_channel_that_it_chose_and_can_take_its_monitor_back() -> None:
    caller = Pid("b@127.0.0.1", 5)
    async with real() as (a, b):
        pid = a.spawn(ends)
        for tag, options in enumerate(([(Atom("channel"), Atom("data"))], {Atom("channel"): Atom("data")}, [])):
            b.mouth.tell((FORWARD, SERVER, (CALL, (caller, tag), (MONITOR, pid, options))))
        found = await b.heard(lambda m: m[0] in (0, 1, 2), 3)
        assert {connection.channel for connection, _ in found} == {"undefined"}
        given = {message[0]: message[1][1] for _, message in found}
        b.mouth.tell((FORWARD, SERVER, (CALL, (caller, 9), (DEMONITOR, given[1], [Atom("flush")]))))
        await b.heard(lambda m: m == (9, (OK, True)))
        a.send(pid, Atom("bye"))
        downs = await b.heard(lambda m: m[0] is CAST, 2)
        assert {(connection.channel, message[1][1]) for connection, message in downs} == {
            ("data", given[0]),
            ("undefined", given[2]),
        }
        await nothing_left(a)


@pytest.mark.parametrize("form", ["uri", "padded", "tuple"])
async def test_the_other_formats_of_references_are_understood(form: str) -> None:
    def name_of(node: str, name: str) -> Any:
        uri = f"partisan:name:{node}:{name}".encode()
        if form == "padded":
            return (uri + b":").ljust(65, b"\x19")
        return (
            uri
            if form == "uri"
            else (Atom("partisan_remote_ref"), Atom(node), (Atom("encoded_name"), list(name.encode())))
        )

    async with real() as (a, b):
        pid = a.spawn(ends, name="usrv")
        caller = name_of(b.member.name, "shell")
        b.mouth.tell((FORWARD, SERVER, (CALL, (caller, 1), (MONITOR, name_of(a.name, "usrv"), []))))
        b.mouth.tell((FORWARD, SERVER, (CALL, (caller, 2), (MONITOR, name_of("c@127.0.0.1", "usrv"), []))))
        await b.heard(lambda m: m == (2, (ERROR, Atom("badarg"))))
        [(_, (_, (_, given)))] = await b.heard(lambda m: m[0] == 1)
        a.send(pid, Atom("bye"))
        [(_, down)] = await b.heard(lambda m: m[0] is CAST)
        assert down[1] == (DOWN, given, PROCESS, ImproperList([Atom(a.name)], b"#Nameusrv"), Atom("bye"))
        # A reference that is a URI is repeated as it is.
        task = asyncio.create_task(inside(a, watch, ("usrv", b.member.name)))
        [(asker, tag, _)] = await b.asked()
        uri = f"partisan:ref:{b.member.name}:0.1.2.3".encode()
        b.answer(asker, tag, (OK, uri))
        b.down(uri, 0, Atom("bye"))
        assert (await task)[1][4] == Atom("bye")
        await nothing_left(a)


async def test_a_request_of_a_node_that_cannot_be_answered_yet_is_answered_when_it_can() -> None:
    async with running("a") as [a], member("b@127.0.0.1", {None: 1}) as there:
        pid = a.spawn(ends)
        async with dial(a) as early:
            await early.told()
            early.tell((FORWARD, SERVER, (CALL, (Pid(there.name, 5), 1), (MONITOR, pid, []))))
            await eventually(lambda: counts(a)["owed"] == 1)
            await there.joined_by(a)
            await eventually(lambda: there.messages())
            assert there.messages()[0][:1] == (1,)
            a.send(pid, Atom("bye"))
            await eventually(lambda: len(there.heard) == 2)
        await nothing_left(a)


@pytest.mark.parametrize(
    "term",
    [
        Atom("x"),
        (),
        (CALL, 1, 2),
        (CALL, (1, 2), (MONITOR, 3, [])),
        (CALL, (Pid("b@127.0.0.1", 5), 2), (Atom("what"), 3)),
        (CALL, (Pid("b@127.0.0.1", 5), 2), (DEMONITOR, 3, [])),
        (CALL, (b"partisan:pid:b@127.0.0.1:0.1", 2), (MONITOR, 3, [])),
        (CALL, (b"partisan:pid:b@127.0.0.1:0.99999999999.0", 2), (MONITOR, 3, [])),
        (CALL, ((Atom("partisan_remote_ref"), Atom("b"), (Atom("encoded_name"), [-1])), 2), (MONITOR, 3, [])),
        (CALL, (Pid("b@127.0.0.1", 5), 2), (MONITOR, Pid("a@127.0.0.1", 5), [(Atom("channel"), 7)])),
        (CAST, (DOWN, 1, PROCESS, 2, 3)),
        (CAST, (DOWN, Reference("b@127.0.0.1", (1,)), Atom("port"), 2, 3)),
        (1, (OK, 3)),
        (1, (ERROR,)),
        (Atom("x"), (OK, Reference("b@127.0.0.1", (1,)))),
    ],
)
async def test_what_is_no_message_about_monitors_is_dropped_and_disturbs_nothing(
    term: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with real() as (a, b):
        b.mouth.tell((FORWARD, SERVER, term))
        b.mouth.tell((FORWARD, SERVER, (CALL, (Pid(b.member.name, 5), 77), (MONITOR, a.spawn(for_ever), []))))
        await b.heard(lambda m: m[0] == 77)
        assert "malformed partisan_monitor" in caplog.text
        assert {**counts(a), "watched": 0} == NOTHING


async def test_ends_that_a_full_queue_does_not_take_are_told_later() -> None:
    channels = {"data": {"max_queue_octets": 4096, "hard_queue_octets": 8192, "queue_policy": "error"}}
    caller = Pid("b@127.0.0.1", 5)
    async with real(channels=channels) as (a, b):
        lane = b.member.of("data")[0]
        lane.reading.clear()
        pids = [a.spawn(ends) for _ in range(50)]
        for number, pid in enumerate(pids):
            request = (MONITOR, pid, [(Atom("channel"), Atom("data"))])
            b.mouth.tell((FORWARD, SERVER, (CALL, (caller, number), request)))
        await b.heard(lambda m: type(m[0]) is int, 50)

        def fill() -> None:
            with contextlib.suppress(partisan.Overloaded):
                while True:
                    a.send(("sink", b.member.name), (CAST, b"x" * 4000), channel="data")

        stays = 0
        while stays < 20:  # the sockets take some, too
            fill()
            before = a.queued_octets(b.member.name, "data")
            await b.member.fence(b.member.of("undefined", a.name)[-1], rounds=1)
            stays = stays + 1 if a.queued_octets(b.member.name, "data") == before else 0
        for number, pid in enumerate(pids):
            a.send(pid, number)
        await eventually(lambda: a._monitors._late)
        lane.reading.set()
        downs = await b.heard(lambda m: m[0] is CAST and type(m[1]) is tuple, 50)
        assert [message[1][4] for _, message in downs] == list(range(50))
        await nothing_left(a)


async def test_who_asks_for_monitors_and_reads_no_answers_is_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitors, "MOST_LATE", 500)
    small = {"max_queue_octets": 4096, "hard_queue_octets": 8192, "queue_policy": "error"}
    async with real(channels={"undefined": small}) as (a, b):
        for lane in b.member.connections:
            lane.reading.clear()
        dead, caller = Pid(a.name, 7), Pid(b.member.name, 5)
        request = encode((FORWARD, SERVER, (CALL, (caller, 1), (MONITOR, dead, []))))

        async def ask() -> None:
            while True:
                b.mouth.say(*[request] * 1000)
                await b.mouth.flushed()

        asking = asyncio.create_task(ask())
        await eventually(lambda: len(a._monitors._late.get(b.member.name, ())) >= 500)
        await b.mouth.ended()
        asking.cancel()
        assert len(a._monitors._late.get(b.member.name, ())) < 510
