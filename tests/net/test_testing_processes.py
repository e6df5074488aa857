"""Nodes in processes of the operating system, as `partisan.testing` gives them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from partisan.testing import NodeProcess, ProcessEnded, RanFailed, eventually, process_cluster

CODE = """
import asyncio, os, sys
import partisan

def greet(name, *, loudly=False):
    print("this is not an answer")
    return {"text": f"hello {name}" + "!" * loudly, "node": partisan.self().node}

async def slowly(seconds):
    await asyncio.sleep(seconds)
    return seconds

def fails():
    raise ZeroDivisionError("of course")

def opaque():
    return object()

def end():
    os._exit(3)

async def ping(node):
    return await partisan.call(("echo", node), "ping", timeout=20.0)

async def echo():
    from partisan.gen.server import GenServer
    class Echo(GenServer):
        def handle_call(self, request, caller):
            return request
    await Echo.start(name="echo")

def loop():
    return type(asyncio.get_running_loop()).__module__
"""


@pytest.fixture
def path(tmp_path: Path) -> list[str]:
    """Where the processes find the functions of the tests."""
    (tmp_path / "inside.py").write_text(CODE)
    return [str(tmp_path), *sys.path]


async def knows(node: NodeProcess, *others: NodeProcess) -> None:
    """Wait until exactly these are connected with it."""
    names = [other.name for other in others]

    async def connected() -> bool:
        return await node.connected() == names

    await eventually(connected)


async def test_processes_form_a_cluster_and_end_with_their_block(loop_name: Any, path: list[str]) -> None:
    async with process_cluster("a", "b", "c", loop=loop_name, path=path) as nodes:
        names = [node.name for node in nodes]
        assert [await node.members() for node in nodes] == [names] * 3
        assert len({node.pid for node in nodes} | {os.getpid()}) == 4
        assert (await nodes[0].run("inside:loop")).partition(".")[0] == loop_name
    for node in nodes:
        assert not node.is_alive()
        with pytest.raises(ProcessLookupError):
            os.kill(node.pid, 0)


async def test_a_function_runs_in_a_process_of_the_node_and_its_result_comes_back(path: list[str]) -> None:
    async with process_cluster("a", path=path) as (a,):
        assert await a.run("inside:greet", "you", loudly=True) == {"text": "hello you!", "node": a.name}
        assert await a.run("math:gcd", 12, 18) == 6
        slow, quick = asyncio.ensure_future(a.run("inside:slowly", 0.2)), a.run("inside:slowly", 0)
        assert await quick == 0
        assert not slow.done()
        assert await slow == 0.2
        assert await a.held() == {}


async def test_what_a_function_raises_is_told_with_its_traceback(path: list[str]) -> None:
    async with process_cluster("a", path=path) as (a,):
        with pytest.raises(RanFailed, match="of course") as caught:
            await a.run("inside:fails")
        assert (caught.value.node, caught.value.kind, caught.value.text) == (a.name, "ZeroDivisionError", "of course")
        assert "in fails" in caught.value.traceback
        for name, kind in (
            ("inside:opaque", "TypeError"),
            ("inside:nothing", "AttributeError"),
            ("no_such:x", "Module"),
        ):
            with pytest.raises(RanFailed, match=kind):
                await a.run(name)
        with pytest.raises(TimeoutError):
            await a.run("inside:slowly", 100.0, timeout=0.05)
        assert await a.run("inside:slowly", 0) == 0


async def test_a_killed_process_is_missed_and_taken_back_when_it_is_started_again(path: list[str]) -> None:
    async with process_cluster("a", "b", path=path) as (a, b):
        await b.run("inside:echo")
        assert await a.run("inside:ping", b.name) == "ping"
        former, port = b.pid, b.port
        await b.kill()
        assert not b.is_alive()
        await knows(a)
        with pytest.raises(RanFailed, match="NodeDown"):
            await a.run("inside:ping", b.name)
        await b.restart()
        assert b.pid != former
        assert b.port == port
        await knows(a, b)
        await knows(b, a)
        with pytest.raises(RanFailed, match="NoProc"):
            await a.run("inside:ping", b.name)


async def test_who_waits_for_a_process_that_ends_is_told_of_its_status(path: list[str]) -> None:
    async with process_cluster("a", "b", path=path) as (a, b):
        waiting = asyncio.ensure_future(a.run("inside:slowly", 100.0))
        await a.members()
        await a.kill()
        with pytest.raises(ProcessEnded, match="status -9"):
            await waiting
        with pytest.raises(ProcessEnded, match="status -9"):
            await a.run("inside:slowly", 0)
        with pytest.raises(ProcessEnded, match="status 3"):
            await b.run("inside:end")


async def test_a_node_that_cannot_start_is_an_error_and_so_is_one_that_was_not_started() -> None:
    with pytest.raises(ProcessEnded, match="status 1"):
        async with process_cluster("a", no_such_option=1):
            pass
    with pytest.raises(RuntimeError, match="has not been started"):
        await NodeProcess("a").run("math:gcd", 1, 2)


async def test_links_between_processes_are_cut_slowed_and_healed(path: list[str]) -> None:
    async with process_cluster("a", "b", path=path) as (a, b):
        await b.run("inside:echo")
        await a.cut(b, close=True)
        await knows(a)
        await a.heal()
        await knows(a, b)
        await knows(b, a)
        await a.slow(b, 0.1)
        began = asyncio.get_running_loop().time()
        assert await a.run("inside:ping", b.name) == "ping"
        assert asyncio.get_running_loop().time() - began >= 0.19
        await a.heal()


async def test_a_paused_process_is_missed_by_the_keepalive_and_comes_back(path: list[str]) -> None:
    ping = {"idle_timeout": 0.1, "timeout": 0.1, "max_attempts": 2}
    async with process_cluster("a", "b", path=path, connection_ping=ping) as (a, b):
        b.pause()
        await knows(a)
        b.resume()
        await knows(a, b)


async def test_a_cluster_that_fails_leaves_no_process(path: list[str]) -> None:
    nodes: list[NodeProcess] = []

    async def test() -> None:
        async with process_cluster("a", "b", path=path) as started:
            nodes.extend(started)
            nodes[1].pause()
            raise ValueError("of the test")

    with pytest.raises(ValueError, match="of the test"):
        await test()
    assert not any(node.is_alive() for node in nodes)
    assert [await node.stop() for node in nodes] == [-9, -9]
