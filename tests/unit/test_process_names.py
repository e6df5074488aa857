"""Pids and registered names of the processes of a node."""

from __future__ import annotations

import pytest

from partisan._core.process import receive
from partisan.errors import LocalProtocolError, NameTaken
from partisan.etf import Pid
from tests.unit.hollow import Cancelled, Core


async def idle() -> None:
    await receive("never")


def test_pids_of_a_node_are_numbered_from_where_it_was_told() -> None:
    core = Core(first_key=(3 << 28) | 0xFFFFFFF)
    first, second = core.start(idle()), core.start(idle())
    assert (first.pid.serial, first.pid.id) == (3, 0xFFFFFFF)
    assert (second.pid.serial, second.pid.id) == (4, 0)
    core.close()


def test_numbers_wrap_around_and_step_over_the_living() -> None:
    core = Core(first_key=(1 << 41) - 1)
    first, second = core.start(idle()), core.start(idle())
    assert (first.pid.serial, first.pid.id) == ((1 << 13) - 1, 0xFFFFFFF)
    assert (second.pid.serial, second.pid.id) == (0, 0)
    core.close()


def test_the_dead_and_the_strange_are_not_found(core: Core) -> None:
    process = core.spawn(idle())
    assert core.scheduler.find(process.pid) is process
    assert core.scheduler.find(Pid("a@127.0.0.1", 9, 9)) is None
    core.scheduler.interrupt(process, Cancelled())
    core.run()
    assert core.scheduler.find(process.pid) is None


def test_a_name_belongs_to_one_process_until_it_ends(core: Core) -> None:
    one, two = core.spawn(idle()), core.spawn(idle())
    core.scheduler.register("x", one)
    core.scheduler.register("y", one)
    with pytest.raises(NameTaken) as caught:
        core.scheduler.register("x", two)
    assert caught.value.name == "x"
    assert core.scheduler.whereis("x") is one
    assert one.names == ("x", "y")
    core.scheduler.unregister("y")
    assert one.names == ("x",)
    core.scheduler.interrupt(one, Cancelled())
    core.run()
    assert core.scheduler.whereis("x") is None
    with pytest.raises(LocalProtocolError):
        core.scheduler.register("x", one)
    core.scheduler.register("x", two)
    with pytest.raises(KeyError):
        core.scheduler.unregister("z")


def test_a_sink_has_a_name_but_is_no_process(core: Core) -> None:
    core.scheduler.register("sink", lambda message, link: None)
    assert core.scheduler.whereis("sink") is None
    with pytest.raises(NameTaken):
        core.scheduler.register("sink", core.spawn(idle()))
    core.scheduler.unregister("sink")


@pytest.mark.parametrize(
    ("number", "serial"),
    [(5 | 1 << 28, 2), (5 | 3 << 28, 0), (5, 3 | 1 << 13), (5, 3 | 1 << 28), (6, 3)],
)
def test_a_process_is_found_by_its_own_numbers_alone(number: int, serial: int) -> None:
    core = Core(first_key=3 << 28 | 5)
    process = core.start(idle())
    assert core.scheduler.find(Pid(core.name, 5, 3)) is process
    assert core.scheduler.find(Pid(core.name, number, serial)) is None
    core.close()
