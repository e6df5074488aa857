"""A function as a process of a node, for code that is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support import eventually, killed_unstepped, running

import partisan
from partisan import Atom, Exit


async def forever() -> None:
    await asyncio.Event().wait()


async def test_what_a_function_returns_or_raises_comes_back_to_who_is_no_process() -> None:
    async def asks(number: int) -> tuple[Any, int]:
        partisan.send(partisan.self(), number)
        return partisan.self(), await partisan.receive()

    async def fails() -> None:
        raise ValueError("no apples")

    async with running("a", clean=True) as (a,):
        pid, number = await a.run(asks, 5)
        assert number == 5
        assert not a.is_process_alive(pid)
        with pytest.raises(ValueError, match="no apples"):
            await a.run(fails)


async def test_a_process_runs_another_for_its_result() -> None:
    async def outer() -> list[Any]:
        return [partisan.self(), await partisan.node().run(inner)]

    async def inner() -> Any:
        return partisan.self()

    async with running("a", clean=True) as (a,):
        mine, other = await a.run(outer)
        assert mine != other


@pytest.mark.parametrize("how", ["exit", "kill", "stop"])
async def test_a_process_that_is_ended_from_outside_is_an_exit(how: str) -> None:
    started: list[Any] = []

    async def waits() -> None:
        started.append(partisan.self())
        await forever()

    async with running("a") as (a,):
        waiting = asyncio.create_task(a.run(waits))
        await eventually(lambda: started)
        if how == "stop":
            await a.stop()
        else:
            a.exit(started[0], Atom("kill" if how == "kill" else "enough"))
        with pytest.raises(Exit) as raised:
            await waiting
        assert raised.value.reason == Atom({"exit": "enough", "kill": "killed", "stop": "shutdown"}[how])


async def test_a_process_whose_result_nobody_waits_for_is_killed() -> None:
    started: list[Any] = []

    async def waits() -> None:
        started.append(partisan.self())
        await forever()

    async with running("a", clean=True) as (a,):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await a.run(waits)
        await eventually(lambda: not a.is_process_alive(started[0]))


async def test_a_process_that_is_killed_before_the_function_has_begun_is_an_exit() -> None:
    async with running("a") as (a,):
        with pytest.raises(Exit):
            await killed_unstepped(a, lambda: a.run(forever))


async def test_the_call_of_a_function_is_no_function() -> None:
    async with running("a") as (a,):
        with pytest.raises(TypeError, match=r"pass run\(\) the function, not its call"):
            await a.run(forever())  # type: ignore[arg-type]
