"""The loop on which tests run: what goes wrong in its callbacks."""

from __future__ import annotations

import asyncio
import signal

import pytest

from partisan.testing.runner import LOOPS, run_test

BOTH = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])


class Ended(BaseException):
    """As pytest says that a test's time is over."""


def end(*_: object) -> None:
    raise Ended


@BOTH
def test_what_is_no_exception_ends_a_test_also_amid_a_callback(loop: str) -> None:
    async def waits_for_ever() -> None:
        running = asyncio.get_running_loop()
        running.call_soon(signal.raise_signal, signal.SIGUSR1)
        await running.create_future()

    before = signal.signal(signal.SIGUSR1, end)
    try:
        with pytest.raises(Ended):
            run_test(waits_for_ever(), loop)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_error_in_a_callback_fails_a_test_that_goes_on(loop: str) -> None:
    async def goes_on() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)

    with pytest.raises(AssertionError, match="division by zero"):
        run_test(goes_on(), loop)
