"""A node among scripted peers of Erlang's distribution: what no well-behaved one says, and when nobody waits."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest
from dist_peer import COOKIE, PLAIN, SECONDS, DistPeer, listening, pings
from support import Events, eventually, inside, refused_for_long

import partisan
from partisan import Atom, CallTimeout, ConnectFailed, GenServer, Node, NodeDown, Pid, Reference, SpawnRefused, erpc
from partisan.dist.control import Op
from partisan.dist.flags import MANDATORY_25, Flag
from partisan.dist.handshake import Cookies, Handshake, Identity, Verdict, accept, initiate
from partisan.errors import ErpcError, ErpcTimeout, HandshakeError
from partisan.etf import ImproperList

NOTHING, ANSWER = Atom(""), Atom("answer")
LINK, UNLINK, UNLINK_ACK, EXIT, DOWN, SPAWN = 1, 35, 36, 24, 28, 29
COOKIES = Cookies(COOKIE, COOKIE)
OLD = MANDATORY_25 | Flag.DIST_MONITOR | Flag.DIST_MONITOR_NAME
"""What a node of C says: no payloads of exits, no senders, no aliases, no starts."""


def say(peer: DistPeer, *terms: Any) -> None:
    """Send a control message, and perhaps a payload, to a node that was told that there are no headers."""
    peer.frame(b"p" + b"".join(map(peer.codec.encode, terms)))


async def lives() -> None:
    await partisan.receive()


def pid_there(node: Node, pid: Pid) -> Pid:
    """The pid as another node has it."""
    far: Any = node._far
    return Pid(node.name, pid.id, pid.serial, far.creation)


async def heard(peer: DistPeer, operation: int) -> tuple[Any, ...]:
    """The next control message, which is of this operation, and its payload."""
    found = await peer.heard()
    assert found is not None
    assert found[0][0] == operation, found
    return found


async def test_a_link_is_made_and_taken_away_and_every_unlink_is_answered() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as peer:
        pid = node.spawn(lives)
        there = pid_there(node, pid)
        say(peer, (LINK, peer.pid, there))
        say(peer, (LINK, peer.pid, there))  # says the same
        say(peer, (UNLINK, 5, peer.pid, there))
        assert (await heard(peer, UNLINK_ACK))[0] == (UNLINK_ACK, 5, there, peer.pid)
        say(peer, (UNLINK, 6, peer.pid, there))  # there is none
        assert (await heard(peer, UNLINK_ACK))[0][1] == 6
        say(peer, (EXIT, peer.pid, there), Atom("late"))
        await pings(peer)
        assert node.is_process_alive(pid)
        say(peer, (LINK, peer.pid, there))
        say(peer, (EXIT, peer.pid, there), Atom("broken"))
        await eventually(lambda: not node.is_process_alive(pid))
        say(peer, (LINK, peer.pid, there))
        assert await heard(peer, EXIT) == ((EXIT, there, peer.pid), Atom("noproc"))


async def test_what_is_said_to_a_former_life_of_the_node_reaches_nobody() -> None:
    async with listening(allow=["exit"]) as node, DistPeer(node, flags=PLAIN) as peer:
        pid = node.spawn(lives)
        past = Pid(node.name, pid.id, pid.serial, 1)
        reference = Reference(peer.name, (1, 2, 3), 9)
        say(peer, (LINK, peer.pid, past))
        assert await heard(peer, EXIT) == ((EXIT, past, peer.pid), Atom("noproc"))
        say(peer, (19, peer.pid, past, reference))
        assert await heard(peer, DOWN) == ((DOWN, past, peer.pid, reference), Atom("noproc"))
        say(peer, (26, peer.pid, past), Atom("kill"))
        say(peer, (22, peer.pid, past), Atom("hello"))
        await pings(peer)
        assert node.is_process_alive(pid)


async def test_what_is_said_to_a_former_life_of_the_peer_is_not_sent() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as peer:
        past = Pid(peer.name, 7, 0, 8)
        told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def talks() -> None:
            node.trap_exit()
            node.monitor(past)
            node.link(past)
            node.exit(past, Atom("kill"))
            told.set_result([await partisan.receive(timeout=SECONDS) for _ in range(2)])

        node.spawn(talks)
        assert {message[-1] for message in await told} == {Atom("noproc")}
        await pings(peer)  # nothing came before the answer


async def test_a_monitor_of_a_reference_that_is_used_again_is_one() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as peer:
        pid = node.spawn(lives, name="lives")
        reference = Reference(peer.name, (1, 2, 3), 9)
        for _ in range(3):
            say(peer, (19, peer.pid, Atom("lives"), reference))
        await pings(peer)
        far: Any = node._far
        assert len(far.monitors) == 1
        node.exit(pid, Atom("kill"))
        assert await heard(peer, DOWN) == ((DOWN, Atom("lives"), peer.pid, reference), Atom("killed"))
        await pings(peer)
        say(peer, (20, peer.pid, Atom("lives"), reference))
        await pings(peer)


async def test_a_reason_that_is_no_term_is_told_as_it_reads() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as peer:

        async def ends() -> None:
            await partisan.receive()
            partisan.exit((1, object))

        pid = node.spawn(ends)
        there, reference = pid_there(node, pid), Reference(peer.name, (1, 2, 3), 9)
        say(peer, (LINK, peer.pid, there))
        say(peer, (19, peer.pid, there, reference))
        await pings(peer)
        node.send(pid, 1)
        for _ in range(2):
            found = await peer.heard()
            assert found is not None
            assert found[0][0] in (EXIT, DOWN)
            assert found[1][0] is Atom("unencodable")
        with pytest.raises(partisan.EncodeError):
            node.exit(peer.pid, object())


class Echo(GenServer):
    def init(self) -> None:
        self.held = 1

    def handle_call(self, request: Any, caller: Any) -> Any:
        return request


async def test_an_answer_to_an_alias_goes_to_the_alias() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as peer, DistPeer(node, flags=OLD) as old:
        await inside(node, lambda: Echo.start(name="echo"))
        for each, operation in ((peer, 33), (old, 2)):
            reference = Reference(each.name, (1, 2, 3), 9)
            tag = ImproperList([Atom("alias")], reference)
            request = (Atom("$gen_call"), (each.pid, tag), (Atom("is_auth"), Atom(each.name)))
            say(each, (6, each.pid, NOTHING, Atom("net_kernel")), request)
            control, payload = await heard(each, operation)
            assert control[-1] == (reference if operation == 33 else each.pid)
            assert payload == (tag, Atom("yes"))
            say(each, (6, each.pid, NOTHING, Atom("echo")), (Atom("$gen_call"), (each.pid, tag), 5))
            control, payload = await heard(each, operation)
            assert control[-1] == (reference if operation == 33 else each.pid)
            assert payload == (tag, 5)
            say(each, (6, each.pid, NOTHING, Atom("echo")), (Atom("system"), (each.pid, tag), Atom("get_state")))
            _, payload = await heard(each, operation)
            assert payload == (tag, (Atom("ok"), {b"held": 1}))


async def test_older_forms_and_traced_ones_are_understood() -> None:
    async with listening(allow=["exit"]) as node, DistPeer(node, flags=PLAIN) as peer:
        seen: list[Any] = []
        ready = asyncio.Event()

        async def listens() -> None:
            node.trap_exit()
            ready.set()
            while True:
                seen.append(await partisan.receive())

        there = pid_there(node, node.spawn(listens, name="listens"))
        token = (Atom("token"),)
        await ready.wait()
        say(peer, (2, NOTHING, there), b"send")
        say(peer, (12, NOTHING, there, token), b"send traced")
        say(peer, (16, peer.pid, NOTHING, Atom("listens"), token), b"name traced")
        say(peer, (23, peer.pid, there, token), b"sender traced")
        say(peer, (8, peer.pid, there, Atom("exit2")))
        say(peer, (18, peer.pid, there, token, Atom("exit2_traced")))
        say(peer, (27, peer.pid, there, token), Atom("payload_traced"))
        for reason, control in (("exit", (3,)), ("exit_traced", (13, token))):
            say(peer, (LINK, peer.pid, there))
            say(peer, (control[0], peer.pid, there, *control[1:], Atom(reason)))
        say(peer, (4, peer.pid, there))
        say(peer, (5,))
        say(peer, (7, peer.pid, there))
        await pings(peer)
        assert seen[:4] == [b"send", b"send traced", b"name traced", b"sender traced"]
        reasons = ["exit2", "exit2_traced", "payload_traced", "exit", "exit_traced"]
        assert [message[-1] for message in seen[4:]] == [Atom(reason) for reason in reasons]


async def test_a_node_that_can_less_is_spoken_to_in_older_forms() -> None:
    async with listening() as node, DistPeer(node, flags=OLD) as peer:
        pid = node.spawn(lives)
        node.send(peer.pid, b"hello")
        assert await heard(peer, 2) == ((2, NOTHING, peer.pid), b"hello")
        say(peer, (LINK, peer.pid, pid_there(node, pid)))
        await asyncio.sleep(0)
        say(peer, (19, peer.pid, pid_there(node, pid), reference := Reference(peer.name, (1, 2, 3), 9)))
        await eventually(lambda: len(node._far.monitors) == 1)  # type: ignore[union-attr,arg-type]
        node.exit(pid, Atom("kill"))
        found = {(await peer.heard())[0] for _ in range(2)}  # type: ignore[index]
        there = pid_there(node, pid)
        assert found == {(3, there, peer.pid, Atom("killed")), (21, there, peer.pid, reference, Atom("killed"))}
        with pytest.raises(ErpcError):
            await erpc.call(peer.name, "m", "f", [])
        unlinked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def links() -> None:
            node.link(peer.pid)
            node.unlink(peer.pid)
            node.link(peer.pid)
            unlinked.set_result(None)

        async def starts() -> None:
            with pytest.raises(SpawnRefused):
                await node.spawn_at(peer.name, "m", "f", [])

        node.spawn(links)
        await unlinked
        operations = [(await peer.heard())[0][0] for _ in range(3)]  # type: ignore[index]
        assert operations == [LINK, 4, LINK]
        await starts()


async def test_a_start_for_which_nobody_waits_any_more_is_given_up() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as peer:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def starts() -> None:
            with pytest.raises(CallTimeout):
                await node.spawn_link_at(peer.name, "m", "f", [], timeout=0.05)
            done.set_result(None)
            await partisan.receive()

        node.spawn(starts)
        control, _ = await heard(peer, SPAWN)
        await done
        child = Pid(peer.name, 9, 0, 9)
        say(peer, (31, control[1], control[2], 1, child))
        assert await heard(peer, EXIT) == ((EXIT, control[2], child), Atom("abandoned"))
        say(peer, (31, control[1], control[2], 1, child))  # once more, which nobody has asked for
        await pings(peer)


async def test_a_call_of_a_function_for_which_nobody_waits_leaves_nothing() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as peer:
        for refusal in (None, Atom("system_limit")):
            timeout = 0.05 if refusal is None else SECONDS
            asked = asyncio.ensure_future(erpc.call(peer.name, "m", "f", [], timeout=timeout))
            control, arguments = await heard(peer, SPAWN)
            assert control[4] == (Atom("erpc"), Atom("execute_call"), 4)
            if refusal is None:
                with pytest.raises(ErpcTimeout):
                    await asked
                say(peer, (31, control[1], control[2], 2, child := Pid(peer.name, 9, 0, 9)))
                say(peer, (DOWN, child, control[2], control[1]), (arguments[0], Atom("return"), 5))
            else:
                say(peer, (31, control[1], control[2], 0, refusal))
                with pytest.raises(ErpcError):
                    await asked
        await pings(peer)


async def test_what_a_peer_has_started_is_not_left_linked_when_it_goes() -> None:
    async with listening(allow=["spawn"]) as node:
        ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def work() -> None:
            node.trap_exit()
            ended.set_result(await partisan.receive())

        node.expose(work, "work:work")
        async with DistPeer(node, flags=PLAIN) as peer:
            request = Reference(peer.name, (1, 2, 3), 9)
            called = (Atom("work"), Atom("work"), 0)
            options = [Atom("link"), Atom("monitor"), (Atom("priority"), Atom("high"))]
            say(peer, (SPAWN, request, peer.pid, peer.pid, called, options), [])
            control, *_ = await heard(peer, 31)
            assert control[1:4] == (request, peer.pid, 3)
        assert (await ended)[-1] is Atom("noconnection")


async def test_the_parts_of_partisan_are_not_for_these_peers() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as peer:
        members = node.members()
        for name in sorted(node.scheduler.names):
            if name not in ("net_kernel", "rex", "global_name_server"):
                for message in (
                    (Atom("join"), peer.pid),
                    (Atom("call"), Atom("os"), Atom("system"), [], 5, peer.pid, 1),
                ):
                    say(peer, (6, peer.pid, NOTHING, Atom(name)), message)
        await pings(peer)
        assert node.members() == members


async def test_each_call_of_a_name_hears_of_the_process_that_had_it_then() -> None:
    async with listening() as node, DistPeer(node, flags=PLAIN) as peer:
        former = None
        for number in range(5):
            asked = asyncio.ensure_future(partisan.call(("server", peer.name), number, timeout=SECONDS))
            while (found := await peer.heard()) is not None and found[0][0] == 20:  # those that are over
                assert found[0][3] == former
            assert found is not None
            control = found[0]
            assert control[:3:2] == (19, Atom("server"))
            _, request = await heard(peer, 6)
            if former is not None:  # the end of who had the name before is told late
                say(peer, (DOWN, Atom("server"), control[1], former), Atom("broken"))
            pid, tag = request[1]
            say(peer, (22, peer.pid, pid), (tag, number * 2))
            assert await asked == number * 2
            former = control[3]
        asked = asyncio.ensure_future(partisan.call(("server", peer.name), 5, timeout=SECONDS))
        assert (await heard(peer, 20))[0][3] == former
        control = (await heard(peer, 19))[0]
        say(peer, (DOWN, Atom("server"), control[1], control[3]), Atom("broken"))
        with pytest.raises(partisan.Exit):
            await asked
        assert len(node._far.monitors) == 0  # type: ignore[union-attr,arg-type]


async def test_two_nodes_of_python_are_connected_by_it() -> None:
    async with listening() as a:
        far: Any = a._far
        async with listening(distribution={"ports": {a.name: far.port}}) as b:
            assert await b.connect_node(a.name)
            pid = a.spawn(echo, name="echo")
            assert await partisan.call(("echo", a.name), (1, 2.5)) == (1, 2.5)
            told: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

            async def ties() -> None:
                b.trap_exit()
                there = pid_there(a, pid)
                b.link(there)
                b.monitor(there)
                b.send(there, Atom("end"))
                told.set_result([(await partisan.receive(timeout=SECONDS))[-1] for _ in range(2)])

            b.spawn(ties)
            assert await told == [Atom("over"), Atom("over")]
            a.expose(lambda n: n + 1, "work:more")
            assert await erpc.call(a.name, "work", "more", [4]) == 5
            assert a.nodes("hidden") == [b.name]
            await b.disconnect_node(a.name)
            await eventually(lambda: not a.nodes("hidden"))


async def echo() -> None:
    while True:
        match await partisan.receive():
            case (Atom("$gen_call"), caller, message):
                pid, tag = caller
                partisan.send(pid, (tag, message))
            case Atom("end"):
                partisan.exit(Atom("over"))


async def test_a_dial_that_is_refused_for_the_others_own_waits_for_that() -> None:
    async with listening() as node:
        far: Any = node._far
        peer = DistPeer(node, flags=PLAIN)

        async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            shake = Handshake(
                accept(Identity(peer.name, 9), lambda name: COOKIES, 5, lambda name, creation: Verdict.REFUSED)
            )
            while shake.error is None:
                shake.receive(await reader.read(1 << 16))
            writer.write(bytes(shake.out))
            await writer.drain()
            await peer.connect()
            writer.close()

        server = await asyncio.start_server(refuses, "127.0.0.1", 0)
        ports = {peer.name: server.sockets[0].getsockname()[1]}
        far._connecting._options = dataclasses.replace(far._options, ports=ports)
        assert await node.connect_node(peer.name)
        await pings(peer)
        peer.close()
        server.close()
        await eventually(lambda: not node.nodes("hidden"))


async def test_a_dial_that_is_given_up_for_one_in_the_nodes_name_is_made_again_when_that_is_lost() -> None:
    name = "zz@127.0.0.1"  # above that of the node, so its dials are preferred
    arrivals: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def takes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrivals.put_nowait((reader, writer))

    server = await asyncio.start_server(takes, "127.0.0.1", 0)
    ports = {name: server.sockets[0].getsockname()[1]}
    async with listening(distribution={"ports": ports, "setup_timeout": SECONDS}) as node, asyncio.timeout(SECONDS):
        connecting = asyncio.ensure_future(node.connect_node(name, timeout=SECONDS))
        for _ in range(2):  # of somebody who does not know the cookie
            reader, writer = await arrivals.get()
            octets = await reader.read(1 << 16)
            assert octets
            stranger = DistPeer(node, name=name, cookie="another")
            with pytest.raises((HandshakeError, ConnectionResetError)):
                await stranger.connect()
            stranger.close()
            assert not await reader.read()
            writer.close()
        reader, writer = await arrivals.get()
        shake = Handshake(accept(Identity(name, 9), lambda name: COOKIES, 5, lambda name, creation: Verdict.OK))
        while shake.result is None:
            shake.receive(await reader.read(1 << 16))
            writer.write(bytes(shake.out))
            shake.out.clear()
        assert await connecting
        writer.close()
        await eventually(lambda: not node.is_connected(name))
    server.close()


async def test_a_dial_for_which_the_other_gives_its_own_up_goes_on_although_that_one_is_up() -> None:
    async with listening() as node:
        far: Any = node._far
        peer = DistPeer(node, flags=PLAIN)
        mine = Handshake(initiate(Identity(peer.name, 9, PLAIN), node.name, COOKIES, 5))
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def takes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            octets = await reader.read(1 << 16)
            peer.writer.write(bytes(mine.out))
            await eventually(lambda: node.nodes("hidden") == [peer.name])
            shake = Handshake(
                accept(Identity(peer.name, 9), lambda name: COOKIES, 5, lambda name, creation: Verdict.SIMULTANEOUS)
            )
            peer.close()
            while octets and shake.result is None:
                shake.receive(octets)
                writer.write(bytes(shake.out))
                shake.out.clear()
                if shake.result is None:
                    octets = await reader.read(1 << 16)
            if shake.result is None:
                taken.set_exception(ConnectionResetError("the node has given it up"))
            else:
                taken.set_result(None)
            await reader.read()
            writer.close()

        await peer.open()
        peer.writer.write(bytes(mine.out))
        mine.out.clear()
        while not mine.out:  # the node has said that it may connect, and asks for the cookie
            mine.receive(await peer.read())
        server = await asyncio.start_server(takes, "127.0.0.1", 0)
        ports = {peer.name: server.sockets[0].getsockname()[1]}
        far._connecting._options = dataclasses.replace(far._options, ports=ports)
        try:
            assert await node.connect_node(peer.name)
            await asyncio.wait_for(taken, SECONDS)
            await eventually(lambda: node.nodes("hidden") == [peer.name])
            assert await node.disconnect_node(peer.name)
        finally:
            server.close()  # uvloop's loop does not end before


@pytest.mark.parametrize("host", ["h" * 70, "x..y"])
async def test_a_node_at_a_host_that_cannot_be_a_name_is_down(host: str) -> None:
    async def calls(name: str) -> None:
        with pytest.raises(NodeDown):
            await partisan.call(("server", name), 1)

    dialled, asked = f"dialled@{host}", f"asked@{host}"
    about = {"ports": {dialled: 9}, "epmd_port": 9}
    async with listening(distribution=about) as node:
        for name in (dialled, asked):
            await inside(node, calls, name)
            assert not await node.connect_node(name)


async def test_a_dial_ends_with_its_node() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    ports = {"silent@127.0.0.1": server.sockets[0].getsockname()[1]}
    async with listening(distribution={"ports": ports}) as node:
        far: Any = node._far
        asked = asyncio.ensure_future(far.connect("silent@127.0.0.1"))
        await eventually(lambda: far._all)
    with pytest.raises(ConnectFailed):
        await asked
    server.close()


async def test_events_and_counters_tell_of_these_connections_as_of_others() -> None:
    async with listening() as node:
        events = Events(node)
        async with DistPeer(node, flags=PLAIN) as peer:
            await pings(peer)
            assert node.counters()["connections"] == {peer.name: {"dialled": 0, "accepted": 1}}
            assert node.counters()["received"]["frames"] >= 1
            [connection] = node.connections()
            assert (connection.node, connection.queued_octets) == (peer.name, 0)
            assert node.kill_connections(peer.name) == [peer.name]
            await peer.is_closed()
        for name in ("partisan.socket.open", "partisan.socket.close", "partisan.connection.count"):
            assert events.of(name), name
        assert node.connections() == []


@pytest.mark.parametrize("asks", ["net_kernel", "rex"])
async def test_an_answer_that_cannot_be_sent_leaves_the_connection_alone(asks: str) -> None:
    def ask(asker: Pid) -> None:
        request: Any = (asker, Atom("features_request"))
        if asks == "net_kernel":
            request = (Atom("$gen_call"), (asker, b"tag"), (Atom("is_auth"), Atom(asker.node)))
        say(peer, (6, asker, NOTHING, Atom(asks)), request)

    small = {"max_queue_octets": 20_000, "hard_queue_octets": 20_000, "queue_policy": "error"}
    async with listening(channels={"undefined": small}) as node, DistPeer(node, flags=PLAIN) as peer:
        told: asyncio.Queue[Any] = asyncio.Queue()

        async def sink() -> None:
            while True:
                told.put_nowait(await partisan.receive())

        node.spawn(sink, name="sink")
        ask(Pid("elsewhere@127.0.0.1", 7, 0, 9))
        await pings(peer)
        await refused_for_long(lambda: node.send(peer.pid, b"x" * 10_000))
        ask(peer.pid)
        say(peer, (6, peer.pid, NOTHING, Atom("sink")), Atom("behind"))
        assert await asyncio.wait_for(told.get(), SECONDS) is Atom("behind")
        while node.queued_octets(peer.name):
            assert await peer.heard()
        ask(peer.pid)
        async with asyncio.timeout(SECONDS):
            while True:
                found = await peer.heard()
                assert found is not None
                if type(found[1]) is tuple:
                    break  # the answer, behind all that waited


def test_the_operations_of_this_file_are_those_of_the_package() -> None:
    assert (LINK, UNLINK, UNLINK_ACK, EXIT) == (Op.LINK, Op.UNLINK_ID, Op.UNLINK_ID_ACK, Op.PAYLOAD_EXIT)
    assert (DOWN, SPAWN) == (Op.PAYLOAD_MONITOR_P_EXIT, Op.SPAWN_REQUEST)
