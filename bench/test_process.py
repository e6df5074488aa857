"""Processes: to start one, to send to it, to wait in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.conftest import Rounds
from partisan._core.process import Process, receive
from tests.unit.hollow import Core


async def ends() -> None:
    pass


def test_a_process_starts_and_ends(rounds: Rounds[int], core: Core) -> None:
    def work() -> int:
        core.exits.clear()
        for _ in range(1000):
            core.start(ends())
        core.run()
        return len(core.exits)

    assert rounds(1000, work) == 1000
    assert core.scheduler.processes == {}


def counting(core: Core, *patterns: object) -> tuple[Process, Callable[[], int]]:
    """A process that receives what matches for ever, and how many it has received."""
    received = 0

    async def count() -> None:
        nonlocal received
        while True:
            await receive(*patterns)
            received += 1

    return core.spawn(count()), lambda: received


def test_a_message_is_received_from_a_full_mailbox(rounds: Rounds[int], core: Core) -> None:
    process, received = counting(core)

    def work() -> int:
        before = received()
        for _ in range(1000):
            core.scheduler.send_local(process, 1)
        core.run()
        return received() - before

    assert rounds(1000, work) == 1000


@pytest.mark.parametrize("form", ["pid", "name"])
def test_a_message_wakes_a_process_that_waits(rounds: Rounds[int], core: Core, form: str) -> None:
    process, received = counting(core)
    core.scheduler.register("sink", process)
    target = process.pid if form == "pid" else "sink"

    def work() -> int:
        before = received()
        for _ in range(1000):
            core.send(target, 1)
            core.run()
        return received() - before

    assert rounds(1000, work) == 1000


def test_a_message_goes_to_a_process_and_back(rounds: Rounds[int], core: Core) -> None:
    answered = 0

    async def answer() -> None:
        while True:
            sender = await receive()
            core.send(sender, 1)

    async def ask(other: Process) -> None:
        nonlocal answered
        while True:
            await receive("go")
            for _ in range(1000):
                core.send(other.pid, asker.pid)
                await receive()
                answered += 1

    asker = core.spawn(ask(core.spawn(answer())))

    def work() -> int:
        before = answered
        core.tell(asker, "go")
        return answered - before

    assert rounds(1000, work) == 1000


def test_a_message_is_picked_past_100_others(rounds: Rounds[int], core: Core) -> None:
    process, received = counting(core, ("wanted", int))
    core.tell(process, *(("other", number) for number in range(100)))

    def work() -> int:
        before = received()
        for number in range(1000):
            core.scheduler.send_local(process, ("wanted", number))
        core.run()
        return received() - before

    assert rounds(1000, work) == 1000
    assert len(process.mailbox) == 100
