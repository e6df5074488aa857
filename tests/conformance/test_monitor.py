"""The cases of the OTP suite for monitors that Partisan adapted; each within a node and between two.

What a case asserts is the outcome that it has in OTP. An alias is here what a request is known by: a reply that comes
under it reaches the request, or nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support import cluster, eventually, inside, running

import partisan
from partisan import Atom, CallTimeout, Exit, NoProc, Pid, Reference
from partisan.gen import call as gen

DOWN, PROCESS, NOPROC, NORMAL, KILL = map(Atom, ("DOWN", "process", "noproc", "normal", "kill"))
NOTHING = {"asked": 0, "held": 0, "watched": 0, "early": 0, "owed": 0}
WHERE = pytest.mark.parametrize("where", ["local", "remote"])
MANY = 200


@contextlib.asynccontextmanager
async def nodes(where: str) -> AsyncIterator[tuple[partisan.Node, partisan.Node]]:
    """The node that monitors, and that of what is monitored; at the end neither keeps a monitor."""
    async with contextlib.AsyncExitStack() as stack:
        if where == "local":
            [a] = [b] = await stack.enter_async_context(running("a"))
        else:
            a, b = await stack.enter_async_context(cluster("a", "b"))
        yield a, b
        for node in (a, b):
            for process in list(node.scheduler.processes.values()):
                node.exit(process.pid, KILL)
        for node in (a, b):
            await eventually(lambda node=node: not node.scheduler.processes)
            await eventually(lambda node=node: node._monitors.machine.counts == NOTHING)
            assert not node._monitors._waiters
            assert not node._monitors._witnesses


async def waits() -> object:
    """Return with the first message; with `(exit, reason)` end for that reason."""
    match await partisan.receive():
        case (Atom("exit"), reason):
            raise Exit(reason)
        case message:
            return message


async def placed(*others: partisan.Node) -> None:
    """Wait until what was asked of other nodes is done there."""
    for node in (partisan.node(), *others):
        await eventually(lambda node=node: node._monitors.machine.counts["asked"] == 0)


async def silence(there: partisan.Node) -> None:
    """Nothing is in the mailbox, and nothing of the node was on its way: what is told of it next is what comes next."""
    fence = partisan.monitor(("nobody", there.name))
    assert (await partisan.receive(timeout=10.0))[1] == fence


async def down(reference: Reference) -> Any:
    """The message of a monitor."""
    return await partisan.receive((..., reference, ..., ..., ...), timeout=10.0)


def ending(reason: object) -> tuple[Atom, object]:
    return (Atom("exit"), reason)


@WHERE
async def test_monitor_case_1(where: str) -> None:
    """Who monitors is killed by what it monitors: the monitor goes with it, and the other lives on."""
    async with nodes(where) as (a, b):

        async def hold(pid: Pid) -> None:
            partisan.monitor(pid)
            await placed()
            partisan.send(pid, partisan.self())
            await partisan.receive()

        async def kill() -> None:
            partisan.send(await partisan.receive(), Atom("end"))
            await partisan.receive()

        pid = b.spawn(kill)
        holder = a.spawn(hold, pid)
        await eventually(lambda: not a.is_process_alive(holder))
        await eventually(lambda: b.scheduler.find(pid).watches() == [])
        assert b.is_process_alive(pid)


@WHERE
async def test_monitor_case_1a(where: str) -> None:
    """What is monitored cannot end the monitor of another; its end is told all the same."""

    async def meddle() -> None:
        partisan.demonitor(await partisan.receive())
        raise Exit(await partisan.receive())

    async with nodes(where) as (a, b):
        pid = b.spawn(meddle)

        async def watch() -> Any:
            reference = partisan.monitor(pid)
            await placed()
            partisan.send(pid, reference)
            partisan.send(pid, Atom("bye"))
            return reference, await down(reference)

        reference, message = await inside(a, watch)
        assert message == (DOWN, reference, PROCESS, pid, Atom("bye"))


@WHERE
async def test_monitor_case_2(where: str) -> None:
    """Who monitors ends the monitor and what it monitored: it is told nothing."""
    async with nodes(where) as (a, b):
        pid = b.spawn(waits)

        async def watch() -> None:
            reference = partisan.monitor(pid)
            await placed()
            assert partisan.demonitor(reference)
            partisan.send(pid, ending(Atom("bye")))
            await eventually(lambda: not b.is_process_alive(pid))
            await silence(b)

        await inside(a, watch)


@WHERE
async def test_monitor_case_2a(where: str) -> None:
    """Of two monitors of one process one is ended: the other tells, once."""
    async with nodes(where) as (a, b):
        pid = b.spawn(waits)

        async def watch() -> None:
            first, second = partisan.monitor(pid), partisan.monitor(pid)
            assert first != second
            partisan.demonitor(first)
            await placed()
            partisan.send(pid, ending(Atom("bye")))
            assert await partisan.receive(timeout=10.0) == (DOWN, second, PROCESS, pid, Atom("bye"))
            await silence(b)

        await inside(a, watch)


async def test_monitor_mon_e_1() -> None:
    """What is no process at all is an error; what might be one and is not, or cannot be reached, is told."""
    async with nodes("remote") as (a, b):

        async def watch() -> None:
            for wrong in (1, None, [], 1.5, b"name", ("name", b.name, 1), partisan.make_ref()):
                with pytest.raises((TypeError, ValueError)):
                    partisan.monitor(wrong)  # type: ignore[arg-type]
            assert not partisan._core.process.running().monitors
            nowhere = partisan.monitor(("name", "nowhere@127.0.0.1"))
            item = (Atom("name"), Atom("nowhere@127.0.0.1"))
            assert await down(nowhere) == (DOWN, nowhere, PROCESS, item, Atom("noconnection"))

        await inside(a, watch)


@WHERE
async def test_monitor_demon_e_1(where: str) -> None:
    """What is no reference is an error; a reference that is no monitor of ours is none, and disturbs nobody."""
    async with nodes(where) as (a, b):
        pid = b.spawn(waits)

        async def other() -> Any:
            reference = partisan.monitor(pid)
            partisan.send("meddler", reference)
            return await down(reference)

        async def watch() -> Any:
            for wrong in (1, None, partisan.self(), (1, 2), "x"):
                with pytest.raises(TypeError):
                    partisan.demonitor(wrong)  # type: ignore[arg-type]
            assert partisan.demonitor(partisan.make_ref())
            assert partisan.demonitor(Reference("nowhere@127.0.0.1", (1, 2, 3)))
            task = asyncio.create_task(inside(a, other))
            theirs = await partisan.receive(timeout=10.0)
            assert partisan.demonitor(theirs)
            assert not partisan.demonitor(theirs, info=True)
            await placed()
            partisan.send(pid, ending(Atom("bye")))
            return await task

        async def named() -> Any:
            partisan.register("meddler", partisan.self())
            return await watch()

        assert (await inside(a, named))[4] == Atom("bye")


@WHERE
async def test_monitor_demon_1(where: str) -> None:
    """A monitor whose message has come can be ended, and ended again; the message stays."""
    async with nodes(where) as (a, b):
        pid = b.spawn(waits)
        b.send(pid, ending(Atom("bye")))
        await eventually(lambda: not b.is_process_alive(pid))

        async def watch() -> None:
            reference = partisan.monitor(pid)
            await eventually(lambda: len(partisan._core.process.running().mailbox) == 1)
            assert partisan.demonitor(reference)
            assert partisan.demonitor(reference)
            assert partisan.demonitor(reference, info=True) is False
            assert await partisan.receive(timeout=0) == (DOWN, reference, PROCESS, pid, NOPROC)

        await inside(a, watch)


@WHERE
async def test_monitor_demon_2(where: str) -> None:
    """A monitor that is ended at once, while its request is under way, tells nothing."""
    async with nodes(where) as (a, b):
        pid = b.spawn(waits)

        async def watch() -> None:
            assert partisan.demonitor(partisan.monitor(pid), info=True)
            partisan.send(pid, ending(Atom("bye")))
            await eventually(lambda: not b.is_process_alive(pid))
            await placed()
            await silence(b)

        await inside(a, watch)


async def test_monitor_demon_3() -> None:
    """A monitor of a process whose node is gone can be ended; its message has come."""
    async with cluster("a", "b") as (a, b):
        pid = b.spawn(waits)

        async def watch() -> None:
            kept, ended = partisan.monitor(pid), partisan.monitor(pid)
            await placed()
            assert partisan.demonitor(ended)
            stop = asyncio.get_running_loop().create_task(b.stop(grace=0.2))
            await eventually(lambda: not a.is_connected(b.name))
            assert partisan.demonitor(ended)
            assert partisan.demonitor(kept, info=True) is False
            message = await partisan.receive(timeout=10.0)
            assert message[1:4] == (kept, PROCESS, pid)
            assert message[4] in (Atom("noconnection"), Atom("shutdown"))
            assert partisan.demonitor(kept)
            await stop

        await inside(a, watch)
        await eventually(lambda: a._monitors.machine.counts == NOTHING)


@WHERE
async def test_monitor_demonitor_flush(where: str) -> None:
    """`flush` takes the message, wherever it is in the mailbox, and no other."""
    async with nodes(where) as (a, b):
        pid = b.spawn(waits)

        async def watch() -> None:
            first, second = partisan.monitor(pid), partisan.monitor(pid)
            await placed()
            partisan.send(partisan.self(), Atom("before"))
            partisan.send(pid, ending(Atom("bye")))
            await eventually(lambda: len(partisan._core.process.running().mailbox) == 3)
            partisan.send(partisan.self(), Atom("behind"))
            assert partisan.demonitor(first, flush=True, info=True) is False
            assert partisan.demonitor(first, flush=True, info=True) is True  # nothing was left to flush
            assert await partisan.receive(timeout=0) == Atom("before")
            assert (await partisan.receive(timeout=0))[1] == second
            assert await partisan.receive(timeout=0) == Atom("behind")
            other = b.spawn(waits)
            assert partisan.demonitor(partisan.monitor(other), flush=True, info=True) is True
            partisan.send(other, 1)
            await silence(b)

        await inside(a, watch)


@WHERE
@pytest.mark.parametrize("reason", [NORMAL, Atom("bye"), (Atom("a"), [1, 2, {3: b"4"}]), KILL])
async def test_monitor_mon_1(where: str, reason: object) -> None:
    """A monitor tells the end of a process, and its reason, once."""
    async with nodes(where) as (a, b):
        pid = b.spawn(waits)

        async def watch() -> None:
            reference = partisan.monitor(pid)
            assert isinstance(reference, Reference)
            await placed()
            if reason is KILL:
                b.exit(pid, KILL)
            else:
                partisan.send(pid, 1 if reason is NORMAL else ending(reason))
            told = Atom("killed") if reason is KILL else reason
            assert await partisan.receive(timeout=10.0) == (DOWN, reference, PROCESS, pid, told)
            await silence(b)

        await inside(a, watch)


async def test_monitor_mon_2() -> None:
    """The loss of a node is told of its processes, and what is monitored after it is told at once."""
    async with cluster("a", "b") as (a, b):
        pid = b.spawn(waits)

        async def watch() -> None:
            reference = partisan.monitor(pid)
            await placed()
            a.kill_connections(b.name)
            assert await partisan.receive(timeout=10.0) == (DOWN, reference, PROCESS, pid, Atom("noconnection"))
            await eventually(lambda: a.is_connected(b.name))
            stop = asyncio.get_running_loop().create_task(b.stop(grace=0.2))
            await eventually(lambda: not a.is_connected(b.name))
            reference = partisan.monitor(pid)
            assert await partisan.receive(timeout=0) == (DOWN, reference, PROCESS, pid, Atom("noconnection"))
            await stop

        await inside(a, watch)
        await eventually(lambda: a._monitors.machine.counts == NOTHING)


@WHERE
async def test_monitor_local_remove_monitor(where: str) -> None:
    """Many monitors of many processes, every second one ended by its holder: the others tell, each once."""
    async with nodes(where) as (a, b):
        pids = [b.spawn(waits) for _ in range(MANY)]

        async def watch() -> None:
            references = {partisan.monitor(pid): pid for pid in pids}
            for reference in list(references)[::2]:
                partisan.demonitor(reference)
                del references[reference]
            await placed()
            for pid in pids:
                partisan.send(pid, ending(Atom("bye")))
            told = [await partisan.receive(timeout=10.0) for _ in references]
            assert {message[1]: message[3] for message in told} == references
            await silence(b)

        await inside(a, watch)


@WHERE
async def test_monitor_remote_remove_monitor(where: str) -> None:
    """Many monitors of one process, ended in another order than they were made: nothing is kept of them at its node."""
    async with nodes(where) as (a, b):
        pid = b.spawn(waits)

        async def watch() -> None:
            references = [partisan.monitor(pid) for _ in range(MANY)]
            await placed()
            assert len(b.scheduler.find(pid).watches()) == MANY
            for reference in references[1::2] + references[::2][::-1][:-1]:
                assert partisan.demonitor(reference, info=True)
            await eventually(lambda: len(b.scheduler.find(pid).watches()) == 1)
            partisan.send(pid, ending(Atom("bye")))
            assert (await partisan.receive(timeout=10.0))[1] == references[0]
            await silence(b)

        await inside(a, watch)


@WHERE
async def test_monitor_large_exit(where: str) -> None:
    """A large reason arrives whole."""
    reason = (Atom("large"), [{number: bytes(1000)} for number in range(5000)])
    async with nodes(where) as (a, b):
        pid = b.spawn(waits)

        async def watch() -> None:
            reference = partisan.monitor(pid)
            await placed()
            b.send(pid, ending(reason))
            assert await partisan.receive(timeout=10.0) == (DOWN, reference, PROCESS, pid, reason)

        await inside(a, watch)


@WHERE
async def test_monitor_list_cleanup(where: str) -> None:
    """The lists of both ends are empty when either process has ended."""
    async with nodes(where) as (a, b):

        async def hold(pids: list[Pid]) -> None:
            for pid in pids:
                partisan.monitor(pid)
                partisan.monitor(pid)
            await partisan.receive(lambda message: False)

        pids = [b.spawn(waits) for _ in range(3)]
        holder = a.spawn(hold, pids)
        await eventually(lambda: all(len(b.scheduler.find(pid).watches()) == 2 for pid in pids))
        process = a.scheduler.find(holder)
        assert process is not None
        assert len(process.monitors) == 6
        b.send(pids[0], 1)
        await eventually(lambda: len(process.monitors) == 4)
        assert len(process.mailbox) == 2
        a.exit(holder, KILL)
        await eventually(lambda: all(b.scheduler.find(pid).watches() == [] for pid in pids[1:]))


@WHERE
async def test_monitor_mixer(where: str) -> None:
    """Processes that monitor and link each other in every pattern, and end in many orders, are told what they asked."""
    async with nodes(where) as (a, b):

        async def watch(order: Callable[[list[Pid]], list[Pid]]) -> None:
            partisan.trap_exit()
            here, there = [a.spawn(waits) for _ in range(4)], [b.spawn(waits) for _ in range(4)]
            pids = here + there
            wanted = {partisan.monitor(pid): pid for pid in pids + pids}
            for pid in here:
                partisan.link(pid)
            dropped = [reference for number, reference in enumerate(wanted) if number % 3 == 0]
            for reference in dropped:
                assert partisan.demonitor(reference, info=True)
                del wanted[reference]
            await placed()
            for number, pid in enumerate(order(pids)):
                partisan.send(pid, ending(number))
            told, exits = {}, []
            while len(told) < len(wanted) or len(exits) < len(here):
                message = await partisan.receive(timeout=10.0)
                if message[0] is DOWN:
                    assert message[1] not in told
                    told[message[1]] = message[3:]
                else:
                    exits.append(message)
            reasons = {pid: number for number, pid in enumerate(order(pids))}
            assert told == {reference: (pid, reasons[pid]) for reference, pid in wanted.items()}
            assert sorted(message[2] for message in exits) == sorted(reasons[pid] for pid in here)
            await silence(b)

        orders: list[Callable[[list[Pid]], list[Pid]]] = [list, lambda pids: pids[::-1], lambda p: p[::2] + p[1::2]]
        for order in orders:
            await inside(a, watch, order)


@WHERE
async def test_monitor_named_down(where: str) -> None:
    """When the end of a process is told, its name is free again."""
    async with nodes(where) as (a, b):
        for _ in range(20):
            pid = b.spawn(waits, name="named")

            async def watch(pid: Pid = pid) -> None:
                references = [partisan.monitor(pid), partisan.monitor(("named", b.name))]
                await placed()
                b.send(pid, ending(Atom("bye")))
                message = await down(references[1])
                assert message[3:] == ((Atom("named"), Atom(b.name)), Atom("bye"))
                assert b.whereis("named") is None
                b.register("named", b.spawn(waits))
                assert (await down(references[0]))[3:] == (pid, Atom("bye"))
                b.unregister("named")

            await inside(a, watch)


@WHERE
async def test_monitor_otp_5827(where: str) -> None:
    """A name together with its node can be monitored; that nobody has it is told with both."""
    async with nodes(where) as (a, b):

        async def watch() -> None:
            for target in (("nobody", b.name), (Atom("nobody"), Atom(b.name))):
                reference = partisan.monitor(target)
                item = (Atom("nobody"), Atom(b.name))
                assert await partisan.receive(timeout=10.0) == (DOWN, reference, PROCESS, item, NOPROC)

        await inside(a, watch)


@WHERE
async def test_monitor_monitor_tag_storage(where: str) -> None:
    """Tags of every kind and size come back, each with its own message."""
    tags: list[Any] = [Atom("tag"), 1, 1 << 80, 1.5, b"x" * 100_000, list(range(1000)), {Atom("k"): (1,)}, (), None]
    async with nodes(where) as (a, b):

        async def watch() -> None:
            pids = [b.spawn(waits) for _ in tags]
            held = {partisan.monitor(pid, tag=tag): (tag, pid) for pid, tag in zip(pids, tags, strict=True)}
            ended = [partisan.monitor(pids[0], tag=tag) for tag in tags]
            for reference in ended:
                partisan.demonitor(reference)
            await placed()
            for pid in pids:
                partisan.send(pid, 1)
            for _ in tags:
                tag, reference, kind, item, reason = await partisan.receive(timeout=10.0)
                assert (tag, item) == held.pop(reference)
                assert (kind, reason) == (PROCESS, NORMAL)
            await silence(b)

        await inside(a, watch)


@WHERE
async def test_monitor_monitor_3_noproc_gh6185(where: str) -> None:
    """A monitor with a tag of what does not exist is told with the tag."""
    async with nodes(where) as (a, b):
        pid = b.spawn(waits)
        b.send(pid, 1)
        await eventually(lambda: not b.is_process_alive(pid))

        async def watch() -> None:
            tag = (Atom("my"), Atom("tag"))
            for target in (pid, ("nobody", b.name)):
                reference = partisan.monitor(target, tag=tag)
                item = pid if target is pid else (Atom("nobody"), Atom(b.name))
                assert await partisan.receive(timeout=10.0) == (tag, reference, PROCESS, item, NOPROC)

        await inside(a, watch)


async def answers() -> None:
    """Answer the first request when told to, then live on."""
    _, caller, _ = await partisan.receive((Atom("$gen_call"), ..., ...))
    await partisan.receive(Atom("now"))
    gen.reply(caller, Atom("answer"))
    partisan.send(caller[0], Atom("sent"))
    await partisan.receive(lambda message: False)


@WHERE
async def test_monitor_gh_5225_demonitor_alias(where: str) -> None:
    """What is sent under an alias after it was given up reaches nobody."""
    async with nodes(where) as (a, b):
        pid = b.spawn(answers)

        async def ask() -> None:
            with pytest.raises(CallTimeout):
                await gen.call(pid, Atom("question"), timeout=0.05)
            partisan.send(pid, Atom("now"))
            assert await partisan.receive(timeout=10.0) == Atom("sent")
            assert not a.scheduler.aliases

        await inside(a, ask)


@WHERE
async def test_monitor_unexpected_alias_at_demonitor_gh5310(where: str) -> None:
    """The end of a monitor leaves the alias of a request to the same process alone: its answer arrives."""
    async with nodes(where) as (a, b):
        pid = b.spawn(answers)

        async def ask() -> None:
            reference = partisan.monitor(pid)
            request = gen.send_request(pid, Atom("question"))
            await placed()
            assert partisan.demonitor(reference, flush=True, info=True)
            partisan.send(pid, Atom("now"))
            assert await partisan.receive(timeout=10.0) is request
            assert not request.pending
            assert not request.failed
            assert request.outcome == Atom("answer")

        await inside(a, ask)


@WHERE
async def test_monitor_down_on_alias_gh5310(where: str) -> None:
    """An alias ends with the end of whom it was for: what another sends under it later reaches nobody."""

    async def hand_on(other: Pid) -> None:
        _, caller, _ = await partisan.receive((Atom("$gen_call"), ..., ...))
        partisan.send(other, caller)
        raise Exit(Atom("bye"))

    async def replies() -> None:
        caller = await partisan.receive()
        await partisan.receive(Atom("now"))
        gen.reply(caller, Atom("late"))
        partisan.send(caller[0], Atom("sent"))
        await partisan.receive(lambda message: False)

    async with nodes(where) as (a, b):
        other = b.spawn(replies)
        pid = b.spawn(hand_on, other)

        async def ask() -> None:
            reference = partisan.monitor(pid)
            with pytest.raises(Exit) as caught:
                await gen.call(pid, Atom("question"))
            assert caught.value.reason == Atom("bye")
            assert not isinstance(caught.value, NoProc)
            assert (await down(reference))[4] == Atom("bye")
            partisan.send(other, Atom("now"))
            assert await partisan.receive(timeout=10.0) == Atom("sent")

        await inside(a, ask)
