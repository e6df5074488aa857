"""Monitors over real sockets: between Python nodes, and with scripts that speak as real nodes do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from node_process import NodeProcess
from scripted import FORWARD, Connection, Member, Peer, dial, greeted, member, recorded
from support import cluster, eventually, fully_meshed, inside, running

import partisan
from partisan import Atom, CallTimeout, Exit, NodeDown, NoProc, NotInProcess, Pid, Reference
from partisan.etf import ImproperList
from partisan.gen import call as gen

DOWN, PROCESS, NOPROC, NOCONNECTION = Atom("DOWN"), Atom("process"), Atom("noproc"), Atom("noconnection")
NODEUP, NODEDOWN = Atom("nodeup"), Atom("nodedown")
CALL, CAST, MONITOR, DEMONITOR = Atom("$gen_call"), Atom("$gen_cast"), Atom("monitor"), Atom("demonitor")
SERVER, OK, ERROR = Atom("partisan_monitor"), Atom("ok"), Atom("error")
NOTHING = {"asked": 0, "held": 0, "watched": 0, "early": 0, "owed": 0}


def counts(node: partisan.Node) -> dict[str, int]:
    return node._monitors.machine.counts


async def nothing_left(*nodes: partisan.Node) -> None:
    """Wait until the nodes keep nothing of any monitor."""
    for node in nodes:
        await eventually(lambda node=node: counts(node) == NOTHING)
        assert not node._monitors._waiters
        assert not node._monitors._witnesses


async def ends(reason: object = None) -> None:
    """A process that ends with the reason it is sent, or with the one that it was given."""
    raise Exit(await partisan.receive() if reason is None else reason)


async def returns() -> object:
    return await partisan.receive()


async def for_ever() -> None:
    await partisan.receive(lambda message: False)


async def placed() -> None:
    """Wait until every request of the current node is answered."""
    node = partisan.node()
    await eventually(lambda: counts(node)["asked"] == 0)


async def watch(target: Any, then: Callable[[], object] = lambda: None, **options: Any) -> tuple[Any, ...]:
    """Monitor, do something once the other node watches, and return the reference and the message that comes."""
    reference = partisan.monitor(target, **options)
    await placed()
    then()
    return reference, await partisan.receive(timeout=10.0)


async def test_the_end_of_a_process_elsewhere_is_told_with_its_reason() -> None:
    async with cluster("a", "b") as (a, b):
        pid = b.spawn(ends)
        reason = (Atom("bye"), [1, b"two", {Atom("three"): 3.0}])
        reference, down = await inside(a, watch, pid, lambda: b.send(pid, reason))
        assert down == (DOWN, reference, PROCESS, pid, reason)
        assert reference.node == a.name
        await nothing_left(a, b)


async def test_the_failure_of_a_process_elsewhere_is_told_as_erlang_tells_one() -> None:
    async def crash() -> None:
        await partisan.receive()
        raise ValueError("no such thing")

    async with cluster("a", "b") as (a, b):
        pid = b.spawn(crash)
        _, down = await inside(a, watch, pid, lambda: b.send(pid, 1))
        (kind, text), stack = down[4]
        assert (kind, text) == (Atom("ValueError"), b"no such thing")
        assert stack[0][1].name.endswith("crash")


async def test_a_killed_process_and_one_that_returns_are_told_as_in_erlang() -> None:
    async with cluster("a", "b") as (a, b):
        pid = b.spawn(for_ever)
        _, down = await inside(a, watch, pid, lambda: b.exit(pid, Atom("kill")))
        assert down[4] == Atom("killed")
        pid = b.spawn(returns)
        _, down = await inside(a, watch, pid, lambda: b.send(pid, 1))
        assert down[4] == Atom("normal")


async def test_a_reason_that_is_no_term_is_told_as_it_reads() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "<odd>"

    async with cluster("a", "b") as (a, b):
        pid = b.spawn(ends)
        _, down = await inside(a, watch, pid, lambda: b.send(pid, Odd()))
        assert down[4] == (Atom("unencodable"), b"<odd>")
        await nothing_left(a, b)


@pytest.mark.parametrize("spell", [str, Atom])
async def test_a_name_elsewhere_is_monitored_and_told_by_name(spell: Callable[[str], Any]) -> None:
    async with cluster("a", "b") as (a, b):
        b.spawn(ends, name="böse")
        target = (spell("böse"), spell(b.name))
        reference, down = await inside(a, watch, target, lambda: b.send("böse", Atom("bye")))
        assert down == (DOWN, reference, PROCESS, (Atom("böse"), Atom(b.name)), Atom("bye"))
        reference, down = await inside(a, watch, target)
        assert down == (DOWN, reference, PROCESS, (Atom("böse"), Atom(b.name)), NOPROC)
        await nothing_left(a, b)


async def test_a_dead_pid_elsewhere_is_told_at_once() -> None:
    async with cluster("a", "b") as (a, b):
        pid = b.spawn(ends, Atom("gone"))
        await eventually(lambda: not b.is_process_alive(pid))
        _, down = await inside(a, watch, pid)
        assert down[3:] == (pid, NOPROC)


async def test_a_part_of_a_node_lives_as_long_as_the_node() -> None:
    async def watch_a_part(node: str) -> tuple[Any, ...]:
        partisan.monitor(("partisan_monitor", node))
        return (await watch(("nobody", node)))[1]  # its answer comes behind

    async with cluster("a", "b") as (a, b):
        assert (await inside(a, watch_a_part, b.name))[3] == (Atom("nobody"), Atom(b.name))
        await nothing_left(a, b)


async def test_a_node_that_is_not_connected_is_told_at_once() -> None:
    async with running("a") as [a]:
        reference, down = await inside(a, watch, ("x", "nowhere@127.0.0.1"))
        assert down == (DOWN, reference, PROCESS, (Atom("x"), Atom("nowhere@127.0.0.1")), NOCONNECTION)
        assert not a._monitors._waiters


async def test_the_loss_of_a_node_fires_its_monitors_and_drops_its_watches() -> None:
    async def three(b: Pid, c: Pid) -> tuple[Any, ...]:
        partisan.monitor(c)
        reference = partisan.monitor(b)
        partisan.send(b, partisan.self())
        return reference, await partisan.receive(timeout=10.0), await partisan.receive(timeout=10.0)

    async with cluster("a", "b", "c") as (a, b, c):

        async def monitor_the_caller() -> None:
            caller = await partisan.receive()
            partisan.monitor(caller)
            await partisan.receive()

        pid, other = b.spawn(monitor_the_caller), c.spawn(ends)
        task = asyncio.create_task(inside(a, three, pid, other))
        await eventually(lambda: counts(a)["watched"] == 1)
        await b.stop(grace=0.5)
        await eventually(lambda: not a.is_connected(b.name))
        assert counts(a)["watched"] == 0
        c.send(other, Atom("bye"))
        reference, first, second = await task
        assert first[4] in (NOCONNECTION, Atom("shutdown"))  # as its stop ends its processes, then its connections
        assert first[1] == reference
        assert second[3:] == (other, Atom("bye"))
        await nothing_left(a, c)


async def test_a_cut_connection_fires_at_both_ends_and_leaves_nothing() -> None:
    async with cluster("a", "b") as (a, b):
        here, there = a.spawn(for_ever), b.spawn(for_ever)
        waits = [
            asyncio.create_task(inside(a, watch, there)),
            asyncio.create_task(inside(b, watch, here)),
        ]
        await eventually(lambda: counts(a) == counts(b) == {**NOTHING, "held": 1, "watched": 1})
        a.kill_connections(b.name)
        b.kill_connections(a.name)
        for (_, down), pid in zip(await asyncio.gather(*waits), (there, here), strict=True):
            assert down[3:] == (pid, NOCONNECTION)
        await nothing_left(a, b)
        await eventually(lambda: fully_meshed(a, b))
        _, down = await inside(a, watch, there, lambda: b.exit(there, Atom("bye")))
        assert down[4] == Atom("bye")


async def test_the_kill_of_a_node_is_told_of_its_processes_and_of_the_node(loop_name: str) -> None:
    there = NodeProcess("b")
    await there.start(loop_name)
    try:
        async with running("a") as [a]:
            await a.join(there.address)

            async def watch_both() -> None:
                reference = partisan.monitor(("sink", there.name))
                partisan.monitor_node(there.name)
                await placed()
                await there.kill()
                found = [await partisan.receive(timeout=10.0) for _ in range(2)]
                assert found == [
                    (DOWN, reference, PROCESS, (Atom("sink"), Atom(there.name)), NOCONNECTION),
                    (NODEDOWN, Atom(there.name)),
                ]

            await inside(a, watch_both)
            await nothing_left(a)
    finally:
        await there.kill()


async def test_a_holder_that_ends_leaves_nothing_anywhere() -> None:
    async def hold(pid: Pid) -> None:
        for _ in range(10):
            partisan.monitor(pid)
        await partisan.receive()

    async with cluster("a", "b") as (a, b):
        pid = b.spawn(for_ever)
        settled, hasty = a.spawn(hold, pid), a.spawn(hold, pid)
        await eventually(lambda: counts(b)["watched"] == 20)
        a.exit(settled, Atom("kill"))
        a.send(hasty, 1)
        await nothing_left(a, b)
        a.exit(a.spawn(hold, pid), Atom("kill"))  # while its requests are under way
        await nothing_left(a, b)
        assert b.is_process_alive(pid)


async def test_demonitor_flushes_informs_and_ends_the_monitor() -> None:
    last = Atom("last")

    async def ask(pid: Pid, end: Callable[[], object]) -> None:
        early = partisan.monitor(pid)
        assert partisan.demonitor(early, info=True) is True  # before the answer
        held = partisan.monitor(pid)
        await placed()
        assert partisan.demonitor(held, info=True) is True
        assert partisan.demonitor(held, info=True) is False
        assert partisan.demonitor(held) is True
        tagged, flushed = partisan.monitor(pid, tag=(Atom("tag"), 1)), partisan.monitor(pid)
        partisan.monitor(pid, tag=last)
        await placed()
        end()
        await partisan.receive((last, ..., ..., ..., ...), timeout=10.0)
        assert partisan.demonitor(flushed, flush=True, info=True) is False
        assert await partisan.receive(timeout=0) == ((Atom("tag"), 1), tagged, PROCESS, pid, Atom("bye"))
        with pytest.raises(partisan.ReceiveTimeout):
            await partisan.receive(timeout=0)

    async with cluster("a", "b") as (a, b):
        pid = b.spawn(ends)
        await inside(a, ask, pid, lambda: b.send(pid, Atom("bye")))
        await nothing_left(a, b)


async def test_monitors_are_counted_for_telemetry() -> None:
    async def hold(far: Pid, near: Pid) -> None:
        partisan.monitor(far)
        partisan.monitor(far)
        partisan.monitor(near)
        await partisan.receive()

    async with cluster("a", "b", telemetry_interval=0.02) as (a, b):
        seen: list[int] = []
        a.telemetry.attach("monitors", "partisan.connection.monitors", lambda _, sums, __: seen.append(sums["count"]))
        pid = a.spawn(hold, b.spawn(for_ever), a.spawn(for_ever))
        await eventually(lambda: seen and seen[-1] == 3)
        a.send(pid, 1)
        await eventually(lambda: seen[-1] == 0)


async def test_monitoring_works_over_a_channel_with_msgpack_and_many_connections() -> None:
    channels = {"data": {"payload": "msgpack", "parallelism": 4}}
    async with cluster("a", "b", channels=channels) as (a, b):
        await eventually(lambda: a.table.lane(b.name, "data").envelope and b.table.lane(a.name, "data").envelope)

        async def many() -> None:
            wanted = {}
            for number in range(100):
                pid = b.spawn(ends)
                wanted[partisan.monitor(pid, channel="data")] = (pid, number)
                partisan.send(pid, number, channel="data")  # does not overtake the request
            for _ in range(100):
                _, reference, _, *told = await partisan.receive(timeout=10.0)
                assert tuple(told) == wanted.pop(reference)

        await inside(a, many)
        await nothing_left(a, b)


# With scripts in the place of real nodes.


class Script:
    """A member of the cluster that speaks as a real node.

    Attributes:
        member: hears what the node sends it.
        mouth: the connection on which it speaks to the node.
    """

    def __init__(self, there: Member, mouth: Peer) -> None:
        self.member = there
        self.mouth = mouth

    async def heard(self, kind: Callable[[Any], bool], count: int = 1) -> list[tuple[Connection, Any]]:
        """Wait for so many messages of a kind."""
        found = await eventually(
            lambda: len(them := [each for each in self.member.heard if kind(each[1])]) >= count and them
        )
        return list(found)

    async def asked(self, count: int = 1, what: Atom = MONITOR) -> list[tuple[Any, Any, Any]]:
        """Wait for so many requests to monitor: (caller, tag, request) of each."""
        found = await self.heard(lambda m: m[0] is CALL and type(m[2]) is tuple and m[2][0] is what, count)
        return [(*message[1], message[2]) for _, message in found]

    def answer(self, caller: Any, tag: Any, value: Any) -> None:
        """Answer as a real node does: to the name that a name reference tells."""
        assert caller == ImproperList([Atom("a@127.0.0.1")], b"#Namepartisan_monitor")
        self.mouth.tell((FORWARD, (Atom("encoded_name"), list(b"partisan_monitor")), (tag, value)))

    def down(self, reference: Any, item: Any, reason: Any) -> None:
        self.mouth.tell((FORWARD, SERVER, (CAST, (DOWN, reference, PROCESS, item, reason))))


@contextlib.asynccontextmanager
async def real(parallelism: int = 1, **options: Any) -> AsyncIterator[tuple[partisan.Node, Script]]:
    """Our node `a`, and a script `b` that it has joined; of so many connections on the channel `data`."""
    async with running("a", **options) as [a], member("b@127.0.0.1", {None: 1, "data": parallelism}) as there:
        await there.joined_by(a)
        await eventually(lambda: a.is_fully_connected(there.name))
        async with greeted(a, there.name) as mouth:
            yield a, Script(there, mouth)


def reference(number: int) -> Reference:
    return Reference("b@127.0.0.1", (number, 2, 3))


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

        def fill() -> bool:
            with contextlib.suppress(partisan.Overloaded):
                while True:
                    a.send(("sink", b.member.name), (CAST, b"x" * 4000), channel="data")
            return a.queued_octets(b.member.name, "data") >= 4096

        for _ in range(20):  # the sockets take some, too
            assert fill()
            await asyncio.sleep(0.01)
        for number, pid in enumerate(pids):
            a.send(pid, number)
        await eventually(lambda: a._monitors._late)
        lane.reading.set()
        downs = await b.heard(lambda m: m[0] is CAST and type(m[1]) is tuple, 50)
        assert [message[1][4] for _, message in downs] == list(range(50))
        await nothing_left(a)


# Calls of nodes that watch no calls.


async def served(b: Script, number: int = 1) -> tuple[Any, Any]:
    """Let the monitor of a call be placed; the call's own caller and tag."""
    caller, tag, _ = (await b.asked(number))[-1]
    b.answer(caller, tag, (OK, reference(number)))
    found = await b.heard(lambda m: m[0] is CALL and m[2] == Atom("question"), number)
    origin = found[-1][1][1]
    return origin[0], origin[1]


async def ask(node: str, **options: Any) -> Any:
    """The answer of a call; nothing else may have come."""
    answer = await gen.call(("usrv", node), Atom("question"), **options)
    with pytest.raises(partisan.ReceiveTimeout):
        await partisan.receive(timeout=0)
    return answer


async def test_a_call_of_a_real_node_is_monitored_answered_and_demonitored() -> None:
    async with real() as (a, b):
        task = asyncio.create_task(inside(a, lambda: ask(b.member.name, channel="data")))
        pid, tag = await served(b)
        b.mouth.tell((FORWARD, pid, (tag, Atom("answer"))))
        assert await task == Atom("answer")
        [(caller, tag, request)] = await b.asked(1, DEMONITOR)
        assert request[1] == reference(1)
        b.answer(caller, tag, (OK, True))
        assert {connection.channel for connection, message in b.member.heard if message[0] is CALL} >= {"data"}
        await nothing_left(a)


async def test_a_call_of_a_real_node_is_sent_when_the_callee_is_watched_and_not_before() -> None:
    async with real() as (a, b):
        task = asyncio.create_task(inside(a, lambda: ask(b.member.name)))
        await b.asked()
        await b.member.fence(b.member.of("undefined")[0])
        assert not [m for m in b.member.messages() if m[0] is CALL and m[2] == Atom("question")]
        pid, tag = await served(b)
        b.mouth.tell((FORWARD, pid, (tag, 1)))
        assert await task == 1


@pytest.mark.parametrize(
    ("reason", "raised"),
    [
        (Atom("bye"), Exit),
        (NOPROC, NoProc),
        (NOCONNECTION, NodeDown),
    ],
)
async def test_a_call_of_a_real_node_raises_when_the_callee_ends(reason: Any, raised: type[Exit]) -> None:
    async with real() as (a, b):
        task = asyncio.create_task(inside(a, lambda: ask(b.member.name)))
        await served(b)
        b.down(reference(1), 0, reason)
        with pytest.raises(Exit) as caught:
            await task
        assert type(caught.value) is raised
        expected = (NODEDOWN, Atom(b.member.name)) if raised is NodeDown else reason
        where = (Atom("gen_server"), Atom("call"), [("usrv", b.member.name), Atom("question")])
        assert caught.value.term == (expected, where)
        await nothing_left(a)


async def test_a_call_of_a_name_that_a_real_node_does_not_know_is_never_sent() -> None:
    async with real() as (a, b):
        task = asyncio.create_task(inside(a, lambda: ask(b.member.name)))
        [(caller, tag, _)] = await b.asked()
        b.answer(caller, tag, (ERROR, Atom("badarg")))
        with pytest.raises(NoProc):
            await task
        assert not [m for m in b.member.messages() if m[0] is CALL and m[2] == Atom("question")]
        await nothing_left(a)


async def test_a_call_of_a_real_node_times_out_and_its_late_answer_never_surfaces() -> None:
    async def patient(node: str) -> Any:
        with pytest.raises(CallTimeout) as caught:
            await gen.call(("usrv", node), Atom("question"), timeout=0.05)
        assert caught.value.seconds == 0.05
        return await partisan.receive(timeout=10.0)

    async with real() as (a, b):
        task = asyncio.create_task(inside(a, patient, b.member.name))
        pid, tag = await served(b)
        await b.asked(1, DEMONITOR)
        b.mouth.tell((FORWARD, pid, (tag, Atom("late"))), (FORWARD, pid, Atom("next")))
        assert await task == Atom("next")
        await nothing_left(a)


async def test_a_call_whose_monitor_is_never_placed_times_out() -> None:
    async with real() as (a, b):
        with pytest.raises(CallTimeout):
            await inside(a, lambda: ask(b.member.name, timeout=0.05))
        [(caller, tag, _)] = await b.asked()
        b.answer(caller, tag, (OK, reference(1)))
        assert (await b.asked(1, DEMONITOR))[0][2][1] == reference(1)
        await nothing_left(a)


async def test_a_call_ends_when_its_real_node_is_lost() -> None:
    async with real() as (a, b):
        task = asyncio.create_task(inside(a, lambda: ask(b.member.name)))
        await served(b)
        a.kill_connections(b.member.name)
        with pytest.raises(NodeDown):
            await task
        await nothing_left(a)


async def test_a_caller_that_is_killed_in_a_call_leaves_nothing() -> None:
    async with real() as (a, b):
        pid = a.spawn(ask, b.member.name)
        await served(b)
        a.exit(pid, Atom("kill"))
        [(caller, tag, _)] = await b.asked(1, DEMONITOR)
        b.answer(caller, tag, (OK, True))
        await nothing_left(a)
        assert not a.scheduler.aliases


# Nodes.


async def heard_of(node: partisan.Node, count: int, subscribe: Callable[[], object], act: Callable[[], object]) -> Any:
    """What a process is told after it subscribed and something was done."""

    async def listen() -> list[Any]:
        subscribe()
        act()
        return [await partisan.receive(timeout=10.0) for _ in range(count)]

    return await inside(node, listen)


async def test_two_monitors_of_a_node_tell_its_loss_twice_and_once_only() -> None:
    async with cluster("a", "b", "c") as (a, b, c):

        async def listen() -> list[Any]:
            assert partisan.monitor_node(b.name)
            assert partisan.monitor_node(Atom(b.name), True)
            partisan.monitor_node(b.name)
            partisan.monitor_node(b.name, False)
            partisan.monitor_node(c.name)
            partisan.monitor_node(c.name, False)
            partisan.monitor_node(c.name, False)
            partisan.monitor_node(a.name)
            for other in (c, b):
                a.kill_connections(other.name)
            found = [await partisan.receive(timeout=10.0) for _ in range(2)]
            await eventually(lambda: a.is_connected(b.name))
            a.kill_connections(b.name)
            partisan.monitor_node("nowhere@127.0.0.1")
            return [*found, await partisan.receive(timeout=10.0)]

        lost = (NODEDOWN, Atom(b.name))
        assert await inside(a, listen) == [lost, lost, (NODEDOWN, Atom("nowhere@127.0.0.1"))]
        await eventually(lambda: not a._node_monitors._kept)


async def test_subscribers_hear_of_every_node_with_the_options_that_they_chose() -> None:
    async with running("a") as [a], member("b@127.0.0.1", {None: 1}) as there:
        told: list[Any] = []
        name = Atom(there.name)

        async def listen(**options: Any) -> None:
            partisan.monitor_nodes(True, **options)
            while True:
                told.append((tuple(options.items()), await partisan.receive()))

        async def twice_then_never() -> None:
            partisan.monitor_nodes()
            partisan.monitor_nodes()
            partisan.monitor_nodes(node_type="all")
            partisan.monitor_nodes(False)
            while True:
                told.append(("all", await partisan.receive()))

        async def twice() -> None:
            partisan.monitor_nodes()
            partisan.monitor_nodes()
            while True:
                told.append(("twice", await partisan.receive()))

        a.spawn(listen)
        a.spawn(listen, nodedown_reason=True)
        a.spawn(listen, node_type="hidden")
        a.spawn(twice_then_never)
        a.spawn(twice)
        await eventually(lambda: len(a._node_monitors._kept) == 6)
        reasoned = (("nodedown_reason", True),)
        await there.joined_by(a)
        await eventually(lambda: len(told) == 5)
        up = (NODEUP, name)
        assert told == [((), up), (reasoned, (NODEUP, name, [])), ("all", up), ("twice", up), ("twice", up)]
        told.clear()
        a.kill_connections(there.name)
        await eventually(lambda: len(told) >= 5)
        why = [(Atom("nodedown_reason"), NOCONNECTION)]
        down = (NODEDOWN, name)
        assert told[:5] == [
            ((), down),
            (reasoned, (NODEDOWN, name, why)),
            ("all", down),
            ("twice", down),
            ("twice", down),
        ]
        for process in list(a.scheduler.processes.values()):
            a.exit(process.pid, Atom("kill"))
        await eventually(lambda: not a._node_monitors._kept)


async def test_nodes_are_monitored_inside_processes_only() -> None:
    async with running("a") as [a]:
        with pytest.raises(NotInProcess):
            a.monitor_node("b@127.0.0.1")
        with pytest.raises(NotInProcess):
            a.monitor_nodes()
        with pytest.raises(NotInProcess):
            a.monitor(("x", "b@127.0.0.1"))

        async def wrong() -> None:
            a.monitor_nodes(node_type="invisible")  # type: ignore[arg-type]

        with pytest.raises(ValueError, match="invisible"):
            await inside(a, wrong)
