"""The pytest plugin: fixtures for nodes, clusters, processes and the virtual clock; see docs/testing.md.

A coroutine test that asks for one of them, or is marked `partisan`, is run here unless another plugin has taken it.
Nothing else of a test run is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from partisan import Node
    from partisan.testing.processes import NodeProcess

T = TypeVar("T")

FIXTURES = frozenset({"partisan_node", "partisan_cluster", "partisan_processes", "virtual_clock"})
MARK = "partisan"


def pytest_configure(config: pytest.Config) -> None:
    text = f'{MARK}(loop="asyncio"): run this coroutine test on a loop of its own: asyncio, uvloop or virtual'
    config.addinivalue_line("markers", text)


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test of ours that nobody else runs."""
    mark = pyfuncitem.get_closest_marker(MARK)
    ours = mark is not None or not FIXTURES.isdisjoint(pyfuncitem.fixturenames)
    if not ours or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    from partisan.testing.runner import LOOPS, run_test

    loop = "virtual" if "virtual_clock" in pyfuncitem.fixturenames else "asyncio"
    loop = mark.kwargs.get("loop", loop) if mark is not None else loop
    if loop not in LOOPS:
        raise pytest.UsageError(f"{pyfuncitem.nodeid}: loop={loop!r} is none of {', '.join(LOOPS)}")
    wanted = inspect.signature(pyfuncitem.obj).parameters
    run_test(pyfuncitem.obj(**{name: value for name, value in pyfuncitem.funcargs.items() if name in wanted}), loop)
    return True


@pytest.fixture
def partisan_options() -> dict[str, Any]:
    """Options of every node of the other fixtures; override it where a test module or a conftest wants some."""
    return {}


@pytest.fixture
def partisan_node(partisan_options: dict[str, Any]) -> Callable[..., AbstractAsyncContextManager[Node]]:
    """`async with partisan_node("a", **options) as node`: one node; see `partisan.testing.running`."""
    from partisan.testing.clusters import running

    @contextlib.asynccontextmanager
    async def one(name: str = "node", **options: Any) -> AsyncIterator[Node]:
        async with running(name, **{**partisan_options, **options}) as (node,):
            yield node

    return one


@pytest.fixture
def partisan_cluster(partisan_options: dict[str, Any]) -> Callable[..., AbstractAsyncContextManager[list[Node]]]:
    """`async with partisan_cluster("a", "b", **options) as (a, b)`: see `partisan.testing.cluster`."""
    from partisan.testing.clusters import cluster

    return lambda *names, **options: cluster(*names, **{**partisan_options, **options})


@pytest.fixture
def partisan_processes(
    partisan_options: dict[str, Any],
) -> Iterator[Callable[..., AbstractAsyncContextManager[list[NodeProcess]]]]:
    """`async with partisan_processes("a", "b", **options) as (a, b)`: see `partisan.testing.process_cluster`.

    Processes that are left when the test is over, because its loop died, are killed.
    """
    from partisan.testing.processes import process_cluster

    started: list[NodeProcess] = []

    @contextlib.asynccontextmanager
    async def noted(*names: str, **options: Any) -> AsyncIterator[list[NodeProcess]]:
        async with process_cluster(*names, **{**partisan_options, **options}) as nodes:
            started.extend(nodes)
            yield nodes

    yield noted
    for node in started:
        if node.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(node.pid, signal.SIGKILL)


class Clock:
    """The virtual clock of a test."""

    @property
    def now(self) -> float:
        """Virtual seconds since the loop that runs began. Raises RuntimeError on a loop of another kind."""
        from partisan.testing.clock import START, VirtualLoop

        loop = asyncio.get_running_loop()
        if not isinstance(loop, VirtualLoop):
            raise RuntimeError(f"the test runs on {loop!r}: use virtual_clock.run(main()) in a plain test")
        return loop.time() - START

    def run(self, main: Coroutine[Any, Any, T], **options: Any) -> T:
        """As `partisan.testing.run_virtual`: in a plain test, whatever else runs coroutine tests."""
        from partisan.testing.clock import run_virtual

        return run_virtual(main, **options)


@pytest.fixture
def virtual_clock() -> Clock:
    """A coroutine test that asks for it runs on a loop whose time passes at once; a plain test calls its `run`."""
    return Clock()
