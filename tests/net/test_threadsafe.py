"""The one door into a node from another thread."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
from typing import Any

import pytest
from support import Sink, address_of, eventually, running

import partisan
from partisan import ConnectFailed, LocalProtocolError, Node, NoProc, WrongThread


async def test_a_plain_function_is_called_on_the_loop_and_gives_its_result() -> None:
    async with running("a") as [a]:
        sink = Sink(a)
        assert await asyncio.to_thread(lambda: a.threadsafe(a.members).result(5.0)) == [a.name]
        await asyncio.to_thread(lambda: a.threadsafe(a.send, "sink", 1).result(5.0))
        assert await sink.has(1) == [1]
        with pytest.raises(NoProc, match="nobody"):
            await asyncio.to_thread(lambda: a.threadsafe(a.send, "nobody", 1).result(5.0))
        with pytest.raises(WrongThread):
            await asyncio.to_thread(a.members)


async def test_who_calls_from_another_thread_is_shown_the_door() -> None:
    def stranger() -> None:
        for call in (partisan.members, lambda: partisan.send("sink", 1)):
            with pytest.raises(LocalProtocolError, match=r"no current node.*node\.threadsafe"):
                contextvars.Context().run(call)

    async with running("a"):
        await asyncio.to_thread(stranger)


async def test_a_coroutine_function_is_run_to_its_end_on_the_loop() -> None:
    async with running("a", "b") as (a, b):
        joined = await asyncio.to_thread(lambda: a.threadsafe(a.join, address_of(b), timeout=5.0).result(5.0))
        assert joined == b.name
        with pytest.raises(ConnectFailed):
            await asyncio.to_thread(lambda: a.threadsafe(a.join, address_of(a)).result(5.0))


async def test_to_cancel_the_future_is_to_cancel_the_coroutine() -> None:
    log: list[str] = []

    async def endless() -> None:
        log.append("begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async with running("a") as [a]:
        future = a.threadsafe(endless)
        await eventually(lambda: log)
        assert future.cancel()
        await eventually(lambda: log == ["begun", "cancelled"])
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(0)


async def test_a_function_that_raises_a_cancellation_completes_the_future() -> None:
    def cancelled() -> None:
        raise asyncio.CancelledError

    async with running("a") as [a]:
        future = a.threadsafe(cancelled)
        await eventually(future.done)
        assert future.cancelled()


async def test_what_a_function_gives_is_awaited_with_the_node_as_the_current_one() -> None:
    class Doubles(partisan.GenServer):
        def handle_call(self, request: Any, caller: Any) -> Any:
            return 2 * request

    async def members() -> list[str]:
        return partisan.members()

    def stranger() -> None:
        assert a.threadsafe(partisan.call, "doubles", 21, timeout=5.0).result(5.0) == 42
        assert a.threadsafe(lambda: partisan.call("doubles", 4)).result(5.0) == 8
        assert a.threadsafe(members).result(5.0) == [a.name]
        assert a.threadsafe(partisan.node).result(5.0) is a

    async with running("a", "b") as (a, b):
        await a.run(lambda: Doubles.start(name="doubles"))
        assert b.whereis("doubles") is None
        await asyncio.to_thread(contextvars.Context().run, stranger)


async def test_another_thread_does_not_stop_a_node() -> None:
    async with running("a") as [a]:
        with pytest.raises(WrongThread):
            await asyncio.to_thread(asyncio.run, a.stop())
        assert a.members() == [a.name]


async def test_a_node_that_does_not_run_has_no_door() -> None:
    with pytest.raises(LocalProtocolError, match="is not running"):
        Node("a@127.0.0.1:0").threadsafe(print)
