"""Every coroutine test here runs twice, on asyncio and on uvloop, on a fresh loop that must end without a complaint.

A test fails if anything was reported to its loop's exception handler, so an error in a callback of the package cannot
hide. The helpers beside this file are imported by their names.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pytest

from partisan.testing.runner import run_test

sys.path.insert(0, str(Path(__file__).parent))

LOOPS = ("asyncio", "uvloop")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run coroutine tests, and whatever asks for `loop_name`, on both loops."""
    if inspect.iscoroutinefunction(metafunc.function) and "loop_name" not in metafunc.fixturenames:
        metafunc.fixturenames.append("loop_name")
    if "loop_name" in metafunc.fixturenames:
        metafunc.parametrize("loop_name", LOOPS)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine test to its end on a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.function):
        return None
    wanted = inspect.signature(pyfuncitem.function).parameters
    arguments = {name: value for name, value in pyfuncitem.funcargs.items() if name in wanted}
    run_test(pyfuncitem.function(**arguments), pyfuncitem.callspec.params["loop_name"])
    return True
