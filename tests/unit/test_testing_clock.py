"""The virtual clock: what counts by the loop's clock takes no real time, and what is real is waited for."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import partisan
from partisan import Node
from partisan.testing import VirtualLoop, run_virtual, within

HOUR = 3600.0
LONG = 60.0
"""Real seconds that nothing here takes, however busy the machine is; the virtual ones are far more."""


def timed(main: Callable[[], Awaitable[Any]]) -> tuple[Any, float]:
    """What it returns, and how many virtual seconds it took; it takes few real ones."""
    before = time.monotonic()

    async def measured() -> tuple[Any, float]:
        clock = asyncio.get_running_loop().time
        began = clock()
        return await main(), clock() - began

    found = run_virtual(measured())
    assert time.monotonic() - before < LONG
    return found


def test_a_sleep_of_an_hour_takes_an_hour_of_the_loop_and_no_real_one() -> None:
    _, taken = timed(lambda: asyncio.sleep(HOUR))
    assert taken == pytest.approx(HOUR)


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    woken = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append(seconds)

    async def main() -> None:
        await asyncio.gather(*(sleeper(seconds) for seconds in (300.0, 100.0, 7 * 24 * HOUR, 200.0)))

    _, taken = timed(main)
    assert woken == [100.0, 200.0, 300.0, 7 * 24 * HOUR]
    assert taken == pytest.approx(7 * 24 * HOUR)


def test_time_stands_still_while_code_runs() -> None:
    async def main() -> float:
        before = asyncio.get_running_loop().time()
        time.sleep(0.01)
        for _ in range(100):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time() - before

    assert run_virtual(main()) == 0.0


def test_a_timeout_strikes_what_would_take_longer_only() -> None:
    async def main() -> None:
        async with asyncio.timeout(20.0):
            await asyncio.sleep(19.0)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(19.0):
                await asyncio.sleep(20.0)

    _, taken = timed(main)
    assert taken == pytest.approx(38.0)


def test_timers_and_time_outs_of_processes_pass_at_once() -> None:
    async def waits() -> list[Any]:
        partisan.send_after(HOUR, partisan.self(), "late")
        found = []
        for seconds in (HOUR - 60.0, 120.0, 5.0):
            try:
                found.append(await partisan.receive(timeout=seconds))
            except partisan.ReceiveTimeout:
                found.append("nothing")
        return found

    async def main() -> Any:
        async with Node("a@127.0.0.1:0") as node:
            return await within(node, waits, timeout=2 * HOUR)

    found, taken = timed(main)
    assert found == ["nothing", "late", "nothing"]
    assert taken == pytest.approx(HOUR + 5.0)


def test_a_function_in_a_thread_is_waited_for_in_real_time() -> None:
    released = threading.Event()

    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        before = loop.time()
        loop.call_later(0.05, released.set)
        async with asyncio.timeout(HOUR):
            assert await asyncio.to_thread(released.wait, LONG)
        return "done", loop.time() - before

    found, taken = run_virtual(main())
    assert found == "done"
    assert 0.049 < taken < LONG


def test_what_is_offloaded_is_waited_for_in_real_time() -> None:
    released = threading.Event()

    async def main() -> float:
        async with Node("a@127.0.0.1:0") as node:
            before = node.loop.time()
            node.loop.call_later(0.05, released.set)
            async with asyncio.timeout(HOUR):
                assert await node.offload(released.wait, LONG)
            return node.loop.time() - before

    assert 0.049 < run_virtual(main()) < LONG


def test_octets_that_come_before_the_next_timer_are_not_overtaken_by_it() -> None:
    here, there = socket.socketpair()

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection(sock=here)
        there.sendall(b"hello")
        async with asyncio.timeout(HOUR):
            found = await reader.readexactly(5)
        writer.close()
        await writer.wait_closed()
        return found

    with there:
        found, taken = timed(main)
    assert (found, taken) == (b"hello", 0.0)


def test_patience_is_for_those_who_answer_from_elsewhere() -> None:
    here, there = socket.socketpair()

    def echo() -> None:
        while found := there.recv(100):
            time.sleep(0.05)
            there.sendall(found)

    async def main() -> bytes:
        reader, writer = await asyncio.open_connection(sock=here)
        writer.write(b"hello")
        try:
            async with asyncio.timeout(HOUR):
                return await reader.readexactly(5)
        finally:
            writer.close()
            await writer.wait_closed()

    thread = threading.Thread(target=echo)
    thread.start()
    try:
        assert run_virtual(main(), patience=LONG) == b"hello"
    finally:
        thread.join()
        there.close()


def test_a_socket_that_listens_and_the_pipe_of_the_loop_do_not_make_it_wait() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            loop = asyncio.get_running_loop()
            loop.add_reader(server, lambda: None)
            await asyncio.sleep(HOUR)
            loop.remove_reader(server)

    before = time.monotonic()
    run_virtual(main(), patience=LONG)
    assert time.monotonic() - before < LONG


def test_a_pipe_is_given_its_time() -> None:
    reading, writing = os.pipe()

    async def main() -> bool:
        loop = asyncio.get_running_loop()
        came = loop.create_future()
        loop.add_reader(reading, lambda: came.done() or came.set_result(True))
        writer = threading.Timer(0.05, os.write, (writing, b"x"))
        writer.start()
        try:
            async with asyncio.timeout(HOUR):
                return bool(await came)
        finally:
            loop.remove_reader(reading)
            writer.join()

    try:
        assert run_virtual(main(), patience=LONG)
    finally:
        os.close(reading)
        os.close(writing)


def test_it_is_an_ordinary_loop_otherwise() -> None:
    async def main() -> type:
        return type(asyncio.get_running_loop())

    assert run_virtual(main()) is VirtualLoop
    assert issubclass(VirtualLoop, asyncio.SelectorEventLoop)
