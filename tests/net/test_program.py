"""A program that is ended from outside: its nodes stop in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = """
import asyncio, contextlib
import partisan
{before}

async def clerk():
    print("up", flush=True)
    try:
        await partisan.receive()
    finally:
        print("told", flush=True)

async def main():
    async with partisan.Node("a@127.0.0.1:0") as node:
        node.spawn(clerk)
        await asyncio.Event().wait()

partisan.run(main(), loop="{loop}")
"""


def ended(program: str, with_signal: signal.Signals) -> tuple[int, str, str]:
    """Start a program, send it the signal as soon as it says that it is up; its status and what it said."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=pipe, stderr=pipe, text=True) as it:
        assert it.stdout is not None
        assert it.stdout.readline() == "up\n"
        it.send_signal(with_signal)
        try:
            said, failed = it.communicate(timeout=30)
        finally:
            it.kill()
    return it.returncode, said, failed


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_program_that_is_told_to_terminate_stops_its_nodes_in_order(loop: str) -> None:
    assert ended(PROGRAM.format(before="", loop=loop), signal.SIGTERM) == (143, "told\n", "")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_program_that_is_interrupted_stops_its_nodes_and_shows_one_traceback(loop: str) -> None:
    status, said, failed = ended(PROGRAM.format(before="", loop=loop), signal.SIGINT)
    assert (status, said) == (-signal.SIGINT, "told\n")
    assert failed.count("Traceback") == 1
    assert failed.endswith("KeyboardInterrupt\n")


def test_a_program_that_handles_the_signal_itself_is_left_alone() -> None:
    before = "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: (print('mine', flush=True), sys.exit(7)))"
    status, said, _ = ended(PROGRAM.format(before=before, loop="asyncio"), signal.SIGTERM)
    assert status == 7
    assert said.startswith("mine\n")
