"""Servers that answer calls at the same time, when they were asked to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from support import eventually, running

from partisan import Atom, Exit
from partisan.gen import NoReply, Reply, Stop
from partisan.gen import server as gen_server
from partisan.gen.server import GenServer, call, cast


class Gate(GenServer):
    """Holds calls until a cast opens the gate."""

    def init(self) -> None:
        self.open = asyncio.Event()
        self.inside = 0
        self.cancelled = 0

    async def handle_call(self, request: Any, caller: Any) -> Any:
        match request:
            case "quick":
                return "quick"
            case "fail":
                raise KeyError("failed")
            case "stop":
                return Stop(Atom("shutdown"), reply="stopped")
            case "continue":
                return Reply("replied", continue_="continued")
            case "later":
                gen_server.reply(caller, "later")
                return NoReply()
        self.inside += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1
        return ("passed", request)

    def handle_cast(self, message: Any) -> None:
        self.open.set()

    def handle_continue(self, value: Any) -> None:
        self.continued = value


INSTANCES: list[Gate] = []


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    yield
    INSTANCES.clear()


class Seen(Gate):
    """A gate that the test can look at."""

    def init(self) -> None:
        super().init()
        INSTANCES.append(self)


async def test_calls_pass_each_other_and_casts_pass_them() -> None:
    async with running("a"):
        pid = await Seen.start(concurrent=True)
        waiting = [asyncio.create_task(call(pid, number)) for number in range(50)]
        await eventually(lambda: INSTANCES[-1].inside == 50)
        for request in ("quick", "later"):
            assert await call(pid, request) == request
        cast(pid, "open")
        assert await asyncio.gather(*waiting) == [("passed", number) for number in range(50)]


async def test_no_more_run_at_once_than_was_said() -> None:
    async with running("a"):
        pid = await Seen.start(concurrent=3)
        most = 0
        waiting = [asyncio.create_task(call(pid, number)) for number in range(10)]
        await eventually(lambda: INSTANCES[-1].inside == 3)
        INSTANCES[-1].open.set()
        for each in waiting:
            await each
            most = max(most, INSTANCES[-1].inside)
        assert most <= 3


async def test_without_the_option_calls_wait_for_each_other() -> None:
    async with running("a"):
        pid = await Seen.start()
        waiting = [asyncio.create_task(call(pid, number)) for number in range(5)]
        await eventually(lambda: INSTANCES[-1].inside == 1)
        assert len([each for each in waiting if not each.done()]) == 5
        INSTANCES[-1].open.set()
        await asyncio.gather(*waiting)


async def test_control_values_of_concurrent_calls_are_obeyed() -> None:
    async with running("a") as [a]:
        pid = await Seen.start(concurrent=True)
        assert await call(pid, "continue") == "replied"
        await eventually(lambda: getattr(INSTANCES[-1], "continued", None) == "continued")
        assert await call(pid, "stop") == "stopped"
        await eventually(lambda: not a.is_process_alive(pid))


@pytest.mark.parametrize("how", ["fail", "kill"])
async def test_the_calls_end_with_the_server(how: str) -> None:
    async with running("a") as [a]:
        pid = await Seen.start(concurrent=True)
        waiting = [asyncio.create_task(call(pid, number)) for number in range(5)]
        await eventually(lambda: INSTANCES[-1].inside == 5)
        if how == "kill":
            a.exit(pid, Atom("kill"))
        else:
            with pytest.raises(Exit) as failed:
                await call(pid, "fail")
            assert failed.value.reason[0] == (Atom("KeyError"), "'failed'")
        for each in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(each, Exit)
        await eventually(lambda: INSTANCES[-1].cancelled == 5)


async def test_a_call_that_waits_for_room_is_closed_with_the_server(recwarn: pytest.WarningsRecorder) -> None:
    async with running("a") as [a]:
        pid = await Seen.start(concurrent=3)
        waiting = [asyncio.create_task(call(pid, number)) for number in range(5)]
        await eventually(lambda: INSTANCES[-1].inside == 3)
        a.exit(pid, Atom("kill"))
        for each in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(each, Exit)
    assert not [str(warning.message) for warning in recwarn]


@pytest.mark.parametrize("whole", [True, False])
async def test_a_call_that_is_cancelled_ends_the_server_and_the_caller_is_told(whole: bool) -> None:
    class Waits(GenServer):
        async def handle_call(self, request: Any, caller: Any) -> Any:
            other: Any = asyncio.current_task() if whole else asyncio.get_running_loop().create_future()
            other.cancel()
            await (asyncio.get_running_loop().create_future() if whole else other)

    async with running("a") as (a,):
        pid = await Waits.start(concurrent=True)
        with pytest.raises(Exit) as ended:
            await call(pid, 1, timeout=30.0)
        assert type(ended.value) is Exit
        ((kind, _), _) = ended.value.reason  # type: ignore[misc]
        assert kind == Atom("CancelledError")
        assert not a.is_process_alive(pid)
