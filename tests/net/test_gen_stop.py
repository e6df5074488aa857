"""Stopping a server by `partisan.gen.server.stop`, and what may go wrong around that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from gen_support import started, within
from support import cluster, eventually, killed_unstepped, running, soon

from partisan import Atom, CallTimeout, EncodeError, Exit
from partisan.gen import server as gen_server
from partisan.gen.server import GenServer, call


async def test_a_stop_that_cannot_be_told_is_an_error_and_the_server_goes_on() -> None:
    class Plain(GenServer):
        def handle_call(self, request: Any, caller: Any) -> Any:
            return request

    async with cluster("b", "a") as (b, a):
        await started(b, Plain, name="plain")
        with pytest.raises(EncodeError):
            await soon(asyncio.ensure_future(gen_server.stop(("plain", b.name), object())))
        assert await within(a, lambda: call(("plain", b.name), 1)) == 1


@pytest.mark.parametrize("begun", [True, False])
async def test_a_stop_whose_own_node_stops_ends(begun: bool) -> None:
    class Slow(GenServer):
        async def terminate(self, reason: Any) -> None:
            await asyncio.Event().wait()

    async with cluster("b", "a") as (b, a):
        await started(b, Slow, name="slow")
        stopping = asyncio.create_task(gen_server.stop(("slow", b.name)))
        if begun:
            await eventually(lambda: a.processes() and a._monitors.machine.counts["held"])
        await asyncio.create_task(a.stop())
        with pytest.raises(Exit) as ended:
            await soon(stopping)
        assert ended.value.reason == Atom("killed")
        await b.stop(grace=0.0)


async def test_a_stop_without_time_is_told_to_the_server() -> None:
    async with running("a") as (a,):
        await started(a, GenServer, name="server")
        with pytest.raises(CallTimeout):
            await gen_server.stop("server", timeout=0.0)
        await eventually(lambda: a.whereis("server") is None)


async def test_a_stop_whose_process_is_killed_before_its_first_step_ends() -> None:
    async with running("a") as (a,):
        await started(a, GenServer, name="server")
        with pytest.raises(Exit):
            await killed_unstepped(a, lambda: gen_server.stop("server"))
        assert a.whereis("server") is not None
