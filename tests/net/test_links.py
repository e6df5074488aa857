"""Links between processes of two nodes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import FORWARD, PYTHON, greeted, member
from support import FAST, address_of, cluster, eventually, inside, left_over, python_cluster, running, soon

import partisan
from partisan import Atom, LinkUnsupported, Node, Pid
from partisan.errors import RemoteProtocolError

EXIT, NORMAL, BOOM = Atom("EXIT"), Atom("normal"), Atom("boom")
LINKS, EXIT_TAG = Atom("links"), Atom("exit")


async def told_to_exit() -> None:
    """A process that exits with the reason that it is sent."""
    partisan.exit(await partisan.receive())


async def wait() -> None:
    await partisan.receive()


@pytest.mark.parametrize("parallelism", [1, 3])
async def test_an_exit_comes_along_the_link_with_its_reason_behind_what_was_sent_before(parallelism: int) -> None:
    async with python_cluster("a", "b", parallelism=parallelism) as (a, b):
        reason = (Atom("shutdown"), [1, "text"])

        async def last_words() -> None:
            caller = await partisan.receive()
            for number in range(20):
                partisan.send(caller, number)
            partisan.exit(reason)

        pid = b.spawn(last_words)

        async def linked() -> list[Any]:
            partisan.trap_exit()
            partisan.link(pid)
            partisan.send(pid, partisan.self())
            return [await partisan.receive(timeout=10) for _ in range(21)]

        assert await inside(a, linked) == [*range(20), (EXIT, pid, (Atom("shutdown"), [1, b"text"]))]


async def test_all_that_two_processes_have_to_say_to_each_other_takes_one_connection() -> None:
    """In the order in which it was said, then, however many connections the channel has."""
    options: dict[str, Any] = {**FAST, "allow": ["spawn"], "share_connections": False}
    async with member("p@127.0.0.1", {None: 3}) as peer, Node("a@127.0.0.1:0", **options) as a:
        await peer.joined_by(a)
        await eventually(lambda: a.is_fully_connected("p@127.0.0.1"))
        async with greeted(a, "p@127.0.0.1") as script:
            extras = [Atom(name) for name in ("answer", "links", "spawn", "exit", "calls")]
            script.tell((FORWARD, PYTHON, (Atom("capabilities"), Atom("p@127.0.0.1"), 1, extras)))
            await eventually(lambda: "p@127.0.0.1" in a._remote.links._supported)

            async def linked(far: Pid) -> None:
                partisan.link(far)
                partisan.send(far, (partisan.self(), "plain"))
                partisan.exit(far, NORMAL)
                partisan.exit(BOOM)

            async def ends() -> None:
                partisan.exit(BOOM)

            a.expose(ends, "t:ends")
            mine = [a.spawn(linked, Pid("p@127.0.0.1", number)) for number in range(12)]
            for number in range(12):
                start = (Atom("spawn"), Atom("start"), number, Pid("p@127.0.0.1", number), True)
                script.tell((FORWARD, PYTHON, (*start, Atom("t"), Atom("ends"), [])))
            await eventually(lambda: len(peer.heard) >= 12 * 6)
        taken: dict[Pid, list[tuple[Any, Any]]] = {}
        for connection, message in peer.heard:
            for pid in (each for each in message if isinstance(each, Pid) and each.node == a.name):
                taken.setdefault(pid, []).append((connection, message))
        assert len(taken) == 24
        assert all(len({id(connection) for connection, _ in each}) == 1 for each in taken.values())
        assert len({id(connection) for connection, _ in peer.heard}) == 3
        for pid in mine:
            kinds = [[part for part in message if not isinstance(part, Pid)] for _, message in taken[pid]]
            assert kinds == [[LINKS, Atom("link")], [b"plain"], [EXIT_TAG, NORMAL], [LINKS, EXIT_TAG, BOOM]]


async def test_whoever_traps_no_exits_ends_with_the_same_reason() -> None:
    async with python_cluster("a", "b") as (a, b):
        here, there = a.spawn(wait), b.spawn(told_to_exit)
        process = a.scheduler.find(here)
        linked = asyncio.Event()

        async def linker() -> None:
            partisan.link(there)
            linked.set()
            await partisan.receive()

        here = a.spawn(linker)
        process = a.scheduler.find(here)
        await linked.wait()
        a.send(there, BOOM)
        await eventually(lambda: not a.is_process_alive(here))
        assert process is not None
        await eventually(lambda: process.exit_reason == BOOM)


async def test_an_end_of_the_process_that_has_linked_reaches_the_other() -> None:
    async with python_cluster("a", "b") as (a, b):
        got: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def trapping() -> None:
            partisan.trap_exit()
            got.set_result(await partisan.receive(timeout=10))

        there = b.spawn(trapping)

        async def linker() -> None:
            partisan.link(there)
            raise ValueError("no")

        here = a.spawn(linker)
        tag, pid, reason = await soon(got)
        assert (tag, pid) == (EXIT, here)
        assert reason[0] == (Atom("ValueError"), b"no")


async def test_a_link_to_a_dead_process_is_the_signal_noproc() -> None:
    async with python_cluster("a", "b") as (a, b):
        dead = Pid(b.name, 77)

        async def linker() -> Any:
            partisan.trap_exit()
            partisan.link(dead)
            return await partisan.receive(timeout=10)

        assert await inside(a, linker) == (EXIT, dead, Atom("noproc"))


async def test_after_unlink_no_exit_of_that_link_is_taken() -> None:
    async with python_cluster("a", "b") as (a, b):

        async def linker() -> list[Any]:
            partisan.trap_exit()
            got = []
            for _ in range(50):
                pid = b.spawn(told_to_exit)
                partisan.link(pid)
                b.send(pid, BOOM)
                while b.scheduler.find(pid) is not None:
                    await asyncio.sleep(0)  # then its exit crosses with what follows
                while a.scheduler.find(partisan.self()).mailbox:  # type: ignore[union-attr]
                    await partisan.receive()
                partisan.unlink(pid)
                partisan.link(pid)
                got.append((await partisan.receive(timeout=10))[2])
            return got

        assert set(await inside(a, linker)) <= {Atom("noproc")}


async def test_an_unlinked_process_lives_on() -> None:
    async with python_cluster("a", "b") as (a, b):
        there = b.spawn(told_to_exit)

        async def linker() -> Any:
            partisan.link(there)
            await eventually(lambda: left_over(b).get("far links") == 1)
            partisan.unlink(there)
            partisan.unlink(there)
            await eventually(lambda: not left_over(a) and not left_over(b))
            b.send(there, BOOM)
            await eventually(lambda: not b.is_process_alive(there))
            return "lives"

        assert await inside(a, linker) == "lives"


async def test_the_loss_of_the_node_is_the_signal_noconnection_at_both_ends() -> None:
    async with cluster("a", "b") as (a, b):
        await eventually(lambda: b.name in a._remote.links._supported)
        theirs: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def trapping() -> None:
            partisan.trap_exit()
            theirs.set_result(await partisan.receive(timeout=10))

        there = b.spawn(trapping)

        async def linker() -> Any:
            partisan.trap_exit()
            partisan.link(there)
            await eventually(lambda: left_over(b).get("far links") == 1)
            a._manager.disconnect(b.name)
            b._manager.disconnect(a.name)
            return await partisan.receive(timeout=10)

        assert await inside(a, linker) == (EXIT, there, Atom("noconnection"))
        assert (await soon(theirs))[::2] == (EXIT, Atom("noconnection"))
        await eventually(lambda: not left_over(a) and not left_over(b))


async def test_a_link_to_a_node_that_is_not_connected_is_the_signal_noconnection() -> None:
    async with running("a") as [a]:
        far = Pid("nobody@127.0.0.1", 1)

        async def linker() -> Any:
            partisan.trap_exit()
            partisan.link(far)
            return await partisan.receive(timeout=10)

        assert await inside(a, linker) == (EXIT, far, Atom("noconnection"))
        assert not left_over(a)


async def test_who_was_lost_in_one_direction_only_hears_of_it_when_the_node_is_back() -> None:
    async with cluster("a", "b") as (a, b):
        await eventually(lambda: b.name in a._remote.links._supported and a.name in b._remote.links._supported)
        theirs: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def trapping() -> None:
            partisan.trap_exit()
            theirs.set_result(await partisan.receive(timeout=10))

        there = b.spawn(trapping)

        async def linker() -> Any:
            partisan.trap_exit()
            partisan.link(there)
            await eventually(lambda: left_over(b).get("far links") == 1)
            a._manager.disconnect(b.name)
            return await partisan.receive(timeout=10)

        assert await inside(a, linker) == (EXIT, there, Atom("noconnection"))
        assert (await soon(theirs))[2] == Atom("noconnection")
        await eventually(lambda: not left_over(a) and not left_over(b))


async def test_an_exit_signal_that_a_full_queue_refuses_is_sent_when_there_is_room() -> None:
    options = {"channels": {"undefined": {"queue_policy": "error", "max_queue_octets": 200_000}}}
    async with python_cluster("a", "b", **options) as (a, b):
        got: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        async def trapping() -> None:
            partisan.trap_exit()
            got.set_result(await partisan.receive((EXIT, ..., ...), timeout=20))

        there = b.spawn(trapping)

        async def linker() -> None:
            partisan.link(there)
            for _ in range(10):
                try:
                    partisan.send(there, bytes(100_000))
                except partisan.Overloaded:
                    partisan.exit(BOOM)
            raise AssertionError("the queue never was full")

        here = a.spawn(linker)
        assert await soon(got) == (EXIT, here, BOOM)


async def test_a_reason_that_is_no_term_is_told_as_such() -> None:
    async with python_cluster("a", "b") as (a, b):

        async def ends() -> None:
            await partisan.receive()
            partisan.exit(object())

        there = b.spawn(ends)

        async def linker() -> Any:
            partisan.trap_exit()
            partisan.link(there)
            await eventually(lambda: left_over(b).get("far links") == 1)
            b.send(there, 1)
            return await partisan.receive(timeout=10)

        assert (await inside(a, linker))[2][0] == Atom("unencodable")


async def test_a_node_that_has_not_agreed_on_links_is_a_named_error() -> None:
    async with (
        member("p@127.0.0.1", {None: 1}) as peer,
        Node("a@127.0.0.1:0", **FAST) as a,
    ):
        await peer.joined_by(a)
        await eventually(lambda: a.is_connected("p@127.0.0.1"))

        async def linker() -> None:
            partisan.link(Pid("p@127.0.0.1", 5))

        with pytest.raises(LinkUnsupported, match="not towards a real Partisan node, which has no wire for them"):
            await inside(a, linker)
        assert not left_over(a)


MALFORMED: list[Any] = [
    (LINKS,),
    (LINKS, Atom("link"), 1, 2),
    (LINKS, Atom("link"), Pid("p@127.0.0.1", 1), Pid("a@127.0.0.1", 1), 5),
    (LINKS, Atom("exit"), Pid("q@127.0.0.1", 1), Pid("a@127.0.0.1", 1), BOOM),
    (LINKS, Atom("link"), Pid("p@127.0.0.1", 1), Pid("b@127.0.0.1", 1)),
    (LINKS, Atom("nonsense"), Pid("p@127.0.0.1", 1), Pid("a@127.0.0.1", 1)),
    (Atom("exit"), 1),
    (Atom("exit"), Pid("q@127.0.0.1", 1), Pid("a@127.0.0.1", 1), BOOM),
    (Atom("spawn"), Atom("start"), 1, 2, 3, 4, 5, 6),
    (Atom("spawn"), Atom("started"), 1, Pid("q@127.0.0.1", 1)),
    (Atom("erpc"), 1, 2),
    (Atom("erpc"), Atom("cast"), (1, 2)),
]


@pytest.mark.parametrize("message", MALFORMED, ids=repr)
async def test_a_malformed_extra_closes_its_connection_and_disturbs_nothing_else(message: Any) -> None:
    async with running("a") as [a], greeted(a) as script:
        errors: list[Any] = []
        a.telemetry.attach("e", "partisan.frame.rejected", lambda *event: errors.append(event[2]["error"]))
        script.tell((FORWARD, PYTHON, message))
        await script.ended()
        assert isinstance(errors[0], RemoteProtocolError)
        assert not left_over(a)
        assert address_of(a)


async def test_whoever_has_joined_may_link_at_once() -> None:
    async with running("a", "b") as (a, b):
        other = b.spawn(asyncio.sleep, 60.0)
        await a.join(address_of(b))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def tie() -> None:
            partisan.link(other)
            done.set_result(None)

        a.spawn(tie)
        await asyncio.wait_for(done, 5)
