"""Calls of nodes that watch no calls: what ends them is a monitor."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from monitor_support import (
    CALL,
    DEMONITOR,
    ERROR,
    NOCONNECTION,
    NODEDOWN,
    NOPROC,
    OK,
    Script,
    nothing_left,
    real,
    reference,
)
from scripted import FORWARD
from support import inside

import partisan
from partisan import Atom, CallTimeout, Exit, NodeDown, NoProc
from partisan.gen import call as gen


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
